//! Authentication of messages: HMAC-SHA-256 over subject, time, expiry and payload, under a key that follows from the cluster's secret.
//!
//! One rule: what does not carry it, or carries an old one, is dropped and counted before anybody reads it; answers too. NATS sees to
//! who may connect, this to who may speak. Decision 87 has the reasons.

use async_nats::header::HeaderName;
use async_nats::{HeaderMap, Message};
use metrics::Counter;
use signal::Secret;
use std::fmt::Write;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Header with the time of a message, ms since the Unix epoch, and its HMAC in hexadecimal, a blank between them.
static AUTHENTICATION: HeaderName = HeaderName::from_static("tandem-auth");
/// Header with a request's time of expiry, ms since the Unix epoch.
static EXPIRES: HeaderName = HeaderName::from_static("tandem-until");
/// Difference between the time of a message and ours from which it is dropped, ms: what was recorded is of no use later.
const WINDOW_MS: u64 = 60_000;
/// Pause between two warnings, ms.
const WARN_MS: u64 = 60_000;
/// Octets of an HMAC-SHA-256.
const LENGTH: usize = 32;

static UNSIGNED: LazyLock<Counter> = LazyLock::new(|| counter("unsigned"));
static FORGED: LazyLock<Counter> = LazyLock::new(|| counter("forged"));
static OLD: LazyLock<Counter> = LazyLock::new(|| counter("old"));

fn counter(reason: &'static str) -> Counter {
    metrics::counter!("tandem_bus_messages_refused_total", "reason" => reason)
}

/// Reason for which a message is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// There is no HMAC.
    Unsigned,
    /// The HMAC is of another secret, subject, time or payload.
    Forged,
    /// Older than the window, or of a time to come.
    Old,
}

/// Signs what is sent and checks what is received.
#[derive(Debug)]
pub(super) struct Authenticator {
    key: Secret,
    now: fn() -> u64,
    refused: AtomicU64,
    warned_ms: AtomicU64,
}

impl Authenticator {
    pub(super) fn new(secret: &Secret, now: fn() -> u64) -> Authenticator {
        // Counters are there from the start, at 0.
        for counter in [&UNSIGNED, &FORGED, &OLD] {
            counter.increment(0);
        }
        Authenticator {
            key: secret.for_use("bus"),
            now,
            refused: AtomicU64::new(0),
            warned_ms: AtomicU64::new(0),
        }
    }

    /// Number of messages that were dropped.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Adds time and HMAC to the headers of a message, and its time of expiry if it has one.
    pub(super) fn sign(
        &self,
        headers: &mut HeaderMap,
        subject: &str,
        expires_ms: Option<u64>,
        payload: &[u8],
    ) {
        let time_ms = (self.now)();
        let mac = self.key.derive("message", &parts(subject, &numbers(time_ms, expires_ms), payload));
        let mut text = String::with_capacity(21 + 2 * LENGTH);
        let _ = write!(text, "{time_ms} ");
        for octet in mac {
            let _ = write!(text, "{octet:02x}");
        }
        headers.insert(AUTHENTICATION.clone(), text);
        if let Some(expires_ms) = expires_ms {
            headers.insert(EXPIRES.clone(), expires_ms.to_string());
        }
    }

    /// Returns true if a message is of this cluster and of this moment; else it is counted.
    pub(super) fn admits(&self, message: &Message) -> bool {
        let Err(refusal) = self.check(message) else { return true };
        self.refused.fetch_add(1, Ordering::Relaxed);
        match refusal {
            Refusal::Unsigned => UNSIGNED.increment(1),
            Refusal::Forged => FORGED.increment(1),
            Refusal::Old => OLD.increment(1),
        }
        let (now, last) = ((self.now)(), self.warned_ms.load(Ordering::Relaxed));
        if now.saturating_sub(last) >= WARN_MS {
            self.warned_ms.store(now, Ordering::Relaxed);
            let (subject, refused) = (message.subject.as_str(), self.refused());
            tracing::warn!(
                subject,
                refused,
                "a message on the bus is {}; have all instances the same [cluster] secret and the same time, and who else may use this NATS?",
                match refusal {
                    Refusal::Unsigned => "not signed",
                    Refusal::Forged => "signed with another secret, or changed",
                    Refusal::Old => "older than a minute, or of a time to come",
                }
            );
        }
        false
    }

    fn check(&self, message: &Message) -> Result<(), Refusal> {
        let headers = message.headers.as_ref().ok_or(Refusal::Unsigned)?;
        let text = headers.get(AUTHENTICATION.clone()).ok_or(Refusal::Unsigned)?.as_str();
        let (time_ms, mac) = text.split_once(' ').ok_or(Refusal::Forged)?;
        let time_ms: u64 = time_ms.parse().map_err(|_| Refusal::Forged)?;
        let mac = octets(mac).ok_or(Refusal::Forged)?;
        let numbers = numbers(time_ms, expires_ms(message));
        let parts = parts(&message.subject, &numbers, &message.payload);
        if !self.key.proves("message", &parts, &mac) {
            return Err(Refusal::Forged);
        }
        if time_ms.abs_diff((self.now)()) > WINDOW_MS { Err(Refusal::Old) } else { Ok(()) }
    }
}

/// Returns the time of expiry that a message carries.
pub(super) fn expires_ms(message: &Message) -> Option<u64> {
    message.headers.as_ref()?.get(EXPIRES.clone())?.as_str().parse().ok()
}

/// Time and time of expiry; 0 = it does not expire.
fn numbers(time_ms: u64, expires_ms: Option<u64>) -> [[u8; 8]; 2] {
    [time_ms.to_be_bytes(), expires_ms.unwrap_or(0).to_be_bytes()]
}

fn parts<'a>(subject: &'a str, numbers: &'a [[u8; 8]; 2], payload: &'a [u8]) -> [&'a [u8]; 4] {
    [subject.as_bytes(), &numbers[0], &numbers[1], payload]
}

/// Reads an HMAC in hexadecimal.
fn octets(text: &str) -> Option<[u8; LENGTH]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * LENGTH {
        return None;
    }
    let mut octets = [0; LENGTH];
    for (octet, pair) in octets.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |place: usize| char::from(*pair.get(place)?).to_digit(16);
        *octet = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_790_000_000_000;

    fn message(subject: &str, headers: HeaderMap, payload: &'static str) -> Message {
        Message {
            subject: subject.into(),
            reply: None,
            payload: payload.into(),
            headers: Some(headers),
            status: None,
            description: None,
            length: 0,
        }
    }

    fn signed(now: fn() -> u64) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let authenticator = Authenticator::new(&Secret::new(b"ours"), now);
        authenticator.sign(&mut headers, "tandem.ask", Some(NOW + 3_000), b"payload");
        headers
    }

    #[test]
    fn f6_only_this_message_of_this_cluster_at_this_time_is_taken() {
        let ours = Authenticator::new(&Secret::new(b"ours"), || NOW);
        assert!(ours.admits(&message("tandem.ask", signed(|| NOW), "payload")));
        assert!(ours.admits(&message("tandem.ask", signed(|| NOW - WINDOW_MS), "payload")));
        assert_eq!(ours.refused(), 0);
        let refused = |message: &Message| ours.check(message).unwrap_err();
        assert_eq!(refused(&message("tandem.ask", HeaderMap::new(), "payload")), Refusal::Unsigned);
        assert_eq!(refused(&message("tandem.claim", signed(|| NOW), "payload")), Refusal::Forged);
        assert_eq!(refused(&message("tandem.ask", signed(|| NOW), "another")), Refusal::Forged);
        for beside in [NOW - WINDOW_MS - 1, NOW + WINDOW_MS + 1] {
            let mut headers = HeaderMap::new();
            let at: fn() -> u64 = if beside < NOW { || NOW - WINDOW_MS - 1 } else { || NOW + WINDOW_MS + 1 };
            Authenticator::new(&Secret::new(b"ours"), at).sign(&mut headers, "tandem.ask", None, b"payload");
            assert_eq!(refused(&message("tandem.ask", headers, "payload")), Refusal::Old, "{beside}");
        }
        let theirs = Authenticator::new(&Secret::new(b"theirs"), || NOW);
        assert!(!theirs.admits(&message("tandem.ask", signed(|| NOW), "payload")));
        assert_eq!(theirs.refused(), 1);
    }

    #[test]
    fn f6_no_octet_of_what_is_signed_may_change() {
        let ours = Authenticator::new(&Secret::new(b"ours"), || NOW);
        let text = signed(|| NOW).get(AUTHENTICATION.clone()).unwrap().as_str().to_owned();
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            let mut headers = signed(|| NOW);
            headers.insert(AUTHENTICATION.clone(), String::from_utf8(changed).unwrap());
            assert!(!ours.admits(&message("tandem.ask", headers, "payload")), "octet {at}");
        }
        let mut later = signed(|| NOW);
        later.insert(EXPIRES.clone(), (NOW + 60_000).to_string());
        assert!(!ours.admits(&message("tandem.ask", later, "payload")), "it would expire later");
    }
}
