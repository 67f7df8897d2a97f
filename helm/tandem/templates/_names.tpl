{{/* Names and labels. Every object of a tier is named <full name>-<tier>. */}}

{{- define "tandem.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What a selector names; never changes in the life of a release. Takes {root, tier, pool}. */}}
{{- define "tandem.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .tier }}
{{- with .pool }}
tandem/pool: {{ . }}
{{- end }}
{{- end -}}

{{- define "tandem.labels" -}}
{{ include "tandem.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "tandem.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "tandem.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{/* Refuses a list with a member twice. Takes {of, members}. */}}
{{- define "tandem.once" -}}
{{- $seen := dict -}}
{{- range .members }}
{{- $name := lower (toString .) }}
{{- if hasKey $seen $name }}{{ fail (printf "%s: %s stands twice; keep one" $.of .) }}{{ end }}
{{- $_ := set $seen $name true }}
{{- end }}
{{- end -}}

{{/* Refuses ports of which two are the same. Takes {of, ports: {key, port}}. */}}
{{- define "tandem.portsApart" -}}
{{- $seen := dict -}}
{{- range .ports }}
{{- $port := toString (int .port) }}
{{- if hasKey $seen $port }}{{ fail (printf "%s: port %s is %s and %s; give each its own" $.of $port (get $seen $port) .key) }}{{ end }}
{{- $_ := set $seen $port .key }}
{{- end }}
{{- end -}}
