{{/*
A router in an application's pod. From a chart that has this one as a dependency:

  initContainers:
    {{- include "prefix-router.sidecar" (index .Subcharts "prefix-router") | nindent 4 }}
  volumes:
    {{- include "prefix-router.sidecarVolumes" (index .Subcharts "prefix-router") | nindent 4 }}

and in the pod's labels `prefix-router.sidecarLabels`. With `sidecar.native: false` it belongs under `containers`.
*/}}
{{- define "prefix-router.sidecar" -}}
{{- if not (include "prefix-router.hasRedis" .) }}{{ fail "a sidecar needs the Redis that it hears of workers through; set redis.url or redis.enabled" }}{{ end -}}
- name: prefix-router
  image: {{ include "prefix-router.routerImage" . }}
  imagePullPolicy: {{ .Values.router.image.pullPolicy }}
  {{- if .Values.sidecar.native }}
  restartPolicy: Always
  {{- end }}
  args: [serve, --sidecar, --host=127.0.0.1, --port={{ .Values.sidecar.port }}]   # for its own pod alone
  env:
    {{- include "prefix-router.env" (dict "own" (include "prefix-router.sidecarEnv" .) "extra" .Values.sidecar.extraEnv) | nindent 4 }}
  startupProbe:   # from within: the kubelet does not reach a pod's loopback
    {{- include "prefix-router.sidecarProbe" . | nindent 4 }}
    periodSeconds: 1
    timeoutSeconds: 5
    failureThreshold: 60
  livenessProbe:
    {{- include "prefix-router.sidecarProbe" . | nindent 4 }}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
  resources:
    {{- toYaml .Values.sidecar.resources | nindent 4 }}
  securityContext:
    {{- toYaml .Values.sidecar.securityContext | nindent 4 }}
  volumeMounts:
    - name: prefix-router-tmp
      mountPath: /tmp
    {{- with .Values.sidecar.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* As the image's HEALTHCHECK. */}}
{{- define "prefix-router.sidecarProbe" -}}
exec:
  command: [python, -IS, /app/healthcheck.py]
{{- end }}

{{- define "prefix-router.sidecarEnv" -}}
{{- $config := include "prefix-router.sidecarConfig" . | fromYaml }}
{{- include "prefix-router.sidecarSecrets" . }}
{{- range $name, $value := $config }}
{{- if kindIs "invalid" $value }}{{ continue }}{{ end }}
- name: PREFIX_ROUTER_{{ upper $name }}
  value: {{ include "prefix-router.envValue" (dict "name" $name "value" $value) | toJson }}
{{- end }}
{{- if $config.otlp_endpoint }}
{{ include "prefix-router.tracingEnv" . }}
{{- end }}
{{- end }}

{{- define "prefix-router.sidecarSecrets" -}}
{{ include "prefix-router.baseEnv" . }}
- name: HEALTHCHECK_PORT
  value: {{ .Values.sidecar.port | quote }}
{{- include "prefix-router.secretEnv" (dict "root" . "name" "PREFIX_ROUTER_WORKER_API_KEY" "secret" .Values.auth.workerApiKey) }}
{{- include "prefix-router.secretEnv" (dict "root" . "name" "PREFIX_ROUTER_FALLBACK_API_KEY" "secret" .Values.auth.fallbackApiKey) }}
{{- include "prefix-router.redisEnv" . }}
{{- end }}

{{- define "prefix-router.sidecarVolumes" -}}
- name: prefix-router-tmp
  emptyDir:
    sizeLimit: 256Mi
{{- with .Values.sidecar.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "prefix-router.sidecarLabels" -}}
{{ include "prefix-router.clientLabel" . }}
{{- end }}

{{/* The routers' settings, but for what only they do and what names files, which are not here; workers by name: an
application's account cannot read pods. */}}
{{- define "prefix-router.sidecarConfig" -}}
{{- $config := deepCopy .Values.router.config }}
{{- range $name := keys $config }}{{ if hasPrefix "kubernetes_" $name }}{{ $_ := unset $config $name }}{{ end }}{{ end }}
{{- range .Files.Lines "files/path-settings.txt" }}{{ if . }}{{ $_ := unset $config . }}{{ end }}{{ end }}
{{- if .Values.sidecar.native }}{{ $_ := set $config "drain_grace_s" 0 }}{{ end }}
{{- $names := list }}
{{- range .Values.workers }}
{{- $w := include "prefix-router.workerValues" (dict "root" $ "worker" .) | fromJson }}
{{- $names = append $names (printf "http://%s.%s.svc:%d" (include "prefix-router.workerName" (dict "root" $ "worker" $w)) $.Release.Namespace (int $w.port)) }}
{{- end }}
{{- if $names }}
{{- $said := default list $config.workers_dns }}
{{- if kindIs "string" $said }}{{ $said = splitList "," $said }}{{ end }}
{{- $_ := set $config "workers_dns" (concat $said $names) }}
{{- end }}
{{- range $name, $value := .Values.sidecar.config }}{{ $_ := set $config $name $value }}{{ end }}
{{- $config = include "prefix-router.given" $config | fromYaml }}
{{- if not (or $config.workers $config.workers_dns $config.workers_file $config.kubernetes_service $config.kubernetes_selector) }}
{{- fail "the sidecar has no workers: set sidecar.config.workers_dns to a headless Service of theirs, as http://vllm.default.svc:8000" }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{/* A setting as an environment variable has it. */}}
{{- define "prefix-router.envValue" -}}
{{- if eq .name "chat_template_kwargs" }}{{ toJson .value }}
{{- else if kindIs "map" .value }}
{{- $pairs := list }}
{{- range $key, $value := .value }}{{ $pairs = append $pairs (printf "%s=%s" $key (kindIs "string" $value | ternary $value (toJson $value))) }}{{ end }}
{{- join "," $pairs }}
{{- else if kindIs "slice" .value }}{{ join "," .value }}
{{- else if kindIs "string" .value }}{{ .value }}
{{- else }}{{ toJson .value }}
{{- end }}
{{- end }}
