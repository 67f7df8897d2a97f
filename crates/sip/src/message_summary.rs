//! Message summaries: what a voicemail server tells of a box (RFC 3842 §5.2).
//!
//! One rule: servers leave parts out and have classes of their own; what is not understood is passed over.

/// Content type of a summary.
pub const CONTENT_TYPE: &str = "application/simple-message-summary";
/// Event package of a summary (RFC 3842 §3.1).
pub const EVENT: &str = "message-summary";
/// Most lines that are read.
const MAX_LINES: usize = 64;

/// Summary of a box.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// True if there are new messages.
    pub waiting: bool,
    /// URI of the box.
    pub account: Option<String>,
    /// New and old voice messages.
    pub voice: Option<(u32, u32)>,
    /// True if messages of other classes are counted.
    pub others: bool,
}

/// Reads a summary; `None` if it does not say whether messages wait, which alone is mandatory.
#[must_use]
pub fn read(body: &[u8]) -> Option<Summary> {
    let text = String::from_utf8_lossy(body);
    let mut summary = Summary::default();
    let mut waiting = None;
    // Headers of single messages follow an empty line.
    for line in text.lines().map(str::trim).take(MAX_LINES).take_while(|line| !line.is_empty()) {
        let Some((name, value)) = line.split_once(':') else { continue };
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        match name.as_str() {
            "messages-waiting" if value.eq_ignore_ascii_case("yes") => waiting = Some(true),
            "messages-waiting" if value.eq_ignore_ascii_case("no") => waiting = Some(false),
            "message-account" => {
                let uri = value.trim_matches(['<', '>']);
                summary.account = Some(uri.to_owned()).filter(|uri| !uri.is_empty() && uri.len() <= 1_024);
            }
            "voice-message" => summary.voice = counts(value).or(summary.voice),
            _ => summary.others |= counts(value).is_some(),
        }
    }
    summary.waiting = waiting?;
    Some(summary)
}

/// Reads `2/8 (0/1)`: new and old messages, the urgent ones of them behind; the old ones may be left out.
fn counts(value: &str) -> Option<(u32, u32)> {
    let all = value.split('(').next()?;
    let (new, old) = all.split_once('/').unwrap_or((all, "0"));
    Some((new.trim().parse().ok()?, old.trim().parse().ok()?))
}

impl Summary {
    /// Returns new and old voice messages; `None`: new ones, nobody says how many.
    #[must_use]
    pub fn counts(&self) -> Option<(u32, u32)> {
        match self.voice {
            Some((new, old)) => Some((if self.waiting { new } else { 0 }, old)),
            // What waits is a fax, or text.
            None if self.others || !self.waiting => Some((0, 0)),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(text: &str) -> Option<Option<(u32, u32)>> {
        read(text.as_bytes()).map(|summary| summary.counts())
    }

    /// R-MWI-1
    #[test]
    fn summaries_of_all_kinds_are_read() {
        let full = "Messages-Waiting: yes\r\nMessage-Account: sip:vm-2041@pbx.example\r\nVoice-Message: 2/8 (0/1)\r\n\r\n\
                    To: <sip:x@y>\r\nVoice-Message: 9/9\r\n";
        let summary = read(full.as_bytes()).unwrap();
        assert_eq!(summary.account.as_deref(), Some("sip:vm-2041@pbx.example"));
        assert_eq!((summary.waiting, summary.voice, summary.others), (true, Some((2, 8)), false));
        assert_eq!(read(full.replace("\r\n", "\n").as_bytes()), Some(summary), "line feeds alone");
        for (text, counts) in [
            ("Messages-Waiting: yes", None),
            ("messages-waiting:YES\nVoice-Message:3", Some((3, 0))),
            ("Messages-Waiting: no\r\nVoice-Message: 0/8 (0/0)", Some((0, 8))),
            ("Messages-Waiting: no", Some((0, 0))),
            ("Messages-Waiting: yes\nFax-Message: 1/0 (0/0)", Some((0, 0))),
            ("Messages-Waiting: yes\nX-Pigeon-Post: 4/1\nVoice-Message: 1/2", Some((1, 2))),
            ("Messages-Waiting: yes\nno colon\nVoice-Message : 1 / x", None),
            ("Messages-Waiting: yes\nVoice-Message: 99999999999/1", None),
            ("Message-Account: sip:a@b\nMessages-Waiting: yes\nVoice-Message: 5/6(1/2)", Some((5, 6))),
        ] {
            assert_eq!(counted(text), Some(counts), "{text}");
        }
        for text in
            ["", "Voice-Message: 2/8", "Messages-Waiting: perhaps", "\r\nMessages-Waiting: yes", "\u{0}"]
        {
            assert_eq!(counted(text), None, "{text}");
        }
        let many = format!("{}Messages-Waiting: yes", "X-A: 1/1\n".repeat(MAX_LINES));
        assert_eq!(counted(&many), None, "no more than that is read");
    }
}
