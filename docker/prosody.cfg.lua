-- The XMPP server of docker/compose.yaml. For trying, not for service: no TLS, and the secret is in the open.
pidfile = "/run/prosody/prosody.pid"
log = { info = "*console" }
modules_enabled = { "roster", "saslauth", "disco", "ping", "carbons", "smacks", "pep" }
modules_disabled = { "s2s", "tls" }
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "internal_hashed"

component_ports = { 5347 }
component_interfaces = { "*" }

VirtualHost "example.net"

Component "sip.example.net"
  component_secret = "for trying only"
  -- An edge that takes over displaces a connection that the server has not yet noticed to be dead.
  component_conflict_resolve = "kick_old"
