use super::*;
use crate::anchor::tests::end;
use crate::{Mismatch, Policy, answer, offer};
use signal::media::{Codec, Dtls, Fingerprint, Ice, Kind, Setup};

fn line(tag: u32, suite: Suite, octet: u8) -> Crypto {
    let (key, salt) = suite.lengths();
    Crypto { tag, suite, key: vec![octet; key + salt], mki: 0 }
}

/// Makes an audio description of a phone with these crypto lines.
fn phone(crypto: Vec<Crypto>, best_effort: bool) -> Media {
    let mut media = Media::undescribed(&[Kind::Audio]);
    media.contents[0].codecs = vec![Codec::new(8, "PCMA", 8000, 1)];
    media.contents[0].transport =
        Transport { address: "192.0.2.30:16400".parse().ok(), crypto, best_effort, ..Transport::default() };
    media
}

fn webrtc(ice: bool) -> Media {
    let mut media = phone(vec![line(1, Suite::AesCm128Sha1_80, 5)], false);
    let transport = &mut media.contents[0].transport;
    transport.mux = true;
    transport.ice = ice.then(|| Ice { ufrag: "them".into(), pwd: "p".repeat(24), ..Ice::default() });
    let fingerprints = vec![Fingerprint { hash: "sha-256".into(), digest: vec![9; 32] }];
    transport.dtls = Some(Dtls { fingerprints, setup: Setup::ActPass });
    media
}

fn told(offered: Media, profile: Profile) -> Result<Transport, Mismatch> {
    let offered = admit(offered, profile);
    let told = answer(&offered, &phone(vec![], false), &[end(30_002)], profile, &Policy::default())?;
    Ok(told.contents[0].transport.clone())
}

/// RFC 4568 §5.1.2, §7.1: one line, its tag and suite, our key.
#[test]
fn the_best_line_of_an_offer_is_taken_with_its_tag() {
    use Suite::*;
    for (offered, tag, suite) in [
        (vec![(1, AesCm128Sha1_80), (2, AeadAes128Gcm)], 2, AeadAes128Gcm),
        (vec![(7, AesCm128Sha1_32), (9, AesCm128Sha1_80)], 9, AesCm128Sha1_80),
        (vec![(1, AesCm256Sha1_80), (2, AesCm128Sha1_80)], 2, AesCm128Sha1_80),
        (vec![(3, AesCm256Sha1_32)], 3, AesCm256Sha1_32),
        (vec![(4, AeadAes256Gcm)], 4, AeadAes256Gcm),
    ] {
        let lines = offered.iter().map(|(tag, suite)| line(*tag, *suite, 5)).collect();
        let offered = admit(phone(lines, false), Profile::Plain);
        assert_eq!(offered.contents[0].transport.crypto, [line(tag, suite, 5)], "what the relay is told");
        let told = told(offered, Profile::Plain).unwrap();
        let own = end(30_002).crypto.into_iter().find(|own| own.suite == suite).unwrap();
        assert_eq!(told.crypto, [Crypto { tag, ..own }]);
        assert!(!told.best_effort && told.ice.is_none() && told.dtls.is_none());
    }
}

#[test]
fn offers_are_answered_in_kind_and_plain_ones_only_where_that_will_do() {
    let secure = || phone(vec![line(1, Suite::AesCm128Sha1_80, 5)], false);
    for profile in [Profile::Plain, Profile::BestEffort, Profile::Sdes] {
        assert_eq!(told(secure(), profile).unwrap().crypto.len(), 1);
        let told = told(webrtc(true), profile).unwrap();
        assert!(told.dtls.is_some_and(|d| d.setup == Setup::Active) && told.ice.is_some());
        assert!(told.crypto.is_empty() && told.mux);
    }
    let best_effort = told(phone(vec![line(1, Suite::AesCm128Sha1_80, 5)], true), Profile::Plain).unwrap();
    assert!(best_effort.best_effort && best_effort.crypto.len() == 1);
    assert!(told(phone(vec![], false), Profile::Plain).unwrap().crypto.is_empty());
    assert!(told(phone(vec![], false), Profile::BestEffort).unwrap().crypto.is_empty());
    assert_eq!(told(phone(vec![], false), Profile::Sdes), Err(Mismatch));
    // Keys that stand beside DTLS without ICE are taken.
    assert_eq!(told(webrtc(false), Profile::Plain).unwrap().crypto.len(), 1);
    let mut two = webrtc(true);
    two.contents[0].transport.mux = false;
    assert!(told(two, Profile::Plain).unwrap().dtls.is_none());
}

/// RFC 5763 without ICE, as baresip, linphone and Asterisk offer it: with RTCP muxed or apart.
#[test]
fn d11_dtls_without_ice_is_answered_at_ports() {
    for (ice, mux) in [(false, true), (false, false), (true, false)] {
        let mut bare = webrtc(ice);
        bare.contents[0].transport.crypto.clear();
        bare.contents[0].transport.mux = mux;
        for profile in [Profile::Plain, Profile::BestEffort, Profile::Sdes, Profile::Dtls, Profile::Osrtp] {
            let told = told(bare.clone(), profile).unwrap();
            assert_eq!(told.dtls.map(|dtls| dtls.setup), Some(Setup::Active), "{profile:?}");
            assert_eq!((told.mux, told.ice, told.address.map(|a| a.port())), (mux, None, Some(30_002)));
            assert!(told.crypto.is_empty() && !told.best_effort);
        }
    }
    assert_eq!(told(phone(vec![], false), Profile::Dtls), Err(Mismatch), "nothing less is taken");
    assert_eq!(
        told(phone(vec![line(1, Suite::AesCm128Sha1_80, 5)], false), Profile::Dtls),
        Err(Mismatch),
        "nor keys that SIP has carried"
    );
}

/// RFC 5763 §5 towards a trunk that says `srtp = "dtls"`.
#[test]
fn d11_dtls_is_offered_and_nothing_less_taken() {
    let ours = ours(Profile::Dtls);
    let transport = &ours.contents[0].transport;
    assert_eq!(transport.dtls.as_ref().map(|dtls| dtls.setup), Some(Setup::ActPass));
    assert!(
        transport.mux && transport.ice.is_none() && transport.crypto.is_empty() && !transport.best_effort
    );
    let text = crate::sdp::write(
        &ours,
        &crate::sdp::Shape::default(),
        &crate::sdp::Origin { session_id: 1, version: 1, address: "198.51.100.7".parse().unwrap() },
    );
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("m=audio 30002 UDP/TLS/RTP/SAVP 8"), "{text}");
    assert!(text.contains("a=setup:actpass\r\n") && text.contains("a=fingerprint:sha-256 "), "{text}");
    let taken = |mut answer: Media, mux| {
        answer.contents[0].transport.mux = mux;
        accept(&ours, answer, Profile::Dtls).contents.remove(0)
    };
    for mux in [true, false] {
        let taken = taken(webrtc(false), mux);
        assert!(!taken.rejected && taken.transport.dtls.is_some() && taken.transport.crypto.is_empty());
        assert_eq!(taken.transport.mux, mux);
    }
    assert!(taken(phone(vec![line(1, Suite::AesCm128Sha1_80, 5)], false), true).rejected);
    assert!(taken(phone(vec![], false), true).rejected);
}

/// RFC 8643 §3: keys and a fingerprint beside RTP/AVP, of which the answer takes one or none.
#[test]
fn d11_osrtp_is_offered_and_answered_by_name() {
    let ours = ours(Profile::Osrtp);
    let transport = &ours.contents[0].transport;
    assert!(transport.best_effort && transport.dtls.is_some() && !transport.crypto.is_empty());
    let origin = crate::sdp::Origin { session_id: 1, version: 1, address: "198.51.100.7".parse().unwrap() };
    let write = |media: &Media| {
        String::from_utf8(crate::sdp::write(media, &crate::sdp::Shape::default(), &origin)).unwrap()
    };
    let text = write(&ours);
    assert!(text.contains("m=audio 30002 RTP/AVP 8") && text.contains("a=setup:actpass\r\n"), "{text}");
    assert!(text.contains("a=crypto:1 ") && text.contains("a=fingerprint:"), "{text}");
    let taken = |answer: Media| accept(&ours, answer, Profile::Osrtp).contents.remove(0);
    let mut dtls = webrtc(false);
    dtls.contents[0].transport.crypto.clear();
    let by = |content: signal::media::Content| {
        (content.rejected, content.transport.dtls.is_some(), content.transport.crypto.len())
    };
    assert_eq!(by(taken(dtls.clone())), (false, true, 0));
    assert_eq!(by(taken(phone(vec![line(1, Suite::AesCm128Sha1_80, 5)], true))), (false, false, 1));
    assert_eq!(by(taken(phone(vec![], false))), (false, false, 0));
    // A phone that offers it so is answered so, whatever the trunk's setting.
    (dtls.contents[0].transport.best_effort, dtls.contents[0].transport.mux) = (true, false);
    let told = told(dtls, Profile::Plain).unwrap();
    assert!(told.dtls.is_some() && told.best_effort && told.ice.is_none());
    let mut answer = phone(vec![], false);
    answer.contents[0].transport = told;
    assert!(write(&answer).contains(" RTP/AVP 8"));
}

#[test]
fn rtcp_mux_is_answered_where_it_is_offered() {
    let mut offered = phone(vec![], false);
    assert!(!told(offered.clone(), Profile::Plain).unwrap().mux);
    offered.contents[0].transport.mux = true;
    assert!(told(offered, Profile::Plain).unwrap().mux);
}

/// RTP/SAVP beside RTP/AVP: the same audio described twice.
#[test]
fn of_two_lines_of_one_medium_the_first_that_fits_is_served() {
    let mut both = phone(vec![line(1, Suite::AesCm128Sha1_80, 5)], false);
    both.contents.extend(phone(vec![], false).contents);
    let rejected = |media: &Media| media.contents.iter().map(|c| c.rejected).collect::<Vec<_>>();
    assert_eq!(rejected(&admit(both.clone(), Profile::Plain)), [false, true]);
    both.contents[0].rejected = true;
    assert_eq!(rejected(&admit(both, Profile::Plain)), [true, false]);
}

fn ours(profile: Profile) -> Media {
    offer(&phone(vec![], false), &[end(30_002)], profile, &Policy::default())
}

#[test]
fn offers_are_as_the_profile_says_with_the_common_suite_first() {
    use Suite::*;
    let suites = |media: &Media| -> Vec<(u32, Suite)> {
        media.contents[0].transport.crypto.iter().map(|c| (c.tag, c.suite)).collect()
    };
    assert!(suites(&ours(Profile::Plain)).is_empty());
    let all = [(1, AesCm128Sha1_80), (2, AeadAes128Gcm), (3, AesCm256Sha1_80), (4, AeadAes256Gcm)];
    for (profile, best_effort) in [(Profile::BestEffort, true), (Profile::Sdes, false)] {
        let ours = ours(profile);
        assert_eq!(suites(&ours), all);
        assert_eq!(ours.contents[0].transport.best_effort, best_effort);
    }
    // A relay of an older version gives no keys: nothing is offered rather than plain RTP.
    let mut keyless = end(30_002);
    keyless.crypto.clear();
    let of = |profile| {
        offer(&phone(vec![], false), std::slice::from_ref(&keyless), profile, &Policy::default()).contents
    };
    assert!(of(Profile::Sdes).is_empty());
    assert!(!of(Profile::BestEffort)[0].transport.best_effort);
}

#[test]
fn answers_hold_where_they_take_what_was_offered() {
    let line = |tag, suite| line(tag, suite, 5);
    let taken = |profile, answer: Media| {
        let content = accept(&ours(profile), answer, profile).contents.remove(0);
        (!content.rejected).then_some(content.transport.crypto)
    };
    let gcm = line(2, Suite::AeadAes128Gcm);
    for profile in [Profile::BestEffort, Profile::Sdes] {
        assert_eq!(taken(profile, phone(vec![gcm.clone()], false)), Some(vec![gcm.clone()]));
        // Some phones answer tag 1 whichever line they accept.
        let mistagged = line(1, Suite::AeadAes256Gcm);
        assert_eq!(taken(profile, phone(vec![mistagged.clone()], true)), Some(vec![mistagged]));
    }
    let unasked = phone(vec![line(1, Suite::AesCm128Sha1_32)], false);
    assert_eq!(taken(Profile::Sdes, unasked.clone()), None, "not offered");
    assert_eq!(taken(Profile::Sdes, phone(vec![], false)), None, "plain RTP");
    assert_eq!(taken(Profile::BestEffort, unasked), Some(vec![]));
    assert_eq!(taken(Profile::BestEffort, phone(vec![], false)), Some(vec![]));
    assert_eq!(taken(Profile::Plain, phone(vec![gcm], false)), Some(vec![]), "nothing was offered");
}

/// R-SDP-7, RFC 5763 §5: an answer without a=setup is active, so we wait for its ClientHello.
#[test]
fn d6_an_answer_without_a_role_is_active() {
    let asked = offer(&webrtc(true), &[end(30_002)], Profile::Webrtc, &Policy::default());
    for profile in [Profile::Webrtc, Profile::Plain] {
        for (theirs, role) in [
            (Setup::ActPass, Setup::Active),
            (Setup::Active, Setup::Active),
            (Setup::Passive, Setup::Passive),
        ] {
            let mut answered = webrtc(true);
            answered.contents[0].transport.dtls.as_mut().unwrap().setup = theirs;
            let mut taken = accept(&asked, answered, profile);
            let said = taken.contents[0].transport.dtls.as_ref().unwrap().setup;
            assert_eq!(said, theirs, "a later answer without a word changes no role");
            default_roles(&mut taken);
            assert_eq!(taken.contents[0].transport.dtls.as_ref().unwrap().setup, role, "{profile:?}");
            assert!(!taken.contents[0].rejected);
        }
    }
}
