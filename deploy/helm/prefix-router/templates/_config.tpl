{{/* The router's settings: `router.config`, and what the rest of the values says. */}}
{{- define "prefix-router.config" -}}
{{- $router := .Values.router }}
{{- $config := include "prefix-router.given" $router.config | fromYaml }}
{{- $_ := set $config "host" $router.host }}
{{- $_ := set $config "port" (int $router.port) }}
{{- if $router.admin.enabled }}
{{- $_ := set $config "admin_port" (int $router.admin.port) }}
{{- $_ := set $config "admin_host" $router.host }}
{{- end }}
{{- if $router.tls.existingSecret }}
{{- $_ := set $config "tls_cert_file" "/etc/prefix-router/tls/tls.crt" }}
{{- $_ := set $config "tls_key_file" "/etc/prefix-router/tls/tls.key" }}
{{- end }}
{{- if or .Values.auth.tenants.existingSecret .Values.auth.tenants.value }}
{{- $_ := set $config "tenants_file" "/etc/prefix-router/tenants/tenants.yaml" }}
{{- end }}
{{- mergeOverwrite $config (include "prefix-router.discoveryConfig" . | fromYaml) | toYaml }}
{{- end }}

{{/* Settings without those that say null, by which a later file of values takes an earlier one's back; for one null is a value. */}}
{{- define "prefix-router.given" -}}
{{- $given := dict }}
{{- range $name, $value := . }}{{ if or (not (kindIs "invalid" $value)) (eq $name "tenant_header") }}{{ $_ := set $given $name $value }}{{ end }}{{ end }}
{{- toYaml $given }}
{{- end }}

{{/* Where workers are, and LMCache. What `router.config` says of it stands. */}}
{{- define "prefix-router.discoveryConfig" -}}
{{- $found := dict }}
{{- $config := .Values.router.config }}
{{- $discovery := .Values.discovery }}
{{- if $discovery.service }}{{ $_ := set $found "kubernetes_service" $discovery.service }}{{ end }}
{{- $own := printf "prefix-router.io/pool=%s" (include "prefix-router.fullname" .) }}
{{- if $discovery.selector }}
{{- $_ := set $found "kubernetes_selector" $discovery.selector }}
{{- else if and .Values.workers (not $config.kubernetes_selector) }}
{{- $_ := set $found "kubernetes_selector" $own }}
{{- end }}
{{- if $discovery.namespaces }}
{{- $_ := set $found "kubernetes_namespaces" (ternary (concat (list .Release.Namespace) $discovery.namespaces | uniq) $discovery.namespaces (gt (len .Values.workers) 0)) }}
{{- end }}
{{- if $discovery.port }}{{ $_ := set $found "kubernetes_port" (toString $discovery.port) }}{{ end }}
{{- if and (include "prefix-router.findsRouters" .) (not $config.kubernetes_routers) }}
{{- $_ := set $found "kubernetes_routers" (printf "app.kubernetes.io/name=%s,app.kubernetes.io/instance=%s,app.kubernetes.io/component=router" (include "prefix-router.name" .) .Release.Name) }}
{{- end }}
{{- if and .Values.lmcache.enabled .Values.lmcache.coordinator.enabled (not $config.lmcache_coordinator) }}
{{- $_ := set $found "lmcache_coordinator" (printf "http://%s-coordinator.%s.svc:%d" (include "prefix-router.fullname" .) .Release.Namespace (int .Values.lmcache.coordinator.port)) }}
{{- end }}
{{- if .Values.lmcache.enabled }}
{{- if not $config.lmcache_chunk_tokens }}{{ $_ := set $found "lmcache_chunk_tokens" (int .Values.lmcache.chunkTokens) }}{{ end }}
{{- range .Values.workers }}
{{- $w := include "prefix-router.workerValues" (dict "root" $ "worker" .) | fromJson }}
{{- if and (eq $w.lmcache.mode "node") (not $config.lmcache_world_size) }}{{ $_ := set $found "lmcache_world_size" (max 1 $w.gpus) }}{{ end }}
{{- end }}
{{- end }}
{{- toYaml $found }}
{{- end }}

{{/* Changes when routers have to start anew: by all settings but those that they take in while they run. */}}
{{- define "prefix-router.configChecksum" -}}
{{- $config := include "prefix-router.config" . | fromYaml }}
{{- range .Files.Lines "files/live-settings.txt" }}{{ if . }}{{ $_ := unset $config . }}{{ end }}{{ end }}
{{- toJson $config | sha256sum }}
{{- end }}

{{/* Seconds from SIGTERM to the end of what the router lets run, as a whole number. */}}
{{- define "prefix-router.drainSeconds" -}}
{{- $config := include "prefix-router.given" .Values.router.config | fromYaml }}
{{- $grace := 5 }}{{ if hasKey $config "drain_grace_s" }}{{ $grace = $config.drain_grace_s }}{{ end }}
{{- $shutdown := default 30 $config.shutdown_timeout_s }}
{{- addf $grace $shutdown | ceil | int }}
{{- end }}
