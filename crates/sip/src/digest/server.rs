//! Digest access authentication as a server (RFC 7616, RFC 8760; RFC 3261 §22): challenges written, credentials checked.
//!
//! One rule: no instance remembers a nonce. It carries its time, and a code over time, realm and Call-ID that each instance of the
//! cluster can check, so credentials that somebody overheard open no other call, at no instance, and none after [`LIFETIME`].

use super::{Challenge, Credentials, field, fields, read};
use crate::uri::Uri;
use signal::{Secret, Time};

/// Time for which a nonce is taken, ms.
const LIFETIME: u64 = 60_000;
/// Characters of a nonce: its time, and the code.
const TIME: usize = 12;
const CODE: usize = 26;
/// Algorithms that are offered, the preferred first (RFC 8760 §2.4). MD5 is what many phones have.
const OFFERED: [&str; 3] = ["SHA-512-256", "SHA-256", "MD5"];

/// Outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The password is known to the sender.
    Right,
    /// The credentials answer no challenge of ours, or another password.
    Wrong,
    /// The credentials answer a challenge that is too old, or of another call: a new one may be answered.
    Stale,
}

/// Returns the values of WWW-Authenticate for a call.
#[must_use]
pub fn challenge(secret: &Secret, realm: &str, call_id: &str, stale: bool, now: Time) -> Vec<String> {
    let nonce = nonce(secret, realm, call_id, now);
    let stale = if stale { ", stale=true" } else { "" };
    let value = |algorithm: &&str| {
        format!("Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm={algorithm}, qop=\"auth\"{stale}")
    };
    OFFERED.iter().map(value).collect()
}

/// Returns the user name of an Authorization header.
#[must_use]
pub fn username(authorization: &[u8]) -> Option<String> {
    field(&fields(std::str::from_utf8(authorization).ok()?)?, "username")
}

/// Checks the Authorization header of a request.
#[must_use]
pub fn check(
    secret: &Secret,
    authorization: &[u8],
    (method, uri): (&str, &str),
    call_id: &str,
    who: &Credentials,
    now: Time,
) -> Proof {
    let proof = |text: &str| {
        let challenge = read(text, false)?;
        let fields = fields(text)?;
        let get = |name: &str| field(&fields, name);
        let (given, response) = (get("uri")?, get("response")?);
        if get("username")? != who.username || !same_target(&given, uri) {
            return None;
        }
        let count = get("nc").map_or(Some(0), |nc| u32::from_str_radix(&nc, 16).ok())?;
        let cnonce = get("cnonce").unwrap_or_default();
        let wanted = challenge.response(who, method, &given, &cnonce, count);
        if !equal(&wanted, &response.to_ascii_lowercase()) {
            return None;
        }
        Some(if fresh(secret, &challenge, call_id, now) { Proof::Right } else { Proof::Stale })
    };
    std::str::from_utf8(authorization).ok().and_then(proof).unwrap_or(Proof::Wrong)
}

fn nonce(secret: &Secret, realm: &str, call_id: &str, at: Time) -> String {
    let time = format!("{:0TIME$x}", at.0);
    let code = secret.derive_text("nonce", &[time.as_bytes(), realm.as_bytes(), call_id.as_bytes()], CODE);
    time + &code
}

/// Returns true for a nonce that an instance of ours made for this call a short while ago.
fn fresh(secret: &Secret, challenge: &Challenge, call_id: &str, now: Time) -> bool {
    let time = challenge.nonce.get(..TIME).and_then(|time| u64::from_str_radix(time, 16).ok());
    let Some(at) = time.map(Time).filter(|at| at.0 <= now.0 + LIFETIME && now.since(*at) <= LIFETIME) else {
        return false;
    };
    equal(&nonce(secret, &challenge.realm, call_id, at), &challenge.nonce)
}

/// Returns true if both URIs have one user and host: proxies on the way change the rest (RFC 7616 §3.4.6).
fn same_target(given: &str, uri: &str) -> bool {
    let parts = |text: &str| match Uri::parse(text)? {
        Uri::Sip(sip) => Some((sip.user, Some(sip.host.to_ascii_lowercase()))),
        other => Some((Some(other.to_string()), None)),
    };
    given == uri || parts(given).is_some_and(|given| parts(uri) == Some(given))
}

/// Compares in a time that tells nothing of the contents.
fn equal(a: &str, b: &str) -> bool {
    let differences = a.bytes().zip(b.bytes()).fold(0, |found, (a, b)| found | (a ^ b));
    a.len() == b.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const URI: &str = "sip:2700@gw.example";
    const NOW: Time = Time(1_795_385_000_000);

    fn who(password: &str) -> Credentials {
        Credentials { username: "pbx".into(), password: password.into() }
    }

    fn secret() -> Secret {
        Secret::new(b"the cluster's secret")
    }

    /// The answer of a client of ours to one of our challenges.
    fn answered(place: usize, password: &str) -> String {
        let value = challenge(&secret(), "gw.example", "call-1", false, NOW).remove(place);
        super::super::answered(value.as_bytes(), false).unwrap().answer(
            &who(password),
            "INVITE",
            URI,
            "c0ffee",
            1,
        )
    }

    fn checked(answer: &str, call_id: &str, after: u64) -> Proof {
        check(&secret(), answer.as_bytes(), ("INVITE", URI), call_id, &who("s3cret"), NOW + after)
    }

    #[test]
    fn every_algorithm_that_is_offered_is_checked() {
        for place in 0..OFFERED.len() {
            assert_eq!(checked(&answered(place, "s3cret"), "call-1", 10), Proof::Right, "{place}");
            assert_eq!(checked(&answered(place, "secret"), "call-1", 10), Proof::Wrong, "{place}");
        }
    }

    /// Another instance with the same secret checks it; credentials that were overheard open no other call.
    #[test]
    fn a_nonce_is_of_one_call_and_of_a_minute() {
        let answer = answered(1, "s3cret");
        assert_eq!(checked(&answer, "call-1", LIFETIME), Proof::Right);
        assert_eq!(checked(&answer, "call-1", LIFETIME + 1), Proof::Stale);
        assert_eq!(checked(&answer, "call-2", 10), Proof::Stale);
        let forged = answer.replace("realm=\"gw.example\"", "realm=\"other\"");
        assert_eq!(checked(&forged, "call-1", 10), Proof::Wrong);
        let elsewhere = check(
            &Secret::new(b"another cluster"),
            answer.as_bytes(),
            ("INVITE", URI),
            "call-1",
            &who("s3cret"),
            NOW,
        );
        assert_eq!(elsewhere, Proof::Stale);
    }

    #[test]
    fn credentials_are_of_one_method_number_and_user() {
        let answer = answered(1, "s3cret");
        let check = |method, uri, user: &str| {
            let who = Credentials { username: user.into(), ..who("s3cret") };
            check(&secret(), answer.as_bytes(), (method, uri), "call-1", &who, NOW)
        };
        assert_eq!(check("INVITE", "sip:2700@gw.example:5060;transport=udp", "pbx"), Proof::Right);
        assert_eq!(check("INVITE", "sip:0190@gw.example", "pbx"), Proof::Wrong);
        assert_eq!(check("INVITE", "sip:2700@elsewhere.example", "pbx"), Proof::Wrong);
        assert_eq!(check("BYE", URI, "pbx"), Proof::Wrong);
        assert_eq!(check("INVITE", URI, "otto"), Proof::Wrong);
        for broken in ["", "Digest", "Digest username=\"pbx\"", "Basic cGJ4OnMzY3JldA==", "\u{e9}"] {
            assert_eq!(checked(broken, "call-1", 0), Proof::Wrong, "{broken}");
        }
        assert_eq!(username(answer.as_bytes()).as_deref(), Some("pbx"));
    }
}
