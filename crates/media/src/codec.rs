//! Codecs that cross unchanged, and static payload types (interworking §3.4, §12.7).

use signal::media::Codec;

/// Static payload types of RFC 3551 §6 that a description may name without an rtpmap: number, name, clock, channels.
const STATIC: &[(u8, &str, u32, u8)] = &[
    (0, "PCMU", 8000, 1),
    (3, "GSM", 8000, 1),
    (4, "G723", 8000, 1),
    (5, "DVI4", 8000, 1),
    (6, "DVI4", 16000, 1),
    (7, "LPC", 8000, 1),
    (8, "PCMA", 8000, 1),
    (9, "G722", 8000, 1),
    (10, "L16", 44100, 2),
    (11, "L16", 44100, 1),
    (12, "QCELP", 8000, 1),
    (13, "CN", 8000, 1),
    (14, "MPA", 90000, 1),
    (15, "G728", 8000, 1),
    (16, "DVI4", 11025, 1),
    (17, "DVI4", 22050, 1),
    (18, "G729", 8000, 1),
    (25, "CelB", 90000, 1),
    (26, "JPEG", 90000, 1),
    (28, "nv", 90000, 1),
    (31, "H261", 90000, 1),
    (32, "MPV", 90000, 1),
    (33, "MP2T", 90000, 1),
    (34, "H263", 90000, 1),
];

/// Returns the codec of a static payload type.
pub(crate) fn of_static(pt: u8) -> Option<Codec> {
    STATIC
        .iter()
        .find(|s| s.0 == pt)
        .map(|(pt, name, clock, channels)| Codec::new(*pt, name, *clock, *channels))
}

/// Returns the static payload type of a codec, if it has one.
pub(crate) fn static_number(codec: &Codec) -> Option<u8> {
    STATIC
        .iter()
        .find(|s| s.1.eq_ignore_ascii_case(&codec.name) && s.2 == codec.clock && s.3 == codec.channels)
        .map(|s| s.0)
}

/// Returns true for codecs that the gateway forwards from leg to leg unchanged.
#[must_use]
pub fn served(codec: &Codec) -> bool {
    const SERVED: &[(&str, u32)] = &[
        ("PCMU", 8000),
        ("PCMA", 8000),
        ("G722", 8000),
        ("opus", 48000),
        ("CN", 8000),
        ("telephone-event", 8000),
        ("telephone-event", 16000),
        ("telephone-event", 48000),
    ];
    SERVED.iter().any(|(name, clock)| name.eq_ignore_ascii_case(&codec.name) && *clock == codec.clock)
}

/// Returns the codecs of an offer on behalf of a peer that has not described itself: Opus, G.722, G.711 and telephone-event.
#[must_use]
pub fn defaults() -> Vec<Codec> {
    let mut opus = Codec::new(111, "opus", 48000, 2);
    opus.params.push(("useinbandfec".into(), "1".into()));
    let event = |pt, clock| {
        let mut event = Codec::new(pt, "telephone-event", clock, 1);
        event.params.push((String::new(), "0-16".into()));
        event
    };
    vec![
        opus,
        Codec::new(9, "G722", 8000, 1),
        Codec::new(8, "PCMA", 8000, 1),
        Codec::new(0, "PCMU", 8000, 1),
        event(110, 48000),
        event(101, 8000),
    ]
}
