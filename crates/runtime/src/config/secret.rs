//! Secrets: which service uses which, and the one that is made where none is given.
//!
//! One rule: a service neither reads nor demands a secret that it does not use, so that nobody need give it one.

use super::Config;
use rustix::rand::{GetRandomFlags, getrandom};
use std::io;

/// Service that a configuration is read for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Service {
    /// Every service, in one process or as they are checked.
    #[default]
    All,
    /// Knows the passwords of trunks and the key of SIP over TLS.
    SipEdge,
    /// Knows the passwords of component links.
    XmppEdge,
    /// Knows the credentials of the store.
    Orchestrator,
    /// Knows the key of DTLS.
    RtpRelay,
}

impl Service {
    /// Returns the service of a kind, as `sip-edge`; every service for another word.
    #[must_use]
    pub fn of(kind: &str) -> Service {
        match kind {
            "sip-edge" => Service::SipEdge,
            "xmpp-edge" => Service::XmppEdge,
            "orchestrator" => Service::Orchestrator,
            "rtp-relay" => Service::RtpRelay,
            _ => Service::All,
        }
    }

    /// Returns true if what `other` uses is used here.
    #[must_use]
    pub fn is(self, other: Service) -> bool {
        self == Service::All || self == other
    }
}

impl Config {
    /// Takes away the secrets of other services, and the names of their files. The cluster's secret and the bus are everybody's, and a
    /// user of the admin API is of the service in whose configuration it stands.
    pub(super) fn keep_to(&mut self, service: Service) {
        if !service.is(Service::SipEdge) {
            (self.sip.tls_certificate_file, self.sip.tls_key_file) = (None, None);
            for trunk in &mut self.trunk {
                (trunk.username, trunk.password, trunk.password_file) = (None, None, None);
                trunk.inbound_username = None;
                (trunk.inbound_password, trunk.inbound_password_file) = (None, None);
            }
        }
        if !service.is(Service::XmppEdge) {
            for component in &mut self.xmpp.component {
                (component.secret, component.secret_file) = (None, None);
                (component.ca_file, component.certificate_file, component.key_file) = (None, None, None);
            }
        }
        if !service.is(Service::Orchestrator) {
            self.store = None;
        }
        if !service.is(Service::Orchestrator) && !service.is(Service::RtpRelay) {
            let cluster = &mut self.cluster;
            (cluster.ca_file, cluster.certificate_file, cluster.key_file) = (None, None, None);
        }
        if !service.is(Service::RtpRelay) {
            self.cluster.dtls_certificate_file = None;
        }
    }

    /// Generates the cluster's secret where none is given: it is made anew at each start then.
    ///
    /// # Errors
    /// The kernel gives no random octets: a secret that could be guessed is none.
    pub fn generate_secret(&mut self) -> io::Result<()> {
        self.secret_from(|octets| Ok(getrandom(octets, GetRandomFlags::empty())?))
    }

    /// [`Config::generate_secret`] from a source, which fills the beginning and returns the number of octets.
    fn secret_from(&mut self, source: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<()> {
        if self.cluster.secret.is_none() {
            self.cluster.secret = Some(random_secret(source)?);
        }
        Ok(())
    }
}

/// Returns 256 random bits of a source, as hexadecimal text.
fn random_secret(mut source: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<String> {
    let mut octets = [0u8; 32];
    let mut filled = 0;
    while filled < octets.len() {
        match source(&mut octets[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => filled += more,
        }
    }
    Ok(octets.iter().map(|octet| format!("{octet:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ComponentConfig, TrunkConfig};

    #[test]
    fn a15_without_random_octets_there_is_no_secret() {
        let mut config = Config::default();
        let refused = config.secret_from(|_| Err(io::ErrorKind::Unsupported.into()));
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::Unsupported);
        // A source that runs dry on the way is none either.
        let mut left = 31;
        let dry = config.secret_from(|octets| {
            octets.fill(7);
            Ok(std::mem::take(&mut left))
        });
        assert_eq!(dry.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(
            config.cluster.secret, None,
            "nothing is made of the time, the process or half of the octets"
        );
        assert!(config.secret().is_empty());
        // One that gives few at a time is asked again.
        let mut next = 0;
        let bytewise = config.secret_from(|octets| {
            octets[0] = next;
            next += 1;
            Ok(1)
        });
        bytewise.unwrap();
        let secret = config.cluster.secret.clone().unwrap();
        assert!(secret.len() == 64 && secret.starts_with("000102") && secret.ends_with("1e1f"), "{secret}");
        // A secret that is given is kept, whatever the kernel says.
        config.secret_from(|_| Err(io::ErrorKind::Unsupported.into())).unwrap();
        assert_eq!(config.cluster.secret, Some(secret));
    }

    #[test]
    fn f11_a_service_has_its_own_secrets_alone() {
        let file = || Some("/run/secrets/x".to_owned());
        let word = || Some("word".to_owned());
        let mut config = Config::default();
        config.cluster.secret = word();
        config.cluster.dtls_certificate_file = file();
        config.bus = Some(toml::from_str("url = \"nats://n\"\ntoken = \"word\"").unwrap());
        config.store = Some(toml::from_str("url = \"redis://r\"\npassword = \"word\"").unwrap());
        (config.sip.tls_certificate_file, config.sip.tls_key_file) = (file(), file());
        config.xmpp.component = vec![ComponentConfig { secret: word(), ..Default::default() }];
        let trunk = TrunkConfig {
            username: word(),
            password: word(),
            inbound_username: word(),
            inbound_password_file: file(),
            ..Default::default()
        };
        config.trunk = vec![trunk];
        for (kind, trunks, component, store, dtls) in [
            ("sip-edge", true, false, false, false),
            ("xmpp-edge", false, true, false, false),
            ("orchestrator", false, false, true, false),
            ("rtp-relay", false, false, false, true),
            ("tandem", true, true, true, true),
        ] {
            let mut kept = config.clone();
            kept.keep_to(Service::of(kind));
            let trunk = &kept.trunk[0];
            assert_eq!(
                (trunk.password.is_some(), trunk.inbound_password_file.is_some()),
                (trunks, trunks),
                "{kind}"
            );
            assert_eq!(kept.sip.tls_key_file.is_some(), trunks, "{kind}");
            assert_eq!(kept.xmpp.component[0].secret.is_some(), component, "{kind}");
            assert_eq!(kept.store.is_some(), store, "{kind}");
            assert_eq!(kept.cluster.dtls_certificate_file.is_some(), dtls, "{kind}");
            assert!(kept.cluster.secret.is_some() && kept.bus.is_some(), "{kind}: everybody's");
        }
    }
}
