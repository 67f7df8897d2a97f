//! Paths that come late, fail, or are not the peer's.

use super::*;

#[test]
fn a_wrong_fingerprint_makes_no_keys() {
    for side in [0, 1] {
        let mut net = Net::new([true, false]);
        let mut dtls = net.dtls(1 - side, if side == 0 { Setup::Active } else { Setup::ActPass });
        dtls.fingerprints[0].digest[3] ^= 1;
        net.ends[side].remote(&ice(1 - side), &dtls, START).unwrap();
        net.describe(1 - side, if side == 0 { Setup::ActPass } else { Setup::Active });
        net.run(3_000, |_| false);
        assert_eq!(net.events[side], [Event::Insecure]);
        assert!(net.ends[side].keys().is_none());
        let mut buffer = rtp(1);
        buffer.resize(172 + ROOM, 0);
        assert_eq!(net.ends[side].protect(&mut buffer, 172), None);
    }
}

#[test]
fn a_wrong_password_never_connects_and_is_told_after_thirty_seconds() {
    let mut net = Net::new([true, false]);
    let dtls = net.dtls(1, Setup::Active);
    let mut wrong = ice(1);
    wrong.pwd = "not-the-password-at-all".into();
    net.ends[0].remote(&wrong, &dtls, START).unwrap();
    net.describe(1, Setup::ActPass);
    net.run(29_000, |_| false);
    assert_eq!(net.events, [vec![], vec![]]);
    net.run(2_000, |_| false);
    // The other side's checks are answered: it has a path, and waits for DTLS no longer than DTLS may take.
    assert_eq!(net.events[0], [Event::Unreachable]);
    assert!(!net.events[1].iter().any(|e| matches!(e, Event::Connected { .. })), "{:?}", net.events);
    assert!(net.steps < 2_000, "{}", net.steps);
}
