//! Protection of media with a phone or trunk (interworking §3.3 rules 7 and 13, §12.5).
//!
//! One rule: a peer's transport is reduced to what is in use: ICE with DTLS, DTLS at ports, one SDES line, or nothing. An offer of a phone is answered
//! in kind; an offer to it follows the leg's [`Profile`]. Jingle clients use DTLS-SRTP only.

use crate::anchor::Profile;
use signal::Media;
use signal::media::{Crypto, Setup, Suite, Transport};

/// Suites of an offer, first the one that every phone has: some answer tag 1 whichever suite they take (baresip). Suites with tags of
/// 32 bits are accepted from a phone without better ones, but not offered.
const OFFERED_SUITES: [Suite; 4] =
    [Suite::AesCm128Sha1_80, Suite::AeadAes128Gcm, Suite::AesCm256Sha1_80, Suite::AeadAes256Gcm];

/// Returns the lines for an offer.
pub(crate) fn offered(ours: &[Crypto]) -> Vec<Crypto> {
    let lines = OFFERED_SUITES.iter().filter_map(|suite| ours.iter().find(|line| line.suite == *suite));
    lines.zip(1..).map(|(line, tag)| Crypto { tag, ..line.clone() }).collect()
}

/// Returns the line for an answer to `theirs`: its tag and suite, our key (RFC 4568 §5.1.2).
pub(crate) fn answered(ours: &[Crypto], theirs: &Crypto) -> Option<Crypto> {
    let line = ours.iter().find(|line| line.suite == theirs.suite)?;
    Some(Crypto { tag: theirs.tag, ..line.clone() })
}

/// Reduces a peer's offer to what can be used with it; rejects the other contents, in their positions.
#[must_use]
pub fn admit(mut offered: Media, profile: Profile) -> Media {
    if profile == Profile::Webrtc {
        return offered;
    }
    let mut kinds = vec![];
    for content in &mut offered.contents {
        let transport = &mut content.transport;
        if is_webrtc(transport) {
            set_crypto(transport, None);
        } else {
            let best = Suite::ALL.iter().find_map(|s| transport.crypto.iter().find(|line| line.suite == *s));
            let best = best.cloned();
            // Keys that are offered beside a fingerprint are there without a handshake.
            if best.is_some() && profile != Profile::Dtls {
                transport.dtls = None;
            }
            let bare = match profile {
                Profile::Sdes => best.is_none() && transport.dtls.is_none(),
                Profile::Dtls => transport.dtls.is_none(),
                _ => false,
            };
            content.rejected |= bare && !content.codecs.is_empty();
            transport.ice = None;
            let best = best.filter(|_| transport.dtls.is_none());
            set_crypto(transport, best);
        }
        // A second content of the same kind is an alternative, RTP/SAVP beside RTP/AVP: the first acceptable one counts.
        content.rejected |= kinds.contains(&content.kind);
        if !content.rejected {
            kinds.push(content.kind);
        }
    }
    offered
}

/// Makes a first answer say who begins (RFC 5763 §5): without a word the answerer does (interworking §3.2). A later one without a word
/// changes no role.
pub fn default_roles(answered: &mut Media) {
    for dtls in answered.contents.iter_mut().filter_map(|content| content.transport.dtls.as_mut()) {
        if dtls.setup == Setup::ActPass {
            dtls.setup = Setup::Active;
        }
    }
}

/// Reduces a peer's answer to `ours` to what is in use; rejects a content that lacks the protection that `ours` demands.
#[must_use]
pub fn accept(ours: &Media, mut answered: Media, profile: Profile) -> Media {
    if profile == Profile::Webrtc {
        return answered;
    }
    for (ours, theirs) in ours.contents.iter().zip(&mut answered.contents) {
        let (ours, transport) = (&ours.transport, &mut theirs.transport);
        if ours.dtls.is_some() && ours.ice.is_some() {
            theirs.rejected |= !is_webrtc(transport);
            set_crypto(transport, None);
            continue;
        }
        if ours.dtls.is_some() && transport.dtls.is_some() {
            (transport.ice, transport.mux) = (None, transport.mux && ours.mux);
            set_crypto(transport, None);
            continue;
        }
        // The suite identifies the accepted line; the tag is not always right.
        let taken = transport.crypto.iter().find(|line| ours.crypto.iter().any(|o| o.suite == line.suite));
        let taken = taken.cloned();
        let protected = ours.dtls.is_some() || !ours.crypto.is_empty();
        theirs.rejected |= taken.is_none() && protected && !ours.best_effort;
        (transport.dtls, transport.ice) = (None, None);
        transport.mux &= ours.mux;
        set_crypto(transport, taken);
    }
    answered
}

/// Returns true if this transport is WebRTC's: DTLS with ICE, RTP and RTCP muxed. Without one of these DTLS is spoken at ports.
fn is_webrtc(transport: &Transport) -> bool {
    transport.dtls.is_some() && transport.ice.is_some() && transport.mux
}

/// Keeps one SDES line, or none.
fn set_crypto(transport: &mut Transport, crypto: Option<Crypto>) {
    transport.best_effort &= crypto.is_some() || transport.dtls.is_some();
    transport.crypto = crypto.into_iter().collect();
}

#[cfg(test)]
#[path = "keying_tests.rs"]
mod tests;
