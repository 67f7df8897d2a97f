//! Transports of SIP, and the two texts that name one: a listener (`udp://192.0.2.1:5060`) and the next hop of a trunk
//! (`sip:pbx.example:5060;transport=udp`).
//!
//! One rule: what is not built is refused by name. A peer that asks for TLS is never spoken to in clear.

use crate::uri::{SipUri, Uri, write_host};
use std::fmt;
use std::net::SocketAddr;

/// Transport protocol of SIP (RFC 3261 §18, RFC 7118).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP; not built yet.
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
        matches!(self, Transport::Udp | Transport::Tcp)
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Listener {
    /// Transport.
    pub transport: Transport,
    /// Address and port.
    pub address: SocketAddr,
}

impl Listener {
    /// Reads `udp://192.0.2.1:5060`.
    ///
    /// # Errors
    /// [`TransportError`], also for a transport that is not built.
    pub fn parse(text: &str) -> Result<Listener, TransportError> {
        let (transport, address) = text.split_once("://").ok_or(TransportError::Malformed)?;
        let transport = Transport::built(transport)?;
        let address = address.parse().map_err(|_| TransportError::Malformed)?;
        Ok(Listener { transport, address })
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.transport, self.address)
    }
}

/// Next hop that a URI names: of a trunk, a route or a Contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
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
    /// [`TransportError`], also for `sips:` and for a transport that is not built.
    pub fn parse(uri: &str) -> Result<NextHop, TransportError> {
        let Some(Uri::Sip(uri)) = Uri::parse(uri) else { return Err(TransportError::Malformed) };
        NextHop::of(&uri)
    }

    /// Returns the next hop of a SIP URI.
    ///
    /// # Errors
    /// [`TransportError`], also for `sips:` and for a transport that is not built.
    pub fn of(uri: &SipUri) -> Result<NextHop, TransportError> {
        if uri.secure {
            return Err(TransportError::Unbuilt("sips:"));
        }
        let mut named = uri.params.iter().filter(|(name, _)| name == "transport");
        let transport = match (named.next(), named.next()) {
            (None, _) => None,
            (Some((_, Some(name))), None) => Some(Transport::built(name)?),
            // Without a value, or twice.
            (Some(_), _) => return Err(TransportError::Malformed),
        };
        Ok(NextHop { transport, host: uri.host.clone(), port: uri.port })
    }

    /// Returns the transport; UDP if none is given (RFC 3263 §4.1).
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.transport.unwrap_or(Transport::Udp)
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
        ] {
            let hop = NextHop::parse(uri).unwrap();
            assert_eq!((hop.transport(), hop.to_string().as_str()), (transport, shown), "{uri}");
            assert_eq!((hop.host.as_str(), hop.port()), (host, port), "{uri}");
        }
    }

    /// Fault A1: nothing that asks for another transport is spoken to in clear UDP.
    #[test]
    fn a_transport_that_is_not_built_is_refused_by_name() {
        use TransportError::{Malformed, Unbuilt, Unknown};
        for (uri, error) in [
            ("sip:pbx.example;transport=tls", Unbuilt("tls")),
            ("sip:pbx.example:5061;lr;Transport=TLS", Unbuilt("tls")),
            ("sip:pbx.example;transport=ws", Unbuilt("ws")),
            ("sip:pbx.example;transport=wss", Unbuilt("wss")),
            ("sips:pbx.example", Unbuilt("sips:")),
            ("sips:pbx.example;transport=udp", Unbuilt("sips:")),
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
            ("tls://0.0.0.0:5061", Unbuilt("tls")),
            ("ws://0.0.0.0:80", Unbuilt("ws")),
            ("sctp://0.0.0.0:5060", Unknown("sctp".into())),
            ("udp://pbx.example:5060", Malformed),
            ("udp://0.0.0.0", Malformed),
            ("5060", Malformed),
        ] {
            assert_eq!(Listener::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn listeners_are_read_as_they_are_written() {
        for text in ["udp://192.0.2.1:5060", "tcp://[::]:5060"] {
            assert_eq!(Listener::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(split("tls://192.0.2.1:5061"), Some((Transport::Tls, "192.0.2.1:5061")));
    }
}
