//! A voicemail server (SIPp) tells of rosa's box, and her client shows it.

use crate::rig::SOON;
use testkit::{Gateway, Phone, Prosody, Sipp, gateway, phone, ports, prosody};

struct Ends {
    rosa: Phone,
    gateway: Gateway,
    _server: Prosody,
}

fn ends() -> Ends {
    let server = Prosody::start(&["rosa"]).unwrap();
    let options = gateway::Options {
        trunk: Some(([127, 0, 0, 1], ports::block(2)).into()),
        aliases: vec![("2700".into(), "rosa".into())],
        ..Default::default()
    };
    let gateway = Gateway::start(&server, &options).unwrap();
    let rosa = Phone::start(&server, "rosa", &phone::Options::default()).unwrap();
    Ends { rosa, gateway, _server: server }
}

impl Ends {
    /// The server tells of the box of a number, and is answered with this code.
    fn told(&self, number: &str, counts: &str, code: &str) {
        let words = [("counts", counts), ("code", code)];
        let sipp = Sipp::start("uac_notify", &words, self.gateway.sip, &["-m", "1", "-s", number]).unwrap();
        sipp.finish(SOON).unwrap_or_else(|e| panic!("{e:#}\n{:#}", self.gateway.failure("was there")));
    }

    /// The next message that rosa's client shows: its sender and its text.
    fn shown(&mut self) -> (String, String) {
        let said = self.rosa.expect("said", SOON);
        let said = said.unwrap_or_else(|e| panic!("{e:#}\n{:#}", self.gateway.failure("was there")));
        (said.text("peer").to_owned(), said.text("body").to_owned())
    }
}

/// R-MWI-1, R-MWI-2: one message for a rise, none for what is told again; the words of the status know both numbers.
#[test]
fn rosa_is_told_of_new_voice_messages() {
    let mut ends = ends();
    ends.told("2700", "2/8", "200");
    let from_box = |text: &str| (format!("voicemail@{}", prosody::COMPONENT), text.to_owned());
    assert_eq!(ends.shown(), from_box("2 new voice messages (8 old)"));
    ends.told("2700", "2/8", "200");
    ends.told("2709", "1/0", "404");
    ends.rosa.say(prosody::COMPONENT, "status").unwrap();
    let (from, status) = ends.shown();
    assert_eq!(from, prosody::COMPONENT, "what is told again is no news: {status}");
    assert!(status.contains("Voicemail: on, 2 new / 8 old"), "{status}");
}
