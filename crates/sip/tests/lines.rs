//! Lines and codecs of a dialog's descriptions, over all its offers and answers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod bench;

use bench::*;
use signal::media::{Codec, Direction};
use signal::*;
use tandem_sip::message::Message;

/// Lines of a message's description that begin so.
fn lines(message: &Message, kind: &str) -> Vec<String> {
    let text = std::str::from_utf8(&message.body).unwrap();
    text.lines().filter(|line| line.starts_with(kind)).map(str::to_owned).collect()
}

/// Media, port and protocol of each m= line; what formats stand behind them says nothing where the port is 0.
fn places(message: &Message) -> Vec<String> {
    let place = |line: &String| line.split(' ').take(3).collect::<Vec<_>>().join(" ");
    lines(message, "m=").iter().map(place).collect()
}

fn held() -> Media {
    let mut hold = media();
    hold.contents[0].direction = Direction::Send;
    hold
}

/// RFC 3264 §8: what is not served keeps its place in every later description, whoever offers.
#[test]
fn d2_m_lines_never_vanish_or_move() {
    for others in [
        "m=image 5000 udptl t38\r\n",
        "m=text 5000 RTP/AVP 98\r\na=rtpmap:98 t140/1000\r\n",
        "m=application 5000 UDP/DTLS/SCTP webrtc-datachannel\r\n",
    ] {
        for first in [false, true] {
            let (head, audio) = SDP.split_at(SDP.find("m=").unwrap());
            let theirs = if first { [head, others, audio] } else { [head, audio, others] }.concat();
            let mut ours = held();
            if others.starts_with("m=text") {
                // Text is a content, which the call rejects in its place.
                let mut text = ours.contents[0].clone();
                (text.rejected, text.kind) = (true, signal::media::Kind::Text);
                text.codecs = vec![Codec::new(98, "t140", 1_000, 1)];
                ours.contents.insert(if first { 0 } else { 1 }, text);
            }
            let mut b = bench("one");
            b.hear(request("INVITE", 1, TO, &theirs));
            let heard = b.commit(1);
            let said = b.say(state(heard.leg, 1, heard.dialog), 2, Signal::Answer(ours.clone()), None);
            let answered = places(b.sent.last().unwrap());
            let to = b.sent.last().unwrap().text("To").unwrap().to_owned();
            b.hear(request("ACK", 1, &to, ""));
            b.sent.clear();
            // A hold of ours.
            b.say(state(heard.leg, 2, said.dialog.unwrap()), 3, Signal::Update(ours), None);
            let offer = b.sent.remove(0);
            assert_eq!(places(&offer), answered, "{theirs}");
            assert_eq!(answered.len(), 2);
            assert!(answered[usize::from(!first)].contains(" 0 "), "{answered:?}");
            // An answer that leaves lines out takes none away.
            b.hear(answer(&offer, 200, SDP));
            let heard = b.commit(4);
            b.sent.clear();
            b.hear(request("INVITE", 2, &to, ""));
            assert_eq!(places(b.sent.last().unwrap()), answered, "{theirs} {heard:?}");
        }
    }
}

/// RFC 3264 §8.3.2: a peer that asks for an offer finds the codec in use, and no other to change to.
#[test]
fn d5_an_offer_in_a_200_has_the_codecs_in_use_alone() {
    let mut offered = media();
    offered.contents[0].codecs = vec![
        Codec::new(9, "G722", 8_000, 1),
        Codec::new(8, "PCMA", 8_000, 1),
        Codec::new(0, "PCMU", 8_000, 1),
        Codec::new(101, "telephone-event", 8_000, 1),
    ];
    let mut b = bench("one");
    let leg = LegRef { record: Secret::new(b"test").call_of_jingle("rosa@x/1", "s"), leg: LegId(1) };
    let opening = Opening {
        from: Party::sip("sip:rosa@im.example"),
        to: Party::sip("sip:2041@pbx.example"),
        link: "pbx".into(),
        hops: 69,
        diverted: None,
        referral: None,
    };
    b.say(state(leg, 0, vec![]), 1, Signal::Offer(offered), Some(opening));
    let invite = b.sent.remove(0);
    assert_eq!(lines(&invite, "m="), ["m=audio 30000 RTP/AVP 9 8 0 101"]);
    let took = SDP.replace("AVP 0", "AVP 8 0 96") + "a=rtpmap:96 telephone-event/8000\r\n";
    b.hear(answer(&invite, 200, &took));
    b.commit(2);
    let (ours, theirs) = (invite.text("From").unwrap(), "<sip:2041@pbx.example>;tag=b");
    let call_id = format!("Call-ID: {}\r\n", invite.text("Call-ID").unwrap());
    b.sent.clear();
    let again = request("INVITE", 1, ours, "").replace("Call-ID: c1\r\n", &call_id);
    b.hear(again.replace("<sip:2041@pbx.example>;tag=a", theirs));
    assert_eq!(lines(b.sent.last().unwrap(), "m="), ["m=audio 30000 RTP/AVP 8 101"]);
    assert_eq!(lines(b.sent.last().unwrap(), "o=")[0].split(' ').nth(2), Some("2"));
}

/// RFC 3261 §21.4.26: a refusal says why; the person who reads a trace finds the line.
#[test]
fn d9_a_host_name_in_a_connection_line_is_refused_with_a_warning() {
    let named = SDP.replace("c=IN IP4 192.0.2.9", "c=IN IP4 carrier.example");
    assert_ne!(named, SDP);
    let mut b = bench("one");
    b.hear(request("INVITE", 1, TO, &named));
    let refusal = b.sent.last().unwrap();
    assert_eq!(refusal.code(), Some(488));
    let warning = refusal.text("Warning").unwrap();
    assert!(warning.starts_with("301 tandem \"c=IN IP4 carrier.example "), "{warning}");
}
