//! The session description in a body: the whole of it, or a part of a multipart (RFC 5621; RFC 2046 §5.1).

use super::Message;
use bytes::Bytes;

/// Most parts read of one multipart body.
const MAX_PARTS: usize = 16;
/// Deepest nesting of multiparts.
const MAX_DEPTH: u8 = 3;

impl Message {
    /// Returns the session description of the message: a body of type application/sdp (or of no type at all), or the first
    /// such part of a multipart.
    #[must_use]
    pub fn sdp(&self) -> Option<Bytes> {
        if self.body.is_empty() {
            return None;
        }
        find(&self.body, self.text("Content-Type").unwrap_or("application/sdp"), MAX_DEPTH)
    }
}

fn find(body: &Bytes, kind: &str, depth: u8) -> Option<Bytes> {
    let mut params = kind.split(';').map(str::trim);
    let media = params.next().unwrap_or("").to_ascii_lowercase();
    if media == "application/sdp" {
        return Some(body.clone());
    }
    if !media.starts_with("multipart/") || depth == 0 {
        return None;
    }
    let boundary = params.find_map(|p| {
        let (name, value) = p.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    })?;
    parts(body, boundary).into_iter().find_map(|part| {
        let (kind, content) = split(&part);
        find(&content, &kind, depth - 1)
    })
}

/// Returns the parts between the delimiter lines; a missing last delimiter is forgiven.
fn parts(body: &Bytes, boundary: &str) -> Vec<Bytes> {
    let delimiter = format!("--{boundary}");
    let (mut found, mut open, mut at) = (vec![], None, 0);
    while at < body.len() && found.len() < MAX_PARTS {
        let end = body[at..].iter().position(|b| *b == b'\n').map_or(body.len(), |p| at + p + 1);
        let line = body[at..end].trim_ascii_end();
        let rest = line.strip_prefix(delimiter.as_bytes()).filter(|r| r.is_empty() || *r == b"--");
        if let Some(rest) = rest {
            if let Some(from) = open.take() {
                found.push(body.slice(from..without_line_end(body, from, at)));
            }
            if !rest.is_empty() {
                return found;
            }
            open = Some(end);
        }
        at = end;
    }
    if let Some(from) = open {
        found.push(body.slice(from..));
    }
    found
}

/// Cuts the line end before a delimiter, which belongs to it (RFC 2046 §5.1.1).
fn without_line_end(body: &[u8], from: usize, to: usize) -> usize {
    let part = &body[from..to];
    let part = part.strip_suffix(b"\n").unwrap_or(part);
    from + part.strip_suffix(b"\r").unwrap_or(part).len()
}

/// Splits a part into type and content.
fn split(part: &Bytes) -> (String, Bytes) {
    let (mut kind, mut at) = ("text/plain".to_owned(), 0);
    while at < part.len() {
        let end = part[at..].iter().position(|b| *b == b'\n').map_or(part.len(), |p| at + p + 1);
        let line = part[at..end].trim_ascii();
        at = end;
        if line.is_empty() {
            break;
        }
        let line = String::from_utf8_lossy(line);
        if let Some((name, value)) = line.split_once(':')
            && ["content-type", "c"].contains(&name.trim().to_ascii_lowercase().as_str())
        {
            kind = value.trim().to_owned();
        }
    }
    (kind, part.slice(at.min(part.len())..))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: &str, body: &str) -> Message {
        Message::request("INVITE", "sip:a@b").with_body(kind, body.to_owned())
    }

    /// R-SDP-15
    #[test]
    fn the_sdp_part_is_found_wherever_it_stands() {
        let inner = "--in\r\nContent-Type: text/html\r\n\r\n<b>\r\n--in\r\nContent-Type: application/sdp\r\n\r\nv=0\r\ns=-\r\n\r\n--in--\r\n";
        let outer = format!(
            "preamble\r\n--out\r\n\r\ntext\r\n--out\r\nc: multipart/alternative; boundary=\"in\"\r\n\r\n{inner}\r\n--out--\r\n"
        );
        let sdp = message("multipart/mixed;boundary=out", &outer).sdp().unwrap_or_default();
        assert_eq!(sdp, "v=0\r\ns=-\r\n");
        assert_eq!(message("application/sdp;x=y", "v=0\r\n").sdp().unwrap_or_default(), "v=0\r\n");
    }

    #[test]
    fn what_holds_none_is_none_and_nothing_is_without_bound() {
        assert_eq!(message("text/plain", "v=0").sdp(), None);
        assert_eq!(message("multipart/mixed", "--x\r\n\r\nv=0").sdp(), None, "no boundary named");
        assert_eq!(message("multipart/mixed;boundary=x", "--xx\r\n\r\nv=0").sdp(), None);
        let many = "--x\r\n\r\na\r\n".repeat(40) + "--x\r\nContent-Type: application/sdp\r\n\r\nv=0";
        assert_eq!(message("multipart/mixed;boundary=x", &many).sdp(), None);
        let deep = (0..9).fold("v=0".to_owned(), |body, _| {
            format!("--x\r\nContent-Type: multipart/mixed;boundary=x\r\n\r\n{body}")
        });
        assert_eq!(message("multipart/mixed;boundary=x", &deep).sdp(), None);
    }
}
