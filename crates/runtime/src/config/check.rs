//! Faults of a configuration that can be read, found without touching the network.

use super::load::Fault;
use super::{
    BusConfig, ClusterConfig, Config, RelayConfig, Service, SipConfig, StoreConfig, TlsFiles, TrunkConfig,
};
use address::transport::{Listener, NextHop, TransportError};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};

/// Shortest password that calls of a trunk show, characters.
const INBOUND: usize = 12;
/// Shortest cluster secret, octets: keys of 256 bits follow from it.
const SECRET: usize = 32;
/// Fewest different octets of a cluster secret.
const VARIETY: usize = 8;
/// Words that stand where a secret has not been written yet.
const PLACEHOLDERS: &[&str] = &[
    "changeme",
    "change-me",
    "change_me",
    "change this",
    "replace-me",
    "replaceme",
    "your-secret",
    "placeholder",
];

impl Config {
    /// Everything that is wrong; empty = nothing.
    #[must_use]
    pub fn check(&self) -> Vec<Fault> {
        self.check_for(Service::All)
    }

    /// Everything that is wrong for one service, which misses no secret of another.
    #[must_use]
    pub(crate) fn check_for(&self, service: Service) -> Vec<Fault> {
        let mut faults = vec![];
        self.check_cluster(service, &mut faults);
        self.check_sip(&mut faults);
        if service.is(Service::SipEdge) {
            self.check_tls(&mut faults);
        }
        self.check_xmpp(service, &mut faults);
        self.check_trunks(&mut faults);
        faults.extend(self.check_rewrites());
        self.check_relay(&mut faults);
        faults.extend(self.relay.check_families());
        faults.extend(self.relay.denied().err());
        self.check_reach(&mut faults);
        faults.extend(self.check_records());
        // A value that was told of above is told of once.
        for fault in self.check_values() {
            let same = |told: &Fault| told.key == fault.key && told.trouble.starts_with(&fault.trouble);
            if !faults.iter().any(same) {
                faults.push(fault);
            }
        }
        faults
    }

    fn check_cluster(&self, service: Service, faults: &mut Vec<Fault>) {
        match (&self.bus, &self.store) {
            (Some(_), None) if service.is(Service::Orchestrator) => faults.push(Fault::new(
                "[store] url",
                "absent, while [bus] is there: instances must share their store",
                "name a Redis, or leave [bus] out to run in one process",
            )),
            (None, Some(_)) => faults.push(Fault::new(
                "[bus] url",
                "absent, while [store] is there: instances must share their bus",
                "name a NATS server, or leave [store] out to run in one process",
            )),
            _ => {}
        }
        faults.extend(self.bus.iter().flat_map(BusConfig::check));
        faults.extend(self.store.iter().flat_map(StoreConfig::check));
        faults.extend(self.cluster.check_tls());
        faults.extend(self.telemetry.check());
        let secret = self.cluster.secret.as_deref();
        const REMEDY: &str = "write at least 32 random characters, as `openssl rand -hex 32` gives them, the same on every instance";
        let trouble = match secret {
            None if self.bus.is_some() => "absent, while [bus] is there",
            Some(secret) if secret.len() < SECRET => "too short",
            Some(secret) if is_weak(secret) => "easy to guess",
            _ => return,
        };
        faults.push(Fault::new("[cluster] secret", trouble, REMEDY));
    }

    fn check_sip(&self, faults: &mut Vec<Fault>) {
        for twice in repeated(self.sip.listen.iter().map(String::as_str)) {
            faults.push(Fault::new("[sip] listen", format!("\"{twice}\" stands twice"), "keep one"));
        }
        for twice in repeated(self.sip.domains.iter().map(String::as_str)) {
            faults.push(Fault::new("[sip] domains", format!("\"{twice}\" stands twice"), "keep one"));
        }
        for listen in &self.sip.listen {
            faults.extend(listener(listen).err());
        }
        if self.sip.listen.is_empty() {
            faults.push(Fault::new("[sip] listen", "empty", "write at least udp://0.0.0.0:5060"));
        }
    }

    fn check_tls(&self, faults: &mut Vec<Fault>) {
        let tls = self.sip.listen.iter().find(|listen| listen.starts_with("tls://"));
        match (&self.sip.tls_certificate_file, &self.sip.tls_key_file, tls) {
            (None, None, Some(listen)) => faults.push(Fault::new(
                "[sip] tls_certificate_file",
                format!("absent, while listen has \"{listen}\""),
                "name the PEM file of our certificate, and its key in tls_key_file",
            )),
            (Some(file), None, _) => faults.push(Fault::new(
                "[sip] tls_key_file",
                format!("absent, while tls_certificate_file is \"{file}\""),
                "name the PEM file of the certificate's key",
            )),
            (None, Some(file), _) => faults.push(Fault::new(
                "[sip] tls_certificate_file",
                format!("absent, while tls_key_file is \"{file}\""),
                "name the PEM file of the certificate that the key belongs to",
            )),
            _ => {}
        }
        for trunk in self.trunk.iter().filter(|_| tls.is_none()) {
            if let Some(name) = &trunk.tls_client_name {
                faults.push(Fault::new(
                    "[[trunk]] tls_client_name",
                    format!(
                        "\"{name}\" of {}, while [sip] listen has no tls://: it could not call in",
                        trunk.name
                    ),
                    "add tls://address:5061 to [sip] listen, or leave it out",
                ));
            }
        }
    }

    fn check_xmpp(&self, service: Service, faults: &mut Vec<Fault>) {
        let mut domains = HashSet::new();
        for component in &self.xmpp.component {
            let domain = &component.domain;
            if !domains.insert(domain.to_lowercase()) {
                faults.push(Fault::new(
                    "[[xmpp.component]] domain",
                    format!("\"{domain}\" stands twice"),
                    "keep one",
                ));
            }
            faults.extend(component.check());
            if component.secret.is_none() && service.is(Service::XmppEdge) {
                faults.push(Fault::new(
                    "[[xmpp.component]] secret",
                    format!("absent for {domain}"),
                    "write the secret that the XMPP server knows, or secret_file",
                ));
            }
        }
    }

    fn check_relay(&self, faults: &mut Vec<Fault>) {
        if let Err(fault) = self.relay.port_range() {
            faults.push(fault);
        }
        let Some(music) = &self.call.hold_music else { return };
        if self.relay.sounds.is_none() {
            faults.push(Fault::new(
                "[relay] sounds",
                format!("absent, while [call] hold_music is \"{music}\""),
                "name the directory that this file is in, or leave hold_music out",
            ));
        } else if self.relay.transcode_threads == Some(0) {
            faults.push(Fault::new(
                "[relay] transcode_threads",
                format!("0, while [call] hold_music is \"{music}\": nothing would play it"),
                "write at least 1, or leave hold_music out",
            ));
        }
    }

    fn check_trunks(&self, faults: &mut Vec<Fault>) {
        let mut names = HashSet::new();
        for trunk in &self.trunk {
            if !names.insert(&trunk.name) {
                faults.push(Fault::new(
                    "[[trunk]] name",
                    format!("\"{}\" stands twice", trunk.name),
                    "name each trunk differently",
                ));
            }
            faults.extend(trunk.next_hop().err());
            if !self.xmpp.component.iter().any(|c| c.domain.eq_ignore_ascii_case(&trunk.domain)) {
                faults.push(Fault::new(
                    "[[trunk]] domain",
                    format!("\"{}\"", trunk.domain),
                    "name the domain of an [[xmpp.component]]",
                ));
            }
            self.check_callers(trunk, faults);
            faults.extend(self.check_groups(trunk));
            faults.extend(trunk.session_interval().err());
            faults.extend(halves("", trunk, &trunk.username, &trunk.password));
            faults.extend(halves("inbound_", trunk, &trunk.inbound_username, &trunk.inbound_password));
            if trunk.inbound_password.as_ref().is_some_and(|password| password.len() < INBOUND) {
                faults.push(Fault::new(
                    "[[trunk]] inbound_password",
                    format!("too short for {}", trunk.name),
                    "write at least 12 random characters: whoever guesses them calls through the trunk",
                ));
            }
            faults.extend(trunk.networks().err());
            faults.extend(trunk.media_networks().err());
            faults.extend(trunk.further_networks().err());
            faults.extend(trunk.emergency().err());
        }
        for twice in repeated(self.trunk.iter().map(|trunk| trunk.domain.as_str())) {
            faults.push(Fault::new(
                "[[trunk]] domain",
                format!("\"{twice}\" is served by two trunks"),
                "give each trunk a component domain of its own",
            ));
        }
        for alias in self.alias.iter().filter(|alias| self.dials_emergency(&alias.number)) {
            faults.push(Fault::new(
                "[[alias]] number",
                format!("\"{}\" is an emergency number", alias.number),
                "give the user another number",
            ));
        }
        for twice in repeated(self.group.iter().map(|group| group.name.as_str())) {
            let remedy = "name each group differently";
            faults.push(Fault::new("[[group]] name", format!("\"{twice}\" stands twice"), remedy));
        }
        for twice in repeated(self.alias.iter().map(|alias| alias.number.as_str())) {
            faults.push(Fault::new("[[alias]] number", format!("\"{twice}\" stands twice"), "keep one"));
        }
    }
}

impl Config {
    fn check_callers(&self, trunk: &TrunkConfig, faults: &mut Vec<Fault>) {
        let component = self.xmpp.component.iter().find(|c| c.domain.eq_ignore_ascii_case(&trunk.domain));
        let nobody = component.is_some_and(|c| c.users.as_deref().unwrap_or_default().is_empty());
        if trunk.callers.is_none() && nobody {
            faults.push(Fault::new(
                "[[trunk]] callers",
                format!(
                    "absent for {}, whose component has no users: nobody may call through it",
                    trunk.name
                ),
                "name XMPP domains, users or groups, \"*\" for everybody, or [] for a trunk that only calls in",
            ));
        }
    }
}

impl ClusterConfig {
    /// Orchestrators and relays show each other certificates: all files are there, or none.
    fn check_tls(&self) -> Option<Fault> {
        let files = self.tls_files();
        if files.any() && files.ca.file.is_none() {
            return Some(Fault::new(
                &files.ca.key,
                "absent, while a certificate or key is there",
                "name the PEM file of the authority that signs certificates of this installation",
            ));
        }
        if files.ca.file.is_some() && files.certificate.file.is_none() {
            return Some(Fault::new(
                &files.certificate.key,
                "absent, while [cluster] ca_file is there",
                "name the PEM file of our certificate, and its key in key_file, or leave all three out",
            ));
        }
        files.half()
    }
}

/// Returns the fault of credentials of which one half is there.
fn halves(
    prefix: &str,
    trunk: &TrunkConfig,
    name: &Option<String>,
    password: &Option<String>,
) -> Option<Fault> {
    match (name, password) {
        (Some(name), None) => Some(Fault::new(
            &format!("[[trunk]] {prefix}password"),
            format!("absent for user \"{name}\" of {}", trunk.name),
            format!("write the password that the trunk knows, or {prefix}password_file"),
        )),
        (None, Some(_)) => Some(Fault::new(
            &format!("[[trunk]] {prefix}username"),
            format!("absent for {}", trunk.name),
            "write the name that the password belongs to",
        )),
        _ => None,
    }
}

/// Returns true if a secret of enough octets is none all the same.
fn is_weak(secret: &str) -> bool {
    let lower = secret.to_lowercase();
    let different: HashSet<u8> = secret.bytes().collect();
    different.len() < VARIETY || PLACEHOLDERS.iter().any(|word| lower.contains(word))
}

/// Texts that occur more than once, regardless of case.
fn repeated<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = HashSet::new();
    texts.filter(|text| !seen.insert(text.to_lowercase())).collect()
}

/// Reads an entry of `[sip] listen`.
fn listener(text: &str) -> Result<Listener, Fault> {
    Listener::parse(text).map_err(|error| {
        let trouble = with_error(text, &error);
        Fault::new(
            "[sip] listen",
            trouble,
            "write udp://address:port, tcp://address:port or tls://address:port",
        )
    })
}

/// Shows a value with the fault of its transport, unless the remedy says all.
fn with_error(value: &str, error: &TransportError) -> String {
    match error {
        TransportError::Malformed => format!("\"{value}\""),
        error => format!("\"{value}\": {error}"),
    }
}

impl SipConfig {
    /// Files of TLS.
    #[must_use]
    pub fn tls_files(&self) -> TlsFiles {
        TlsFiles::new("[sip] tls_", &self.tls_ca_file, &self.tls_certificate_file, &self.tls_key_file)
    }

    /// Reads the addresses to listen at.
    ///
    /// # Errors
    /// A [`Fault`] naming the first that cannot be served.
    pub fn listeners(&self) -> Result<Vec<Listener>, Fault> {
        self.listen.iter().map(|text| listener(text)).collect()
    }
}

impl RelayConfig {
    /// First and last media port.
    ///
    /// # Errors
    /// A [`Fault`] when it is no range.
    pub fn port_range(&self) -> Result<(u16, u16), Fault> {
        let range = self.ports.split_once('-').and_then(|(first, last)| {
            Some((first.trim().parse::<u16>().ok()?, last.trim().parse::<u16>().ok()?))
        });
        range.filter(|(first, last)| *first >= 1_024 && first < last).ok_or_else(|| {
            Fault::new(
                "[relay] ports",
                format!("\"{}\"", self.ports),
                "write first-last, as 40000-49999, not below 1024",
            )
        })
    }
}

impl RelayConfig {
    /// Networks that no peer may name for its media; `None` = the default ones.
    ///
    /// # Errors
    /// A [`Fault`] naming the first that is none.
    pub fn denied(&self) -> Result<Option<Vec<(IpAddr, u8)>>, Fault> {
        self.deny.as_ref().map(|texts| networks("[relay] deny", texts)).transpose()
    }

    /// Both families are served by one socket a port: it must not be bound to an address of one of them.
    fn check_families(&self) -> Option<Fault> {
        let both =
            self.listen == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && self.advertise.is_some_and(|a| a.is_ipv4());
        let address = self.advertise6.filter(|_| !both)?;
        Some(Fault::new(
            "[relay] advertise6",
            format!("\"{address}\" beside listen \"{}\"", self.listen),
            "write listen = \"::\" and an IPv4 address in advertise, or, for IPv6 alone, that address in advertise",
        ))
    }
}

impl TrunkConfig {
    /// Reads the next hop of its calls.
    ///
    /// # Errors
    /// A [`Fault`] naming a URI that is none, or a transport that is not built.
    pub fn next_hop(&self) -> Result<NextHop, Fault> {
        NextHop::parse(&self.uri).map_err(|error| {
            let trouble = with_error(&self.uri, &error);
            Fault::new("[[trunk]] uri", trouble, "write sip:host:port;transport=udp (or tcp, tls)")
        })
    }

    /// Networks whose calls are taken without digest: address and prefix length.
    ///
    /// # Errors
    /// A [`Fault`] naming the first that is none.
    pub fn networks(&self) -> Result<Vec<(IpAddr, u8)>, Fault> {
        networks("[[trunk]] sources", &self.sources)
    }

    /// Networks that its media may come from beside the described address.
    ///
    /// # Errors
    /// As [`TrunkConfig::networks`].
    pub fn media_networks(&self) -> Result<Vec<(IpAddr, u8)>, Fault> {
        networks("[[trunk]] media_networks", &self.media_networks)
    }

    /// Networks of its further nodes.
    ///
    /// # Errors
    /// As [`TrunkConfig::networks`].
    pub fn further_networks(&self) -> Result<Vec<(IpAddr, u8)>, Fault> {
        networks("[[trunk]] networks", &self.networks)
    }
}

/// Reads addresses and networks of a key.
fn networks(key: &str, texts: &[String]) -> Result<Vec<(IpAddr, u8)>, Fault> {
    let read = |text: &String| {
        let (address, prefix) = text.split_once('/').map_or((text.as_str(), None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Some(most), |p| p.parse().ok()).filter(|p| *p <= most)?;
        Some((address, prefix))
    };
    let fault =
        |text: &str| Fault::new(key, format!("\"{text}\""), "write addresses or networks, as 192.0.2.0/24");
    texts.iter().map(|text| read(text).ok_or_else(|| fault(text))).collect()
}
