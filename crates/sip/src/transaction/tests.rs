//! R-SIP-1: every timer of RFC 3261 §17 and RFC 6026 on virtual time, on both kinds of transport, with loss.

use super::*;
use crate::message::Message;
use signal::Time;

fn run(machine: &mut Machine, from: u64, to: u64) -> Vec<(u64, Act)> {
    let mut seen = vec![];
    while let Some(at) = machine.deadline().filter(|t| t.0 <= to) {
        assert!(at.0 >= from);
        seen.extend(machine.tick(at).into_iter().map(|act| (at.0, act)));
    }
    seen
}

fn sends(seen: &[(u64, Act)]) -> Vec<u64> {
    seen.iter().filter(|(_, a)| *a == Act::Send).map(|(t, _)| *t).collect()
}

#[test]
fn timer_a_doubles_and_timer_b_ends_a_silent_invite() {
    let (mut m, acts) = Machine::new(Kind::InviteClient, false, Time(0));
    assert_eq!(acts.as_slice(), [Act::Send]);
    let seen = run(&mut m, 0, 40_000);
    assert_eq!(sends(&seen), [500, 1_500, 3_500, 7_500, 15_500, 31_500]);
    assert_eq!(seen.last(), Some(&(32_000, Act::TimedOut)));
    assert_eq!(m.state(), State::Terminated);
}

#[test]
fn on_a_stream_an_invite_is_sent_once_and_still_times_out() {
    let (mut m, _) = Machine::new(Kind::InviteClient, true, Time(0));
    assert_eq!(run(&mut m, 0, 40_000), [(32_000, Act::TimedOut)]);
}

#[test]
fn a_provisional_response_stops_timers_a_and_b() {
    let (mut m, _) = Machine::new(Kind::InviteClient, false, Time(0));
    assert_eq!(m.response(180, Time(600)).as_slice(), [Act::Deliver]);
    assert_eq!((m.state(), m.deadline()), (State::Proceeding, Some(Time(300_600))));
    assert_eq!(m.response(183, Time(700)).as_slice(), [Act::Deliver]);
    assert_eq!(
        run(&mut m, 0, 400_000),
        [(300_700, Act::TimedOut)],
        "what its user forgot is not kept for ever"
    );
}

#[test]
fn an_invite_that_nobody_answers_leaves_the_table() {
    let (mut m, _) = Machine::new(Kind::InviteServer, false, Time(0));
    assert_eq!(m.deadline(), Some(Time(300_000)), "not even a 100");
    m.respond(100, Time(10));
    m.respond(180, Time(60_000));
    assert_eq!(m.deadline(), Some(Time(360_000)));
    assert_eq!(run(&mut m, 0, 400_000), []);
    assert_eq!((m.state(), m.deadline()), (State::Terminated, None));
}

#[test]
fn a_failure_is_acknowledged_each_time_until_timer_d() {
    for (reliable, ends) in [(false, 33_000), (true, 1_000)] {
        let (mut m, _) = Machine::new(Kind::InviteClient, reliable, Time(0));
        assert_eq!(m.response(486, Time(1_000)).as_slice(), [Act::Acknowledge, Act::Deliver]);
        assert_eq!(
            m.response(486, Time(1_000)).as_slice(),
            [Act::Acknowledge],
            "heard once, acknowledged again"
        );
        assert_eq!(m.deadline(), Some(Time(ends)));
        assert!(run(&mut m, 0, 50_000).is_empty());
        assert_eq!(m.state(), State::Terminated);
    }
}

#[test]
fn every_2xx_reaches_the_user_until_timer_m() {
    let (mut m, _) = Machine::new(Kind::InviteClient, false, Time(0));
    assert_eq!(m.response(200, Time(100)).as_slice(), [Act::Deliver]);
    assert_eq!(m.response(200, Time(600)).as_slice(), [Act::Deliver]);
    assert!(m.response(486, Time(700)).is_empty());
    assert_eq!((m.state(), m.deadline()), (State::Accepted, Some(Time(32_100))));
    assert!(run(&mut m, 0, 40_000).is_empty());
    assert_eq!(m.state(), State::Terminated);
}

#[test]
fn timer_e_doubles_to_t2_and_timer_f_ends_it() {
    let (mut m, _) = Machine::new(Kind::Client, false, Time(0));
    let seen = run(&mut m, 0, 40_000);
    assert_eq!(sends(&seen), [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
    assert_eq!(seen.last(), Some(&(32_000, Act::TimedOut)));
}

#[test]
fn timer_e_is_t2_after_a_provisional_and_timer_f_still_runs() {
    let (mut m, _) = Machine::new(Kind::Client, false, Time(0));
    m.response(100, Time(200));
    let seen = run(&mut m, 0, 40_000);
    assert_eq!(sends(&seen)[..3], [500, 4_500, 8_500]);
    assert_eq!(seen.last(), Some(&(32_000, Act::TimedOut)));
}

#[test]
fn timer_k_absorbs_repeated_finals() {
    for (reliable, ends) in [(false, 5_100), (true, 100)] {
        let (mut m, _) = Machine::new(Kind::Client, reliable, Time(0));
        assert_eq!(m.response(200, Time(100)).as_slice(), [Act::Deliver]);
        assert!(m.response(200, Time(100)).is_empty());
        assert_eq!(m.deadline(), Some(Time(ends)));
    }
}

#[test]
fn timer_g_repeats_a_failure_until_the_ack_and_timer_i_absorbs() {
    let (mut m, _) = Machine::new(Kind::InviteServer, false, Time(0));
    assert_eq!(m.respond(100, Time(0)).as_slice(), [Act::Send]);
    assert_eq!(m.request().as_slice(), [Act::Send], "the last provisional again");
    assert_eq!(m.respond(486, Time(1_000)).as_slice(), [Act::Send]);
    assert_eq!(sends(&run(&mut m, 0, 9_000)), [1_500, 2_500, 4_500, 8_500]);
    assert!(m.ack(Time(9_000)).is_empty());
    assert_eq!((m.state(), m.deadline()), (State::Confirmed, Some(Time(14_000))));
    assert!(m.request().is_empty() && m.ack(Time(9_100)).is_empty());
    run(&mut m, 0, 20_000);
    assert_eq!(m.state(), State::Terminated);
}

#[test]
fn timer_h_gives_up_on_the_ack() {
    for reliable in [false, true] {
        let (mut m, _) = Machine::new(Kind::InviteServer, reliable, Time(0));
        m.respond(404, Time(0));
        let seen = run(&mut m, 0, 40_000);
        assert_eq!(seen.last(), Some(&(32_000, Act::TimedOut)));
        assert_eq!(sends(&seen).is_empty(), reliable);
    }
}

#[test]
fn timer_l_keeps_an_accepted_invite_for_its_repetitions() {
    let (mut m, _) = Machine::new(Kind::InviteServer, false, Time(0));
    assert_eq!(m.respond(200, Time(10)).as_slice(), [Act::Send]);
    assert!(m.request().is_empty(), "the dialog repeats its 2xx by itself");
    assert_eq!(m.respond(200, Time(510)).as_slice(), [Act::Send]);
    assert!(m.respond(486, Time(520)).is_empty(), "too late");
    assert_eq!(m.ack(Time(600)).as_slice(), [Act::Deliver]);
    assert_eq!(m.deadline(), Some(Time(32_010)));
}

#[test]
fn timer_j_answers_repeated_requests() {
    for (reliable, ends) in [(false, 32_000), (true, 0)] {
        let (mut m, _) = Machine::new(Kind::Server, reliable, Time(0));
        assert!(m.request().is_empty(), "nothing to repeat yet");
        m.respond(200, Time(0));
        assert_eq!(m.request().as_slice(), [Act::Send]);
        assert_eq!(m.deadline(), Some(Time(ends)));
    }
}

fn invite(branch: &str, method: &str) -> Message {
    Message::request(method, "sip:2041@pbx.example")
        .with("Via", format!("SIP/2.0/UDP 192.0.2.1:5060;branch={branch};rport"))
        .with("From", "<sip:a@b>;tag=f1")
        .with("To", "<sip:2041@pbx.example>")
        .with("Call-ID", "c1")
        .with("CSeq", format!("7 {method}"))
}

fn sent(table: &mut Table<u8, ()>) -> Vec<String> {
    std::iter::from_fn(|| table.poll())
        .filter_map(|o| {
            if let Output::Send(_, octets) = o {
                Some(String::from_utf8_lossy(&octets).into_owned())
            } else {
                None
            }
        })
        .collect()
}

/// Two tables joined by a line that loses every second datagram: the call is set up and refused all the same.
#[test]
fn a_lossy_line_delays_and_loses_nothing() {
    for code in [200, 486] {
        let (mut here, mut there) = (Table::new(10), Table::<u8, ()>::new(10));
        let (mut now, mut lost, mut heard) = (Time(0), 0, vec![]);
        let key = here.send(invite("z9hG4bKa1", "INVITE"), 0, false, (), now).unwrap();
        for _ in 0..200 {
            let wire: Vec<_> = sent(&mut here)
                .into_iter()
                .map(|m| (true, m))
                .chain(sent(&mut there).into_iter().map(|m| (false, m)))
                .collect();
            for (forth, text) in wire {
                lost += 1;
                if lost % 2 == 1 {
                    continue;
                }
                let message = crate::message::read(&text.into()).unwrap();
                if forth {
                    if let Incoming::New(key) = there.request(&message, 0, false, now) {
                        there.respond(&key, &Message::response(&message, 100, "Trying", ""), now);
                        there.respond(&key, &Message::response(&message, code, "Final", "t1"), now);
                    } else if code == 200 && message.method().as_deref() == Some("INVITE") {
                        // The dialog's own repetition of its 2xx.
                        let key = Key::of_request(&message).unwrap();
                        there.respond(&key, &Message::response(&message, 200, "Final", "t1"), now);
                    }
                } else if let Ok(Some(_)) = here.response(&message, now) {
                    heard.push(message.code().unwrap());
                }
            }
            now = now + 100;
            here.tick(now);
            there.tick(now);
        }
        assert!(heard.contains(&code) && heard.iter().filter(|c| **c == code).count() <= 3, "{heard:?}");
        let state = here.state(&key);
        assert!(matches!(state, Some(State::Accepted | State::Completed)), "{state:?}");
        now = now + 200_000;
        here.tick(now);
        there.tick(now);
        assert!(here.is_empty() && there.is_empty(), "nothing is kept for ever");
    }
}

#[test]
fn the_ack_of_a_refused_invite_is_built_by_the_book() {
    let mut table = Table::<u8, ()>::new(10);
    let request = invite("z9hG4bKa1", "INVITE").with("Route", "<sip:p1;lr>");
    table.send(request.clone(), 0, false, (), Time(0)).unwrap();
    sent(&mut table);
    let response = Message::response(&request, 486, "Busy Here", "t9");
    assert!(table.response(&response, Time(5)).unwrap().is_some());
    let ack = sent(&mut table).concat();
    for line in [
        "ACK sip:2041@pbx.example SIP/2.0",
        "branch=z9hG4bKa1",
        "To: <sip:2041@pbx.example>;tag=t9",
        "CSeq: 7 ACK",
        "Route: <sip:p1;lr>",
    ] {
        assert!(ack.contains(line), "{line} in {ack}");
    }
}

#[test]
fn merged_and_unknown_and_excess_messages_are_told_apart() {
    let mut table = Table::<u8, ()>::new(2);
    let Incoming::New(key) = table.request(&invite("z9hG4bKa1", "INVITE"), 0, false, Time(0)) else {
        panic!()
    };
    assert_eq!(table.request(&invite("z9hG4bKa1", "INVITE"), 0, false, Time(0)), Incoming::Again);
    assert_eq!(
        table.request(&invite("z9hG4bKb2", "INVITE"), 0, false, Time(0)),
        Incoming::Merged,
        "another branch, same request"
    );
    assert_eq!(Key::cancelled_by(&invite("z9hG4bKa1", "CANCEL")), Some(key));
    assert!(matches!(table.request(&invite("z9hG4bKa1", "CANCEL"), 0, false, Time(0)), Incoming::New(_)));
    assert_eq!(
        table.request(&invite("z9hG4bKc3", "OPTIONS").with("From", ""), 0, false, Time(0)),
        Incoming::Merged
    );
    let mut other = invite("z9hG4bKd4", "OPTIONS");
    other.headers[3].value = "c2".into();
    assert_eq!(table.request(&other, 0, false, Time(0)), Incoming::Full);
    assert!(
        table.response(&Message::response(&invite("z9hG4bKzz", "INVITE"), 200, "OK", "t"), Time(0)).is_err()
    );
    let two_vias = Message::response(&invite("z9hG4bKa1", "INVITE"), 200, "OK", "t")
        .with("Via", "SIP/2.0/UDP 255.255.255.255;branch=z9hG4bKx");
    assert!(table.response(&two_vias, Time(0)).is_err(), "RFC 4475 bcast");
}

/// RFC 3261 §17.2.3: peers without the magic cookie.
#[test]
fn rfc_2543_requests_are_matched_by_what_they_have() {
    let mut table = Table::<u8, ()>::new(10);
    assert!(matches!(table.request(&invite("1", "INVITE"), 0, false, Time(0)), Incoming::New(_)));
    assert_eq!(table.request(&invite("1", "INVITE"), 0, false, Time(0)), Incoming::Again);
}
