{{/*
The configuration file of a tier. One rule: nothing secret goes in; components and trunks read theirs from files, NATS and
Redis URLs with credentials come by the environment.
*/}}

{{/* A TOML value. JSON's strings and lists of strings are TOML too; numbers come from YAML as floats. */}}
{{- define "tandem.value" -}}
{{- if kindIs "float64" . -}}
{{- if eq (float64 (int64 .)) . }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end -}}

{{/* The keys of a table, one a line; tables within are left to the caller. */}}
{{- define "tandem.keys" -}}
{{- range $key, $value := . }}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ $key }} = {{ include "tandem.value" $value }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "tandem.sharedConfig" -}}
{{- $config := .Values.config -}}
{{- range $section, $what := dict "bus" "NATS" "store" "Redis" }}
{{- $plain := dig $section "url" "" (merge (dict) $config) }}
{{- $secret := dig $section "name" "" (merge (dict) $.Values.secrets) }}
{{- if and $plain $secret }}
{{- fail (printf "config.%s.url and secrets.%s are both given: keep one" $section $section) }}
{{- else if not (or $plain $secret) }}
{{- fail (printf "config.%s.url is missing: give the URL of %s there, or with credentials in a Secret that secrets.%s names" $section $what $section) }}
{{- end }}
{{- end }}
{{- with $config.bus }}
[bus]
{{- include "tandem.keys" . }}
{{ end -}}
{{- with $config.store }}
[store]
{{- include "tandem.keys" . }}
{{ end }}
[cluster]
secret_file = "/run/secrets/tandem/cluster"
{{- if .Values.secrets.dtls.name }}
dtls_certificate_file = "/run/secrets/tandem/dtls"
{{- end }}

[telemetry]
{{- include "tandem.keys" $config.telemetry }}
{{- end -}}

{{- define "tandem.relayConfig" -}}
{{- $range := splitList "-" .Values.config.relay.ports -}}
{{- if ge (first $range | int) (last $range | int) }}
{{- fail (printf "config.relay.ports: %s is no range; write first-last, as 30000-34999" .Values.config.relay.ports) }}
{{- end }}
{{- include "tandem.sharedConfig" . }}

[relay]
{{- include "tandem.keys" .Values.config.relay }}
{{- end -}}

{{- define "tandem.callConfig" -}}
{{- $config := .Values.config -}}
{{- $domains := list -}}
{{- $homes := list -}}
{{- range $config.xmpp.component }}{{ $domains = append $domains .domain }}{{ if .users }}{{ $homes = append $homes .domain }}{{ end }}{{ end -}}
{{- range $config.trunk }}
{{- if not (has .domain $domains) }}
{{- fail (printf "config.trunk %s: domain %s is that of no config.xmpp.component; name one of %s" .name .domain (join ", " $domains)) }}
{{- end }}
{{- if not (or (hasKey . "callers") (has .domain $homes)) }}
{{- fail (printf "config.trunk %s: callers is absent and the component %s has no users: nobody may call through it; name XMPP domains, \"*\" for every one, or [] for a trunk that only calls in" .name .domain) }}
{{- end }}
{{- end }}
{{- include "tandem.sharedConfig" . }}

[sip]
listen = ["udp://0.0.0.0:{{ .Values.sipEdge.port }}", "tcp://0.0.0.0:{{ .Values.sipEdge.port }}"]
{{- include "tandem.keys" $config.sip }}

[call]
{{- include "tandem.keys" $config.call }}

[orchestrator]
{{- include "tandem.keys" $config.orchestrator }}
{{- range $index, $component := $config.xmpp.component }}

[[xmpp.component]]
{{- include "tandem.keys" (omit $component "existingSecret") }}
secret_file = "/run/secrets/tandem/component-{{ $index }}"
{{- end }}
{{- range $index, $trunk := $config.trunk }}

[[trunk]]
{{- include "tandem.keys" (omit $trunk "existingSecret") }}
{{- if $trunk.existingSecret }}
password_file = "/run/secrets/tandem/trunk-{{ $index }}"
{{- end }}
{{- end }}
{{- range $config.alias }}

[[alias]]
{{- include "tandem.keys" . }}
{{- end }}
{{- end -}}
