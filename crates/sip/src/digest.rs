//! Digest access authentication as a client (RFC 7616, RFC 8760; RFC 3261 §22): challenges read, credentials written. The side of the
//! server is in [`server`].
//!
//! One rule: both spellings of quoting are read, one is written (interworking §10.3). The password is in [`Credentials`] alone
//! and shows itself nowhere.

pub mod server;

use crate::message::Message;
use md5::{Digest as _, Md5};
use sha2::{Sha256, Sha512_256};
use std::fmt;

/// Most challenges read of one response.
const MAX_CHALLENGES: usize = 8;

/// Credentials that a trunk knows.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password, in the clear: digest needs it.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Supported hash functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// MD5, also where none is named.
    Md5,
    /// SHA-256
    Sha256,
    /// SHA-512-256
    Sha512,
}

/// One WWW-Authenticate or Proxy-Authenticate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// From a proxy: the answer stands in Proxy-Authorization.
    pub proxy: bool,
    /// Realm, exactly as quoted.
    pub realm: String,
    /// Nonce of the server.
    pub nonce: String,
    /// Opaque, to be returned.
    pub opaque: Option<String>,
    /// Algorithm as written in the answer; `None` = none was named.
    pub named: Option<String>,
    /// Algorithm to compute with.
    pub algorithm: Algorithm,
    /// A1 is bound to the session.
    pub sess: bool,
    /// `qop=auth` is offered.
    pub qop: bool,
    /// The nonce was too old; the password was right.
    pub stale: bool,
}

/// Returns the challenges of a response: for each realm the topmost that we can answer (RFC 8760 §2.4).
#[must_use]
pub fn challenges(response: &Message) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = vec![];
    for (name, proxy) in [("WWW-Authenticate", false), ("Proxy-Authenticate", true)] {
        for value in response.all(name).take(MAX_CHALLENGES) {
            let challenge = std::str::from_utf8(value).ok().and_then(|text| read(text, proxy));
            let known = |c: &Challenge| found.iter().any(|f| f.proxy == proxy && f.realm == c.realm);
            found.extend(challenge.filter(|c| !known(c)));
        }
    }
    found
}

/// Returns the challenge that these credentials of ours answer.
#[must_use]
pub fn answered(credentials: &[u8], proxy: bool) -> Option<Challenge> {
    read(std::str::from_utf8(credentials).ok()?, proxy)
}

/// Returns the fields of a Digest header without their quotes, names in lower case.
fn fields(text: &str) -> Option<Vec<(String, String)>> {
    let (scheme, rest) = text.trim().split_once(char::is_whitespace)?;
    let field = |member: &str| {
        let (name, value) = member.split_once('=')?;
        let value = value.trim();
        let bare = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
        Some((name.trim().to_ascii_lowercase(), bare.to_owned()))
    };
    let members = crate::uri::members(rest).into_iter().filter_map(field);
    scheme.eq_ignore_ascii_case("Digest").then(|| members.collect())
}

fn field(fields: &[(String, String)], name: &str) -> Option<String> {
    fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone())
}

fn read(text: &str, proxy: bool) -> Option<Challenge> {
    let fields = fields(text)?;
    let get = |name: &str| field(&fields, name);
    let named = get("algorithm");
    let spelt = named.as_deref().unwrap_or("MD5").to_ascii_uppercase();
    let (base, sess) = spelt.strip_suffix("-SESS").map_or((spelt.as_str(), false), |base| (base, true));
    let algorithm = match base {
        "MD5" => Algorithm::Md5,
        "SHA-256" => Algorithm::Sha256,
        "SHA-512-256" => Algorithm::Sha512,
        _ => return None,
    };
    let offered = get("qop");
    let qop = offered.as_deref().is_some_and(|q| q.split(',').any(|q| q.trim().eq_ignore_ascii_case("auth")));
    if offered.is_some_and(|q| !q.is_empty()) && !qop {
        return None;
    }
    let stale = get("stale").is_some_and(|s| s.eq_ignore_ascii_case("true"));
    Some(Challenge {
        proxy,
        realm: get("realm")?,
        nonce: get("nonce")?,
        opaque: get("opaque"),
        named,
        algorithm,
        sess,
        qop,
        stale,
    })
}

impl Challenge {
    /// Returns the name of the header for the answer.
    #[must_use]
    pub fn header(&self) -> &'static str {
        if self.proxy { "Proxy-Authorization" } else { "Authorization" }
    }

    /// Returns the header's value for a request. `count`: number of uses of this nonce, from 1.
    #[must_use]
    pub fn answer(&self, who: &Credentials, method: &str, uri: &str, cnonce: &str, count: u32) -> String {
        let Challenge { realm, nonce, .. } = self;
        let response = self.response(who, method, uri, cnonce, count);
        let count = format!("{count:08x}");
        let mut value = format!(
            "Digest username=\"{}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\"",
            who.username
        );
        if let Some(named) = &self.named {
            value += &format!(", algorithm={named}");
        }
        if self.qop {
            value += &format!(", qop=auth, nc={count}");
        }
        if self.qop || self.sess {
            value += &format!(", cnonce=\"{cnonce}\"");
        }
        if let Some(opaque) = &self.opaque {
            value += &format!(", opaque=\"{opaque}\"");
        }
        value
    }

    /// Returns the response to this challenge (RFC 7616 §3.4.1).
    fn response(&self, who: &Credentials, method: &str, uri: &str, cnonce: &str, count: u32) -> String {
        let Challenge { realm, nonce, .. } = self;
        let mut a1 = self.hash(&[&who.username, realm, &who.password]);
        if self.sess {
            a1 = self.hash(&[&a1, nonce, cnonce]);
        }
        let a2 = self.hash(&[method, uri]);
        if self.qop {
            self.hash(&[&a1, nonce, &format!("{count:08x}"), cnonce, "auth", &a2])
        } else {
            self.hash(&[&a1, nonce, &a2])
        }
    }

    fn hash(&self, parts: &[&str]) -> String {
        let text = parts.join(":");
        let hex = |octets: &[u8]| octets.iter().map(|o| format!("{o:02x}")).collect();
        match self.algorithm {
            Algorithm::Md5 => hex(&Md5::digest(text)),
            Algorithm::Sha256 => hex(&Sha256::digest(text)),
            Algorithm::Sha512 => hex(&Sha512_256::digest(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(algorithm: &str, qop: bool) -> String {
        let qop = if qop { ", qop=\"auth,auth-int\"" } else { "" };
        let value = format!("Digest realm=\"pbx.example\", nonce=\"7f3a9c\", algorithm={algorithm}{qop}");
        let message = Message::request("X", "sip:x").with("WWW-Authenticate", value);
        let who = Credentials { username: "2041".into(), password: "s3cret".into() };
        let challenge = challenges(&message).remove(0);
        let answer = challenge.answer(&who, "INVITE", "sip:2050@pbx.example", "0a4f113b", 1);
        let at = answer.find("response=\"").map_or(0, |at| at + 10);
        answer[at..].split('"').next().unwrap_or("").to_owned()
    }

    /// R-SIP-5, interworking appendix A.
    #[test]
    fn the_vectors_come_out() {
        for (algorithm, qop, want) in [
            ("MD5", true, "539408bf74e93f4fc04b6d9dd291d243"),
            ("MD5", false, "89785a66fae57d960c8dc6162a814437"),
            ("MD5-sess", true, "2b0bfd108828976e242db9e07a22d685"),
            ("SHA-256", true, "ae3d239d30e4d1c2eb8a49121fff75533fdc593c4a49de6b11d40b8a7844056c"),
            ("SHA-256", false, "7a41b3a038e661aa716b802c9556bafb6b07439e3b5d30812c023b0af72f5cbd"),
            ("SHA-256-sess", true, "5f46b4480bbc7a8c77c8b38c5ed77009423e41d499ca7d6a6c047a7c860652c6"),
            ("SHA-512-256", true, "67683a620a0b47064a831d191fc28bbf080e5676eba4743b26c6d4573a4289a4"),
            ("SHA-512-256", false, "b85d2b746af352b370724d66025ddd31a0093062b8348756ae17ac0de37a0e37"),
            ("SHA-512-256-sess", true, "5efff8a668d0985086f6057c526203b2243efd2d9b8ea105c41102a93761d2b9"),
        ] {
            assert_eq!(response(algorithm, qop), want, "{algorithm} {qop}");
        }
    }

    #[test]
    fn the_topmost_that_is_known_is_answered_and_the_password_is_not_shown() {
        let message = Message::request("X", "sip:x")
            .with("WWW-Authenticate", "Digest realm=\"a\", nonce=\"n\", algorithm=SHA3-256")
            .with("WWW-Authenticate", "Basic realm=\"a\"")
            .with("WWW-Authenticate", "digest realm=a, nonce=\"n1\", algorithm=\"SHA-256\", stale=TRUE")
            .with("WWW-Authenticate", "Digest realm=\"a\", nonce=\"n2\"")
            .with("WWW-Authenticate", "Digest realm=\"b\", nonce=\"n3\", qop=auth-int")
            .with("Proxy-Authenticate", "Digest realm=\"a\", nonce=\"n4\"");
        let found = challenges(&message);
        assert_eq!(found.iter().map(|c| c.nonce.as_str()).collect::<Vec<_>>(), ["n1", "n4"]);
        assert!(found[0].stale && found[1].proxy);
        let who = Credentials { username: "2041".into(), password: "s3cret".into() };
        assert!(!format!("{who:?}").contains("s3cret"));
    }
}
