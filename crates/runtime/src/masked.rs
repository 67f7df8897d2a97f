//! Messages of peers as a log may show them: without keys and proofs.

use std::fmt;

/// Text that comes before a secret, and the octets that end it.
const SECRETS: &[(&str, &[u8])] = &[
    // Keys of SDES (RFC 4568 §9.1, XEP-0167 §4).
    ("inline:", b"| \r\n;'\"<&"),
    // Passwords of ICE (RFC 8839 §5.4, XEP-0176 §5.3).
    ("ice-pwd:", b"\r\n"),
    (" pwd='", b"'"),
    (" pwd=\"", b"\""),
    // Proofs of digest (RFC 7616 §3.4): with the nonce they can be tried offline.
    ("response=\"", b"\""),
];

/// Message of a peer, written without its secrets when it is shown.
#[derive(Clone, Copy)]
pub struct Masked<'a>(pub &'a [u8]);

impl fmt::Display for Masked<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (octets, mut told, mut at) = (self.0, 0, 0);
        while at < octets.len() {
            let rest = &octets[at..];
            let secret = SECRETS.iter().find(|(before, _)| {
                rest.get(..before.len()).is_some_and(|text| text.eq_ignore_ascii_case(before.as_bytes()))
            });
            let Some((before, ends)) = secret else {
                at += 1;
                continue;
            };
            at += before.len();
            write!(out, "{}…", String::from_utf8_lossy(&octets[told..at]))?;
            at += octets[at..].iter().take_while(|octet| !ends.contains(octet)).count();
            told = at;
        }
        out.write_str(&String::from_utf8_lossy(&octets[told..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a20_messages_are_shown_without_their_secrets() {
        let told = |text: &str| Masked(text.as_bytes()).to_string();
        assert_eq!(
            told("Authorization: Digest username=\"a\", Response=\"9f8e\", uri=\"sip:b\"\r\n"),
            "Authorization: Digest username=\"a\", Response=\"…\", uri=\"sip:b\"\r\n"
        );
        assert_eq!(
            told(
                "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19z|2^20|1:32\r\na=ice-pwd:secret\r\na=mid:0"
            ),
            "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:…|2^20|1:32\r\na=ice-pwd:…\r\na=mid:0"
        );
        assert_eq!(
            told("<transport ufrag='ab' pwd='cd'/><crypto key-params='inline:WVNf' tag='1'/>"),
            "<transport ufrag='ab' pwd='…'/><crypto key-params='inline:…' tag='1'/>"
        );
        assert_eq!(told("inline:"), "inline:…");
        assert_eq!(Masked(b"\xff inline:ab").to_string(), "\u{fffd} inline:…");
    }
}
