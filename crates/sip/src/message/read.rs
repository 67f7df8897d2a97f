use super::{Header, Message, Name, Start};
use bytes::Bytes;

/// Longest message (interworking §10.2).
pub const MAX_MESSAGE: usize = 64 * 1024;
/// Longest header block.
pub(super) const MAX_HEAD: usize = 32 * 1024;
/// Longest line, and longest value of folded ones (interworking §10.2).
pub const MAX_LINE: usize = 8 * 1024;
/// Most header lines; folded ones count too.
pub const MAX_HEADERS: usize = 500;

/// Reason for which a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Keep-alive white space, or nothing at all: silence.
    #[error("empty")]
    Empty,
    /// Not SIP: silence.
    #[error("no SIP message")]
    NoSip,
    /// A malformed response: silence.
    #[error("broken response")]
    BrokenResponse,
    /// A request of another version of SIP: 505.
    #[error("SIP version")]
    Version,
    /// A request that breaks the framing: 400, with what could be read.
    #[error("broken request: {0}")]
    BrokenRequest(&'static str),
    /// Over the limits: 513.
    #[error("message too large")]
    TooLarge,
}

/// Reads one message from a whole datagram, or from the octets that [`super::Stream`] framed.
///
/// # Errors
/// [`ReadError`] on framing only; [`crate::validate`] checks the meaning.
pub fn read(octets: &Bytes) -> Result<Message, ReadError> {
    if octets.len() > MAX_MESSAGE {
        return Err(ReadError::TooLarge);
    }
    let skipped = octets.iter().take_while(|b| b"\r\n".contains(b)).count();
    let octets = octets.slice(skipped..);
    if octets.is_empty() {
        return Err(ReadError::Empty);
    }
    let (start, mut at) = line(&octets, 0);
    if start.len() > MAX_LINE {
        return Err(ReadError::TooLarge);
    }
    let start = std::str::from_utf8(&octets[start]).map_err(|_| ReadError::NoSip)?;
    let start = first_line(start)?;
    let mut headers: Vec<Header> = vec![];
    let (mut lines, mut folded) = (0, vec![]);
    loop {
        if at >= octets.len() {
            break;
        }
        let (range, next) = line(&octets, at);
        at = next;
        if range.is_empty() {
            break;
        }
        lines += 1;
        if range.len() > MAX_LINE || at > MAX_HEAD || lines > MAX_HEADERS {
            return Err(ReadError::TooLarge);
        }
        if b" \t".contains(&octets[range.start]) {
            // A folded line continues the header before it (RFC 3261 §7.3.1).
            let more = trim(&octets, range);
            if let Some(header) = headers.last().filter(|_| !more.is_empty()) {
                if folded.is_empty() {
                    folded.extend_from_slice(&header.value);
                }
                if !folded.is_empty() {
                    folded.push(b' ');
                }
                folded.extend_from_slice(&octets[more]);
                if folded.len() > MAX_LINE {
                    return Err(ReadError::TooLarge);
                }
            }
            continue;
        }
        unfold(&mut headers, &mut folded);
        let colon = octets[range.clone()].iter().position(|b| *b == b':');
        let Some(colon) = colon else { return Err(broken(&start, "a header line without colon")) };
        let name = std::str::from_utf8(&octets[range.start..range.start + colon])
            .map(str::trim_end)
            .unwrap_or_default();
        if name.is_empty() || !name.bytes().all(crate::uri::is_token) {
            return Err(broken(&start, "a header name that is no token"));
        }
        let value = trim(&octets, range.start + colon + 1..range.end);
        headers.push(Header { name: Name::from(name), value: octets.slice(value) });
    }
    unfold(&mut headers, &mut folded);
    let message = Message { start, headers, body: octets.slice(at.min(octets.len())..) };
    with_length(message)
}

/// Joins the last header's value with its folded lines, once however many there are.
fn unfold(headers: &mut [Header], folded: &mut Vec<u8>) {
    if let Some(header) = headers.last_mut().filter(|_| !folded.is_empty()) {
        header.value = std::mem::take(folded).into();
    }
}

/// Cuts the body by Content-Length; octets after it are ignored on UDP (dblreq), too few are an error (clerr).
fn with_length(mut message: Message) -> Result<Message, ReadError> {
    let mut lengths = message
        .all("Content-Length")
        .map(|v| std::str::from_utf8(v).ok().and_then(|v| v.parse::<usize>().ok()));
    let first = lengths.next();
    if lengths.any(|other| Some(other) != first) {
        return Err(broken(&message.start, "several Content-Lengths"));
    }
    drop(lengths);
    match first {
        None => Ok(message),
        Some(Some(length)) if length <= message.body.len() => {
            message.body.truncate(length);
            Ok(message)
        }
        Some(Some(_)) => Err(broken(&message.start, "a body shorter than its Content-Length")),
        Some(None) => Err(broken(&message.start, "a Content-Length that is no number")),
    }
}

fn broken(start: &Start, why: &'static str) -> ReadError {
    match start {
        Start::Request { .. } => ReadError::BrokenRequest(why),
        Start::Response { .. } => ReadError::BrokenResponse,
    }
}

fn first_line(text: &str) -> Result<Start, ReadError> {
    if let Some(rest) = text.strip_prefix("SIP/2.0 ") {
        let (code, phrase) = rest.split_once(' ').unwrap_or((rest, ""));
        let code = (code.len() == 3).then(|| code.parse().ok()).flatten().filter(|c| (100..700).contains(c));
        return Ok(Start::Response {
            code: code.ok_or(ReadError::BrokenResponse)?,
            phrase: phrase.to_owned(),
        });
    }
    // White space around and between is forgiven (lwsstart, trws); inside the URI it is not (lwsruri).
    let words: Vec<&str> = text.split_ascii_whitespace().take(5).collect();
    match words.as_slice() {
        [method, uri, "SIP/2.0"] if method.bytes().all(crate::uri::is_token) => {
            Ok(Start::Request { method: (*method).to_owned(), uri: (*uri).to_owned() })
        }
        [_, .., version] if words.len() == 3 && version.starts_with("SIP/") => Err(ReadError::Version),
        [_, _, .., "SIP/2.0"] => Err(ReadError::BrokenRequest("a Request-URI with white space")),
        _ => Err(ReadError::NoSip),
    }
}

/// Returns the octets of a line without its end, and the start of the next. Bare LF ends a line too.
fn line(octets: &[u8], from: usize) -> (std::ops::Range<usize>, usize) {
    let end = octets[from..].iter().position(|b| *b == b'\n').map_or(octets.len(), |p| from + p);
    let cut = if end > from && octets.get(end - 1) == Some(&b'\r') { end - 1 } else { end };
    (from..cut, (end + 1).min(octets.len()))
}

fn trim(octets: &[u8], mut range: std::ops::Range<usize>) -> std::ops::Range<usize> {
    while range.start < range.end && b" \t".contains(&octets[range.start]) {
        range.start += 1;
    }
    while range.start < range.end && b" \t".contains(&octets[range.end - 1]) {
        range.end -= 1;
    }
    range
}
