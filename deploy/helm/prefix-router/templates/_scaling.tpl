{{/* `replicas` of a Deployment that may have an autoscaler: then as many as run. A field that is taken away would become 1 for a
moment, and end all others. Where nothing runs, or no cluster can be asked, it is left to the autoscaler: a number would be set
back to at each update. */}}
{{- define "prefix-router.replicas" -}}
{{- if not .scaled }}
  replicas: {{ .replicas }}
{{- else }}
{{- with lookup "apps/v1" "Deployment" .root.Release.Namespace .name }}
  replicas: {{ .spec.replicas }}
{{- end }}
{{- end }}
{{- end }}

{{- define "prefix-router.workerScaling" -}}
{{- if eq .worker.autoscaling.type "keda" }}{{ include "prefix-router.kedaObject" . }}{{ else }}{{ include "prefix-router.workerHpa" . }}{{ end }}
{{- end }}

{{- define "prefix-router.scaleDown" -}}
scaleDown:
  stabilizationWindowSeconds: {{ .worker.autoscaling.scaleDownStabilizationSeconds }}
  policies:
    - {type: Pods, value: 1, periodSeconds: 120}   # one cache at a time
scaleUp:
  policies:
    - {type: Percent, value: 100, periodSeconds: 60}
    - {type: Pods, value: 2, periodSeconds: 60}
{{- end }}

{{- define "prefix-router.kedaObject" -}}
{{- $a := .worker.autoscaling }}
{{- $matchers := default (printf "namespace=%q" .root.Release.Namespace) $a.matchers }}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  {{- include "prefix-router.metadata" .meta | nindent 2 }}
spec:
  scaleTargetRef:
    name: {{ .name }}
  minReplicaCount: {{ $a.minReplicas }}
  maxReplicaCount: {{ $a.maxReplicas }}
  pollingInterval: {{ $a.pollingInterval }}
  cooldownPeriod: {{ $a.cooldownPeriod }}
  fallback:          # Prometheus is away: as many as there were
    failureThreshold: 4
    replicas: {{ $a.minReplicas }}
    behavior: currentReplicasIfHigher
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        {{- include "prefix-router.scaleDown" . | nindent 8 }}
  triggers:
    {{- if $a.queueDepth }}
    - type: prometheus
      name: queue-depth
      metadata:
        serverAddress: {{ $a.prometheus | quote }}
        query: {{ printf "sum(router_queue_depth{%s,%s})" $matchers (include "prefix-router.modelMatcher" .worker) | toJson }}
        threshold: {{ mul $a.queueDepth (include "prefix-router.sharing" .) | quote }}
    {{- end }}
    {{- if $a.pendingPrefillTokens }}
    - type: prometheus
      name: pending-prefill-tokens
      metadata:
        serverAddress: {{ $a.prometheus | quote }}
        query: {{ printf "sum(router_pending_prefill_tokens{%s,model=%q})" $matchers (include "prefix-router.servedName" .worker) | toJson }}
        threshold: {{ mul $a.pendingPrefillTokens (include "prefix-router.sharing" .) | quote }}
    {{- end }}
    {{- with $a.extraTriggers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{- define "prefix-router.workerHpa" -}}
{{- $a := .worker.autoscaling }}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "prefix-router.metadata" .meta | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ .name }}
  minReplicas: {{ $a.minReplicas }}
  maxReplicas: {{ $a.maxReplicas }}
  behavior:
    {{- include "prefix-router.scaleDown" . | nindent 4 }}
  metrics:
    {{- if $a.queueDepth }}
    - type: External
      external:
        metric:
          name: router_queue_depth
          selector:
            {{- include "prefix-router.modelSelector" .worker | trim | nindent 12 }}
        target:
          type: AverageValue
          averageValue: {{ mul $a.queueDepth (include "prefix-router.sharing" .) | quote }}
    {{- end }}
    {{- if $a.pendingPrefillTokens }}
    - type: External
      external:
        metric:
          name: router_pending_prefill_tokens   # the same under each of its names
          selector:
            matchLabels:
              model: {{ include "prefix-router.labelValue" (include "prefix-router.servedName" .worker) | quote }}
        target:
          type: AverageValue
          averageValue: {{ mul $a.pendingPrefillTokens (include "prefix-router.sharing" .) | quote }}
    {{- end }}
{{- end }}

{{/* How many of the release's workers scale by the same queue: those of a model that do the same. Each takes its part of it. */}}
{{- define "prefix-router.sharing" -}}
{{- $names := include "prefix-router.servedNames" .worker | fromJsonArray }}
{{- $sharing := 0 }}
{{- range .root.Values.workers }}
{{- $w := include "prefix-router.workerValues" (dict "root" $.root "worker" .) | fromJson }}
{{- $apart := 0 }}{{ range include "prefix-router.servedNames" $w | fromJsonArray }}{{ if not (has . $names) }}{{ $apart = add $apart 1 }}{{ end }}{{ end }}
{{- $same := lt (int $apart) (len (include "prefix-router.servedNames" $w | fromJsonArray)) }}
{{- if and $same (ne $w.autoscaling.type "none") (eq (default "both" $w.role) (default "both" $.worker.role)) }}{{ $sharing = add $sharing 1 }}{{ end }}
{{- end }}
{{- $sharing }}
{{- end }}

{{/* Clients may know it by any of its names. */}}
{{- define "prefix-router.modelMatcher" -}}
{{- if and (kindIs "slice" .servedModelName) (gt (len .servedModelName) 1) }}
{{- $names := list }}
{{- range .servedModelName }}{{ $names = append $names (regexQuoteMeta .) }}{{ end }}
{{- printf "model=~%q" (join "|" $names) }}
{{- else }}
{{- printf "model=%q" (include "prefix-router.servedName" .) }}
{{- end }}
{{- end }}

{{/* The same for Kubernetes. */}}
{{- define "prefix-router.modelSelector" -}}
{{- if and (kindIs "slice" .servedModelName) (gt (len .servedModelName) 1) }}
matchExpressions:
  - key: model
    operator: In
    values:
      {{- range .servedModelName }}
      - {{ include "prefix-router.labelValue" . | quote }}
      {{- end }}
{{- else }}
matchLabels:
  model: {{ include "prefix-router.labelValue" (include "prefix-router.servedName" .) | quote }}
{{- end }}
{{- end }}

{{/* Kubernetes' selectors take no slash in a value, as names of models often have. */}}
{{- define "prefix-router.labelValue" -}}
{{- if not (regexMatch "^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$" .) }}
{{- fail (printf "autoscaling.type hpa: the model's name %q cannot stand in a selector; set a servedModelName of letters, digits, '.', '_' and '-', or use keda" .) }}
{{- end }}
{{- . }}
{{- end }}
