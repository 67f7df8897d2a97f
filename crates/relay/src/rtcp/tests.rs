use super::*;
use proptest::prelude::*;

fn items(compound: &[u8]) -> Vec<Item> {
    let mut items = vec![];
    read(compound, |item| items.push(item));
    items
}

fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut buffer = [0xee; 512];
    let mut writer = Writer::new(&mut buffer);
    write(&mut writer);
    let length = writer.finish().unwrap();
    buffer[..length].to_vec()
}

const SENDER: Sender =
    Sender { ssrc: 7, ntp: 0xe5f1_2345_8000_0001, timestamp: 160_000, packets: 1_000, octets: 160_000 };
const BLOCK: Block = Block {
    ssrc: 9,
    fraction: 25,
    lost: -3,
    highest: 0x0002_fffe,
    jitter: 42,
    last_report: 0x2345_8000,
    delay: 65_536,
};

/// The octets of RFC 3550 §6.4.1 and §6.5, field by field.
#[test]
fn a_report_has_the_octets_of_the_standard() {
    let packet = written(|w| {
        w.report(7, Some(&SENDER), Some(&BLOCK)).name(7, *b"0123456789abcdef");
    });
    let words = |words: &[u32]| words.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<u8>>();
    let mut wanted = words(&[0x81c8_000c, 7, 0xe5f1_2345, 0x8000_0001, 160_000, 1_000, 160_000]);
    wanted.extend(words(&[9, 0x19ff_fffd, 0x0002_fffe, 42, 0x2345_8000, 65_536, 0x81ca_0006, 7]));
    wanted.extend(b"\x01\x100123456789abcdef\0\0");
    assert_eq!(packet, wanted);
    assert!(valid(&packet));
    assert_eq!(items(&packet), [Item::Sender(SENDER), Item::Block(BLOCK)]);
    let silent = written(|w| {
        w.report(7, None, None).name(7, [b'x'; 16]);
    });
    assert_eq!(silent[..8], words(&[0x80c9_0001, 7]));
    assert!(valid(&silent) && items(&silent).is_empty());
}

#[test]
fn feedback_is_read_as_it_was_written() {
    let packet = written(|w| {
        w.report(7, None, None).name(7, [b'x'; 16]).nack(7, 9, &[(65_535, 0x8001), (3, 0)]);
        w.pli(7, 9).fir(7, 9, 200).estimate(7, 9, 2_500_000).bye(7);
    });
    assert!(valid(&packet));
    assert_eq!(
        items(&packet),
        [
            Item::Nack { media: 9, first: 65_535, mask: 0x8001 },
            Item::Nack { media: 9, first: 3, mask: 0 },
            Item::KeyframeRequest { media: 9 },
            Item::KeyframeRequest { media: 9 },
            Item::Estimate { bits: 2_500_000 / 16 * 16 },
            Item::Bye { ssrc: 7 },
        ]
    );
    // FIR: media source 0, then SSRC and command (RFC 5104 §4.3.1.1).
    let fir = written(|w| {
        w.fir(7, 9, 200);
    });
    assert_eq!(fir, [0x84, 206, 0, 4, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9, 200, 0, 0, 0]);
}

#[test]
fn an_estimate_keeps_eighteen_bits() {
    for bits in [0u64, 1, 262_143, 262_144, 30_000_000_001, u64::MAX] {
        let packet = written(|w| {
            w.estimate(1, 2, bits);
        });
        let [Item::Estimate { bits: read }] = items(&packet)[..] else { panic!("{bits}") };
        assert!(read <= bits && read >= bits - bits / 131_072, "{bits} {read}");
    }
    // An exponent that leaves 64 bits is as good as no limit.
    let mut packet = written(|w| {
        w.estimate(1, 2, 262_143);
    });
    packet[17] |= 0xfc;
    assert_eq!(items(&packet), [Item::Estimate { bits: u64::MAX }]);
}

#[test]
fn compounds_are_checked_to_the_last_octet() {
    let good = written(|w| {
        w.report(7, Some(&SENDER), Some(&BLOCK)).name(7, [b'x'; 16]);
    });
    assert!(valid(&good));
    assert!(!valid(&good[..good.len() - 1]) && !valid(&good[..8]) && !valid(&[]));
    let mut bad = good.clone();
    bad[52] = 0x41;
    assert!(!valid(&bad), "the second packet is of version 1");
    let mut bad = good;
    bad[0] |= 0x20;
    assert!(!valid(&bad), "padding before the last packet");
}

#[test]
fn padding_says_nothing() {
    // A NACK of two items, the second of which is padding.
    let mut packet = written(|w| {
        w.nack(7, 9, &[(1, 0), (0, 4)]);
    });
    packet[0] |= 0x20;
    assert_eq!(items(&packet), [Item::Nack { media: 9, first: 1, mask: 0 }]);
    *packet.last_mut().unwrap() = 255;
    assert_eq!(items(&packet), [], "more padding than packet");
}

#[test]
fn what_does_not_fit_is_told() {
    let mut buffer = [0; 27];
    let mut writer = Writer::new(&mut buffer);
    writer.report(7, Some(&SENDER), None);
    assert_eq!(writer.finish(), None);
}

proptest! {
    #[test]
    fn noise_is_survived(mut octets in prop::collection::vec(any::<u8>(), 0..200), kind in 200u8..208) {
        read(&octets, |_| ());
        let _ = valid(&octets);
        if octets.len() > 4 {
            octets.truncate(octets.len() / 4 * 4);
            (octets[0], octets[1]) = (octets[0] & 0x3f | 0x80, kind);
            let words = (octets.len() / 4 - 1) as u16;
            octets[2..4].copy_from_slice(&words.to_be_bytes());
            let mut count = 0;
            read(&octets, |_| count += 1);
            prop_assert!(valid(&octets) && count <= octets.len() / 4);
        }
    }
}
