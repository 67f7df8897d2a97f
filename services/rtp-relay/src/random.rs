//! Numbers and words from the system's random source.

use relay::ice::Credentials;
use signal::media::{Crypto, Suite};

/// ice-chars (RFC 8839 §5.4) that no notation has to escape; 64 of them, so each carries six bits.
const CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Octets.
#[must_use]
pub fn octets<const N: usize>() -> [u8; N] {
    let mut octets = [0; N];
    if aws_lc_rs::rand::fill(&mut octets).is_err() {
        // Words that can be guessed are worse than no relay: the process ends, another takes over.
        tracing::error!("the system gives no random numbers");
        std::process::abort();
    }
    octets
}

/// Keys for an end, one a suite (RFC 4568 §6.1: never one for two).
#[must_use]
pub fn keys() -> Vec<Crypto> {
    let octets: [u8; KEYS] = octets();
    let mut rest = &octets[..];
    let lines = Suite::ALL.into_iter().zip(1..).filter_map(|(suite, tag)| {
        let (key, salt) = suite.lengths();
        let (key, after) = rest.split_at_checked(key + salt)?;
        rest = after;
        Some(Crypto { tag, suite, key: key.to_vec(), mki: 0 })
    });
    lines.collect()
}

/// Octets of the keys of all suites.
const KEYS: usize = 30 + 30 + 46 + 46 + 28 + 44;

/// Any number.
#[must_use]
pub fn number() -> u32 {
    u32::from_ne_bytes(octets())
}

/// A word of ice-chars, at most 32: a ufrag, a password.
#[must_use]
pub fn word(chars: usize) -> String {
    let octets: [u8; 32] = octets();
    octets.iter().take(chars).map(|octet| char::from(CHARS[usize::from(octet & 63)])).collect()
}

/// ICE credentials: more than RFC 8445 §5.3 asks for, 48 and 144 bits.
#[must_use]
pub fn credentials() -> Credentials {
    Credentials { ufrag: word(8), pwd: word(24) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_long_enough_and_differ() {
        let (a, b) = (word(24), word(24));
        assert!(a.len() == 24 && a != b && a.chars().all(|c| c.is_ascii_alphanumeric() || "+/".contains(c)));
    }

    #[test]
    fn every_suite_has_a_key_of_its_own() {
        let (keys, again) = (keys(), keys());
        assert_eq!(keys.iter().map(|line| line.suite).collect::<Vec<_>>(), Suite::ALL);
        let mut seen = std::collections::HashSet::new();
        for line in keys.iter().chain(&again) {
            assert!(line.parts().is_some() && seen.insert(line.key.clone()), "{line:?}");
        }
    }
}
