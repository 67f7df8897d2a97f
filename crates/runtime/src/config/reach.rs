//! Faults of addresses: who reaches what, and by which family.

use super::load::Fault;
use super::{AdminConfig, Config, Listener, NamedFile, TlsFiles, Transport};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};

/// Fewest media ports for a thread: what the relay divides among its threads (three pairs).
const PORTS_A_THREAD: usize = 6;
/// Ports that Kubernetes gives to Services, as it comes.
const NODE_PORTS: (u16, u16) = (30_000, 32_767);

/// Fewest characters of a token.
const MIN_TOKEN: usize = 16;

impl AdminConfig {
    /// Files of TLS.
    #[must_use]
    pub fn tls_files(&self) -> TlsFiles {
        let files = TlsFiles::new("[admin] ", &None, &self.certificate_file, &self.key_file);
        let ca = NamedFile { key: "[admin] client_ca_file".to_owned(), file: self.client_ca_file.clone() };
        TlsFiles { ca, ..files }
    }

    /// Returns the faults of files of TLS, and of users known by certificates that nobody looks at.
    fn check_tls(&self) -> Vec<Fault> {
        let files = self.tls_files();
        let mut faults: Vec<Fault> = files.half().into_iter().collect();
        if self.client_ca_file.is_some() && faults.is_empty() && self.certificate_file.is_none() {
            let trouble = "absent, while [admin] client_ca_file is there";
            let remedy = "name the PEM file of our certificate, and its key in key_file";
            faults.push(Fault::new(&files.certificate.key, trouble, remedy));
        }
        let mut names = HashSet::new();
        for user in self.user.iter().flatten() {
            let Some(name) = &user.certificate_name else { continue };
            if !names.insert(name.to_lowercase()) {
                let trouble = format!("\"{name}\" stands twice");
                let remedy = "give each user a certificate of another name";
                faults.push(Fault::new("[[admin.user]] certificate_name", trouble, remedy));
            }
            if self.client_ca_file.is_none() {
                let trouble = format!("absent, while {} has a certificate_name", user.name);
                let remedy = "name the PEM file of the authority that signs certificates of users";
                faults.push(Fault::new(&files.ca.key, trouble, remedy));
            }
        }
        faults
    }

    /// Warning of tokens that go through a network in the clear.
    fn warning(&self) -> Option<Fault> {
        if self.listen.ip().is_loopback() || self.certificate_file.is_some() {
            return None;
        }
        let trouble =
            format!("absent, while others reach listen \"{}\": tokens go in the clear", self.listen);
        Some(Fault::new(
            "[admin] certificate_file",
            trouble,
            "give it a certificate, or keep that network to operators",
        ))
    }

    /// Returns the faults of users, and of an admin API that strangers reach without a token.
    pub(crate) fn check_users(&self) -> Vec<Fault> {
        let mut faults = self.check_tls();
        let mut names = HashSet::new();
        for user in self.user.iter().flatten() {
            if !names.insert(&user.name) {
                let trouble = format!("\"{}\" stands twice", user.name);
                faults.push(Fault::new("[[admin.user]] name", trouble, "name each user differently"));
            }
            let token = user.token.as_deref();
            let remedy = "write at least 16 random letters and digits, or name a token_file that holds them";
            let is_weak =
                |token: &str| token.len() < MIN_TOKEN || !token.chars().all(|c| c.is_ascii_graphic());
            if token.map_or(user.certificate_name.is_none(), is_weak) {
                let trouble = if token.is_none() { "absent" } else { "too short, or with other signs," };
                let trouble = format!("{trouble} for {}", user.name);
                faults.push(Fault::new("[[admin.user]] token", trouble, remedy));
            }
        }
        if names.is_empty() && !self.listen.ip().is_loopback() {
            faults.push(Fault::new(
                "[admin] user",
                format!("absent, while others reach listen \"{}\"", self.listen),
                "name an [[admin.user]] with a token or certificate, or listen on 127.0.0.1 and serve probes at [admin] health",
            ));
        }
        faults
    }
}

impl Config {
    pub(super) fn check_reach(&self, faults: &mut Vec<Fault>) {
        faults.extend(self.admin.check_users());
        if self.admin.health == Some(self.admin.listen) {
            faults.push(Fault::new(
                "[admin] health",
                format!("\"{}\" is listen too", self.admin.listen),
                "leave it out, or name another port",
            ));
        }
        self.check_relay_address(faults);
        self.check_relay_ports(faults);
        self.check_sip_family(faults);
    }

    /// A socket of one family sends nothing from an address of the other; `::` is of both.
    fn check_relay_address(&self, faults: &mut Vec<Fault>) {
        let relay = &self.relay;
        let Some(address) = relay.advertise else {
            if relay.listen.is_unspecified() {
                faults.push(Fault::new(
                    "[relay] advertise",
                    format!("absent, and peers cannot be told listen \"{}\"", relay.listen),
                    "write the address that they reach",
                ));
            }
            return;
        };
        let both = relay.listen == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        if address.is_unspecified() || address.is_multicast() {
            let trouble = format!("\"{address}\" is nobody's address");
            faults.push(Fault::new("[relay] advertise", trouble, "write the address that peers reach"));
        } else if address.is_ipv4() != relay.listen.is_ipv4() && !both {
            faults.push(Fault::new(
                "[relay] advertise",
                format!("\"{address}\" is of another family than listen \"{}\"", relay.listen),
                "write addresses of one family, or listen = \"::\" for both",
            ));
        }
    }

    fn check_relay_ports(&self, faults: &mut Vec<Fault>) {
        let Ok((first, last)) = self.relay.port_range() else { return };
        // Pairs begin with an even port (RFC 3550 §11).
        let pairs = (first..last).filter(|port| port % 2 == 0).count();
        if pairs * 2 < PORTS_A_THREAD * self.relay.threads.max(1) {
            faults.push(Fault::new(
                "[relay] ports",
                format!("\"{}\" is too small for {} thread(s)", self.relay.ports, self.relay.threads),
                format!("give at least {PORTS_A_THREAD} ports a thread"),
            ));
        }
    }

    /// Returns the listeners that can be read; faults of others are told elsewhere.
    fn readable_listeners(&self) -> Vec<Listener> {
        self.sip.listen.iter().filter_map(|text| Listener::parse(text).ok()).collect()
    }

    /// An address of IPv6 in Contact and Via is reached by no listener of IPv4, and the other way round.
    fn check_sip_family(&self, faults: &mut Vec<Fault>) {
        let Some(host) = &self.sip.advertise else { return };
        let bare = host.trim_start_matches('[').split(']').next().unwrap_or(host);
        let Ok(address) = bare.parse::<IpAddr>() else { return };
        let listeners = self.readable_listeners();
        let takes = |listen: IpAddr| {
            listen.is_ipv4() == address.is_ipv4() || listen == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        };
        if !listeners.is_empty() && !listeners.iter().any(|listener| takes(listener.address.ip())) {
            faults.push(Fault::new(
                "[sip] advertise",
                format!("\"{host}\" is of another family than every address of listen"),
                "listen on an address of that family, or advertise one of the other",
            ));
        }
    }

    /// Warning of orders with keys of media that go through a network in the clear.
    fn warn_of_control(&self) -> Option<Fault> {
        let control = self.relay.control.filter(|control| !control.ip().is_loopback())?;
        if self.bus.is_none() || self.cluster.ca_file.is_some() {
            return None;
        }
        let trouble = format!(
            "absent: orders to [relay] control \"{control}\" go in the clear, keys of media with them"
        );
        Some(Fault::new(
            "[cluster] ca_file",
            trouble,
            "give orchestrators and relays certificates, or keep that network to them",
        ))
    }

    /// Faults of ranges that work, until somebody else is given one of their ports; and secrets that go in the clear.
    #[must_use]
    pub fn warnings(&self) -> Vec<Fault> {
        let clear = [self.telemetry.warning(), self.admin.warning(), self.warn_of_control()];
        let mut warnings: Vec<Fault> = clear.into_iter().flatten().collect();
        let Ok((first, last)) = self.relay.port_range() else { return warnings };
        let (from, to) = NODE_PORTS;
        if first <= to && from <= last {
            let trouble =
                format!("\"{}\" meets {from}-{to}, which Kubernetes gives to Services", self.relay.ports);
            warnings.push(Fault::new("[relay] ports", trouble, "write 40000-49999 on a node of Kubernetes"));
        }
        for listener in self.readable_listeners() {
            let port = listener.address.port();
            if listener.transport == Transport::Udp && (first..=last).contains(&port) {
                let trouble = format!("\"{}\" holds port {port} of [sip] listen", self.relay.ports);
                warnings.push(Fault::new("[relay] ports", trouble, "give media a range of its own"));
            }
        }
        warnings
    }
}
