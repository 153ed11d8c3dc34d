{{- define "prefix-router.workerArgs" -}}
{{- $w := .worker }}
- {{ $w.model | quote }}
- --host=0.0.0.0
- --port={{ $w.port }}
{{- with $w.servedModelName }}
- --served-model-name
{{- range (kindIs "string" . | ternary (list .) .) }}
- {{ . | quote }}
{{- end }}
{{- end }}
{{- if gt (int $w.gpus) 1 }}
- --tensor-parallel-size={{ $w.gpus }}
{{- end }}
{{- if gt (int $w.dataParallel) 1 }}
- --data-parallel-size={{ $w.dataParallel }}
{{- end }}
{{- with $w.maxModelLen }}
- --max-model-len={{ int . }}
{{- end }}
{{- if $w.promptTokensDetails }}
- --enable-prompt-tokens-details
{{- end }}
{{- with $w.kvEvents }}
{{- if .enabled }}
- {{ dict "enable_kv_cache_events" true "publisher" "zmq" "endpoint" (printf "tcp://*:%d" (int .port)) "replay_endpoint" (printf "tcp://*:%d" (int .replayPort)) | toJson | printf "--kv-events-config=%s" | toJson }}
{{- end }}
{{- end }}
{{- if eq $w.lmcache.mode "inProcess" }}
- {{ dict "kv_connector" "LMCacheConnectorV1" "kv_role" "kv_both" | toJson | printf "--kv-transfer-config=%s" | toJson }}
{{- else if eq $w.lmcache.mode "node" }}
- {{ dict "kv_connector" "LMCacheMPConnector" "kv_role" "kv_both" "kv_connector_extra_config" (dict "lmcache.mp.host" "tcp://$(HOST_IP)" "lmcache.mp.port" (int .root.Values.lmcache.port)) | toJson | printf "--kv-transfer-config=%s" | toJson }}
{{- end }}
- --shutdown-timeout={{ $w.shutdownTimeoutSeconds }}
{{- with $w.args }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "prefix-router.workerEnv" -}}
{{- $w := .worker }}
{{- $home := printf "%s/huggingface" (ternary "/tmp" $w.storage.mountPath (eq $w.storage.type "none")) }}
- name: HOME   # of any user id: what is compiled is kept below it
  value: /tmp
- name: USER   # torch asks for it, and an id that the cluster chose has no name
  value: vllm
- name: HF_HOME   # what is read lies with the models; what may be written cannot where that is read-only
  value: {{ ternary "/tmp/huggingface" $home $w.storage.readOnly }}
- name: HF_HUB_CACHE
  value: {{ $home }}/hub
{{- if $w.hfToken.existingSecret }}
- name: HF_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ $w.hfToken.existingSecret | quote }}
      key: {{ $w.hfToken.key | quote }}
{{- end }}
{{- include "prefix-router.secretEnv" (dict "root" .root "name" "VLLM_API_KEY" "secret" .root.Values.auth.workerApiKey) }}
{{- if eq $w.lmcache.mode "node" }}
- name: HOST_IP
  valueFrom:
    fieldRef:
      fieldPath: status.hostIP
{{- else if eq $w.lmcache.mode "inProcess" }}
- name: PYTHONHASHSEED   # chunks are named by Python's hash: without it no other process finds them
  value: "0"
- name: LMCACHE_LOCAL_CPU
  value: "true"
- name: LMCACHE_MAX_LOCAL_CPU_SIZE
  value: {{ $w.lmcache.cpuGiB | toJson | quote }}
- name: LMCACHE_CHUNK_SIZE
  value: {{ $w.lmcache.chunkTokens | int | quote }}
- name: LMCACHE_TRACK_USAGE
  value: "false"
{{- with $w.lmcache.redisUrl }}
- name: LMCACHE_REMOTE_URL
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- define "prefix-router.workerPorts" -}}
- name: http
  containerPort: {{ .port }}
{{- if .kvEvents.enabled }}
{{- range $rank := until (int .dataParallel) }}
- name: {{ ternary "kv-events" (printf "kv-events-%d" $rank) (eq $rank 0) }}
  containerPort: {{ add $.kvEvents.port $rank }}
- name: {{ ternary "kv-replay" (printf "kv-replay-%d" $rank) (eq $rank 0) }}
  containerPort: {{ add $.kvEvents.replayPort $rank }}
{{- end }}
{{- end }}
{{- end }}

{{- define "prefix-router.workerAnnotations" -}}
{{- $said := dict "prefix-router.io/port" .port }}
{{- with .role }}{{ $_ := set $said "prefix-router.io/role" . }}{{ end }}
{{- if .kvEvents.enabled }}
{{- $_ := set $said "prefix-router.io/kv-events-port" .kvEvents.port }}
{{- $_ := set $said "prefix-router.io/kv-events-replay-port" .kvEvents.replayPort }}
{{- end }}
{{- include "prefix-router.strings" (list $said .podAnnotations) }}
{{- end }}

{{- define "prefix-router.workerContainer" -}}
{{- $w := .worker }}
{{- $gpus := mul $w.gpus $w.dataParallel }}
name: vllm
image: {{ include "prefix-router.image" (dict "image" $w.image "default" "latest") }}
imagePullPolicy: {{ $w.image.pullPolicy }}
command:
  {{- toYaml $w.command | nindent 2 }}
args:
  {{- include "prefix-router.workerArgs" . | trim | nindent 2 }}
env:
  {{- include "prefix-router.env" (dict "own" (include "prefix-router.workerEnv" .) "extra" $w.env) | nindent 2 }}
{{- with $w.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  {{- include "prefix-router.workerPorts" $w | nindent 2 }}
startupProbe:
  httpGet: {path: /health, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: {{ divf $w.startupTimeoutSeconds 10 | ceil | int }}
readinessProbe:
  httpGet: {path: /health, port: http}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 3
livenessProbe:   # lenient: a busy engine answers late, and a restart loads the model anew
  httpGet: {path: /health, port: http}
  periodSeconds: 30
  timeoutSeconds: 30
  failureThreshold: 6
lifecycle:
  preStop:       # still serving: routers see that the pod is leaving; after SIGTERM vLLM answers 500 to whatever is new
    exec:
      command: [sleep, {{ $w.preStopSeconds | quote }}]
resources:
  {{- $limits := default dict $w.resources.limits }}
  {{- $requests := default dict $w.resources.requests }}
  {{- if $gpus }}
  {{- $limits = merge (dict $w.gpuResource $gpus) $limits }}
  {{- $requests = merge (dict $w.gpuResource $gpus) $requests }}
  {{- end }}
  {{- dict "limits" $limits "requests" $requests | toYaml | nindent 2 }}
securityContext:
  {{- toYaml $w.securityContext | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- if ne $w.lmcache.mode "node" }}
  - name: shm
    mountPath: /dev/shm
  {{- end }}
  {{- if ne $w.storage.type "none" }}
  - name: models
    mountPath: {{ $w.storage.mountPath }}
    readOnly: {{ $w.storage.readOnly }}
  {{- end }}
  {{- with $w.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "prefix-router.workerVolumes" -}}
{{- $w := .worker }}
- name: tmp
  emptyDir: {}
{{- if ne $w.lmcache.mode "node" }}   {{- /* it shares the node's /dev/shm, through hostIPC */}}
- name: shm
  emptyDir:
    medium: Memory
    sizeLimit: {{ $w.shmSize }}
{{- end }}
{{- if ne $w.storage.type "none" }}
- name: models
  {{- if eq $w.storage.type "emptyDir" }}
  emptyDir:
    sizeLimit: {{ $w.storage.size }}
  {{- else if eq $w.storage.type "hostPath" }}
  hostPath:
    path: {{ $w.storage.hostPath | quote }}
    type: {{ ternary "Directory" "DirectoryOrCreate" $w.storage.readOnly }}
  {{- else }}
  persistentVolumeClaim:
    claimName: {{ ternary $w.storage.existingClaim (include "prefix-router.workerName" .) (eq $w.storage.type "existingClaim") }}
    readOnly: {{ $w.storage.readOnly }}
  {{- end }}
{{- end }}
{{- with $w.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "prefix-router.workerPodSpec" -}}
{{- $w := .worker }}
{{- $grace := add $w.preStopSeconds $w.shutdownTimeoutSeconds 15 }}
serviceAccountName: {{ $w.serviceAccountName | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ default $grace $w.terminationGracePeriodSeconds | int }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $w.runtimeClassName }}
runtimeClassName: {{ . | quote }}
{{- end }}
{{- if eq $w.lmcache.mode "node" }}
hostIPC: true
{{- end }}
securityContext:
  {{- toYaml $w.podSecurityContext | nindent 2 }}
{{- with $w.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $w.initContainers }}
initContainers:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - {{ include "prefix-router.workerContainer" . | indent 4 | trim }}
  {{- with $w.extraContainers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumes:
  {{- include "prefix-router.workerVolumes" . | trim | nindent 2 }}
{{- with include "prefix-router.placement" $w | trim }}
{{ . }}
{{- end }}
{{- with $w.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
