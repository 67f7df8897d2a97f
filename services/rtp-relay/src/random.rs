//! Numbers and words from the system's random source.

/// ice-chars (RFC 8839 §5.4) that no notation has to escape; 64 of them, so each carries six bits.
const CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Octets.
#[must_use]
pub fn octets<const N: usize>() -> [u8; N] {
    let mut octets = [0; N];
    if openssl::rand::rand_bytes(&mut octets).is_err() {
        // Words that can be guessed are worse than no relay: the process ends, another takes over.
        tracing::error!("the system gives no random numbers");
        std::process::abort();
    }
    octets
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_long_enough_and_differ() {
        let (a, b) = (word(24), word(24));
        assert!(a.len() == 24 && a != b && a.chars().all(|c| c.is_ascii_alphanumeric() || "+/".contains(c)));
    }
}
