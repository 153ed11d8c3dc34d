{{/* What a router's container has, as sidecar or not: where it keeps nothing but /tmp. */}}
{{- define "prefix-router.baseEnv" -}}
- name: HOME
  value: /tmp
{{- end }}

{{- define "prefix-router.probe" -}}
{{ if and .root.Values.router.config.tls_client_ca_file .tls -}}
tcpSocket:
  port: {{ .port }}
{{- else -}}
httpGet:
  path: {{ .path }}
  port: {{ .port }}
  {{- if .tls }}
  scheme: HTTPS
  {{- end }}
{{- end }}
{{- end }}

{{- define "prefix-router.tls" -}}
{{- if or .Values.router.tls.existingSecret .Values.router.config.tls_cert_file }}true{{ end }}
{{- end }}

{{/* Traces say which pod made them. */}}
{{- define "prefix-router.tracingEnv" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: OTEL_RESOURCE_ATTRIBUTES
  value: service.instance.id=$(POD_NAME)
{{- end }}

{{- define "prefix-router.routerEnv" -}}
{{- include "prefix-router.env" (dict "own" (include "prefix-router.ownEnv" .) "extra" .Values.router.extraEnv) }}
{{- end }}

{{- define "prefix-router.ownEnv" -}}
{{ include "prefix-router.baseEnv" . }}
{{- include "prefix-router.secretEnv" (dict "root" . "name" "PREFIX_ROUTER_ADMIN_KEY" "secret" .Values.auth.adminKey) }}
{{- include "prefix-router.secretEnv" (dict "root" . "name" "PREFIX_ROUTER_WORKER_API_KEY" "secret" .Values.auth.workerApiKey) }}
{{- include "prefix-router.secretEnv" (dict "root" . "name" "PREFIX_ROUTER_API_KEYS" "secret" .Values.auth.apiKeys) }}
{{- include "prefix-router.secretEnv" (dict "root" . "name" "PREFIX_ROUTER_FALLBACK_API_KEY" "secret" .Values.auth.fallbackApiKey) }}
{{- include "prefix-router.redisEnv" . }}
{{- include "prefix-router.lmcacheRedisEnv" . }}
{{- if .Values.router.config.otlp_endpoint }}
{{ include "prefix-router.tracingEnv" . }}
{{- end }}
{{- end }}

{{/* The tier below the servers' memory is asked directly. */}}
{{- define "prefix-router.lmcacheRedisEnv" -}}
{{- $redis := .Values.lmcache.redis }}
{{- if and .Values.lmcache.enabled $redis.host (not .Values.router.config.lmcache_redis_url) }}
{{- if $redis.existingSecret }}
- name: LMCACHE_REDIS_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ $redis.existingSecret | quote }}
      key: {{ $redis.key | quote }}
{{- end }}
- name: PREFIX_ROUTER_LMCACHE_REDIS_URL
  value: redis://{{ if $redis.existingSecret }}:$(LMCACHE_REDIS_PASSWORD)@{{ end }}{{ $redis.host }}:{{ $redis.port }}
{{- end }}
{{- end }}

{{- define "prefix-router.routerContainer" -}}
{{- $router := .Values.router }}
{{- $tls := include "prefix-router.tls" . }}
name: router
image: {{ include "prefix-router.routerImage" . }}
imagePullPolicy: {{ $router.image.pullPolicy }}
args:
  - serve
  - --config=/etc/prefix-router/config/router.yaml
  {{- with $router.extraArgs }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
env:
  {{- include "prefix-router.routerEnv" . | nindent 2 }}
{{- with $router.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - name: http
    containerPort: {{ $router.port }}
  {{- if $router.admin.enabled }}
  - name: admin
    containerPort: {{ $router.admin.port }}
  {{- end }}
startupProbe:
  {{- include "prefix-router.probe" (dict "root" . "path" "/health" "port" "http" "tls" $tls) | nindent 2 }}
  periodSeconds: 1
  timeoutSeconds: 2
  failureThreshold: 60
livenessProbe:
  {{- include "prefix-router.probe" (dict "root" . "path" "/health" "port" "http" "tls" $tls) | nindent 2 }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  {{- include "prefix-router.probe" (dict "root" . "path" "/ready" "port" "http" "tls" $tls) | nindent 2 }}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
resources:
  {{- toYaml $router.resources | nindent 2 }}
securityContext:
  {{- toYaml $router.securityContext | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  - name: config
    mountPath: /etc/prefix-router/config
    readOnly: true
  {{- if or .Values.auth.tenants.existingSecret .Values.auth.tenants.value }}
  - name: tenants
    mountPath: /etc/prefix-router/tenants
    readOnly: true
  {{- end }}
  {{- if $router.tls.existingSecret }}
  - name: tls
    mountPath: /etc/prefix-router/tls
    readOnly: true
  {{- end }}
  {{- with $router.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "prefix-router.routerVolumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 1Gi
- name: config
  configMap:
    name: {{ include "prefix-router.fullname" . }}
{{- if or .Values.auth.tenants.existingSecret .Values.auth.tenants.value }}
- name: tenants
  secret:
    secretName: {{ default (include "prefix-router.fullname" .) .Values.auth.tenants.existingSecret | quote }}
    items:
      - key: {{ .Values.auth.tenants.key | quote }}
        path: tenants.yaml
{{- end }}
{{- with .Values.router.tls.existingSecret }}
- name: tls
  secret:
    secretName: {{ . | quote }}
{{- end }}
{{- with .Values.router.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Seconds: models load for as long as this, and no router is ready before. */}}
{{- define "prefix-router.routerDeadline" -}}
{{- $loading := 0 }}
{{- range .Values.workers }}
{{- $w := include "prefix-router.workerValues" (dict "root" $ "worker" .) | fromJson }}
{{- $loading = max $loading (int $w.startupTimeoutSeconds) }}
{{- end }}
{{- add $loading 600 }}
{{- end }}

{{- define "prefix-router.spread" -}}
{{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "prefix-router.selectorLabels" (dict "root" $ "component" "router") | nindent 6 }}
{{- end }}
{{- end }}
