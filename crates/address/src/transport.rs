//! Transports of SIP, and the two texts that name one: a listener (`udp://192.0.2.1:5060`) and the next hop of a trunk
//! (`sip:pbx.example:5060;transport=udp`).
//!
//! One rule: what is not built is refused by name. A peer that asks for a secure transport is never spoken to in clear.

use crate::uri::{SipUri, Uri, host_port, write_host};
use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};

/// Transport protocol of SIP (RFC 3261 §18, RFC 7118).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// WebSocket; not built yet.
    Ws,
    /// WebSocket over TLS; not built yet.
    Wss,
}

/// Fault of a text that names a transport and an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The text has another form.
    #[error("it has another form")]
    Malformed,
    /// The transport is none that is known.
    #[error("{0} is no transport")]
    Unknown(String),
    /// The transport is known, but not built yet.
    #[error("{0} is not supported yet")]
    Unbuilt(&'static str),
    /// The URI wants every hop to be secure, by a transport that is not.
    #[error("sips: is spoken by TLS alone")]
    Insecure,
}

impl Transport {
    /// Every transport.
    pub const ALL: [Transport; 5] =
        [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss];

    /// Reads a name in any case: `udp`, as in URI parameters and listeners, or `UDP`, as in Via.
    #[must_use]
    pub fn parse(name: &str) -> Option<Transport> {
        Transport::ALL.into_iter().find(|transport| transport.name().eq_ignore_ascii_case(name))
    }

    /// Returns the name in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Ws => "ws",
            Transport::Wss => "wss",
        }
    }

    /// Returns the name in a Via (RFC 3261 §20.42).
    #[must_use]
    pub fn via_name(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
            Transport::Ws => "WS",
            Transport::Wss => "WSS",
        }
    }

    /// Returns true if the gateway speaks it.
    #[must_use]
    pub fn is_built(self) -> bool {
        matches!(self, Transport::Udp | Transport::Tcp | Transport::Tls)
    }

    /// Returns true if it delivers what is sent: transactions repeat nothing over it (RFC 3261 §17).
    #[must_use]
    pub fn is_reliable(self) -> bool {
        self != Transport::Udp
    }

    /// Returns the port of a URI that names none (RFC 3261 §19.1.2, RFC 7118 §5.1).
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => 5060,
            Transport::Tls => 5061,
            Transport::Ws => 80,
            Transport::Wss => 443,
        }
    }

    /// Reads a name of a transport that is built.
    fn built(name: &str) -> Result<Transport, TransportError> {
        match Transport::parse(name) {
            Some(transport) if transport.is_built() => Ok(transport),
            Some(transport) => Err(TransportError::Unbuilt(transport.name())),
            None => Err(TransportError::Unknown(name.to_owned())),
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Splits `udp://192.0.2.1:5060` into its transport, whichever it is, and the rest.
#[must_use]
pub fn split(text: &str) -> Option<(Transport, &str)> {
    let (transport, rest) = text.split_once("://")?;
    Some((Transport::parse(transport)?, rest))
}

/// Address that the gateway listens at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Listener {
    /// Transport.
    pub transport: Transport,
    /// Address and port.
    pub address: SocketAddr,
    /// Host, and port if it is another one, that peers reach it by.
    pub advertise: Option<String>,
}

impl Listener {
    /// Reads `udp://192.0.2.1:5060`, with `;advertise=gw.example.net:5080` if peers reach it by another name.
    ///
    /// # Errors
    /// [`TransportError`], also for a transport that is not built.
    pub fn parse(text: &str) -> Result<Listener, TransportError> {
        let (transport, address) = text.split_once("://").ok_or(TransportError::Malformed)?;
        let transport = Transport::built(transport)?;
        let (address, advertise) = match address.split_once(";advertise=") {
            Some((address, host)) => (address, Some(host.to_owned())),
            None => (address, None),
        };
        // An IPv6 address stands in brackets or alone.
        let named = |host: &String| host_port(host).is_some() || host.parse::<Ipv6Addr>().is_ok();
        let address = address.parse().map_err(|_| TransportError::Malformed)?;
        if advertise.as_ref().is_some_and(|host| !named(host)) {
            return Err(TransportError::Malformed);
        }
        Ok(Listener { transport, address, advertise })
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.transport, self.address)?;
        self.advertise.iter().try_for_each(|host| write!(f, ";advertise={host}"))
    }
}

/// Next hop that a URI names: of a trunk, a route or a Contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// `sips:`: every hop is secure (RFC 3261 §26.2.2).
    pub secure: bool,
    /// Transport, if given.
    pub transport: Option<Transport>,
    /// Host, a name or an address; IPv6 without brackets.
    pub host: String,
    /// Port, if given.
    pub port: Option<u16>,
}

impl NextHop {
    /// Reads `sip:pbx.example:5060;transport=udp`.
    ///
    /// # Errors
    /// [`TransportError`], also for a transport that is not built.
    pub fn parse(uri: &str) -> Result<NextHop, TransportError> {
        let Some(Uri::Sip(uri)) = Uri::parse(uri) else { return Err(TransportError::Malformed) };
        NextHop::of(&uri)
    }

    /// Returns the next hop of a SIP URI.
    ///
    /// # Errors
    /// [`TransportError`], also for a transport that is not built.
    pub fn of(uri: &SipUri) -> Result<NextHop, TransportError> {
        let mut named = uri.params.iter().filter(|(name, _)| name == "transport");
        let transport = match (named.next(), named.next()) {
            (None, _) => None,
            (Some((_, Some(name))), None) => Some(Transport::built(name)?),
            // Without a value, or twice.
            (Some(_), _) => return Err(TransportError::Malformed),
        };
        let transport = match transport {
            // Over TCP, as RFC 3261 §26.2.2 writes it.
            Some(Transport::Tcp) if uri.secure => Some(Transport::Tls),
            Some(Transport::Udp) if uri.secure => return Err(TransportError::Insecure),
            transport => transport,
        };
        Ok(NextHop { secure: uri.secure, transport, host: uri.host.clone(), port: uri.port })
    }

    /// Returns the transport; UDP if none is given, TLS for `sips:` (RFC 3263 §4.1).
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.transport.unwrap_or(if self.secure { Transport::Tls } else { Transport::Udp })
    }

    /// Returns the port, or the transport's own.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(self.transport().default_port())
    }
}

/// Writes `host:port` as a URI does: the port if given, IPv6 in brackets.
impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_host(f, &self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_host_port_and_transport() {
        for (uri, transport, shown, host, port) in [
            ("sip:127.0.0.1:5070;transport=udp", Transport::Udp, "127.0.0.1:5070", "127.0.0.1", 5070),
            ("sip:pbx.example;transport=TCP", Transport::Tcp, "pbx.example", "pbx.example", 5060),
            ("sip:gw@[2001:db8::1]:5070;lr", Transport::Udp, "[2001:db8::1]:5070", "2001:db8::1", 5070),
            ("SIP:Pbx.Example;TRANSPORT=Udp", Transport::Udp, "pbx.example", "pbx.example", 5060),
            ("sip:pbx.example;transport=tls", Transport::Tls, "pbx.example", "pbx.example", 5061),
            ("sips:pbx.example", Transport::Tls, "pbx.example", "pbx.example", 5061),
            ("sips:pbx.example:5071;transport=tcp", Transport::Tls, "pbx.example:5071", "pbx.example", 5071),
        ] {
            let hop = NextHop::parse(uri).unwrap();
            assert_eq!((hop.transport(), hop.to_string().as_str()), (transport, shown), "{uri}");
            assert_eq!((hop.host.as_str(), hop.port()), (host, port), "{uri}");
        }
    }

    /// Fault A1: nothing that asks for another transport is spoken to in clear UDP.
    #[test]
    fn a1_a_transport_that_is_not_built_is_refused_by_name() {
        use TransportError::{Insecure, Malformed, Unbuilt, Unknown};
        for (uri, error) in [
            ("sip:pbx.example;transport=ws", Unbuilt("ws")),
            ("sip:pbx.example:5061;lr;Transport=WSS", Unbuilt("wss")),
            ("sips:pbx.example;transport=wss", Unbuilt("wss")),
            ("sips:pbx.example;transport=udp", Insecure),
            ("sip:pbx.example;transport=sctp", Unknown("sctp".into())),
            ("sip:pbx.example;transport=", Unknown(String::new())),
            ("sip:pbx.example;transport", Malformed),
            ("sip:pbx.example;transport=udp;transport=tls", Malformed),
            ("tel:2700", Malformed),
            ("pbx.example", Malformed),
            ("sip:", Malformed),
            ("sip:pbx.example:port", Malformed),
        ] {
            assert_eq!(NextHop::parse(uri), Err(error), "{uri}");
        }
        for (text, error) in [
            ("wss://0.0.0.0:443", Unbuilt("wss")),
            ("ws://0.0.0.0:80", Unbuilt("ws")),
            ("sctp://0.0.0.0:5060", Unknown("sctp".into())),
            ("udp://pbx.example:5060", Malformed),
            ("udp://0.0.0.0", Malformed),
            ("5060", Malformed),
            ("udp://0.0.0.0:5060;advertise=", Malformed),
            ("udp://0.0.0.0:5060;advertise=gw example", Malformed),
            ("udp://0.0.0.0:5060;public=gw.example", Malformed),
        ] {
            assert_eq!(Listener::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn listeners_are_read_as_they_are_written() {
        for text in [
            "udp://192.0.2.1:5060",
            "tcp://[::]:5060",
            "tls://0.0.0.0:5061",
            "udp://0.0.0.0:5060;advertise=gw.example.net:5080",
            "tcp://[::]:5060;advertise=2001:db8::7",
        ] {
            assert_eq!(Listener::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(split("tls://192.0.2.1:5061"), Some((Transport::Tls, "192.0.2.1:5061")));
    }
}
