//! Readers and writers of attribute values: rtpmap, fmtp, candidate, fingerprint, crypto.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use signal::media::{Candidate, CandidateKind, Codec, Crypto, Fingerprint, Setup, Suite};
use std::net::{IpAddr, SocketAddr};

/// Reads `<pt> <name>/<clock>[/<channels>]`.
pub(super) fn rtpmap(value: &str) -> Option<Codec> {
    let (pt, encoding) = value.trim().split_once(' ')?;
    let mut parts = encoding.trim().split('/');
    let (name, clock) = (parts.next()?, parts.next()?);
    let channels = parts.next().and_then(|c| c.parse().ok()).unwrap_or(1);
    Some(Codec::new(
        pt.parse().ok().filter(|pt| *pt < 128)?,
        name,
        clock.parse().ok().filter(|c| *c > 0)?,
        channels,
    ))
}

/// Returns true for characters that no value may hold: control characters and those that XML forbids.
pub(super) fn unprintable(c: char) -> bool {
    c.is_control() && c != '\t' || matches!(c, '\u{fffe}' | '\u{ffff}')
}

/// Reads `k=v;k2=v2` or bare tokens (R-SDP-3); skips those that hold control characters.
pub(super) fn parameters(value: &str) -> Vec<(String, String)> {
    let parts =
        value.split(';').map(str::trim).filter(|p| !p.is_empty() && !p.contains(unprintable)).take(64);
    parts
        .map(|part| match part.split_once('=') {
            Some((name, value)) => (name.trim().to_owned(), value.trim().to_owned()),
            None => (String::new(), part.to_owned()),
        })
        .collect()
}

pub(super) fn write_parameters(parameters: &[(String, String)]) -> String {
    let parts = parameters.iter().map(|(name, value)| match (name.is_empty(), value.is_empty()) {
        (true, _) => value.clone(),
        (_, true) => name.clone(),
        _ => format!("{name}={value}"),
    });
    parts.collect::<Vec<_>>().join(";")
}

/// Reads a candidate (RFC 8839 §5.1); drops TCP candidates and host names (mDNS cannot be resolved here).
pub(super) fn candidate(value: &str) -> Option<Candidate> {
    let words: Vec<&str> = value.split_ascii_whitespace().take(40).collect();
    let [foundation, component, protocol, priority, address, port, typ, kind, rest @ ..] = words.as_slice()
    else {
        return None;
    };
    if !protocol.eq_ignore_ascii_case("udp") || *typ != "typ" {
        return None;
    }
    let named = |name: &str| {
        rest.chunks(2).find(|pair| pair.first() == Some(&name)).and_then(|pair| pair.get(1).copied())
    };
    let related = named("raddr")
        .and_then(|a| a.parse::<IpAddr>().ok())
        .zip(named("rport").and_then(|p| p.parse().ok()));
    Some(Candidate {
        foundation: (*foundation).to_owned(),
        component: component.parse().ok()?,
        priority: priority.parse().ok()?,
        address: SocketAddr::new(address.parse().ok()?, port.parse().ok()?),
        kind: kind_of(kind)?,
        related: related.map(|(ip, port)| SocketAddr::new(ip, port)),
        generation: named("generation").and_then(|g| g.parse().ok()).unwrap_or(0),
    })
}

pub(super) fn write_candidate(candidate: &Candidate) -> String {
    let Candidate { foundation, component, priority, address, kind, related, .. } = candidate;
    let mut line = format!(
        "{foundation} {component} UDP {priority} {} {} typ {}",
        address.ip(),
        address.port(),
        kind_name(*kind)
    );
    if let Some(related) = related {
        line += &format!(" raddr {} rport {}", related.ip(), related.port());
    }
    line
}

/// Returns the candidate type of a name, which SDP and Jingle share.
pub(crate) fn kind_of(name: &str) -> Option<CandidateKind> {
    Some(match name {
        "host" => CandidateKind::Host,
        "srflx" => CandidateKind::ServerReflexive,
        "prflx" => CandidateKind::PeerReflexive,
        "relay" => CandidateKind::Relayed,
        _ => return None,
    })
}

pub(crate) fn kind_name(kind: CandidateKind) -> &'static str {
    match kind {
        CandidateKind::Host => "host",
        CandidateKind::ServerReflexive => "srflx",
        CandidateKind::PeerReflexive => "prflx",
        CandidateKind::Relayed => "relay",
    }
}

/// Reads a fingerprint: hash name and colon-separated hex, in either case.
pub(crate) fn fingerprint(hash: &str, hex: &str) -> Option<Fingerprint> {
    let digest: Option<Vec<u8>> =
        hex.trim().split(':').take(65).map(|pair| u8::from_str_radix(pair, 16).ok()).collect();
    Some(Fingerprint {
        hash: hash.trim().to_ascii_lowercase(),
        digest: digest.filter(|d| (16..=64).contains(&d.len()))?,
    })
}

/// Writes a fingerprint's digest as upper-case hex with colons.
pub(crate) fn fingerprint_hex(fingerprint: &Fingerprint) -> String {
    fingerprint.digest.iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(":")
}

/// Reads a setup role; a word that is none is read as actpass.
pub(crate) fn setup(value: &str) -> Setup {
    match value.trim() {
        "active" => Setup::Active,
        "passive" => Setup::Passive,
        _ => Setup::ActPass,
    }
}

pub(crate) fn setup_name(setup: Setup) -> &'static str {
    match setup {
        Setup::ActPass => "actpass",
        Setup::Active => "active",
        Setup::Passive => "passive",
    }
}

/// Reads `<tag> <suite> inline:<key>[|lifetime][|MKI:length] [session parameters]` (RFC 4568 §9.1). Drops lines that cannot be served:
/// unknown suites, keys of a wrong length or several keys, and parameters that weaken or alter the protection.
pub(super) fn crypto(value: &str) -> Option<Crypto> {
    let mut words = value.split_ascii_whitespace();
    let (tag, suite, keys) = (words.next()?.parse().ok()?, Suite::named(words.next()?)?, words.next()?);
    if !words.all(is_ignorable) {
        return None;
    }
    let mut parts = keys.strip_prefix("inline:")?.split('|');
    let key = BASE64.decode(parts.next()?).ok()?;
    let mki = match parts.find_map(|part| part.split_once(':')) {
        Some((_, octets)) => octets.parse().ok().filter(|octets| (1..=128).contains(octets))?,
        None => 0,
    };
    let crypto = Crypto { tag, suite, key, mki };
    crypto.parts().is_some().then_some(crypto)
}

/// Returns true for session parameters without effect here (RFC 4568 §6.3): a window size hint, the order of FEC, which is not used, a
/// key derivation rate of 0, and extensions that may be ignored (§6.3.7).
fn is_ignorable(parameter: &str) -> bool {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    match name {
        "WSH" | "FEC_ORDER" => true,
        "KDR" => value == "0",
        _ => name.starts_with('-'),
    }
}

pub(super) fn write_crypto(crypto: &Crypto) -> String {
    format!("{} {} inline:{}", crypto.tag, crypto.suite.name(), BASE64.encode(&crypto.key))
}

/// Base64 with optional padding: some peers omit it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);
