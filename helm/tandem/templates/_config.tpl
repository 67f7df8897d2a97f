{{/*
The configuration file of a tier. One rule: nothing secret goes in; what is secret is read from files, but NATS and Redis URLs with
credentials, which come by the environment. A tier names the files of its own secrets alone: others are not mounted there.
*/}}

{{/* A TOML value. JSON's strings and lists of strings are TOML too; numbers come from YAML as floats. */}}
{{- define "tandem.value" -}}
{{- if kindIs "float64" . -}}
{{- if eq (float64 (int64 .)) . }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end -}}

{{/* "true" if the SIP edges listen for TLS: they have a certificate. */}}
{{- define "tandem.sipTls" -}}
{{- if dig "secretFiles" "tls_certificate_file" "name" "" (merge (dict) .Values.config.sip) }}true{{ end -}}
{{- end -}}

{{/* The keys of a table, one a line; tables within are left to the caller. */}}
{{- define "tandem.keys" -}}
{{- range $key, $value := . }}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ $key }} = {{ include "tandem.value" $value }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Keys that name files, each a key of a Secret. Takes {of, files}. */}}
{{- define "tandem.secretFiles" -}}
{{- range $key, $from := .files }}
{{ $key }} = "/run/secrets/tandem/{{ $.of }}-{{ $key | trimSuffix "_file" }}"
{{- end }}
{{- end -}}

{{/* What every tier reads. Takes {root, tier}. */}}
{{- define "tandem.sharedConfig" -}}
{{- $root := .root -}}
{{- $config := $root.Values.config -}}
{{- range $section, $what := dict "bus" "NATS" "store" "Redis" }}
{{- $plain := dig $section "url" "" (merge (dict) $config) }}
{{- $secret := dig $section "name" "" (merge (dict) $root.Values.secrets) }}
{{- if and $plain $secret }}
{{- fail (printf "config.%s.url and secrets.%s are both given: keep one" $section $section) }}
{{- else if not (or $plain $secret) }}
{{- fail (printf "config.%s.url is missing: give the URL of %s there, or with credentials in a Secret that secrets.%s names" $section $what $section) }}
{{- end }}
{{- end }}
{{- with $config.bus }}
[bus]
{{- include "tandem.keys" . }}
{{- include "tandem.secretFiles" (dict "of" "bus" "files" .secretFiles) }}
{{ end -}}
{{- if eq .tier "orchestrator" }}
{{- with $config.store }}
[store]
{{- include "tandem.keys" . }}
{{- include "tandem.secretFiles" (dict "of" "store" "files" .secretFiles) }}
{{ end }}
{{- end }}
[cluster]
secret_file = "/run/secrets/tandem/cluster"
{{- if and (eq .tier "rtp-relay") $root.Values.secrets.dtls.name }}
dtls_certificate_file = "/run/secrets/tandem/dtls"
{{- end }}
{{- with $config.cluster }}
{{- include "tandem.keys" . }}
{{- if has $.tier (list "orchestrator" "rtp-relay") }}
{{- include "tandem.secretFiles" (dict "of" "cluster" "files" .secretFiles) }}
{{- end }}
{{- end }}

[telemetry]
{{- include "tandem.keys" (omit $config.telemetry "otlp_header") }}
{{- include "tandem.secretFiles" (dict "of" "telemetry" "files" $config.telemetry.secretFiles) }}
{{- range $index, $header := $config.telemetry.otlp_header }}

[[telemetry.otlp_header]]
{{- include "tandem.keys" (omit $header "existingSecret") }}
value_file = "/run/secrets/tandem/otlp-header-{{ $index }}"
{{- end }}
{{- end -}}

{{/* Refuses media ports that are no range, or that others are given on a node. */}}
{{- define "tandem.mediaPorts" -}}
{{- $ports := .Values.config.relay.ports -}}
{{- $range := splitList "-" $ports -}}
{{- $first := first $range | trim | int -}}
{{- $last := last $range | trim | int -}}
{{- if or (ge $first $last) (lt $first 1024) }}
{{- fail (printf "config.relay.ports: %s is no range; write first-last, as 40000-49999, not below 1024" $ports) }}
{{- end }}
{{- $threads := int (default 1 .Values.config.relay.threads) }}
{{- if lt (add1 (sub $last $first)) (mul 6 $threads) }}
{{- fail (printf "config.relay.ports: %s is too small for %d threads; give at least 6 ports a thread" $ports $threads) }}
{{- end }}
{{- if .Values.rtpRelay.hostNetwork }}
{{- if and (le $first 32767) (ge $last 30000) }}
{{- fail (printf "config.relay.ports: %s meets 30000-32767, which Kubernetes gives to Services on the nodes; write 40000-49999" $ports) }}
{{- end }}
{{- $sip := int .Values.sipEdge.port }}
{{- if and .Values.sipEdge.hostNetwork (le $first $sip) (ge $last $sip) }}
{{- fail (printf "config.relay.ports: %s holds sipEdge.port %d, and both are on the nodes' network; give media a range of its own" $ports $sip) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Refuses what services would refuse to start with. */}}
{{- define "tandem.callFaults" -}}
{{- $config := .Values.config -}}
{{- $of := dict "component" (list) "name" (list) "domain" (list) "number" (list) -}}
{{- range $config.xmpp.component }}{{ $_ := set $of "component" (append $of.component .domain) }}{{ end }}
{{- range $config.trunk }}
{{- $_ := set $of "name" (append $of.name .name) }}
{{- $_ := set $of "domain" (append $of.domain .domain) }}
{{- end }}
{{- range $config.alias }}{{ $_ := set $of "number" (append $of.number .number) }}{{ end }}
{{- $groups := list -}}
{{- range $config.group }}{{ $groups = append $groups .name }}{{ end }}
{{- include "tandem.once" (dict "of" "config.group name" "members" $groups) }}
{{- range $trunk := $config.trunk }}
{{- range $trunk.callers }}
{{- if and (hasPrefix "@" .) (not (has (trimPrefix "@" .) $groups)) }}
{{- fail (printf "config.trunk %s: callers names %s, and there is no such config.group; write a group of that name, or name one that is there" $trunk.name .) }}
{{- end }}
{{- end }}
{{- end }}
{{- include "tandem.once" (dict "of" "config.xmpp.component domain" "members" $of.component) }}
{{- include "tandem.once" (dict "of" "config.trunk name" "members" $of.name) }}
{{- include "tandem.once" (dict "of" "config.trunk domain" "members" $of.domain) }}
{{- include "tandem.once" (dict "of" "config.alias number" "members" $of.number) }}
{{- include "tandem.once" (dict "of" "config.sip.domains" "members" $config.sip.domains) }}
{{- if and (dig "call" "hold_music" "" (merge (dict) $config)) (not $config.relay.sounds) }}
{{- fail "config.call.hold_music: it is a file of config.relay.sounds, which is absent; name that directory, and give rtpRelay.soundsVolume" }}
{{- end }}
{{- if and $config.relay.sounds (empty .Values.rtpRelay.soundsVolume) }}
{{- fail (printf "config.relay.sounds: %s is not in the image; give rtpRelay.soundsVolume, as {configMap: {name: sounds}}" $config.relay.sounds) }}
{{- end }}
{{- if and (dig "call" "hold_music" "" (merge (dict) $config)) (eq (toString $config.relay.transcode_threads) "0") }}
{{- fail "config.relay.transcode_threads: 0, while config.call.hold_music is given: nothing would play it; write at least 1" }}
{{- end }}
{{- if regexMatch "^\\[?[0-9A-Fa-f]*:[0-9A-Fa-f:.]*\\]?$" $config.sip.advertise }}
{{- fail (printf "config.sip.advertise: %s is an address of IPv6, and the edges listen on IPv4; give a name or an IPv4 address" $config.sip.advertise) }}
{{- end }}
{{- end -}}

{{/* The users of the admin API, who ask orchestrators. */}}
{{- define "tandem.adminConfig" -}}
{{- $names := list -}}
{{- range .Values.admin.users }}{{ $names = append $names .name }}{{ end -}}
{{- include "tandem.once" (dict "of" "admin.users" "members" $names) }}
[admin]
hosts = {{ toJson (concat .hosts .Values.admin.hosts) }}
{{- include "tandem.secretFiles" (dict "of" "admin-tls" "files" .Values.admin.secretFiles) }}
{{- range $index, $user := .Values.admin.users }}

[[admin.user]]
{{- if and $user.certificate_name (not (dig "secretFiles" "client_ca_file" "name" "" (merge (dict) $.Values.admin))) }}
{{- fail (printf "admin.users %s: certificate_name is looked at by nobody; give admin.secretFiles.client_ca_file" $user.name) }}
{{- end }}
{{- include "tandem.keys" (omit $user "existingSecret") }}
{{- if $user.existingSecret }}
token_file = "/run/secrets/tandem/admin-{{ $index }}"
{{- end }}
{{- end }}
{{- end -}}

{{- define "tandem.relayConfig" -}}
{{- include "tandem.mediaPorts" . }}
{{- include "tandem.sharedConfig" (dict "root" . "tier" "rtp-relay") }}

[relay]
{{- include "tandem.keys" .Values.config.relay }}
{{- end -}}

{{/* What the tiers that know of calls read. Takes {root, tier}. */}}
{{- define "tandem.callConfig" -}}
{{- $tier := .tier -}}
{{- $root := .root -}}
{{- $config := $root.Values.config -}}
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
{{- include "tandem.callFaults" $root }}
{{- include "tandem.sharedConfig" . }}

[sip]
listen = ["udp://0.0.0.0:{{ $root.Values.sipEdge.port }}", "tcp://0.0.0.0:{{ $root.Values.sipEdge.port }}"
{{- if include "tandem.sipTls" $root }}, "tls://0.0.0.0:{{ $root.Values.sipEdge.tlsPort }}"{{ end }}]
{{- include "tandem.keys" $config.sip }}
{{- if eq $tier "sip-edge" }}
{{- include "tandem.secretFiles" (dict "of" "sip" "files" $config.sip.secretFiles) }}
{{- end }}

[call]
{{- include "tandem.keys" $config.call }}
{{- with $config.relay.sounds }}

[relay]
sounds = {{ include "tandem.value" . }}
{{- end }}

[orchestrator]
{{- include "tandem.keys" $config.orchestrator }}
{{- with $config.records }}

[records]
{{- include "tandem.keys" . }}
{{- end }}
{{- range $index, $component := $config.xmpp.component }}

[[xmpp.component]]
{{- include "tandem.keys" (omit $component "existingSecret") }}
{{- if eq $tier "xmpp-edge" }}
secret_file = "/run/secrets/tandem/component-{{ $index }}"
{{- include "tandem.secretFiles" (dict "of" (printf "component-%d" $index) "files" $component.secretFiles) }}
{{- end }}
{{- end }}
{{- range $index, $trunk := $config.trunk }}

[[trunk]]
{{- if eq $tier "sip-edge" }}
{{- include "tandem.keys" (omit $trunk "existingSecret") }}
{{- if $trunk.existingSecret }}
password_file = "/run/secrets/tandem/trunk-{{ $index }}"
{{- end }}
{{- include "tandem.secretFiles" (dict "of" (printf "trunk-%d" $index) "files" $trunk.secretFiles) }}
{{- else }}
{{- include "tandem.keys" (omit $trunk "existingSecret" "username" "inbound_username") }}
{{- end }}
{{- end }}
{{- range $config.group }}

[[group]]
{{- include "tandem.keys" . }}
{{- end }}
{{- range $config.alias }}

[[alias]]
{{- include "tandem.keys" . }}
{{- end }}
{{- end -}}
