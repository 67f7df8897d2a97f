//! Parameters and members of header values: `value;name=value`, `value, value` (RFC 3261 §7.3.1, §25.1).
//!
//! One rule: every scan is linear in its text, and parameters are counted. A quote without its partner is a character like any
//! other: it hides nothing behind it.

use std::fmt;

/// A parameter; `;lr` has no value. The name is in lower case.
pub type Parameter = (String, Option<String>);

/// Most parameters of a URI or of a header value; one with more is malformed.
pub const MAX_PARAMETERS: usize = 64;

/// Reads the parameters of a URI; `None` if they are too many.
pub(crate) fn of_uri(text: &str) -> Option<Vec<Parameter>> {
    read(text.split(';'), |part| part)
}

/// Splits `value;name=value;name`, where values may be quoted; `None` if the parameters are too many.
#[must_use]
pub fn split_params(text: &str) -> Option<(&str, Vec<Parameter>)> {
    let mut quotes = Quotes::of(text);
    let mut parts = text.split(move |c: char| !quotes.quoted(c) && c == ';');
    let head = parts.next().unwrap_or("");
    Some((head, read(parts, str::trim)?))
}

fn read<'a>(parts: impl Iterator<Item = &'a str>, trimmed: impl Fn(&str) -> &str) -> Option<Vec<Parameter>> {
    let mut params = vec![];
    for part in parts.map(&trimmed) {
        let (name, value) = part.split_once('=').map_or((part, None), |(name, value)| (name, Some(value)));
        let name = trimmed(name);
        if name.is_empty() {
            continue;
        }
        if params.len() == MAX_PARAMETERS {
            return None;
        }
        params.push((name.to_ascii_lowercase(), value.map(|value| trimmed(value).to_owned())));
    }
    Some(params)
}

pub(crate) fn write(f: &mut fmt::Formatter<'_>, params: &[Parameter]) -> fmt::Result {
    params.iter().try_for_each(|(name, value)| match value {
        Some(value) => write!(f, ";{name}={value}"),
        None => write!(f, ";{name}"),
    })
}

/// Splits a header value at the commas between its members.
#[must_use]
pub fn members(text: &str) -> Vec<&str> {
    cut(text).collect()
}

/// Returns the first member of a header value.
#[must_use]
pub fn first_member(text: &str) -> &str {
    cut(text).next().unwrap_or("")
}

fn cut(text: &str) -> impl Iterator<Item = &str> {
    let (mut quotes, mut angle) = (Quotes::of(text), false);
    let divides = move |c: char| {
        if quotes.quoted(c) {
            return false;
        }
        match c {
            '<' => angle = true,
            '>' => angle = false,
            _ => {}
        }
        c == ',' && !angle
    };
    text.split(divides).map(str::trim)
}

/// Quoted strings of a text, followed from its first character to its last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quotes {
    /// Number of quotes to come that have a partner.
    paired: usize,
    open: bool,
    escaped: bool,
}

impl Quotes {
    /// Counts the quotes of a text; the last of an odd number has no partner.
    pub(crate) fn of(text: &str) -> Quotes {
        let mut escaped = false;
        let marks = text.bytes().filter(|c| {
            let mark = *c == b'"' && !escaped;
            escaped = *c == b'\\' && !escaped;
            mark
        });
        let marks = marks.count();
        Quotes { paired: marks - marks % 2, ..Quotes::NONE }
    }

    /// No quote counts.
    pub(crate) const NONE: Quotes = Quotes { paired: 0, open: false, escaped: false };

    /// Takes the next character. Returns true if it stands in a quoted string, or begins one or ends it.
    pub(crate) fn quoted(&mut self, c: char) -> bool {
        let mark = c == '"' && !self.escaped && self.paired > 0;
        self.escaped = c == '\\' && !self.escaped;
        if !mark {
            return self.open;
        }
        self.paired -= 1;
        self.open = !self.open;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f3_parameters_are_counted() {
        let with = |count: usize| format!("x{}", ";a=1".repeat(count));
        let count = |text: &str| split_params(text).map(|(_, params)| params.len());
        assert_eq!(count(&with(MAX_PARAMETERS)), Some(MAX_PARAMETERS));
        assert_eq!(count(&with(MAX_PARAMETERS + 1)), None);
        assert_eq!(of_uri(&with(MAX_PARAMETERS + 1)), None);
        assert_eq!(count(&format!("x{}", ";".repeat(20_000))), Some(0), "nothing is no parameter");
    }

    #[test]
    fn quoted_strings_hide_what_divides() {
        assert_eq!(
            members("a, \"b, c\" <sip:d,e>;f=\"g,h\" , i"),
            ["a", "\"b, c\" <sip:d,e>;f=\"g,h\"", "i"]
        );
        assert_eq!(members(r#""a\", b", c"#), [r#""a\", b""#, "c"]);
        assert_eq!(first_member(" a , b"), "a");
        let (head, params) = split_params("a;B=\"c;d\" ; e = f;").unwrap();
        let own = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
        assert_eq!((head, params), ("a", vec![own("b", "\"c;d\""), own("e", "f")]));
    }

    #[test]
    fn c1_a_quote_without_partner_hides_nothing() {
        assert_eq!(members("\"a <sip:b>, c"), ["\"a <sip:b>", "c"]);
        assert_eq!(members("\"a\", \"b, c"), ["\"a\"", "\"b", "c"]);
        let (_, params) = split_params("<sip:a>;x=\"y;tag=1").unwrap();
        assert_eq!(params[1], ("tag".to_owned(), Some("1".to_owned())));
    }
}
