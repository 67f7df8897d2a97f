//! G.711 at 8 kHz: µ-law and A-law, an octet a sample, by tables that the compiler makes.

/// Which of the two laws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// PCMU.
    Mu,
    /// PCMA.
    A,
}

/// Added before the logarithm of µ-law is taken, in 14 bit.
const BIAS: i32 = 33;
/// Largest value before it, in 14 bit.
const CLIP: i32 = 8_158;

const fn mu_of(sample: i16) -> u8 {
    let wide = sample as i32 >> 2;
    // As G.191 has it, a negative value is told by its complement, here and below.
    let (sign, mut size) = if wide < 0 { (0x80, !wide) } else { (0, wide) };
    if size > CLIP {
        size = CLIP;
    }
    size += BIAS;
    // The segment is the place of the highest bit above the fifth.
    let segment = 31 - (size as u32).leading_zeros() - 5;
    let step = (size >> (segment + 1)) as u8 & 0x0f;
    !(sign | (segment as u8) << 4 | step)
}

const fn of_mu(octet: u8) -> i16 {
    let octet = !octet;
    let (segment, step) = ((octet >> 4 & 7) as i32, (octet & 0x0f) as i32);
    let size = ((2 * step + BIAS) << segment) - BIAS;
    let wide = if octet & 0x80 != 0 { -size } else { size };
    (wide * 4) as i16
}

const fn a_of(sample: i16) -> u8 {
    let wide = sample as i32 >> 3;
    let (sign, size) = if wide < 0 { (0, !wide) } else { (0x80, wide) };
    let octet = if size < 32 {
        (size >> 1) as u8
    } else {
        let segment = 31 - (size as u32).leading_zeros() - 4;
        (segment as u8) << 4 | (size >> segment) as u8 & 0x0f
    };
    (sign | octet) ^ 0x55
}

const fn of_a(octet: u8) -> i16 {
    let octet = octet ^ 0x55;
    let (segment, step) = ((octet >> 4 & 7) as i32, (octet & 0x0f) as i32);
    let size = if segment == 0 { 2 * step + 1 } else { (2 * step + 33) << (segment - 1) };
    let wide = if octet & 0x80 != 0 { size } else { -size };
    (wide * 8) as i16
}

const fn decoding(law: Law) -> [i16; 256] {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        table[octet] = match law {
            Law::Mu => of_mu(octet as u8),
            Law::A => of_a(octet as u8),
        };
        octet += 1;
    }
    table
}

static MU: [i16; 256] = decoding(Law::Mu);
static A: [i16; 256] = decoding(Law::A);

/// One sample as an octet.
#[must_use]
pub fn encode(law: Law, sample: i16) -> u8 {
    match law {
        Law::Mu => mu_of(sample),
        Law::A => a_of(sample),
    }
}

/// One octet as a sample.
#[must_use]
pub fn decode(law: Law, octet: u8) -> i16 {
    let table = match law {
        Law::Mu => &MU,
        Law::A => &A,
    };
    table.get(usize::from(octet)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of ITU-T G.711, tables 1a and 2a, and of G.191's reference at the edges.
    #[test]
    fn both_laws_have_the_values_of_the_standard() {
        for (sample, mu, a) in [
            (0, 0xff, 0xd5),
            (-1, 0x7f, 0x55),
            (8, 0xfe, 0xd5),
            (32_767, 0x80, 0xaa),
            (-32_768, 0x00, 0x2a),
            (1_000, 0xce, 0xfa),
            (-1_000, 0x4e, 0x7a),
        ] {
            assert_eq!(encode(Law::A, sample), a, "A-law of {sample}");
            assert_eq!(encode(Law::Mu, sample), mu, "µ-law of {sample}");
        }
        assert_eq!((decode(Law::Mu, 0x00), decode(Law::Mu, 0x80)), (-32_124, 32_124));
        assert_eq!((decode(Law::A, 0x2a), decode(Law::A, 0xaa)), (-32_256, 32_256));
    }

    #[test]
    fn an_octet_comes_back_as_itself_and_a_sample_within_half_a_step() {
        for law in [Law::Mu, Law::A] {
            for octet in 0..=255u8 {
                let again = encode(law, decode(law, octet));
                // µ-law has two zeros.
                assert!(again == octet || law == Law::Mu && octet == 0x7f, "{law:?} {octet:#x} {again:#x}");
            }
            for sample in i16::MIN..=i16::MAX {
                let off = (i32::from(decode(law, encode(law, sample))) - i32::from(sample)).abs();
                let most =
                    i32::from(sample).abs() / 32 + 16 + if sample.unsigned_abs() > 32_000 { 700 } else { 0 };
                assert!(off <= most, "{law:?} {sample}: off by {off}");
            }
        }
    }
}
