//! Typed access to the headers that transactions and dialogs use.

use super::Message;
use crate::uri::{NameAddr, Parameter, first_member, host_port, is_token, split_params, write_host};
use std::fmt;

/// Via (RFC 3261 §20.42).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    /// Protocol and version, `SIP/2.0`; another version is kept, so that its sender is told (505).
    pub protocol: String,
    /// Transport, `UDP`, `TCP`, … in upper case; unknown ones are kept.
    pub transport: String,
    /// Sent-by host; IPv6 without brackets.
    pub host: String,
    /// Sent-by port.
    pub port: Option<u16>,
    /// Parameters: `branch`, `received`, `rport`, …
    pub params: Vec<Parameter>,
}

/// CSeq (RFC 3261 §20.16).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CSeq {
    /// Sequence number, below 2^31 (§8.1.1.5).
    pub number: u32,
    /// The method.
    pub method: String,
}

impl Via {
    /// Reads one value; `None` if it is malformed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Via> {
        let (head, params) = split_params(text)?;
        let mut slashes = head.splitn(3, '/');
        let (name, version, rest) = (slashes.next()?.trim(), slashes.next()?.trim(), slashes.next()?.trim());
        if !name.eq_ignore_ascii_case("SIP") || version.is_empty() || !version.bytes().all(is_token) {
            return None;
        }
        let (transport, sent_by) = rest.split_once(char::is_whitespace)?;
        if transport.is_empty()
            || !transport.bytes().all(is_token)
            || text.trim_end().ends_with(';')
            || text.contains(";;")
        {
            return None;
        }
        let (host, port) = host_port(sent_by.trim())?;
        let protocol = format!("SIP/{version}");
        Some(Via { protocol, transport: transport.to_ascii_uppercase(), host, port, params })
    }
    /// Returns the value of a parameter; `Some("")` for one without a value.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_deref().unwrap_or(""))
    }
    /// Returns the branch, if it has the cookie of RFC 3261 §8.1.1.7.
    #[must_use]
    pub fn branch(&self) -> Option<&str> {
        self.param("branch").filter(|b| b.starts_with("z9hG4bK"))
    }
    /// Sets or adds a parameter.
    pub fn set(&mut self, name: &str, value: String) {
        match self.params.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = Some(value),
            None => self.params.push((name.into(), Some(value))),
        }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} ", self.protocol, self.transport)?;
        write_host(f, &self.host, self.port)?;
        self.params.iter().try_for_each(|(name, value)| match value {
            Some(value) => write!(f, ";{name}={value}"),
            None => write!(f, ";{name}"),
        })
    }
}

impl Message {
    /// Notes the source of a request in its top Via: `received` if sent-by differs (RFC 3261 §18.2.1), the port if `rport`
    /// asks for it (RFC 3581 §4). Responses copy it. Returns that Via; lower ones are not read.
    pub fn stamp(&mut self, source: std::net::SocketAddr) -> Option<Via> {
        let header = self.headers.iter_mut().find(|h| h.name.as_str() == "Via")?;
        let text = std::str::from_utf8(&header.value).ok()?;
        let top = first_member(text);
        let mut via = Via::parse(top)?;
        let rport = via.param("rport").is_some();
        let moved = via.host.parse() != Ok(source.ip());
        if rport {
            via.set("rport", source.port().to_string());
        }
        if rport || moved {
            via.set("received", source.ip().to_string());
            let rest = text.trim_start().strip_prefix(top).unwrap_or("");
            header.value = format!("{via}{rest}").into();
        }
        Some(via)
    }
    /// Returns the top Via.
    #[must_use]
    pub fn via(&self) -> Option<Via> {
        Via::parse(first_member(self.text("Via")?))
    }
    /// Returns the CSeq.
    #[must_use]
    pub fn cseq(&self) -> Option<CSeq> {
        let mut words = self.text("CSeq")?.split_whitespace();
        let (number, method) = (words.next()?.parse().ok().filter(|n| *n <= i32::MAX as u32)?, words.next()?);
        words.next().is_none().then(|| CSeq { number, method: method.to_owned() })
    }
    /// Returns From.
    #[must_use]
    pub fn from(&self) -> Option<NameAddr> {
        NameAddr::parse(&self.lossy("From")?)
    }
    /// Returns To.
    #[must_use]
    pub fn to(&self) -> Option<NameAddr> {
        NameAddr::parse(&self.lossy("To")?)
    }
    /// Returns the first Contact; `None` for `*` as well.
    #[must_use]
    pub fn contact(&self) -> Option<NameAddr> {
        self.first_address("Contact")
    }
    /// Returns the first address of a list header, of those lines that can be read.
    #[must_use]
    pub fn first_address(&self, name: &str) -> Option<NameAddr> {
        self.lists(name).flatten().find_map(|line| line.into_iter().next())
    }
    /// Returns the addresses of a list header, of those lines that can be read.
    #[must_use]
    pub fn addresses(&self, name: &str) -> Vec<NameAddr> {
        self.lists(name).flatten().flatten().collect()
    }
    /// Returns true if every line of a list header can be read.
    #[must_use]
    pub fn has_addresses(&self, name: &str) -> bool {
        self.lists(name).all(|line| line.is_some())
    }
    fn lists<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = Option<Vec<NameAddr>>> + use<'a, 'n> {
        self.all(name).map(|value| NameAddr::list(&String::from_utf8_lossy(value)))
    }
    /// Returns the first value of a header; octets that are not UTF-8 are replaced: a name may be in another encoding.
    fn lossy(&self, name: &str) -> Option<std::borrow::Cow<'_, str>> {
        self.all(name).next().map(|value| String::from_utf8_lossy(value))
    }
    /// Returns the Call-ID.
    #[must_use]
    pub fn call_id(&self) -> Option<&str> {
        self.text("Call-ID").filter(|id| !id.is_empty())
    }
    /// Returns Max-Forwards; a value over 255 counts as absent (RFC 4475 §3.1.2.4).
    #[must_use]
    pub fn max_forwards(&self) -> Option<u8> {
        self.text("Max-Forwards")?.trim().parse().ok()
    }
}
