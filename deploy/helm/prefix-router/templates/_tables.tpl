{{/* One table of the list's, later ones first asked. All values are strings, as labels, annotations and nodeSelectors must be:
`--set x=true` makes a truth value, `--set x=1` a number. */}}
{{- define "prefix-router.strings" -}}
{{- $all := dict }}
{{- range . }}
{{- range $key, $value := . }}
{{- if kindIs "invalid" $value }}{{ $_ := unset $all $key }}{{ else }}{{ $_ := set $all $key (include "prefix-router.string" $value) }}{{ end }}
{{- end }}
{{- end }}
{{- toYaml $all }}
{{- end }}

{{- define "prefix-router.string" -}}
{{- if kindIs "string" . }}{{ . }}{{ else }}{{ toJson . }}{{ end }}
{{- end }}

{{/* The chart's variables (`own`, YAML) with the user's (`extra`). One that both have is the user's, and there once. */}}
{{- define "prefix-router.env" -}}
{{- $extra := dict }}
{{- range .extra }}{{ $_ := set $extra .name (include "prefix-router.valueAsString" . | fromYaml) }}{{ end }}
{{- $all := list }}
{{- range .own | fromYamlArray }}
{{- $all = append $all (default . (get $extra .name)) }}
{{- $_ := unset $extra .name }}
{{- end }}
{{- range .extra }}
{{- with get $extra .name }}{{ $all = append $all . }}{{ end }}
{{- $_ := unset $extra .name }}
{{- end }}
{{- toYaml $all }}
{{- end }}

{{/* A variable or a toleration, whose `value` must be a string. */}}
{{- define "prefix-router.valueAsString" -}}
{{- $all := deepCopy . }}
{{- if kindIs "invalid" .value }}{{ $_ := unset $all "value" }}{{ else }}{{ $_ := set $all "value" (include "prefix-router.string" .value) }}{{ end }}
{{- toYaml $all }}
{{- end }}

{{/* nodeSelector, tolerations, affinity, as far as there are any. */}}
{{- define "prefix-router.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- include "prefix-router.strings" (list .) | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- range . }}
  - {{ include "prefix-router.valueAsString" . | indent 4 | trim }}
  {{- end }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Of a Deployment: helm puts the default's rollingUpdate beside another type, which Kubernetes refuses. */}}
{{- define "prefix-router.strategy" -}}
{{- if eq (default "RollingUpdate" .type) "RollingUpdate" }}{{ toYaml . }}{{ else }}{{ omit . "rollingUpdate" | toYaml }}{{ end }}
{{- end }}
