{{/* What the schema cannot say. Every message: what is wrong, and what to do. */}}
{{- define "prefix-router.checks" -}}
{{- $config := .Values.router.config }}
{{- $places := dict
  "host" "router.host" "port" "router.port" "admin_port" "router.admin.port" "admin_host" "router.host"
  "admin_key" "auth.adminKey" "worker_api_key" "auth.workerApiKey" "api_keys" "auth.apiKeys" "tenants_file" "auth.tenants" "fallback_api_key" "auth.fallbackApiKey"
  "redis_url" "redis.url or redis.enabled" "sidecar" "the sidecar's snippet (sidecar.print)" }}
{{- range $name, $place := $places }}
{{- if hasKey $config $name }}{{ fail (printf "router.config.%s: is set by %s; leave it out here" $name $place) }}{{ end }}
{{- end }}
{{- range $name, $place := dict "host" "the snippet itself" "port" "sidecar.port" "worker_api_key" "auth.workerApiKey" "fallback_api_key" "auth.fallbackApiKey" "redis_url" "redis.url or redis.enabled" "sidecar" "the snippet itself" }}
{{- if hasKey $.Values.sidecar.config $name }}{{ fail (printf "sidecar.config.%s: is set by %s; leave it out here" $name $place) }}{{ end }}
{{- end }}
{{- include "prefix-router.sidecarChecks" . }}
{{- if and .Values.router.tls.existingSecret (or (hasKey $config "tls_cert_file") (hasKey $config "tls_key_file")) }}
{{- fail "router.tls.existingSecret and router.config.tls_cert_file: use one of the two" }}
{{- end }}
{{- range $name := list "service" "selector" "port" "namespaces" }}
{{- if and (get $.Values.discovery $name) (hasKey $config (printf "kubernetes_%s" $name)) }}
{{- fail (printf "discovery.%s and router.config.kubernetes_%s: use one of the two" $name $name) }}
{{- end }}
{{- end }}
{{- if and .Values.workers (or .Values.discovery.selector $config.kubernetes_selector) }}
{{- fail (printf "workers and discovery.selector: a router has one selector, and this release's workers are found by it. Leave it out, and give other pods the label prefix-router.io/pool=%s" (include "prefix-router.fullname" .)) }}
{{- end }}
{{- if .Values.router.enabled }}{{ include "prefix-router.routerChecks" . }}{{ end }}
{{- if and .Values.redis.enabled (or .Values.redis.url.existingSecret .Values.redis.url.value) }}
{{- fail "redis.enabled and redis.url: use the release's own Redis or another one" }}
{{- end }}
{{- $keys := dict }}
{{- range $path, $secret := dict "auth.adminKey" .Values.auth.adminKey "auth.workerApiKey" .Values.auth.workerApiKey "auth.apiKeys" .Values.auth.apiKeys "auth.fallbackApiKey" .Values.auth.fallbackApiKey "auth.tenants" .Values.auth.tenants "redis.url" .Values.redis.url }}
{{- if and $secret.existingSecret $secret.value }}{{ fail (printf "%s: has an existingSecret and a value; use one of the two" $path) }}{{ end }}
{{- if and $secret.value (hasKey $keys $secret.key) }}{{ fail (printf "%s.key: %s has the key %q in the same Secret; choose another one" $path (get $keys $secret.key) $secret.key) }}{{ end }}
{{- if $secret.value }}{{ $_ := set $keys $secret.key $path }}{{ end }}
{{- end }}
{{- range $path, $labels := dict "commonLabels" .Values.commonLabels "router.podLabels" .Values.router.podLabels "service.labels" .Values.service.labels "monitoring.podMonitor.labels" .Values.monitoring.podMonitor.labels "monitoring.serviceMonitor.labels" .Values.monitoring.serviceMonitor.labels "monitoring.prometheusRule.labels" .Values.monitoring.prometheusRule.labels "monitoring.dashboards.labels" .Values.monitoring.dashboards.labels }}
{{- include "prefix-router.labelChecks" (dict "path" $path "labels" $labels) }}
{{- end }}
{{- if and .Values.monitoring.podMonitor.enabled .Values.monitoring.serviceMonitor.enabled }}
{{- fail "monitoring.podMonitor and monitoring.serviceMonitor: every router would be scraped twice; enable one of the two" }}
{{- end }}
{{- include "prefix-router.workerChecks" . }}
{{- end }}

{{/* Whoever reaches a sidecar's operators' routes drains workers for all sidecars. */}}
{{- define "prefix-router.sidecarChecks" -}}
{{- $config := .Values.sidecar.config }}
{{- $key := $config.admin_key }}
{{- range .Values.sidecar.extraEnv }}{{ if eq .name "PREFIX_ROUTER_ADMIN_KEY" }}{{ $key = .name }}{{ end }}{{ end }}
{{- $host := default "127.0.0.1" $config.admin_host }}
{{- if and $config.admin_port (not $key) (not (has $host (list "127.0.0.1" "::1" "localhost"))) }}
{{- fail (printf "sidecar.config.admin_host: %s lets whoever reaches the pod drain workers; leave it out, or give the sidecar the routers' admin key (sidecar.extraEnv, PREFIX_ROUTER_ADMIN_KEY)" $host) }}
{{- end }}
{{- end }}

{{/* Labels that the release finds its own objects by. */}}
{{- define "prefix-router.labelChecks" -}}
{{- range $name := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "prefix-router.io/pool" "prefix-router.io/worker" "prefix-router.io/client" "prefix-router.io/service" }}
{{- if hasKey $.labels $name }}{{ fail (printf "%s: the release finds its own objects by %s; choose another label" $.path $name) }}{{ end }}
{{- end }}
{{- end }}

{{/* Kubernetes wants one of both, a number or a percentage, above 0. */}}
{{- define "prefix-router.strategyChecks" -}}
{{- $rolling := default dict .strategy.rollingUpdate }}
{{- if and (eq (default "RollingUpdate" .strategy.type) "RollingUpdate") (hasKey $rolling "maxSurge") (hasKey $rolling "maxUnavailable") }}
{{- if and (has (toString $rolling.maxSurge) (list "0" "0%")) (has (toString $rolling.maxUnavailable) (list "0" "0%")) }}{{ fail (printf "%s.rollingUpdate: maxSurge and maxUnavailable are both 0, so that no pod could be updated" .path) }}{{ end }}
{{- end }}
{{- end }}

{{/* What a Service has only where it is reached from outside. */}}
{{- define "prefix-router.serviceChecks" -}}
{{- $service := .Values.service }}
{{- range $name := list "nodePort" "externalTrafficPolicy" }}
{{- if and (get $service $name) (eq $service.type "ClusterIP") }}{{ fail (printf "service.%s: needs service.type NodePort or LoadBalancer" $name) }}{{ end }}
{{- end }}
{{- range $name := list "loadBalancerClass" "loadBalancerSourceRanges" }}
{{- if and (get $service $name) (ne $service.type "LoadBalancer") }}{{ fail (printf "service.%s: needs service.type LoadBalancer" $name) }}{{ end }}
{{- end }}
{{- end }}

{{- define "prefix-router.routerChecks" -}}
{{- include "prefix-router.serviceChecks" . }}
{{- include "prefix-router.strategyChecks" (dict "path" "router.strategy" "strategy" .Values.router.strategy) }}
{{- if and .Values.router.autoscaling.enabled (lt (int .Values.router.autoscaling.maxReplicas) (int .Values.router.autoscaling.minReplicas)) }}{{ fail "router.autoscaling.maxReplicas is below minReplicas" }}{{ end }}
{{- $config := .Values.router.config }}
{{- if not (or $config.workers $config.workers_file $config.workers_dns $config.fallback_url (include "prefix-router.usesKubernetes" .)) }}
{{- fail "the router has no workers: set router.config.workers, router.config.workers_dns, discovery.service, discovery.selector, workers or router.config.fallback_url" }}
{{- end }}
{{- $needed := add (include "prefix-router.drainSeconds" .) 5 }}
{{- with .Values.router.terminationGracePeriodSeconds }}
{{- if lt (int .) (int $needed) }}
{{- fail (printf "router.terminationGracePeriodSeconds: %d s end routers while they still let streams run; drain_grace_s and shutdown_timeout_s need at least %d" (int .) (int $needed)) }}
{{- end }}
{{- end }}
{{- if and .Values.router.admin.enabled (eq (int .Values.router.admin.port) (int .Values.router.port)) }}
{{- fail "router.admin.port: must be another one than router.port" }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}{{ fail "ingress.hosts: is empty; say which host" }}{{ end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}{{ fail "httpRoute.parentRefs: is empty; say which Gateway" }}{{ end }}
{{- end }}

{{- define "prefix-router.workerChecks" -}}
{{- $seen := dict }}
{{- $lmcache := dict }}
{{- range $worker := .Values.workers }}
{{- $w := include "prefix-router.workerValues" (dict "root" $ "worker" $worker) | fromJson }}
{{- $at := printf "workers (%s)" $w.name }}
{{- if hasKey $seen $w.name }}{{ fail (printf "%s: the name is given twice" $at) }}{{ end }}
{{- $_ := set $seen $w.name true }}
{{- if has $w.name (list "redis" "admin" "headless" "lmcache" "coordinator" "sidecar" "workers") }}{{ fail (printf "%s: something of the release is called so already; choose another name" $at) }}{{ end }}
{{- if gt (len (include "prefix-router.workerName" (dict "root" $ "worker" $w))) 63 }}{{ fail (printf "%s: with the release's name it is longer than 63 characters" $at) }}{{ end }}
{{- $needed := add $w.preStopSeconds $w.shutdownTimeoutSeconds 5 }}
{{- with $w.terminationGracePeriodSeconds }}
{{- if lt (int .) (int $needed) }}
{{- fail (printf "%s: terminationGracePeriodSeconds %d kills workers while answers still run; preStopSeconds and shutdownTimeoutSeconds need at least %d" $at (int .) (int $needed)) }}
{{- end }}
{{- end }}
{{- if and (eq $w.storage.type "existingClaim") (not $w.storage.existingClaim) }}{{ fail (printf "%s: storage.existingClaim: say which claim" $at) }}{{ end }}
{{- if and (eq $w.storage.type "hostPath") (not $w.storage.hostPath) }}{{ fail (printf "%s: storage.hostPath: say which path of the node" $at) }}{{ end }}
{{- if and (eq $w.lmcache.mode "node") (not $.Values.lmcache.enabled) }}{{ fail (printf "%s: lmcache.mode node needs lmcache.enabled" $at) }}{{ end }}
{{- if and (eq $w.lmcache.mode "node") (ne (int $w.lmcache.chunkTokens) (int $.Values.lmcache.chunkTokens)) }}{{ fail (printf "%s: lmcache.chunkTokens is the server's with mode node: set lmcache.chunkTokens of the release to the same" $at) }}{{ end }}
{{- if eq $w.lmcache.mode "node" }}
{{- $gpus := int (max 1 $w.gpus) }}
{{- if and (hasKey $lmcache "gpus") (ne (int $lmcache.gpus) $gpus) }}{{ fail (printf "%s: workers with lmcache.mode node must have the same gpus: the router asks LMCache for one world size" $at) }}{{ end }}
{{- $_ := set $lmcache "gpus" $gpus }}
{{- end }}
{{- $a := $w.autoscaling }}
{{- if ne $a.type "none" }}
{{- if lt (int $a.maxReplicas) (int $a.minReplicas) }}{{ fail (printf "%s: autoscaling.maxReplicas is below minReplicas" $at) }}{{ end }}
{{- if not (or $a.queueDepth $a.pendingPrefillTokens (and $a.extraTriggers (eq $a.type "keda"))) }}{{ fail (printf "%s: autoscaling has nothing to go by: set queueDepth or pendingPrefillTokens" $at) }}{{ end }}
{{- end }}
{{- include "prefix-router.labelChecks" (dict "path" (printf "%s: podLabels" $at) "labels" $w.podLabels) }}
{{- include "prefix-router.strategyChecks" (dict "path" (printf "%s: strategy" $at) "strategy" $w.strategy) }}
{{- if $w.kvEvents.enabled }}{{ include "prefix-router.eventPortChecks" (dict "at" $at "w" $w) }}{{ end }}
{{- end }}
{{- end }}

{{/* Rank n has the ports that are higher by n: neither range may reach into the other, nor to the port of requests. */}}
{{- define "prefix-router.eventPortChecks" -}}
{{- $ranks := int .w.dataParallel }}
{{- $events := int .w.kvEvents.port }}
{{- $replay := int .w.kvEvents.replayPort }}
{{- $apart := ternary (sub $replay $events) (sub $events $replay) (lt $events $replay) }}
{{- if lt (int $apart) $ranks }}{{ fail (printf "%s: kvEvents.replayPort: %d data-parallel ranks publish on ports from kvEvents.port on, and replay from kvEvents.replayPort on; choose one that is at least %d away" .at $ranks $ranks) }}{{ end }}
{{- range $name, $first := dict "port" $events "replayPort" $replay }}
{{- if and (ge (int $.w.port) $first) (lt (int $.w.port) (int (add $first $ranks))) }}{{ fail (printf "%s: kvEvents.%s: %d data-parallel ranks from %d on take the port %d of requests; choose another one" $.at $name $ranks $first (int $.w.port)) }}{{ end }}
{{- end }}
{{- end }}
