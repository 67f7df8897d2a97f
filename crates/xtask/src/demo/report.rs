//! Report of a call: the ladder of its messages, and figures of its sound.

use super::stage::Stage;
use testkit::baresip::Packets;
use testkit::clock;
use testkit::ladder::Step;
use testkit::phone::Event;

/// Width of one side of the ladder.
const SIDE: usize = 38;

/// Tone that somebody heard to the end.
pub struct Heard {
    /// Name of the one who hears: `rosa`, `desk phone`.
    pub who: &'static str,
    /// Frequency that it heard, Hz.
    pub hz: f64,
    /// Frequency that it was sent, Hz.
    pub wanted: f64,
}

/// Packets of an end.
struct Figures {
    sent: f64,
    received: f64,
    lost: String,
    jitter: String,
}

/// One call.
pub struct Report {
    title: &'static str,
    began: u64,
    notes: Vec<(u64, String)>,
    before: [usize; 4],
    sip: Vec<Step>,
    jingle: Vec<Step>,
    /// When it was answered, in ms since 1970.
    pub answered: Option<u64>,
    /// The codec on the Jingle side.
    pub codec: String,
    /// Tones, as they were heard at last.
    pub heard: Vec<Heard>,
    figures: Vec<(&'static str, Figures)>,
}

impl Report {
    /// Starts the clock of a call.
    pub fn begin(title: &'static str, stage: &Stage) -> Report {
        let [karl, voicemail] = stage.further_phones().map(|(_, phone)| phone.trace().len());
        Report {
            title,
            began: clock::now_ms(),
            notes: Vec::new(),
            before: [stage.rosa.trace().len(), stage.desk.trace().len(), karl, voicemail],
            sip: Vec::new(),
            jingle: Vec::new(),
            answered: None,
            codec: String::new(),
            heard: Vec::new(),
            figures: Vec::new(),
        }
    }

    /// Something that happened at `at` ms since 1970.
    pub fn note(&mut self, at: u64, what: &str) {
        self.notes.push((at, what.to_owned()));
    }

    /// Keeps the tone that somebody hears at last.
    pub fn hears(&mut self, who: &'static str, hz: f64, wanted: f64) {
        self.heard.push(Heard { who, hz, wanted });
    }

    /// The figures of both ends.
    pub fn figures(&mut self, rosa: &Event, desk: Packets) {
        let [sent, received, lost, jitter] =
            ["sent", "packets", "lost", "jitter"].map(|key| rosa.number(key));
        let (lost, jitter) = (format!("{lost}"), format!("{jitter:.2} ms"));
        self.figures.push(("rosa", Figures { sent, received, lost, jitter }));
        let unknown = || "?".to_owned();
        let desk = Figures {
            sent: desk.sent as f64,
            received: desk.received as f64,
            lost: desk.lost.map_or_else(unknown, |lost| lost.to_string()),
            jitter: desk.jitter.map_or_else(unknown, |jitter| format!("{jitter:.2} ms")),
        };
        self.figures.push(("desk phone", desk));
    }

    /// Messages on the wire since the call began; those of a further phone bear its name.
    pub fn take_traces(&mut self, stage: &Stage) {
        let [rosa, desk, further @ ..] = self.before;
        self.jingle = stage.rosa.trace().split_off(rosa);
        self.sip = stage.desk.trace().split_off(desk);
        for ((name, phone), before) in stage.further_phones().into_iter().zip(further) {
            let steps = phone.trace().split_off(before);
            // What comes to a further phone leaves the gateway towards SIP as what comes to the desk phone does.
            self.sip.extend(
                steps.into_iter().map(|step| Step { what: format!("{name}: {}", step.what), ..step }),
            );
        }
    }

    /// True when everybody heard the right tone to the end, and packets came where they are counted.
    pub fn good(&self) -> bool {
        !self.heard.is_empty()
            && self.heard.iter().all(|heard| (heard.hz - heard.wanted).abs() <= 5.0)
            && self.figures.iter().all(|(_, figures)| figures.received > 0.0)
    }

    /// Prints ladder and figures.
    pub fn print(&self) {
        println!("\n{}\n", self.title);
        println!("     ms  {:^SIDE$}   {:^SIDE$}", "phones ─ Tandem", "Tandem ─ rosa");
        for (at, text) in self.lines() {
            println!("{:>7}  {text}", at.saturating_sub(self.began));
        }
        if let Some(at) = self.answered {
            let codec = if self.codec.is_empty() { String::new() } else { format!(", codec {}", self.codec) };
            println!("\n  answered after {} ms{codec}", at.saturating_sub(self.began));
        }
        for Heard { who, hz, .. } in &self.heard {
            let figures = self.figures.iter().find(|(of, _)| of == who);
            let figures = figures.map_or_else(String::new, |(_, figures)| {
                let Figures { sent, received, lost, jitter } = figures;
                format!("   sent {sent:>4}  received {received:>4}  lost {lost:>2}  jitter {jitter}")
            });
            println!("  {who:<13} hears {hz:>6.1} Hz{figures}");
        }
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
