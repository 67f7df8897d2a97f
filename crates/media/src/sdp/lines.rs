//! Lines of a description that decide over a call: v=, m=, c= and a= (RFC 8866 §5).
//!
//! One rule: a line that nobody needs never decides over a call. All others are passed over, whatever stands in them. Lines end in CR,
//! LF or any number of them; blanks and NULs around a line or between its words mean nothing.

use super::attribute::unprintable;
use super::{MAX_CONTENTS, SdpError};

/// Attribute: its name, and its value or an empty one.
type Attribute<'a> = (&'a str, &'a str);

/// Section of a description (RFC 8866 §5.14): an m= line and what follows it.
#[derive(Debug)]
pub(super) struct Section<'a> {
    /// The m= line without `m=`.
    pub line: &'a str,
    /// Media, in lower case.
    pub media: String,
    /// Port, not read yet: only served media need one.
    pub port: &'a str,
    /// Transport protocol.
    pub proto: &'a str,
    /// Formats.
    pub formats: Vec<&'a str>,
    /// Values of its c= lines.
    pub connections: Vec<&'a str>,
    /// Its attributes.
    pub attributes: Vec<Attribute<'a>>,
}

/// Description, line by line.
#[derive(Debug, Default)]
pub(super) struct Lines<'a> {
    /// Values of the c= lines before the first section.
    pub connections: Vec<&'a str>,
    /// Attributes before the first section.
    pub attributes: Vec<Attribute<'a>>,
    /// Sections in order.
    pub sections: Vec<Section<'a>>,
}

/// Returns true for what means nothing around a line and between its words.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\0')
}

/// Splits a description into its lines.
///
/// # Errors
/// [`SdpError`] when there is no v= line, or one of another version, when an m= line names no media or protocol, or when there are too
/// many of them.
pub(super) fn split(text: &str) -> Result<Lines<'_>, SdpError> {
    let (mut lines, mut known) = (Lines::default(), false);
    for line in text.split(['\r', '\n']) {
        let line = line.trim_matches(is_blank);
        let Some((kind, value)) = line.split_once('=') else { continue };
        let value = value.trim_matches(is_blank);
        match kind.trim_end_matches(is_blank) {
            "v" if lines.sections.is_empty() => {
                if value != "0" {
                    return Err(SdpError::line(line, "is of no version that is known"));
                }
                known = true;
            }
            "m" if lines.sections.len() >= MAX_CONTENTS => return Err(SdpError::TooLarge),
            "m" => lines.sections.push(section(value)?),
            "c" => match lines.sections.last_mut() {
                Some(section) => section.connections.push(value),
                None => lines.connections.push(value),
            },
            "a" => {
                let Some(attribute) = attribute(value) else { continue };
                match lines.sections.last_mut() {
                    Some(section) => section.attributes.push(attribute),
                    None => lines.attributes.push(attribute),
                }
            }
            _ => {}
        }
    }
    if known { Ok(lines) } else { Err(SdpError::Syntax("there is no v= line".into())) }
}

fn section(value: &str) -> Result<Section<'_>, SdpError> {
    let mut words = value.split(is_blank).filter(|word| !word.is_empty());
    let (Some(media), Some(port), Some(proto)) = (words.next(), words.next(), words.next()) else {
        return Err(SdpError::line(&format!("m={value}"), "names no media, port and protocol"));
    };
    let media = media.to_ascii_lowercase();
    let (connections, attributes) = (vec![], vec![]);
    Ok(Section { line: value, media, port, proto, formats: words.collect(), connections, attributes })
}

/// Reads an attribute; `None` for one with control characters, which no other protocol could carry: of fmtp only the parameters that
/// hold them are dropped, by their reader.
fn attribute(value: &str) -> Option<Attribute<'_>> {
    let (name, value) = value.split_once(':').unwrap_or((value, ""));
    let (name, value) = (name.trim_matches(is_blank), value.trim_matches(is_blank));
    (name == "fmtp" || !value.contains(unprintable)).then_some((name, value))
}
