//! SIP, SIPS and tel URIs (RFC 3261 §19.1, RFC 3966), name-addr and addr-spec (§20).

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

/// A parameter; `;lr` has no value.
pub type Parameter = (String, Option<String>);

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
                let (number, params) =
                    rest.split_once(';').map_or((rest, vec![]), |(n, p)| (n, parameters(p)));
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
        let (hostport, params) = match rest.find(';') {
            Some(at) => (&rest[..at], parameters(&rest[at + 1..])),
            None => (rest, vec![]),
        };
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

fn parameters(text: &str) -> Vec<Parameter> {
    let parts = text.split(';').filter(|p| !p.is_empty()).take(64);
    parts
        .map(|p| {
            p.split_once('=').map_or_else(
                || (p.to_ascii_lowercase(), None),
                |(n, v)| (n.to_ascii_lowercase(), Some(v.to_owned())),
            )
        })
        .collect()
}

fn write_parameters(f: &mut fmt::Formatter<'_>, params: &[Parameter]) -> fmt::Result {
    params.iter().try_for_each(|(name, value)| match value {
        Some(value) => write!(f, ";{name}={value}"),
        None => write!(f, ";{name}"),
    })
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Uri::Sip(uri) => uri.fmt(f),
            Uri::Tel(number, params) => {
                write!(f, "tel:{number}")?;
                write_parameters(f, params)
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
        write_parameters(f, &self.params)?;
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

/// From, To, Contact, Route: a URI with an optional display name and header parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameAddr {
    /// Display name without quotes, unescaped.
    pub display: Option<String>,
    /// The address.
    pub uri: Uri,
    /// Header parameters, names in lower case.
    pub params: Vec<Parameter>,
}

impl NameAddr {
    /// Reads one value; `None` if it is malformed: 400.
    #[must_use]
    pub fn parse(text: &str) -> Option<NameAddr> {
        let text = text.trim();
        let (display, rest) = if let Some(rest) = text.strip_prefix('"') {
            let end = closing_quote(rest)?;
            let rest_after = rest.get(end + 1..)?.trim_start();
            // Missing white space before `<` is fine (lwsdisp).
            (Some(unescape(&rest[..end])), rest_after.strip_prefix('<').map(|_| rest_after)?)
        } else if let Some(open) = text.find('<') {
            let display = text[..open].trim();
            // Only tokens may stand unquoted (baddn).
            if !display.split_whitespace().all(|w| w.bytes().all(is_token)) {
                return None;
            }
            ((!display.is_empty()).then(|| display.to_owned()), &text[open..])
        } else {
            // addr-spec: parameters belong to the header; `?` and `,` need brackets (RFC 3261 §20.10).
            let (uri, params) = split_params(text);
            if uri.contains(['?', ',']) {
                return None;
            }
            return Some(NameAddr { display: None, uri: Uri::parse(uri.trim())?, params });
        };
        let (uri, after) = rest.strip_prefix('<')?.split_once('>')?;
        let after = after.trim();
        if !after.is_empty() && !after.starts_with(';') {
            return None;
        }
        let (_, params) = split_params(after);
        Some(NameAddr { display, uri: Uri::parse(uri)?, params })
    }
    /// Returns the value of a header parameter.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(n, _)| n == name).and_then(|(_, v)| v.as_deref())
    }
    /// Returns the tag.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.param("tag")
    }
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(display) = &self.display {
            write!(f, "\"{}\" ", display.replace('\\', "\\\\").replace('"', "\\\""))?;
        }
        write!(f, "<{}>", self.uri)?;
        write_parameters(f, &self.params)
    }
}

/// Returns true for an octet of a token (RFC 3261 §25.1).
#[must_use]
pub fn is_token(c: u8) -> bool {
    c.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&c)
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|c| {
        let closes = c == b'"' && !escaped;
        escaped = c == b'\\' && !escaped;
        closes
    })
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    out
}

/// Splits `value;name=value;name`, where values may be quoted.
#[must_use]
pub fn split_params(text: &str) -> (&str, Vec<Parameter>) {
    let (mut cuts, mut quoted, mut escaped) = (vec![], false, false);
    for (at, c) in text.bytes().enumerate() {
        match c {
            b'"' if !escaped => quoted = !quoted,
            b';' if !quoted => cuts.push(at),
            _ => {}
        }
        escaped = c == b'\\' && !escaped;
    }
    let Some(first) = cuts.first().copied() else { return (text, vec![]) };
    cuts.push(text.len());
    let param = |w: &[usize]| {
        let part = text.get(w[0] + 1..w[1])?.trim();
        let (name, value) =
            part.split_once('=').map_or((part, None), |(n, v)| (n.trim(), Some(v.trim().to_owned())));
        (!name.is_empty()).then(|| (name.to_ascii_lowercase(), value))
    };
    (&text[..first], cuts.windows(2).filter_map(param).collect())
}

/// Splits a header value at the commas between its members (RFC 3261 §7.3.1).
#[must_use]
pub fn members(text: &str) -> Vec<&str> {
    let (mut from, mut quoted, mut angle, mut escaped, mut out) = (0, false, false, false, vec![]);
    for (at, c) in text.bytes().enumerate() {
        match c {
            b'"' if !escaped && !angle => quoted = !quoted,
            b'<' if !quoted => angle = true,
            b'>' if !quoted => angle = false,
            b',' if !quoted && !angle => {
                out.push(text[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
        escaped = c == b'\\' && !escaped;
    }
    out.push(text[from..].trim());
    out
}
