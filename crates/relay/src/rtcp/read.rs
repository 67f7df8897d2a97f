use super::{AFB, BYE, Block, FIR, Item, NACK, PLI, PSFB, REMB, RPSI, RR, RTPFB, SLI, SR, Sender};

/// Every packet has version 2 and a length that fits; only the last one is padded (RFC 3550 A.2). Reduced-size packets (RFC 5506)
/// pass too.
#[must_use]
pub fn valid(compound: &[u8]) -> bool {
    let mut rest = compound;
    while let [first, kind, high, low, ..] = *rest {
        let length = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
        if first >> 6 != 2 || !(192..=223).contains(&kind) || length > rest.len() {
            return false;
        }
        if first & 0x20 != 0 && length < rest.len() {
            return false;
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    rest.is_empty() && !compound.is_empty()
}

/// Tells what a compound packet says, fact by fact and in its order; what is unknown or cut short is passed over. SDES, APP and XR
/// are nobody's concern but the sender's.
pub fn read(compound: &[u8], mut heard: impl FnMut(Item)) {
    let mut rest = compound;
    while let [first, kind, high, low, ..] = *rest {
        let length = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
        let (Some(packet), Some(after)) = (rest.get(..length), rest.get(length..)) else { return };
        rest = after;
        let mut body = packet.get(4..).unwrap_or_default();
        if first & 0x20 != 0 {
            let padding = usize::from(body.last().copied().unwrap_or_default());
            body = body.get(..body.len().saturating_sub(padding)).unwrap_or_default();
        }
        let count = first & 0x1f;
        match kind {
            SR | RR => report(kind, count, body, &mut heard),
            BYE => (0..usize::from(count)).for_each(|place| {
                if let Some(ssrc) = word(body, 4 * place) {
                    heard(Item::Bye { ssrc });
                }
            }),
            RTPFB | PSFB => feedback(kind, count, body, &mut heard),
            _ => {}
        }
    }
}

fn report(kind: u8, count: u8, body: &[u8], heard: &mut impl FnMut(Item)) {
    let mut blocks = body.get(4..).unwrap_or_default();
    if kind == SR {
        let (Some(ssrc), Some(info)) = (word(body, 0), body.get(4..24)) else { return };
        let of = |at| word(info, at).unwrap_or_default();
        let ntp = u64::from(of(0)) << 32 | u64::from(of(4));
        let sender = Sender { ssrc, ntp, timestamp: of(8), packets: of(12), octets: of(16) };
        heard(Item::Sender(sender));
        blocks = body.get(24..).unwrap_or_default();
    }
    for block in blocks.chunks_exact(24).take(usize::from(count)) {
        let of = |at| word(block, at).unwrap_or_default();
        heard(Item::Block(Block {
            ssrc: of(0),
            fraction: (of(4) >> 24) as u8,
            // The sign of 24 bits is that of the 32 that they fill from the left.
            lost: (of(4) << 8) as i32 >> 8,
            highest: of(8),
            jitter: of(12),
            last_report: of(16),
            delay: of(20),
        }));
    }
}

fn feedback(kind: u8, format: u8, body: &[u8], heard: &mut impl FnMut(Item)) {
    let (Some(media), Some(items)) = (word(body, 4), body.get(8..)) else { return };
    match (kind, format) {
        (RTPFB, NACK) => {
            for item in items.chunks_exact(4) {
                let lost = word(item, 0).unwrap_or_default();
                heard(Item::Nack { media, first: (lost >> 16) as u16, mask: lost as u16 });
            }
        }
        (PSFB, PLI | SLI | RPSI) => heard(Item::KeyframeRequest { media }),
        // FIR names the stream in its items (RFC 5104 §4.3.1.1).
        (PSFB, FIR) => items
            .chunks_exact(8)
            .for_each(|item| heard(Item::KeyframeRequest { media: word(item, 0).unwrap_or_default() })),
        (PSFB, AFB) if items.starts_with(&REMB) => {
            let Some(rate) = word(items, 4) else { return };
            let (exponent, mantissa) = (rate >> 18 & 0x3f, u64::from(rate & 0x3_ffff));
            let bits = mantissa.checked_shl(exponent).filter(|bits| bits >> exponent == mantissa);
            heard(Item::Estimate { bits: bits.unwrap_or(u64::MAX) });
        }
        _ => {}
    }
}

fn word(octets: &[u8], at: usize) -> Option<u32> {
    let four = octets.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*four))
}
