//! Location of the SIP servers that a URI names (RFC 3263, RFC 2782), without the questions to DNS themselves.
//!
//! One rule: what is asked, and in which order answers are tried, is decided here; who asks is the shell. Start at [`Location::of`].

use crate::transport::{NextHop, Transport};
use std::net::SocketAddr;

/// Most services of one name that are tried.
pub const MAX_SERVICES: usize = 8;

/// First thing to be asked about a next hop (RFC 3263 §4.1, §4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// Nothing: the host is an address.
    Address(Transport, SocketAddr),
    /// Addresses of the host (A and AAAA), for this port.
    Host(Transport, String, u16),
    /// Services of these names (SRV), in order; if there are none, addresses of the host.
    Services(Vec<ServiceName>, String),
    /// Pointers of the host (NAPTR); if they name nothing that is spoken here, its services.
    Pointers(String),
}

/// Name of a service, with the transport that it is spoken by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceName {
    /// Transport.
    pub transport: Transport,
    /// Name whose SRV records are asked for: `_sip._udp.example.net`.
    pub name: String,
}

/// NAPTR record (RFC 3403 §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// Order: lower is first.
    pub order: u16,
    /// Preference among those of one order: lower is first.
    pub preference: u16,
    /// Flags.
    pub flags: String,
    /// Service.
    pub service: String,
    /// Name of the SRV records.
    pub replacement: String,
}

/// SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Priority: lower is first.
    pub priority: u16,
    /// Weight among those of one priority.
    pub weight: u16,
    /// Port.
    pub port: u16,
    /// Host, without the dot at its end; empty: the service is not there.
    pub host: String,
}

impl Location {
    /// Returns what is to be asked first about a next hop. A numeric host needs nothing, a port excludes NAPTR and SRV, a transport
    /// excludes NAPTR.
    #[must_use]
    pub fn of(hop: &NextHop) -> Location {
        if let Ok(ip) = hop.host.parse() {
            return Location::Address(hop.transport(), SocketAddr::new(ip, hop.port()));
        }
        match (hop.port, hop.transport) {
            (Some(port), _) => Location::Host(hop.transport(), hop.host.clone(), port),
            (None, Some(transport)) => {
                Location::Services(vec![service(transport, &hop.host)], hop.host.clone())
            }
            (None, None) => Location::Pointers(hop.host.clone()),
        }
    }
}

/// Returns the service that pointers lead to: of those that can be followed, the first by order and preference (RFC 3263 §4.1). `secure`:
/// only to TLS; else only to what needs no certificate, so that a trunk is spoken to by TLS where its URI says so and nowhere else.
/// `None`: [`services`] are asked for.
#[must_use]
pub fn follow(pointers: &[Pointer], secure: bool) -> Option<ServiceName> {
    let spoken = |pointer: &Pointer| {
        let transport = match pointer.service.to_ascii_uppercase().as_str() {
            "SIPS+D2T" if secure => Transport::Tls,
            "SIP+D2T" if !secure => Transport::Tcp,
            "SIP+D2U" if !secure => Transport::Udp,
            _ => return None,
        };
        // The flag of a pointer to SRV; it has no expression (RFC 3263 §4.1).
        let followed = pointer.flags.eq_ignore_ascii_case("s");
        let name = pointer.replacement.trim_end_matches('.').to_ascii_lowercase();
        (followed && !name.is_empty()).then_some(ServiceName { transport, name })
    };
    let mut sorted: Vec<&Pointer> = pointers.iter().collect();
    sorted.sort_by_key(|pointer| (pointer.order, pointer.preference));
    sorted.into_iter().find_map(spoken)
}

/// Returns the services of a host that has no pointers, in the order in which they are asked for. UDP is first: it is what a host
/// without any of them is spoken to by.
#[must_use]
pub fn services(host: &str, secure: bool) -> Vec<ServiceName> {
    let transports: &[Transport] = if secure { &[Transport::Tls] } else { &[Transport::Udp, Transport::Tcp] };
    transports.iter().map(|transport| service(*transport, host)).collect()
}

/// Returns the name of a service of a host (RFC 3263 §4.2).
fn service(transport: Transport, host: &str) -> ServiceName {
    let prefix = match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tls => "_sips._tcp",
        Transport::Ws => "_sip._ws",
        Transport::Wss => "_sips._ws",
        Transport::Tcp => "_sip._tcp",
    };
    ServiceName { transport, name: format!("{prefix}.{host}") }
}

/// Returns the order in which services are tried (RFC 2782): by priority; among those of one priority by chance, in proportion to
/// their weights. `draw` gives a number from 0 to the one that it is given.
#[must_use]
pub fn order(services: &[(u16, u16)], mut draw: impl FnMut(u32) -> u32) -> Vec<usize> {
    let mut left: Vec<usize> = (0..services.len()).collect();
    // Those without weight come first, so that a draw of 0 takes one of them.
    left.sort_by_key(|at| (services[*at].0, services[*at].1 > 0));
    let mut ordered = vec![];
    while let Some(first) = left.first() {
        let priority = services[*first].0;
        let equal = left.iter().take_while(|at| services[**at].0 == priority).count();
        let sum = left[..equal].iter().map(|at| u32::from(services[*at].1)).sum();
        let drawn = if equal > 1 { draw(sum).min(sum) } else { 0 };
        let mut running = 0;
        let chosen = left[..equal].iter().position(|at| {
            running += u32::from(services[*at].1);
            running >= drawn
        });
        ordered.push(left.remove(chosen.unwrap_or(0)));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(uri: &str) -> Location {
        Location::of(&NextHop::parse(uri).unwrap())
    }

    /// RFC 3263 §4.1, §4.2: what a URI says already is not asked.
    #[test]
    fn b3_an_address_a_port_and_a_transport_leave_less_to_ask() {
        let srv = |transport, name: &str| vec![ServiceName { transport, name: name.into() }];
        for (uri, asked) in [
            ("sip:192.0.2.9", Location::Address(Transport::Udp, "192.0.2.9:5060".parse().unwrap())),
            (
                "sip:[2001:db8::9]:5070;transport=tcp",
                Location::Address(Transport::Tcp, "[2001:db8::9]:5070".parse().unwrap()),
            ),
            ("sip:pbx.example:5060", Location::Host(Transport::Udp, "pbx.example".into(), 5060)),
            (
                "sip:pbx.example:5070;transport=tcp",
                Location::Host(Transport::Tcp, "pbx.example".into(), 5070),
            ),
            (
                "sip:pbx.example;transport=tcp",
                Location::Services(srv(Transport::Tcp, "_sip._tcp.pbx.example"), "pbx.example".into()),
            ),
            ("sip:pbx.example", Location::Pointers("pbx.example".into())),
            ("sips:pbx.example", Location::Pointers("pbx.example".into())),
            ("sips:192.0.2.9", Location::Address(Transport::Tls, "192.0.2.9:5061".parse().unwrap())),
            (
                "sip:pbx.example;transport=tls",
                Location::Services(srv(Transport::Tls, "_sips._tcp.pbx.example"), "pbx.example".into()),
            ),
        ] {
            assert_eq!(first(uri), asked, "{uri}");
        }
    }

    #[test]
    fn b3_the_first_pointer_that_can_be_followed_leads() {
        let pointer = |order, preference, flags: &str, service: &str, replacement: &str| Pointer {
            order,
            preference,
            flags: flags.into(),
            service: service.into(),
            replacement: replacement.into(),
        };
        let all = [
            pointer(20, 10, "s", "SIP+D2U", "_sip._udp.b.example."),
            pointer(10, 30, "S", "sip+d2t", "_sip._tcp.A.example."),
            pointer(10, 20, "s", "SIP+D2S", "_sip._sctp.a.example."),
            pointer(10, 10, "u", "SIP+D2U", "_sip._udp.a.example."),
            pointer(10, 5, "s", "SIP+D2U", "."),
            pointer(5, 0, "s", "E2U+sip", "x.example."),
        ];
        let tcp = ServiceName { transport: Transport::Tcp, name: "_sip._tcp.a.example".into() };
        assert_eq!(follow(&all, false), Some(tcp));
        assert_eq!(follow(&all[2..], false), None);
        assert_eq!(follow(&all, true), None);
        let secure = [pointer(10, 0, "s", "SIPS+D2T", "_sips._tcp.s.example."), all[1].clone()];
        assert_eq!(follow(&secure, true).map(|service| service.transport), Some(Transport::Tls));
        assert_eq!(follow(&secure, false).map(|service| service.transport), Some(Transport::Tcp));
        let asked = |secure| -> Vec<String> {
            services("a.example", secure).into_iter().map(|service| service.name).collect()
        };
        assert_eq!(asked(false), ["_sip._udp.a.example", "_sip._tcp.a.example"]);
        assert_eq!(asked(true), ["_sips._tcp.a.example"]);
    }

    /// RFC 2782, "Weight": the running sums of 0, 1, 3 and 6 are 0, 1, 4, 10.
    #[test]
    fn b3_services_are_tried_by_priority_and_weight() {
        let records = [(20, 9), (10, 1), (10, 3), (10, 6), (10, 0)];
        for (drawn, first) in [(0, 4), (1, 1), (2, 2), (4, 2), (5, 3), (10, 3), (11, 3)] {
            let mut draws = vec![drawn];
            let ordered = order(&records, |_| draws.pop().unwrap_or(0));
            assert_eq!((ordered[0], ordered.len(), ordered[4]), (first, 5, 0), "{drawn}: {ordered:?}");
            let mut sorted = ordered.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4], "each once");
        }
        // In proportion: 1, 3 and 6 of 10.
        let mut firsts = [0; 5];
        for drawn in 1..=10 {
            let mut draws = vec![drawn];
            firsts[order(&records, |_| draws.pop().unwrap_or(0))[0]] += 1;
        }
        assert_eq!(firsts, [0, 1, 3, 6, 0]);
        let mut most = vec![];
        let _ = order(&records, |sum| {
            most.push(sum);
            0
        });
        assert_eq!(most, [10, 10, 9], "one that is left needs no draw");
        assert_eq!(order(&[], |_| 0), [0; 0]);
    }
}
