//! Report of a call: the ladder of its messages, and figures of its sound.

use super::stage::{DESK_TONE, ROSA_TONE};
use testkit::baresip::Packets;
use testkit::ladder::Step;
use testkit::phone::Event;
use testkit::{Baresip, Phone, clock};

/// Width of one side of the ladder.
const SIDE: usize = 38;

/// One call.
pub struct Report {
    title: &'static str,
    began: u64,
    notes: Vec<(u64, String)>,
    before: (usize, usize),
    sip: Vec<Step>,
    jingle: Vec<Step>,
    /// When it was answered, in ms since 1970.
    pub answered: Option<u64>,
    /// The codec on the Jingle side.
    pub codec: String,
    /// Tone that rosa's client received to the end, Hz.
    pub rosa_hears: f64,
    /// Tone that the desk phone received to the end, Hz.
    pub desk_hears: f64,
    rosa: [f64; 4],
    desk: Packets,
}

impl Report {
    /// Starts the clock of a call.
    pub fn begin(title: &'static str, desk: &Baresip, rosa: &Phone) -> Report {
        Report {
            title,
            began: clock::now_ms(),
            notes: Vec::new(),
            before: (desk.trace().len(), rosa.trace().len()),
            sip: Vec::new(),
            jingle: Vec::new(),
            answered: None,
            codec: String::new(),
            rosa_hears: 0.0,
            desk_hears: 0.0,
            rosa: [0.0; 4],
            desk: Packets::default(),
        }
    }

    /// Something that happened at `at` ms since 1970.
    pub fn note(&mut self, at: u64, what: &str) {
        self.notes.push((at, what.to_owned()));
    }

    /// The figures of both ends.
    pub fn figures(&mut self, rosa: &Event, desk: Packets) {
        self.rosa = ["sent", "packets", "lost", "jitter"].map(|key| rosa.number(key));
        self.desk = desk;
    }

    /// Messages on the wire since the call began.
    pub fn take_traces(&mut self, desk: &Baresip, rosa: &Phone) {
        self.sip = desk.trace().split_off(self.before.0);
        self.jingle = rosa.trace().split_off(self.before.1);
    }

    /// True when both heard the right tone to the end.
    pub fn good(&self) -> bool {
        let heard = |hz: f64, wanted: f64| (hz - wanted).abs() <= 5.0;
        heard(self.rosa_hears, DESK_TONE)
            && heard(self.desk_hears, ROSA_TONE)
            && self.rosa[1] > 0.0
            && self.desk.received > 0
    }

    /// Prints ladder and figures.
    pub fn print(&self) {
        println!("\n{}\n", self.title);
        println!("     ms  {:^SIDE$}   {:^SIDE$}", "desk phone ─ Tandem", "Tandem ─ rosa");
        for (at, text) in self.lines() {
            println!("{:>7}  {text}", at.saturating_sub(self.began));
        }
        let answered = self.answered.map_or(0, |at| at.saturating_sub(self.began));
        println!("\n  answered after {answered} ms (it rings for 800), codec {}", self.codec);
        let row = |who: &str, hz: f64, sent: f64, got: f64, lost: String, jitter: String| {
            println!(
                "  {who:<11} hears {hz:>5.1} Hz   sent {sent:>4}  received {got:>4}  lost {lost:>2}  jitter {jitter}"
            );
        };
        let [sent, received, lost, jitter] = self.rosa;
        row("rosa", self.rosa_hears, sent, received, format!("{lost}"), format!("{jitter:.2} ms"));
        let desk = &self.desk;
        let unknown = || "?".to_owned();
        row(
            "desk phone",
            self.desk_hears,
            desk.sent as f64,
            desk.received as f64,
            desk.lost.map_or_else(unknown, |lost| lost.to_string()),
            desk.jitter.map_or_else(unknown, |jitter| format!("{jitter:.2} ms")),
        );
    }

    /// Everything in the order of time.
    fn lines(&self) -> Vec<(u64, String)> {
        let left = self.sip.iter().map(|s| (s.at, arrow(&s.what, s.sent)));
        let right = self.jingle.iter().map(|s| (s.at, format!("{:SIDE$}   {}", "", arrow(&s.what, !s.sent))));
        let notes = self.notes.iter().map(|(at, what)| (*at, format!("· {what}")));
        let mut lines: Vec<(u64, String)> = left.chain(right).chain(notes).collect();
        lines.sort_by_key(|(at, _)| *at);
        lines
    }
}

/// `── INVITE ────▶` or `◀──── 200 OK ──`.
fn arrow(what: &str, rightwards: bool) -> String {
    let what: String = what.chars().take(SIDE - 6).collect();
    let line = "─".repeat(SIDE.saturating_sub(what.chars().count() + 5));
    if rightwards { format!("── {what} {line}▶") } else { format!("◀{line} {what} ──") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_have_one_width() {
        for what in ["BYE", "session-terminate (unsupported-applications)", ""] {
            for rightwards in [true, false] {
                assert_eq!(arrow(what, rightwards).chars().count(), SIDE, "{what}");
            }
        }
    }
}
