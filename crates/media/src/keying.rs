//! How media with a phone or trunk is protected: what of its description can be spoken with it (interworking §3.3 rules 7 and 13, §12.5).
//!
//! One rule: what is left of a peer's transport is what is in use: ICE with DTLS, one SDES line, or neither. A phone that offers is
//! answered in kind; what we offer is the leg's [`Profile`]. Jingle clients are left alone: they speak DTLS-SRTP or nothing.

use crate::anchor::Profile;
use signal::Media;
use signal::media::{Crypto, Suite, Transport};

/// What is offered, the first that everybody has: some phones answer tag 1 whatever they take (peers: baresip). The short tags
/// are taken where a phone has nothing better, and not offered.
const OFFERED_SUITES: [Suite; 4] =
    [Suite::AesCm128Sha1_80, Suite::AeadAes128Gcm, Suite::AesCm256Sha1_80, Suite::AeadAes256Gcm];

/// Our lines for an offer.
pub(crate) fn offered(ours: &[Crypto]) -> Vec<Crypto> {
    let lines = OFFERED_SUITES.iter().filter_map(|suite| ours.iter().find(|line| line.suite == *suite));
    lines.zip(1..).map(|(line, tag)| Crypto { tag, ..line.clone() }).collect()
}

/// Our line for an answer to `theirs`: its tag and suite, our key (RFC 4568 §5.1.2).
pub(crate) fn answered(ours: &[Crypto], theirs: &Crypto) -> Option<Crypto> {
    let line = ours.iter().find(|line| line.suite == theirs.suite)?;
    Some(Crypto { tag: theirs.tag, ..line.clone() })
}

/// What of a peer's offer can be spoken with it: the other contents are rejected, in their places.
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
            let lost = transport.dtls.is_some() && transport.crypto.is_empty();
            let best = Suite::ALL.iter().find_map(|s| transport.crypto.iter().find(|line| line.suite == *s));
            let best = best.cloned();
            let bare = best.is_none() && profile == Profile::Sdes && !content.codecs.is_empty();
            content.rejected |= lost || bare;
            (transport.dtls, transport.ice) = (None, None);
            set_crypto(transport, best);
        }
        // The same medium once more is the same call said otherwise: RTP/SAVP beside RTP/AVP. The first that fits is it.
        content.rejected |= kinds.contains(&content.kind);
        if !content.rejected {
            kinds.push(content.kind);
        }
    }
    offered
}

/// What of a peer's answer to `ours` holds; a content that is not protected as we demanded is rejected.
#[must_use]
pub fn accept(ours: &Media, mut answered: Media, profile: Profile) -> Media {
    if profile == Profile::Webrtc {
        return answered;
    }
    for (ours, theirs) in ours.contents.iter().zip(&mut answered.contents) {
        let (ours, transport) = (&ours.transport, &mut theirs.transport);
        if ours.dtls.is_some() {
            theirs.rejected |= !is_webrtc(transport);
            set_crypto(transport, None);
            continue;
        }
        // The suite tells which line was taken; the tag is not always right.
        let taken = transport.crypto.iter().find(|line| ours.crypto.iter().any(|o| o.suite == line.suite));
        let taken = taken.cloned();
        theirs.rejected |= taken.is_none() && !ours.crypto.is_empty() && !ours.best_effort;
        (transport.dtls, transport.ice) = (None, None);
        transport.mux &= ours.mux;
        set_crypto(transport, taken);
    }
    answered
}

/// DTLS is served on a path that ICE found, and there is one for RTP and RTCP together.
fn is_webrtc(transport: &Transport) -> bool {
    transport.dtls.is_some() && transport.ice.is_some() && transport.mux
}

fn set_crypto(transport: &mut Transport, crypto: Option<Crypto>) {
    transport.best_effort &= crypto.is_some();
    transport.crypto = crypto.into_iter().collect();
}

#[cfg(test)]
#[path = "keying_tests.rs"]
mod tests;
