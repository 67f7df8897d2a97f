//! Messages on the wire at the two ends of the gateway, in the order of time: the peers' own traces, side by side.

use crate::log::Line;
use std::fmt::Write;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When, in ms since 1970.
    pub at: u64,
    /// True when the peer sent it, false when it came to the peer.
    pub sent: bool,
    /// Name: `INVITE`, `180 Ringing`, `propose`, `session-accept`…
    pub what: String,
}

/// The SIP messages in baresip's trace: `UDP a:p -> b:q` and the start line after it.
#[must_use]
pub fn sip(lines: &[Line], own: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = lines
        .windows(2)
        .filter_map(|pair| {
            let [head, start] = pair else { return None };
            let (from, _) =
                head.text.strip_prefix("UDP ").or(head.text.strip_prefix("TCP "))?.split_once(" -> ")?;
            let what = match start.text.strip_prefix("SIP/2.0 ") {
                Some(status) => status.to_owned(),
                None => start.text.strip_suffix(" SIP/2.0")?.split(' ').next()?.to_owned(),
            };
            Some(Step { at: head.at, sent: from == own, what })
        })
        .collect();
    // A 200 does not say what it answers; the request before it that has no answer yet does.
    let mut open: Vec<(bool, String)> = Vec::new();
    for step in &mut steps {
        let status = step.what.split(' ').next().and_then(|code| code.parse::<u16>().ok());
        match status {
            None if step.what != "ACK" => open.push((step.sent, step.what.clone())),
            Some(code) if code >= 200 => {
                // CANCEL and BYE are answered before the INVITE that they end.
                if let Some(at) = open.iter().rposition(|(sent, _)| *sent != step.sent) {
                    let (_, method) = open.remove(at);
                    let _ = write!(step.what, " ({method})");
                }
            }
            _ => {}
        }
    }
    steps
}

/// The Jingle and JMI stanzas in the phone's trace: `<!-- in|out seconds --> stanza`.
#[must_use]
pub fn jingle(lines: &[Line]) -> Vec<Step> {
    let read = |line: &Line| {
        let (head, stanza) = line.text.strip_prefix("<!-- ")?.split_once(" --> ")?;
        let (way, seconds) = head.split_once(' ')?;
        let at = (seconds.parse::<f64>().ok()? * 1000.0) as u64;
        Some(Step { at, sent: way == "out", what: stanza_name(stanza)? })
    };
    lines.iter().filter_map(read).collect()
}

fn stanza_name(stanza: &str) -> Option<String> {
    if let Some((_, rest)) = stanza.split_once("<jingle ") {
        let tag = rest.split_once('>')?.0;
        let action = tag.split_once("action=\"")?.1.split_once('"')?.0;
        if action == "session-info" {
            let info = rest.split_once("><")?.1.split([' ', '/', '>']).next()?;
            return Some(format!("session-info ({info})"));
        }
        let reason = rest.split_once("<reason").and_then(|(_, r)| r.split_once('<')).map(|(_, r)| r);
        let reason = reason.and_then(|r| r.split([' ', '/', '>']).next());
        return Some(reason.map_or(action.to_owned(), |reason| format!("{action} ({reason})")));
    }
    // A JMI element is the one in its namespace.
    let (before, _) = stanza.split_once("xmlns=\"urn:xmpp:jingle-message:0\"")?;
    let name = before.rsplit_once('<')?.1.split(' ').next()?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Log, Stream};

    fn lines(text: &str) -> Vec<Line> {
        let log = Log::default();
        log.copy(Stream::Out, text.as_bytes());
        log.since(0)
    }

    #[test]
    fn sip_messages_by_name_and_answers_by_what_they_answer() {
        let trace = "#\nUDP 127.0.0.1:1 -> 127.0.0.1:2\nINVITE sip:a@b SIP/2.0\nVia: x\n\
             UDP 127.0.0.1:2 -> 127.0.0.1:1\nSIP/2.0 180 Ringing\nUDP 127.0.0.1:1 -> 127.0.0.1:2\nCANCEL sip:a@b SIP/2.0\n\
             UDP 127.0.0.1:2 -> 127.0.0.1:1\nSIP/2.0 200 OK\nUDP 127.0.0.1:2 -> 127.0.0.1:1\nSIP/2.0 487 Gone\n";
        let steps = sip(&lines(trace), "127.0.0.1:1");
        let shown: Vec<String> = steps.iter().map(|s| format!("{} {}", s.sent, s.what)).collect();
        let wanted = [
            "true INVITE",
            "false 180 Ringing",
            "true CANCEL",
            "false 200 OK (CANCEL)",
            "false 487 Gone (INVITE)",
        ];
        assert_eq!(shown, wanted);
    }

    #[test]
    fn stanzas_by_their_action() {
        let trace = r#"
<!-- in 1.500 --> <message from="a"><propose xmlns="urn:xmpp:jingle-message:0" id="1"><description/></propose></message>
<!-- out 2.000 --> <iq type="set"><jingle xmlns="urn:xmpp:jingle:1" sid="1" action="session-info"><ringing xmlns="y" /></jingle></iq>
<!-- out 3.000 --> <iq type="set"><jingle xmlns="urn:xmpp:jingle:1" action="session-terminate" sid="1"><reason><success /></reason></jingle></iq>
noise
"#;
        let steps = jingle(&lines(trace));
        assert_eq!(steps[0], Step { at: 1500, sent: false, what: "propose".into() });
        assert_eq!(steps[1].what, "session-info (ringing)");
        assert_eq!(steps[2], Step { at: 3000, sent: true, what: "session-terminate (success)".into() });
        assert_eq!(steps.len(), 3);
    }
}
