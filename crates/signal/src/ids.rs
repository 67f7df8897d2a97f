//! Ids from which any edge finds the record (architecture §4, interworking §1.4, R-ADDR-17).
//!
//! A [`RecordId`] of a call is a keyed hash of the ids of the first dialog, so every edge computes the same one for a retransmission. A
//! [`Token`] carries a record and a leg with a keyed check: the gateway's SIP tags, Jingle resources, sids and JMI ids are tokens, so an
//! in-dialog message names its record at any edge, and no peer can forge one.

use hmac::{Hmac, Mac};
use minicbor::{Decode, Encode};
use sha2::Sha256;
use std::fmt;

/// Secret key of the cluster; never printed.
#[derive(Clone)]
pub struct Secret(Hmac<Sha256>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// Makes a secret from key material of any length; empty for tests only.
    #[must_use]
    pub fn new(key: &[u8]) -> Secret {
        // HMAC takes keys of every length; the fallback cannot be reached.
        Secret(Hmac::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&Default::default())))
    }

    /// Returns the secret of one use, which follows from this one: whoever has it knows nothing of the others.
    #[must_use]
    pub fn for_use(&self, name: &str) -> Secret {
        Secret::new(&self.derive("use", &[name.as_bytes()]))
    }

    /// Derives 32 octets from the key, the label and the parts: deterministic with the key, unguessable without. Edges take all ids from
    /// here that they would otherwise draw at random.
    #[must_use]
    pub fn derive(&self, label: &str, parts: &[&[u8]]) -> [u8; 32] {
        self.mac(label, parts).finalize().into_bytes().into()
    }

    /// Returns true if `proof` is what [`Secret::derive`] gives for the label and the parts; takes the same time wherever they differ.
    #[must_use]
    pub fn proves(&self, label: &str, parts: &[&[u8]], proof: &[u8; 32]) -> bool {
        self.mac(label, parts).verify_slice(proof).is_ok()
    }

    fn mac(&self, label: &str, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        for part in std::iter::once(label.as_bytes()).chain(parts.iter().copied()) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }

    /// Derives a base32 text of `chars` characters (at most 51, five bits each), as [`Secret::derive`] does.
    #[must_use]
    pub fn derive_text(&self, label: &str, parts: &[&[u8]], chars: usize) -> String {
        let mut text = base32(&self.derive(label, parts));
        text.truncate(chars);
        text
    }

    /// Returns the id of a call from SIP, by Call-ID, From-tag (empty for an RFC 2543 peer), CSeq and Request-URI of its first INVITE.
    #[must_use]
    pub fn call_of_sip(&self, call_id: &str, from_tag: &str, cseq: u32, uri: &str) -> RecordId {
        let parts = [call_id.as_bytes(), from_tag.as_bytes(), &cseq.to_be_bytes(), uri.as_bytes()];
        RecordId::cut(RecordKind::Call, self.derive("call/sip", &parts))
    }

    /// Returns the id of a call from Jingle, by the initiator's full JID (the `from` of a propose) and the sid.
    #[must_use]
    pub fn call_of_jingle(&self, initiator: &str, sid: &str) -> RecordId {
        RecordId::cut(RecordKind::Call, self.derive("call/jingle", &[initiator.as_bytes(), sid.as_bytes()]))
    }

    /// Returns the id of the settings of an XMPP user, by their bare JID.
    #[must_use]
    pub fn user(&self, jid: &str) -> RecordId {
        RecordId::cut(RecordKind::User, self.derive("user", &[jid.as_bytes()]))
    }

    /// Returns the token of a leg. `attempt` (0–7) distinguishes several sessions of one leg, such as a second propose.
    #[must_use]
    pub fn token(&self, leg: LegRef, attempt: u8) -> Token {
        let mut bytes = [0u8; 16];
        let low = (leg.leg.0 & 0x1f) << 3 | (attempt & 0x07);
        let kind = leg.record.kind.number();
        let check = self.derive("token", &[&leg.record.hash, &[kind, low]]);
        // 122 free bits of a version 4 UUID (RFC 9562 §5.4): 80 hash, 4 kind, 8 leg and attempt, 30 check.
        let mut bits = Bits(&mut bytes, 0);
        for byte in &leg.record.hash {
            bits.push(*byte, 8);
        }
        bits.push(kind, 4);
        for byte in [low, check[0], check[1], check[2]] {
            bits.push(byte, 8);
        }
        bits.push(check[3] >> 2, 6);
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Token(bytes)
    }

    /// Returns leg and attempt of a token, if it was made with this secret.
    #[must_use]
    pub fn open(&self, token: Token) -> Option<(LegRef, u8)> {
        let mut at = 0;
        let mut pull = |count: u32| {
            let mut field = 0u8;
            for _ in 0..count {
                while (48..52).contains(&at) || (64..66).contains(&at) {
                    at += 1;
                }
                field = field << 1 | token.0[at / 8] >> (7 - at % 8) & 1;
                at += 1;
            }
            field
        };
        let hash = [(); 10].map(|()| pull(8));
        let (kind, low) = (pull(4), pull(8));
        let record = RecordId { kind: RecordKind::of(kind)?, hash };
        let (leg, attempt) = (LegRef { record, leg: LegId(low >> 3) }, low & 7);
        (self.token(leg, attempt) == token).then_some((leg, attempt))
    }
}

/// Writer of bits from the front; skips the version and variant bits of a UUID.
struct Bits<'a>(&'a mut [u8; 16], usize);

impl Bits<'_> {
    fn push(&mut self, value: u8, count: u32) {
        for i in (0..count).rev() {
            while (48..52).contains(&self.1) || (64..66).contains(&self.1) {
                self.1 += 1;
            }
            self.0[self.1 / 8] |= (value >> i & 1) << (7 - self.1 % 8);
            self.1 += 1;
        }
    }
}

/// Kind of a record. Numbers are on the wire, in tokens: they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum RecordKind {
    /// Call.
    #[n(0)]
    Call,
    /// Subscription of a watcher to a presentity (RFC 3856; RFC 6121 §3).
    #[n(1)]
    Subscription,
    /// Message in flight.
    #[n(2)]
    Message,
    /// Chat session (RFC 4975; RFC 7573).
    #[n(3)]
    Chat,
    /// Multi-user chat room (XEP-0045; RFC 7702).
    #[n(4)]
    Room,
    /// Registration of the gateway at a trunk (RFC 3261 §10).
    #[n(5)]
    Registration,
    /// Bindings of an address of record that is registered at the gateway (RFC 3261 §10).
    #[n(6)]
    Binding,
    /// Settings of an XMPP user.
    #[n(7)]
    User,
    /// Published event state (RFC 3903).
    #[n(8)]
    Publication,
}

impl RecordKind {
    /// All kinds, by number.
    pub const ALL: [RecordKind; 9] = [
        RecordKind::Call,
        RecordKind::Subscription,
        RecordKind::Message,
        RecordKind::Chat,
        RecordKind::Room,
        RecordKind::Registration,
        RecordKind::Binding,
        RecordKind::User,
        RecordKind::Publication,
    ];

    /// Returns the name in store keys, logs and ids.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            RecordKind::Call => "call",
            RecordKind::Subscription => "subscription",
            RecordKind::Message => "message",
            RecordKind::Chat => "chat",
            RecordKind::Room => "room",
            RecordKind::Registration => "registration",
            RecordKind::Binding => "binding",
            RecordKind::User => "user",
            RecordKind::Publication => "publication",
        }
    }

    /// Returns the number in tokens and on the bus: 0 to 15.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Returns the kind of a number.
    #[must_use]
    pub fn of(number: u8) -> Option<RecordKind> {
        RecordKind::ALL.get(usize::from(number)).copied()
    }
}

/// Id of a record: its kind and 80 bits of a keyed hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct RecordId {
    /// Kind of the record.
    #[n(0)]
    pub kind: RecordKind,
    /// Hash of the names of the record.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub hash: [u8; 10],
}

impl RecordId {
    /// Returns the id of a call.
    #[must_use]
    pub const fn call(hash: [u8; 10]) -> RecordId {
        RecordId { kind: RecordKind::Call, hash }
    }

    fn cut(kind: RecordKind, hash: [u8; 32]) -> RecordId {
        let mut id = [0; 10];
        id.copy_from_slice(&hash[..10]);
        RecordId { kind, hash: id }
    }

    /// Reads the text of `Display`: 16 characters of base32, after the kind and a hyphen unless the record is a call.
    #[must_use]
    pub fn parse(text: &str) -> Option<RecordId> {
        let (kind, hash) = match text.split_once('-') {
            Some((name, hash)) => (*RecordKind::ALL.iter().find(|kind| kind.name() == name)?, hash),
            None => (RecordKind::Call, text),
        };
        RecordId::of_hash(kind, hash)
    }

    /// Reads the text of [`RecordId::hash_text`].
    #[must_use]
    pub fn of_hash(kind: RecordKind, hash: &str) -> Option<RecordId> {
        Some(RecordId { kind, hash: unbase32(hash)?.try_into().ok()? })
    }

    /// Returns the text of the hash alone, for keys that name the kind elsewhere.
    #[must_use]
    pub fn hash_text(&self) -> String {
        base32(&self.hash)
    }

    /// Returns the octets for [`Secret::derive`].
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 11] {
        let mut bytes = [self.kind.number(); 11];
        bytes[1..].copy_from_slice(&self.hash);
        bytes
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            RecordKind::Call => f.write_str(&self.hash_text()),
            kind => write!(f, "{}-{}", kind.name(), self.hash_text()),
        }
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Number of a leg within its call, 0 to 31; 0 is the leg that opened the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct LegId(#[n(0)] pub u8);

/// Id of a leg: one relation of a record to one party.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct LegRef {
    /// Id of the record.
    #[n(0)]
    pub record: RecordId,
    /// Number of the leg within it.
    #[n(1)]
    pub leg: LegId,
}

impl fmt::Display for LegRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.record, self.leg.0)
    }
}

/// Id of an effect of a decision, by which an effect that is performed twice is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct EffectId {
    /// Id of the record.
    #[n(0)]
    pub record: RecordId,
    /// Version of the record that the decision wrote.
    #[n(1)]
    pub version: u64,
    /// Index among the effects of that decision.
    #[n(2)]
    pub index: u16,
}

impl EffectId {
    /// Returns the octets for [`Secret::derive`].
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 21] {
        let mut bytes = [0; 21];
        bytes[..11].copy_from_slice(&self.record.to_bytes());
        bytes[11..19].copy_from_slice(&self.version.to_be_bytes());
        bytes[19..].copy_from_slice(&self.index.to_be_bytes());
        bytes
    }
}

impl fmt::Display for EffectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.record, self.version, self.index)
    }
}

/// Id of an event (a SIP transaction, a stanza), by which it is committed once: a stable 64-bit hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct EventId(#[n(0)] pub u64);

impl EventId {
    /// Hashes the parts by FNV-1a, each followed by a zero octet: stable across instances and versions.
    #[must_use]
    pub fn of(parts: &[&str]) -> EventId {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in parts.iter().flat_map(|p| p.bytes().chain([0])) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        EventId(hash)
    }
}

/// Id that carries a leg: 16 octets in the form of a version 4 UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token([u8; 16]);

impl Token {
    /// Returns the text of a UUID, for sids and JMI ids (XEP-0353 §3: UUIDv4).
    #[must_use]
    pub fn uuid(&self) -> String {
        let hex: String = self.0.iter().map(|b| format!("{b:02x}")).collect();
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
    /// Returns 26 characters of base32, for SIP tags and Jingle resources.
    #[must_use]
    pub fn tag(&self) -> String {
        base32(&self.0)
    }
    /// Parses a token in either form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Token> {
        if text.len() == 26 {
            return Some(Token(unbase32(text)?.try_into().ok()?));
        }
        if text.len() != 36 || !text.is_ascii() {
            return None;
        }
        let hex: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
        if hex.len() != 32 {
            return None;
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Token(bytes))
    }
}

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

fn base32(bytes: &[u8]) -> String {
    let (mut text, mut buffer, mut bits) = (String::with_capacity(bytes.len() * 8 / 5 + 1), 0u32, 0);
    for byte in bytes {
        buffer = buffer << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(ALPHABET[(buffer >> bits & 31) as usize]));
        }
        buffer &= (1 << bits) - 1;
    }
    if bits > 0 {
        text.push(char::from(ALPHABET[(buffer << (5 - bits) & 31) as usize]));
    }
    text
}

fn unbase32(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut buffer, mut bits) = (Vec::with_capacity(text.len() * 5 / 8), 0u32, 0);
    for c in text.bytes() {
        let value = ALPHABET.iter().position(|a| *a == c.to_ascii_lowercase())?;
        buffer = buffer << 5 | value as u32;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((buffer >> bits & 255) as u8);
        }
        buffer &= (1 << bits) - 1;
    }
    (buffer == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// R-ADDR-17: stable for the same leg, different between legs, unforgeable without the secret.
        #[test]
        fn tokens_name_their_leg_and_nobody_else_can_make_one(hash: [u8; 10], kind in 0u8..9, leg in 0u8..32, attempt in 0u8..8, flip in 0usize..128) {
            let (ours, theirs) = (Secret::new(b"ours"), Secret::new(b"theirs"));
            let kind = RecordKind::of(kind).unwrap();
            let leg = LegRef { record: RecordId { kind, hash }, leg: LegId(leg) };
            let token = ours.token(leg, attempt);
            prop_assert_eq!(Token::parse(&token.uuid()), Some(token));
            prop_assert_eq!(Token::parse(&token.tag()), Some(token));
            prop_assert_eq!(&token.uuid()[14..15], "4");
            prop_assert_eq!(ours.open(token), Some((leg, attempt)));
            prop_assert_eq!(theirs.open(token), None);
            let mut forged = token;
            forged.0[flip / 8] ^= 1 << (flip % 8);
            prop_assert_eq!(ours.open(forged), None);
            prop_assert_ne!(ours.token(LegRef { leg: LegId(leg.leg.0 ^ 1), ..leg }, attempt), token);
        }

        #[test]
        fn record_ids_are_read_back(hash: [u8; 10]) {
            for kind in RecordKind::ALL {
                let id = RecordId { kind, hash };
                prop_assert_eq!(RecordId::parse(&id.to_string()), Some(id));
            }
        }

        #[test]
        fn foreign_text_is_never_a_token_of_ours(text in "\\PC{0,60}") {
            prop_assert!(Token::parse(&text).and_then(|t| Secret::new(b"ours").open(t)).is_none());
        }
    }

    #[test]
    fn a_retransmission_names_the_same_call_at_any_edge() {
        let (a, b) = (Secret::new(b"k"), Secret::new(b"k"));
        let call = |secret: &Secret, id, tag| secret.call_of_sip(id, tag, 1, "sip:2700@gw");
        assert_eq!(call(&a, "c1@h", "t1"), call(&b, "c1@h", "t1"));
        assert_ne!(call(&a, "c1@h", "t1"), call(&a, "c1@", "ht1"));
        assert_ne!(call(&a, "x", "y"), a.call_of_jingle("x", "y"));
        assert_ne!(call(&a, "x", "y"), a.call_of_sip("x", "y", 2, "sip:2700@gw"));
        assert_ne!(call(&a, "x", "y"), a.call_of_sip("x", "y", 1, "sip:2701@gw"));
    }
}
