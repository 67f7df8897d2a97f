//! Codecs that the ends speak, and their numbers.

use sound::codec::Kind;

/// Codec with its payload number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codec {
    /// Codec.
    pub kind: Kind,
    /// RTP payload number.
    pub pt: u8,
}

/// Payload number that we give Opus, whose number is dynamic (RFC 3551 §3).
const OPUS: u8 = 96;

impl Codec {
    /// Returns the codec of a name, with the number that we offer it by.
    pub fn named(name: &str) -> Option<Codec> {
        let all = [(Kind::Pcmu, 0), (Kind::Pcma, 8), (Kind::G722, 9), (Kind::Opus, OPUS)];
        let codec = |(kind, pt)| Codec { kind, pt };
        all.into_iter().map(codec).find(|codec| codec.name().eq_ignore_ascii_case(name))
    }

    /// Returns the codec of a static payload number (RFC 3551 §6).
    pub fn of_number(pt: u8) -> Option<Codec> {
        ["PCMU", "PCMA", "G722"].into_iter().filter_map(Codec::named).find(|codec| codec.pt == pt)
    }

    /// Returns its name in descriptions.
    pub fn name(self) -> &'static str {
        match self.kind {
            Kind::Pcmu => "PCMU",
            Kind::Pcma => "PCMA",
            Kind::G722 => "G722",
            Kind::Opus => "opus",
        }
    }

    /// Returns the number of channels that a description names (RFC 7587 §7).
    pub fn channels(self) -> u8 {
        if self.kind == Kind::Opus { 2 } else { 1 }
    }

    /// Returns the number of samples of a frame of 20 ms.
    pub fn frame(self) -> usize {
        self.kind.rate() / 50
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_codec_is_known_by_name_and_by_static_number() {
        assert_eq!(
            Codec::named("OPUS").map(|codec| (codec.pt, codec.channels(), codec.frame())),
            Some((96, 2, 320))
        );
        assert_eq!(Codec::of_number(8), Codec::named("pcma"));
        assert_eq!((Codec::of_number(96), Codec::named("G729")), (None, None));
    }
}
