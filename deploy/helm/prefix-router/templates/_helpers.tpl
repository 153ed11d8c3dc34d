{{- define "prefix-router.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* What objects are called. 40 characters leave room for `-coordinator` and the names of workers. */}}
{{- define "prefix-router.fullname" -}}
{{- $name := include "prefix-router.name" . }}
{{- $full := printf "%s-%s" .Release.Name $name }}
{{- if contains $name .Release.Name }}{{ $full = .Release.Name }}{{ end }}
{{- default $full .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "prefix-router.selectorLabels" -}}
app.kubernetes.io/name: {{ include "prefix-router.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "prefix-router.labels" -}}
{{- $about := dict "app.kubernetes.io/version" .root.Chart.AppVersion "app.kubernetes.io/managed-by" .root.Release.Service "app.kubernetes.io/part-of" "prefix-router" "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_") }}
{{- include "prefix-router.strings" (list $about .root.Values.commonLabels .labels (include "prefix-router.selectorLabels" . | fromYaml)) }}
{{- end }}

{{/* Pods' labels: none that changes with the chart's version, which would start workers anew. `own`: further ones to select them by. */}}
{{- define "prefix-router.podLabels" -}}
{{- include "prefix-router.strings" (list .root.Values.commonLabels .podLabels (include "prefix-router.selectorLabels" . | fromYaml) .own) }}
{{- end }}

{{/* name, namespace and labels; `name` defaults to the fullname. */}}
{{- define "prefix-router.metadata" -}}
name: {{ default (include "prefix-router.fullname" .root) .name }}
namespace: {{ default .root.Release.Namespace .namespace | quote }}
labels:
  {{- include "prefix-router.labels" . | nindent 2 }}
{{- with .annotations }}
annotations:
  {{- include "prefix-router.strings" (list .) | nindent 2 }}
{{- end }}
{{- end }}

{{- define "prefix-router.image" -}}
{{- $tag := include "prefix-router.string" (default .default .image.tag) }}
{{- if .image.digest }}{{ printf "%s@%s" .image.repository .image.digest }}{{ else }}{{ printf "%s:%s" .image.repository $tag }}{{ end }}
{{- end }}

{{- define "prefix-router.routerImage" -}}
{{- include "prefix-router.image" (dict "image" .Values.router.image "default" .Chart.AppVersion) }}
{{- end }}

{{- define "prefix-router.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "prefix-router.fullname" .) .Values.serviceAccount.name }}{{ else }}{{ default "default" .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{/* The one label that the router finds this release's workers by; others' pods may have it, too. */}}
{{- define "prefix-router.poolLabel" -}}
prefix-router.io/pool: {{ include "prefix-router.fullname" . }}
{{- end }}

{{/* Pods that use the Redis and ask workers: the routers, and sidecars. */}}
{{- define "prefix-router.clientLabel" -}}
prefix-router.io/client: {{ include "prefix-router.fullname" . }}
{{- end }}

{{- define "prefix-router.hasRedis" -}}
{{- if or .Values.redis.enabled .Values.redis.url.existingSecret .Values.redis.url.value }}true{{ end }}
{{- end }}

{{- define "prefix-router.usesKubernetes" -}}
{{- if or .Values.workers .Values.discovery.service .Values.discovery.selector .Values.router.config.kubernetes_service .Values.router.config.kubernetes_selector }}true{{ end }}
{{- end }}

{{- define "prefix-router.severalRouters" -}}
{{- if or .Values.router.autoscaling.enabled (gt (int .Values.router.replicas) 1) }}true{{ end }}
{{- end }}

{{/* Routers that find each other, to pass on what an operator tells one: those that may ask Kubernetes anyway, and several
whose admin routes are for operators only. */}}
{{- define "prefix-router.findsRouters" -}}
{{- $guarded := or .Values.auth.adminKey.existingSecret .Values.auth.adminKey.value .Values.router.admin.enabled }}
{{- if .Values.router.config.kubernetes_routers }}true
{{- else if and .Values.rbac.create (or (include "prefix-router.usesKubernetes" .) (and $guarded (include "prefix-router.severalRouters" .))) }}true{{ end }}
{{- end }}

{{/* Its API is asked: for workers, or for the other routers. */}}
{{- define "prefix-router.asksKubernetes" -}}
{{- if or (include "prefix-router.usesKubernetes" .) (include "prefix-router.findsRouters" .) }}true{{ end }}
{{- end }}

{{/* Namespaces that workers are looked for in, and the router's own. */}}
{{- define "prefix-router.namespaces" -}}
{{- $all := concat (list .Release.Namespace) (default list .Values.discovery.namespaces) }}
{{- range (list .Values.discovery.service .Values.router.config.kubernetes_service) }}
{{- if contains "/" (default "" .) }}{{ $all = append $all (first (splitList "/" .)) }}{{ end }}
{{- end }}
{{- with .Values.router.config.kubernetes_namespaces }}
{{- $all = concat $all (kindIs "string" . | ternary (splitList "," (toString .)) .) }}
{{- end }}
{{- uniq $all | toJson }}
{{- end }}

{{/* env of a key in auth: from the Secret that is named, or from this release's. */}}
{{- define "prefix-router.secretEnv" -}}
{{- if or .secret.existingSecret .secret.value }}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ default (include "prefix-router.fullname" .root) .secret.existingSecret | quote }}
      key: {{ .secret.key | quote }}
{{- end }}
{{- end }}

{{/* PREFIX_ROUTER_REDIS_URL, of the own Redis with the password put in by Kubernetes. */}}
{{- define "prefix-router.redisEnv" -}}
{{- if .Values.redis.enabled }}
- name: REDIS_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ default (printf "%s-redis" (include "prefix-router.fullname" .)) .Values.redis.password.existingSecret | quote }}
      key: {{ .Values.redis.password.key | quote }}
- name: PREFIX_ROUTER_REDIS_URL
  value: redis://router:$(REDIS_PASSWORD)@{{ include "prefix-router.fullname" . }}-redis.{{ .Release.Namespace }}.svc:6379
{{- else }}
{{- include "prefix-router.secretEnv" (dict "root" . "name" "PREFIX_ROUTER_REDIS_URL" "secret" .Values.redis.url) }}
{{- end }}
{{- end }}

{{/* A worker's values: what it says itself over workerDefaults. */}}
{{- define "prefix-router.workerValues" -}}
{{- toJson (mergeOverwrite (deepCopy .root.Values.workerDefaults) (deepCopy .worker)) }}
{{- end }}

{{- define "prefix-router.workerName" -}}
{{- printf "%s-%s" (include "prefix-router.fullname" .root) .worker.name }}
{{- end }}

{{- define "prefix-router.workerSelectorLabels" -}}
{{ include "prefix-router.selectorLabels" (dict "root" .root "component" "worker") }}
prefix-router.io/worker: {{ .worker.name | quote }}
{{- end }}

{{/* The name that clients and metrics know its model by. */}}
{{- define "prefix-router.servedName" -}}
{{- $names := .servedModelName }}
{{- if kindIs "string" $names }}{{ default .model $names }}{{ else }}{{ default .model (first (default (list "") $names)) }}{{ end }}
{{- end }}

{{/* All of them, as JSON. */}}
{{- define "prefix-router.servedNames" -}}
{{- $names := .servedModelName }}
{{- if not $names }}{{ list .model | toJson }}{{ else if kindIs "string" $names }}{{ list $names | toJson }}{{ else }}{{ toJson $names }}{{ end }}
{{- end }}

{{/* What is in other namespaces is called after the release's own, too; cut with a checksum where that is too long. */}}
{{- define "prefix-router.foreignName" -}}
{{- $name := printf "%s-%s" (include "prefix-router.fullname" .) .Release.Namespace }}
{{- if gt (len $name) 63 }}{{ $name = printf "%s-%s" (trunc 54 $name | trimSuffix "-") (sha256sum $name | trunc 8) }}{{ end }}
{{- $name }}
{{- end }}
