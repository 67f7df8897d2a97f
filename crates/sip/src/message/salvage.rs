//! Salvages from a malformed request what an answer to it needs.

use super::{Header, Message, Name, Start};
use bytes::Bytes;

/// Most octets read.
const SIGHT: usize = 8 * 1024;
/// Headers that an answer copies (RFC 3261 §8.2.6.2).
const COPIED: &[&str] = &["Via", "From", "To", "Call-ID", "CSeq"];
/// Most lines copied; an answer is never larger than its request.
const MAX_COPIED: usize = 40;

/// Returns the skeleton of a request that breaks the framing: method and the headers that an answer copies, for a stateless
/// 400, 505 or 513. `None` if it cannot be answered: a response, an ACK, no readable top Via, headers too far behind.
#[must_use]
pub fn salvage(octets: &Bytes) -> Option<Message> {
    let skipped = octets.iter().take_while(|b| b"\r\n".contains(b)).count();
    let text = &octets[skipped..octets.len().min(skipped + SIGHT)];
    let mut lines = text.split(|b| *b == b'\n').map(|l| l.strip_suffix(b"\r").unwrap_or(l));
    let first = std::str::from_utf8(lines.next()?).ok()?;
    let method = first.split_ascii_whitespace().next().filter(|m| m.bytes().all(crate::uri::is_token))?;
    if method == "ACK" {
        return None;
    }
    let mut message = Message::request(method, "");
    for line in lines {
        if line.is_empty() {
            break;
        }
        let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
        let Ok(name) = std::str::from_utf8(line[..colon].trim_ascii()) else { continue };
        let name = Name::from(name);
        let again = name.as_str() != "Via" && message.headers.iter().any(|h| h.name == name);
        if COPIED.contains(&name.as_str()) && !again && message.headers.len() < MAX_COPIED {
            let value = line[colon + 1..].trim_ascii();
            message.headers.push(Header { name, value: Bytes::copy_from_slice(value) });
        }
    }
    let Start::Request { .. } = message.start else { return None };
    message.via().is_some().then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_its_sender_is_answered_and_nothing_else() {
        let broken = "INVITE sip:a b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nno colon\r\nf: <sip:a@b>;tag=1\r\nFrom: twice\r\n\r\nVia: body";
        let found = salvage(&Bytes::from(broken)).map(|m| m.write()).unwrap_or_default();
        let found = String::from_utf8_lossy(&found).into_owned();
        assert!(found.starts_with("INVITE ") && found.contains("From: <sip:a@b>;tag=1\r\n"), "{found}");
        assert_eq!(found.matches("Via").count(), 1);
        for mute in [
            broken.replace("INVITE", "ACK"),
            broken.replace("SIP/2.0/UDP", "SIP/2.0"),
            "GET / HTTP/1.1\r\n\r\n".into(),
        ] {
            assert_eq!(salvage(&Bytes::from(mute.clone())), None, "{mute}");
        }
    }
}
