//! The vectors of RFC 3711, RFC 6188 and RFC 7714.

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let text: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    text.chunks(2).map(|p| u8::from_str_radix(std::str::from_utf8(p).unwrap(), 16).unwrap()).collect()
}

fn salt(text: &str) -> [u8; 14] {
    let (mut salt, given) = ([0; 14], hex(text));
    salt[..given.len()].copy_from_slice(&given);
    salt
}

/// RFC 3711 appendix B.3, RFC 6188 §7.4.
#[test]
fn session_keys_are_derived_as_the_rfcs_print_them() {
    let short = ("E1F97A0D3E018BE0D64FA32C06DE4139", "0EC675AD498AFEEBB6960B3AABE6");
    let long =
        ("f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6", "3b04803de51ee7c96423ab5b78d2");
    for ((key, salt), label, wanted) in [
        (short, 0, "C61E7A93744F39EE10734AFE3FF7A087"),
        (short, 2, "30CBBC08863D8C85D49DB34A9AE1"),
        (short, 1, "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"),
        (long, 0, "5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4"),
        (long, 2, "fa31791685ca444a9e07c6c64e93"),
        (long, 1, "fd9c32d39ed5fbb5a9dc96b30818454d1313dc05"),
    ] {
        let mut out = vec![0; wanted.len() / 2];
        expand(&hex(key), &hex(salt), label, &mut out).unwrap();
        assert_eq!(out, hex(wanted));
    }
}

/// RFC 3711 appendix B.2 and RFC 6188 §7.3: the keystream of SSRC 0 and index 0.
#[test]
fn the_keystreams_are_the_rfcs() {
    for (suite, key, wanted) in [
        (
            Suite::AesCm128Sha1_80,
            "2B7E151628AED2A6ABF7158809CF4F3C",
            "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB",
        ),
        (
            Suite::AesCm256Sha1_80,
            "57f82fe3613fd170a85ec93c40b1f0922ec4cb0dc025b58272147cc438944a98",
            "92bdd28a93c3f52511c677d08b5515a4 9da71b2378a854f67050756ded165bac",
        ),
    ] {
        let keys = Keys::new(suite, &hex(key), &[0; 20], &salt("F0F1F2F3F4F5F6F7F8F9FAFBFCFD")).unwrap();
        let Transform::CounterMode(mode) = &keys.transform else { panic!() };
        let mut stream = [0; 32];
        mode.cipher.apply(&keys.counter(0, 0), &mut stream);
        assert_eq!(stream.to_vec(), hex(wanted));
    }
}

/// RFC 7714 §16.1 and §16.2: an RTP packet, with session keys.
#[test]
fn gcm_seals_rtp_as_the_rfc_prints_it() {
    let keys: Vec<u8> = (0..32).collect();
    for (suite, key, wanted) in [
        (
            Suite::AeadAes128Gcm,
            &keys[..16],
            "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833 899d7f27beb16a9152cf765ee4390cce",
        ),
        (
            Suite::AeadAes256Gcm,
            &keys[..],
            "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b 7aa3db36dfffd6b0f9bb7878d7a76c13",
        ),
    ] {
        let keys = Keys::new(suite, key, &[0; 20], &salt("517569642070726f2071756f")).unwrap();
        assert_eq!(keys.nonce(0x5501_a0b2, 0xf17b).to_vec(), hex("51753c6580c2726f20718414"));
        let header = hex("8040f17b8041f8d35501a0b2");
        let mut packet = [&header[..], b"Gallia est omnis divisa in partes tres"].concat();
        let length = packet.len();
        packet.resize(length + 16, 0);
        assert_eq!(keys.seal(suite, &mut packet, 12, length, 0x5501_a0b2, 0xf17b), Some(length + 16));
        assert_eq!(packet, [header, hex(wanted)].concat());
    }
}

/// RFC 7714 §17.1 and §17.2: an SRTCP packet, with session keys.
#[test]
fn gcm_seals_rtcp_as_the_rfc_prints_it() {
    let keys: Vec<u8> = (0..32).collect();
    for (suite, key, wanted) in [
        (
            Suite::AeadAes128Gcm,
            &keys[..16],
            "63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade 800005d4",
        ),
        (
            Suite::AeadAes256Gcm,
            &keys[..],
            "d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61de0476f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be 800005d4",
        ),
    ] {
        let keys = Keys::new(suite, key, &[0; 20], &salt("517569642070726f2071756f")).unwrap();
        let header = hex("81c8000d4d617273");
        let body =
            hex("4e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeefdeadbeefdeadbeef");
        let mut packet = [header.clone(), body].concat();
        let length = packet.len();
        packet.resize(length + 20, 0);
        assert_eq!(keys.seal_rtcp(suite, &mut packet, length, 0x4d61_7273, 0x5d4), Some(length + 20));
        assert_eq!(packet, [header, hex(wanted)].concat());
    }
}
