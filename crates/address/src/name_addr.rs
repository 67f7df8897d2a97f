//! name-addr and addr-spec: From, To, Contact, Route, P-Asserted-Identity (RFC 3261 §20.10, §25.1).
//!
//! One rule: the part in angle brackets and the parameters matter. A display name never decides over a message, however it is
//! written; one that cannot be read is dropped.

use crate::display::display_name;
use crate::parameter::{self, Parameter, Quotes, members, split_params};
use crate::uri::Uri;
use std::fmt;

/// From, To, Contact, Route: a URI with an optional display name and header parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameAddr {
    /// Display name without quotes, unescaped, as [`display_name`] leaves it.
    pub display: Option<String>,
    /// The address.
    pub uri: Uri,
    /// Header parameters, names in lower case.
    pub params: Vec<Parameter>,
}

impl NameAddr {
    /// Reads one value; `None` if its address is malformed: 400.
    #[must_use]
    pub fn parse(text: &str) -> Option<NameAddr> {
        let text = text.trim();
        match bracketed(text, Quotes::of(text)) {
            Some(found) => NameAddr::of(found),
            None => addr_spec(text).or_else(|| NameAddr::of(bracketed(text, Quotes::NONE)?)),
        }
    }

    fn of((name, uri, after): (&str, Uri, &str)) -> Option<NameAddr> {
        let (_, params) = split_params(after)?;
        Some(NameAddr { display: read_name(name), uri, params })
    }

    /// Reads the members of a list; `None` if an address is malformed. A comma in a name that lacks its quotes divides nothing.
    #[must_use]
    pub fn list(text: &str) -> Option<Vec<NameAddr>> {
        let (mut found, mut beginning) = (vec![], "");
        for member in members(text).into_iter().filter(|member| !member.is_empty()) {
            match NameAddr::parse(member) {
                // The name began before a comma, where nothing can be said of its end: it is dropped.
                Some(address) if !beginning.is_empty() => found.push(NameAddr { display: None, ..address }),
                Some(address) => found.push(address),
                None => {
                    beginning = member;
                    continue;
                }
            }
            beginning = "";
        }
        beginning.is_empty().then_some(found)
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
        parameter::write(f, &self.params)
    }
}

/// Reads an address without brackets: parameters belong to the header; `?` and `,` need brackets (RFC 3261 §20.10).
fn addr_spec(text: &str) -> Option<NameAddr> {
    let (uri, params) = split_params(text)?;
    let uri = Uri::parse(uri.trim()).filter(|_| !uri.contains(['?', ',']))?;
    Some(NameAddr { display: None, uri, params })
}

/// Finds the address in angle brackets: what stands before it, the address, and what follows. Missing white space before `<` is
/// fine (lwsdisp of RFC 4475). Each character is read once, whatever the number of brackets.
fn bracketed(text: &str, mut quotes: Quotes) -> Option<(&str, Uri, &str)> {
    let mut open = None;
    for (at, c) in text.char_indices() {
        if quotes.quoted(c) {
            open = None;
            continue;
        }
        match c {
            '<' => open = Some(at),
            '>' => {
                let Some(from) = open.take() else { continue };
                let after = text[at + 1..].trim_start();
                let ends = after.is_empty() || after.starts_with(';');
                if let Some(uri) = Uri::parse(&text[from + 1..at]).filter(|_| ends) {
                    return Some((&text[..from], uri, after));
                }
            }
            _ => {}
        }
    }
    None
}

/// Reads the name before an address, quoted or not; `None` if there is none, or if nothing sure can be read from it.
fn read_name(text: &str) -> Option<String> {
    let text = text.trim();
    let name = match text.strip_prefix('"') {
        Some(rest) => unescape(rest.strip_suffix('"').filter(|name| is_quoted(name))?),
        None if text.contains(['"', '<', '>']) => return None,
        // Only tokens may stand unquoted; many write any words so.
        None => text.to_owned(),
    };
    // Octets of another encoding than UTF-8.
    if name.contains(char::REPLACEMENT_CHARACTER) {
        return None;
    }
    display_name(&name)
}

/// Returns true for the inside of one quoted string: no quote without its backslash, no backslash at the end.
fn is_quoted(text: &str) -> bool {
    let mut escaped = false;
    let inside = text.bytes().all(|c| {
        let ends = c == b'"' && !escaped;
        escaped = c == b'\\' && !escaped;
        !ends
    });
    inside && !escaped
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(Option<String>, String, Option<String>)> {
        let found = NameAddr::parse(text)?;
        Some((found.display.clone(), found.uri.to_string(), found.tag().map(str::to_owned)))
    }

    #[test]
    fn c1_a_name_never_decides() {
        for (text, name) in [
            ("<sip:a@b>;tag=1", None),
            ("Anna<sip:a@b>;tag=1", Some("Anna")),
            ("A. Bell <sip:a@b> ; tag=1", Some("A. Bell")),
            ("\"Bell, Alexander\"<sip:a@b>;tag=1", Some("Bell, Alexander")),
            (r#""A \"B\" \\ C" <sip:a@b>;tag=1"#, Some(r#"A "B" \ C"#)),
            ("Zoë Müller <sip:a@b>;tag=1", Some("Zoë Müller")),
            ("张伟 <sip:a@b>;tag=1", Some("张伟")),
            ("Bell, Alexander <sip:a@b>;tag=1", Some("Bell, Alexander")),
            ("Bell (office) <sip:a@b>;tag=1", Some("Bell (office)")),
            ("Dr: Bell; Esq. @home <sip:a@b>;tag=1", Some("Dr: Bell; Esq. @home")),
            // Latin-1, as it is after decoding with replacement.
            ("M\u{fffd}ller <sip:a@b>;tag=1", None),
            ("\"M\u{fffd}ller\" <sip:a@b>;tag=1", None),
            ("\"Anna <sip:a@b>;tag=1", None),
            ("Anna\" <sip:a@b>;tag=1", None),
            ("\"Anna\" Bell <sip:a@b>;tag=1", None),
            ("Anna \"the <one>\" Bell <sip:a@b>;tag=1", None),
            (r#""Anna\" <sip:a@b>;tag=1"#, None),
            ("\"Anna <sip:a@b>;x=\"y\";tag=1", None),
            ("Anna <3 Bell <sip:a@b>;tag=1", None),
            ("> Anna < <sip:a@b>;tag=1", None),
            ("\u{202e}annA\u{1} <sip:a@b>;tag=1", Some("annA")),
        ] {
            let own = (name.map(str::to_owned), "sip:a@b".to_owned(), Some("1".to_owned()));
            assert_eq!(read(text), Some(own), "{text}");
        }
        // What stands in quotes is a name, never the address.
        let quoted = read("\"<sip:x@y>;tag=2\" <sip:a@b>;tag=1").unwrap();
        assert_eq!((quoted.1.as_str(), quoted.2.as_deref()), ("sip:a@b", Some("1")));
        let after = read("sip:a@b;x=\"<sip:x@y>;tag=2\";tag=1").unwrap();
        assert_eq!((after.1.as_str(), after.2.as_deref()), ("sip:a@b", Some("1")));
    }

    #[test]
    fn c1_an_address_that_is_none_still_is() {
        for text in
            ["", "Anna", "\"Anna\" sip:a@b", "<>", "<sip:a@b", "<sip:a b>", "<sip:a@b> x", "sip:a@b?x=y"]
        {
            assert_eq!(read(text), None, "{text}");
        }
        let many = format!("<sip:a@b>{}", ";x".repeat(65));
        assert_eq!(read(&many), None);
    }

    #[test]
    fn c1_a_comma_in_a_name_divides_no_list() {
        let list = |text: &str| {
            let found = NameAddr::list(text)?;
            Some(found.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let own = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(list("Bell, Alexander <sip:a@b>;q=1, <sip:c@d>"), own(&["<sip:a@b>;q=1", "<sip:c@d>"]));
        assert_eq!(
            list("\"Bell, A\" <sip:a@b>,sip:c@d;q=1"),
            own(&["\"Bell, A\" <sip:a@b>", "<sip:c@d>;q=1"])
        );
        assert_eq!(list("\"Bell, A <sip:a@b>, <sip:c@d>"), own(&["<sip:a@b>", "<sip:c@d>"]));
        assert_eq!(list(" , "), own(&[]));
        assert_eq!(list("<sip:a@b>, Bell"), None);
        assert_eq!(list("sip:a@b?Route=%3Csip:c%3E"), None);
    }

    /// The work grows with the text, not with its square: in time this would show as minutes.
    #[test]
    fn f3_brackets_quotes_and_commas_are_read_once() {
        for piece in ["<", ">", "<>", "\"", "\\\"", ",", "<a>,", "<sip:a@b>x", "\"<\","] {
            let text = piece.repeat(400_000 / piece.len());
            let _ = (NameAddr::parse(&text), NameAddr::list(&text));
        }
    }
}
