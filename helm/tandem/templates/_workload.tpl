{{/*
A tier: Deployment, disruption budget and autoscaler. Takes {root, tier, values, name, pool, config, image, ports, environment,
advertise}: what differs between tiers is in the file of each tier.
*/}}

{{- define "tandem.secretItem" -}}
- secret:
    name: {{ .from.name }}
    items:
      - {key: {{ .from.key | quote }}, path: {{ .path }}}
{{- end -}}

{{/* Files of the keys that "tandem.secretFiles" writes. Takes {of, files}. */}}
{{- define "tandem.secretFileItems" -}}
{{- range $key, $from := .files }}
{{ include "tandem.secretItem" (dict "from" $from "path" (printf "%s-%s" $.of ($key | trimSuffix "_file"))) }}
{{- end }}
{{- end -}}

{{- define "tandem.deployment" -}}
{{- $root := .root -}}
{{- $values := .values -}}
{{- $host := default false $values.hostNetwork -}}
{{- if lt (int $values.terminationGracePeriodSeconds) (int (add $values.preStopSeconds 10)) }}
{{- fail (printf "%s: terminationGracePeriodSeconds %d leaves no time after preStopSeconds %d; at least 10 s more are needed" .tier (int $values.terminationGracePeriodSeconds) (int $values.preStopSeconds)) }}
{{- end }}
{{- $ports := list (dict "key" "healthPort" "port" $values.healthPort) (dict "key" "adminPort" "port" $values.adminPort) }}
{{- range .ports }}{{ if eq .protocol "TCP" }}{{ $ports = append $ports (dict "key" .name "port" .containerPort) }}{{ end }}{{ end }}
{{- include "tandem.portsApart" (dict "of" .tier "ports" $ports) }}
{{- $labels := dict "root" $root "tier" .tier "pool" .pool -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .name }}
  labels:
    {{- include "tandem.labels" $labels | nindent 4 }}
spec:
  {{- if not (dig "autoscaling" "enabled" false $values) }}
  replicas: {{ .replicas }}
  {{- end }}
  strategy:
    type: RollingUpdate
    rollingUpdate:
      {{- if $host }}
      # The ports of a node can be had only once.
      maxSurge: 0
      maxUnavailable: 1
      {{- else }}
      maxSurge: 1
      maxUnavailable: 0
      {{- end }}
  selector:
    matchLabels:
      {{- include "tandem.selector" $labels | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "tandem.labels" $labels | nindent 8 }}
        {{- with $values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        # A changed configuration starts new pods.
        checksum/config: {{ .config | sha256sum }}
        {{- with $values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "tandem.serviceAccount" $root }}
      automountServiceAccountToken: false
      # Kubernetes would add TANDEM_…_SERVICE_HOST variables, which the services would read as misspelt configuration.
      enableServiceLinks: false
      {{- if $host }}
      hostNetwork: true
      dnsPolicy: ClusterFirstWithHostNet
      {{- end }}
      terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
      {{- with $values.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      {{- with $root.Values.image.pullSecrets }}
      imagePullSecrets:
        {{- range . }}
        - name: {{ . }}
        {{- end }}
      {{- end }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        runAsGroup: 65532
        fsGroup: 65532
        seccompProfile:
          type: RuntimeDefault
      {{- with $values.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      topologySpreadConstraints:
        {{- if $values.topologySpreadConstraints }}
        {{- toYaml $values.topologySpreadConstraints | nindent 8 }}
        {{- else }}
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "tandem.selector" $labels | nindent 14 }}
        {{- end }}
      containers:
        - name: {{ .tier }}
          image: {{ printf "%s/tandem-%s:%s" $root.Values.image.prefix .tier (default $root.Chart.AppVersion $root.Values.image.tag) | quote }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args: ["--config", "/etc/tandem/tandem.toml"]
          env:
            - name: TANDEM_INSTANCE
              valueFrom: {fieldRef: {fieldPath: metadata.name}}
            - name: POD_IP
              valueFrom: {fieldRef: {fieldPath: status.podIP}}
            # The admin API is the pod's own, unless users with tokens ask it; whoever scrapes and probes finds health beside it.
            - name: TANDEM_ADMIN__LISTEN
              value: "{{ ternary "0.0.0.0" "127.0.0.1" (and (not (empty .adminUsers)) (not $host)) }}:{{ $values.adminPort }}"
            - name: TANDEM_ADMIN__HEALTH
              value: "{{ ternary "$(POD_IP)" "0.0.0.0" $host }}:{{ $values.healthPort }}"
            - name: TANDEM_CALL__DRAIN_S
              value: {{ sub $values.terminationGracePeriodSeconds (add $values.preStopSeconds 5) | quote }}
            {{- $store := ternary $root.Values.secrets.store dict (eq .tier "orchestrator") }}
            {{- range $variable, $secret := dict "TANDEM_BUS__URL" $root.Values.secrets.bus "TANDEM_STORE__URL" $store }}
            {{- if $secret.name }}
            - name: {{ $variable }}
              valueFrom: {secretKeyRef: {name: {{ $secret.name }}, key: {{ $secret.key | quote }}}}
            {{- end }}
            {{- end }}
            {{- with .environment }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
            {{- range concat $values.extraEnv (default list .extraEnv) }}
            {{- toYaml (list .) | nindent 12 }}
            {{- end }}
          ports:
            - {name: health, containerPort: {{ $values.healthPort }}, protocol: TCP}
            - {name: admin, containerPort: {{ $values.adminPort }}, protocol: TCP}
            {{- range .ports }}
            - {{ toJson . }}
            {{- end }}
          livenessProbe:
            httpGet: {path: /healthz, port: health}
            periodSeconds: 10
            timeoutSeconds: 3
            failureThreshold: 3
          readinessProbe:
            httpGet: {path: /readyz, port: health}
            periodSeconds: 2
            timeoutSeconds: 2
            failureThreshold: 2
          startupProbe:
            httpGet: {path: /healthz, port: health}
            periodSeconds: 1
            failureThreshold: 60
          {{- if $values.preStopSeconds }}
          lifecycle:
            preStop:
              # Out of the Service first, then told to go.
              sleep: {seconds: {{ $values.preStopSeconds }}}
          {{- end }}
          resources:
            {{- toYaml $values.resources | nindent 12 }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          volumeMounts:
            # By itself, it stays what it was when the pod began: files of Secrets that another one names are those of other pods.
            - {name: config, mountPath: /etc/tandem/tandem.toml, subPath: tandem.toml, readOnly: true}
            - {name: secrets, mountPath: /run/secrets/tandem, readOnly: true}
            {{- if .sounds }}
            - {name: sounds, mountPath: {{ .sounds | quote }}, readOnly: true}
            {{- end }}
      volumes:
        {{- if .sounds }}
        - name: sounds
          {{- toYaml $values.soundsVolume | nindent 10 }}
        {{- end }}
        - name: config
          configMap:
            name: {{ include "tandem.fullname" $root }}-{{ .tier }}
        - name: secrets
          projected:
            defaultMode: 0440
            sources:
              {{- include "tandem.secretItem" (dict "from" $root.Values.secrets.cluster "path" "cluster") | nindent 14 }}
              {{- /* Each tier has its own secrets alone, as its configuration names them. */}}
              {{- with ternary $root.Values.secrets.dtls dict (eq .tier "rtp-relay") }}
              {{- include "tandem.secretItem" (dict "from" . "path" "dtls") | nindent 14 }}
              {{- end }}
              {{- range $section := concat (list "bus" "telemetry") (get (dict "orchestrator" (list "store" "cluster") "sip-edge" (list "sip") "rtp-relay" (list "cluster")) .tier | default list) }}
              {{- with include "tandem.secretFileItems" (dict "of" $section "files" (dig $section "secretFiles" (dict) (merge (dict) $root.Values.config))) }}
              {{- . | trim | nindent 14 }}
              {{- end }}
              {{- end }}
              {{- range $index, $header := $root.Values.config.telemetry.otlp_header }}
              {{- include "tandem.secretItem" (dict "from" $header.existingSecret "path" (printf "otlp-header-%d" $index)) | nindent 14 }}
              {{- end }}
              {{- range $index, $user := .adminUsers }}
              {{- with $user.existingSecret }}
              {{- include "tandem.secretItem" (dict "from" . "path" (printf "admin-%d" $index)) | nindent 14 }}
              {{- end }}
              {{- end }}
              {{- with include "tandem.secretFileItems" (dict "of" "admin-tls" "files" (ternary $root.Values.admin.secretFiles (dict) (eq .tier "orchestrator"))) }}
              {{- . | trim | nindent 14 }}
              {{- end }}
              {{- if eq .tier "xmpp-edge" }}
              {{- range $index, $component := $root.Values.config.xmpp.component }}
              {{- include "tandem.secretItem" (dict "from" $component.existingSecret "path" (printf "component-%d" $index)) | nindent 14 }}
              {{- with include "tandem.secretFileItems" (dict "of" (printf "component-%d" $index) "files" (ternary $component.secretFiles (dict) (eq $.tier "xmpp-edge"))) }}
              {{- . | trim | nindent 14 }}
              {{- end }}
              {{- end }}
              {{- end }}
              {{- if eq .tier "sip-edge" }}
              {{- range $index, $trunk := $root.Values.config.trunk }}
              {{- with $trunk.existingSecret }}
              {{- include "tandem.secretItem" (dict "from" . "path" (printf "trunk-%d" $index)) | nindent 14 }}
              {{- end }}
              {{- with include "tandem.secretFileItems" (dict "of" (printf "trunk-%d" $index) "files" $trunk.secretFiles) }}
              {{- . | trim | nindent 14 }}
              {{- end }}
              {{- end }}
              {{- end }}
{{- end -}}

{{- define "tandem.configMap" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "tandem.fullname" .root }}-{{ .tier }}
  labels:
    {{- include "tandem.labels" (dict "root" .root "tier" .tier) | nindent 4 }}
data:
  tandem.toml: |
    {{- .config | trim | nindent 4 }}
{{- end -}}

{{- define "tandem.around" -}}
{{- $labels := dict "root" .root "tier" .tier -}}
{{- with .values.podDisruptionBudget }}
{{- if .enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "tandem.fullname" $.root }}-{{ $.tier }}
  labels:
    {{- include "tandem.labels" $labels | nindent 4 }}
spec:
  maxUnavailable: {{ .maxUnavailable }}
  selector:
    matchLabels:
      {{- include "tandem.selector" $labels | nindent 6 }}
{{- end }}
{{- end }}
{{- with .values.autoscaling }}
{{- if .enabled }}
{{- if lt (int .maxReplicas) (int .minReplicas) }}
{{- fail (printf "%s autoscaling: maxReplicas %d is below minReplicas %d; raise the one or lower the other" $.tier (int .maxReplicas) (int .minReplicas)) }}
{{- end }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ include "tandem.fullname" $.root }}-{{ $.tier }}
  labels:
    {{- include "tandem.labels" $labels | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ include "tandem.fullname" $.root }}-{{ $.tier }}}
  minReplicas: {{ .minReplicas }}
  maxReplicas: {{ .maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: {type: Utilization, averageUtilization: {{ .targetCPUUtilizationPercentage }}}
{{- end }}
{{- end }}
{{- end -}}
