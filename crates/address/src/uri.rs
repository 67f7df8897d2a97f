//! SIP, SIPS and tel URIs (RFC 3261 §19.1, RFC 3966), and what they stand in: name-addr, addr-spec, lists, parameters (§20).

pub use crate::name_addr::NameAddr;
pub use crate::parameter::{MAX_PARAMETERS, Parameter, first_member, members, split_params};

use crate::parameter;
use std::fmt;

/// A URI as it stood in a message; user and parameters stay percent-encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uri {
    /// `sip:` and `sips:`
    Sip(SipUri),
    /// `tel:`: number with its visual separators, and parameters.
    Tel(String, Vec<Parameter>),
    /// Any other scheme: answered with 416 where it is a target.
    Other(String),
}

/// SIP or SIPS URI (RFC 3261 §19.1.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SipUri {
    /// `sips:`
    pub secure: bool,
    /// User: the part before the `@`, still escaped, without the password.
    pub user: Option<String>,
    /// Password: the part after the first `:` of the user part.
    pub password: Option<String>,
    /// Host in lower case; IPv6 without brackets.
    pub host: String,
    /// Port, if given.
    pub port: Option<u16>,
    /// Parameters; names in lower case.
    pub params: Vec<Parameter>,
    /// Headers: the part after the `?`.
    pub headers: Option<String>,
}

impl Uri {
    /// Reads a URI; `None` if it is malformed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Uri> {
        let (scheme, rest) = text.split_once(':')?;
        if scheme.is_empty()
            || !scheme.bytes().all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(&c))
            || text.contains(['<', '>', '"'])
            || text.contains(char::is_whitespace)
        {
            return None;
        }
        match scheme.to_ascii_lowercase().as_str() {
            "sip" => SipUri::parse(rest, false).map(Uri::Sip),
            "sips" => SipUri::parse(rest, true).map(Uri::Sip),
            "tel" => {
                let (number, params) = rest.split_once(';').unwrap_or((rest, ""));
                let params = parameter::of_uri(params)?;
                (!number.is_empty()).then(|| Uri::Tel(number.to_owned(), params))
            }
            _ => Some(Uri::Other(text.to_owned())),
        }
    }
    /// Returns the SIP URI, if it is one.
    #[must_use]
    pub fn sip(&self) -> Option<&SipUri> {
        if let Uri::Sip(uri) = self { Some(uri) } else { None }
    }
}

impl SipUri {
    fn parse(rest: &str, secure: bool) -> Option<SipUri> {
        // The last `@` before the headers splits, since users may hold `;` and `?` (semiuri), never an unescaped `@`.
        let at = rest.rfind('@');
        let (user, rest) = match at {
            Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
            None => (None, rest),
        };
        let (rest, headers) = rest.split_once('?').map_or((rest, None), |(r, h)| (r, Some(h.to_owned())));
        let (hostport, params) = rest.split_once(';').unwrap_or((rest, ""));
        let params = parameter::of_uri(params)?;
        let (host, port) = host_port(hostport)?;
        let (user, password) = match user {
            Some(user) => {
                user.split_once(':').map_or((Some(user), None), |(u, p)| (Some(u), Some(p.to_owned())))
            }
            None => (None, None),
        };
        if user.is_some_and(|u| u.is_empty() || u.contains('@')) {
            return None;
        }
        Some(SipUri { secure, user: user.map(str::to_owned), password, host, port, params, headers })
    }

    /// Returns the value of a parameter; `Some(None)` for one without a value.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Option<&str>> {
        self.params.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_deref())
    }

    /// Returns the address of record: scheme, user and host.
    #[must_use]
    pub fn aor(&self) -> SipUri {
        SipUri { secure: self.secure, user: self.user.clone(), host: self.host.clone(), ..SipUri::default() }
    }
}

/// Reads `host:port`; IPv6 only in brackets (RFC 5118 §4.1), three colons in a row are forgiven (§4.10).
#[must_use]
pub fn host_port(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let mended = host.replace(":::", "::");
        mended.parse::<std::net::Ipv6Addr>().ok()?;
        (mended, rest.trim_start().strip_prefix(':'))
    } else {
        let (host, port) = text.split_once(':').map_or((text, None), |(h, p)| (h, Some(p)));
        let host = host.trim_end();
        if host.is_empty()
            || !host.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._%".contains(&c) || c >= 0x80)
        {
            return None;
        }
        (host.to_ascii_lowercase(), port)
    };
    let port = match port.map(str::trim) {
        Some(port) => Some(port.parse().ok()?),
        None => None,
    };
    Some((host, port))
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Uri::Sip(uri) => uri.fmt(f),
            Uri::Tel(number, params) => {
                write!(f, "tel:{number}")?;
                parameter::write(f, params)
            }
            Uri::Other(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for SipUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.secure { "sips:" } else { "sip:" })?;
        if let Some(user) = &self.user {
            f.write_str(user)?;
            if let Some(password) = &self.password {
                write!(f, ":{password}")?;
            }
            f.write_str("@")?;
        }
        write_host(f, &self.host, self.port)?;
        parameter::write(f, &self.params)?;
        self.headers.iter().try_for_each(|headers| write!(f, "?{headers}"))
    }
}

/// Writes `host:port`, IPv6 in brackets.
///
/// # Errors
/// Those of the formatter.
pub fn write_host(f: &mut fmt::Formatter<'_>, host: &str, port: Option<u16>) -> fmt::Result {
    if host.contains(':') { write!(f, "[{host}]") } else { f.write_str(host) }?;
    port.iter().try_for_each(|port| write!(f, ":{port}"))
}

/// Returns true for an octet of a token (RFC 3261 §25.1).
#[must_use]
pub fn is_token(c: u8) -> bool {
    c.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&c)
}
