//! Jitter buffer: puts packets that are early, late, doubled or out of order into the order in which they were sent; bounded.

use crate::PAYLOAD;

/// Packets held at most.
const SLOTS: usize = 32;
/// Later than this is another stream (RFC 3550 A.1).
const MAX_DROPOUT: u16 = 3_000;
/// Earlier than this is another stream.
const MAX_MISORDER: u16 = 100;

/// A packet as it came in.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// Payload type.
    pub pt: u8,
    /// Sequence number.
    pub seq: u16,
    /// Timestamp, in the clock of the codec.
    pub timestamp: u32,
    /// Source.
    pub ssrc: u32,
    /// Payload; more than [`PAYLOAD`] octets are refused.
    pub payload: &'a [u8],
}

/// A packet that waits.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Sequence number, extended over the wraps.
    pub seq: u64,
    /// Timestamp.
    pub timestamp: u32,
    /// Payload type.
    pub pt: u8,
    length: usize,
    octets: [u8; PAYLOAD],
}

impl Slot {
    /// Returns the payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or_default()
    }
}

/// Fate of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Buffered.
    Waits,
    /// Buffered as the first of another stream; the packets of the one before are gone.
    Begins,
    /// Dropped: a duplicate, too late, or too large.
    Refused,
}

/// The waiting packets.
#[derive(Debug)]
pub struct Buffer {
    slots: Box<[Slot]>,
    /// Places of the waiting ones, by sequence; the others follow.
    order: [u8; SLOTS],
    count: usize,
    ssrc: Option<u32>,
    highest: u64,
    /// The sequence number whose turn is next.
    next: u64,
}

impl Default for Buffer {
    fn default() -> Buffer {
        let slot = Slot { seq: 0, timestamp: 0, pt: 0, length: 0, octets: [0; PAYLOAD] };
        let mut order = [0; SLOTS];
        order.iter_mut().zip(0..).for_each(|(place, number)| *place = number);
        Buffer { slots: vec![slot; SLOTS].into(), order, count: 0, ssrc: None, highest: 0, next: 0 }
    }
}

impl Buffer {
    /// Takes a packet.
    pub fn insert(&mut self, packet: &Incoming) -> Kept {
        let Some(seq) = self.place(packet.ssrc, packet.seq) else {
            // Far from nought on both sides: a packet before the first one is still in reach.
            let seq = u64::from(packet.seq) + (1 << 32);
            (self.count, self.ssrc, self.highest, self.next) = (0, Some(packet.ssrc), seq, seq);
            self.keep(0, seq, packet);
            return Kept::Begins;
        };
        let at = self.waiting().iter().filter(|place| self.seq(**place) < seq).count();
        let twice = self.waiting().get(at).is_some_and(|place| self.seq(*place) == seq);
        if seq < self.next || twice || packet.payload.len() > PAYLOAD {
            return Kept::Refused;
        }
        let at = if self.count == SLOTS {
            // Too many: the oldest gives way, unless that is the new one.
            if at == 0 {
                return Kept::Refused;
            }
            self.pop();
            at - 1
        } else {
            at
        };
        self.highest = self.highest.max(seq);
        self.keep(at, seq, packet);
        Kept::Waits
    }

    /// The extended sequence number; `None`: the packet is of another stream.
    fn place(&self, ssrc: u32, seq: u16) -> Option<u64> {
        if self.ssrc != Some(ssrc) {
            return None;
        }
        let forward = seq.wrapping_sub(self.highest as u16);
        match forward {
            forward if forward < MAX_DROPOUT => Some(self.highest + u64::from(forward)),
            forward if forward > u16::MAX - MAX_MISORDER => {
                self.highest.checked_sub(u64::from(forward.wrapping_neg()))
            }
            _ => None,
        }
    }

    fn keep(&mut self, at: usize, seq: u64, packet: &Incoming) {
        // The first free place is moved to where it belongs.
        let Some(order) = self.order.get_mut(at..=self.count) else { return };
        order.rotate_right(1);
        let Some(slot) = order.first().and_then(|place| self.slots.get_mut(usize::from(*place))) else {
            return;
        };
        let length = packet.payload.len().min(PAYLOAD);
        (slot.seq, slot.timestamp, slot.pt, slot.length) = (seq, packet.timestamp, packet.pt, length);
        if let (Some(to), Some(from)) = (slot.octets.get_mut(..length), packet.payload.get(..length)) {
            to.copy_from_slice(from);
        }
        self.count += 1;
    }

    fn waiting(&self) -> &[u8] {
        self.order.get(..self.count).unwrap_or_default()
    }

    fn seq(&self, place: u8) -> u64 {
        self.slots.get(usize::from(place)).map_or(0, |slot| slot.seq)
    }

    /// The packet whose turn is next.
    #[must_use]
    pub fn first(&self) -> Option<&Slot> {
        self.slots.get(usize::from(*self.waiting().first()?))
    }

    /// The packet that came last in order.
    #[must_use]
    pub fn last(&self) -> Option<&Slot> {
        self.slots.get(usize::from(*self.waiting().last()?))
    }

    /// None was lost before the first one.
    #[must_use]
    pub fn follows(&self) -> bool {
        self.first().is_some_and(|slot| slot.seq == self.next)
    }

    /// Lets the first one go: its turn is over, and that of all before it.
    pub fn pop(&mut self) {
        let Some(first) = self.first().map(|slot| slot.seq) else { return };
        self.next = first + 1;
        if let Some(order) = self.order.get_mut(..self.count) {
            order.rotate_left(1);
        }
        self.count -= 1;
    }

    /// A packet that goes another way (a key) takes no turn here.
    pub fn pass(&mut self, ssrc: u32, seq: u16) {
        if let Some(seq) = self.place(ssrc, seq) {
            self.highest = self.highest.max(seq);
            if self.count == 0 && seq >= self.next {
                self.next = seq + 1;
            }
        }
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// None waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(seq: u16, payload: &[u8]) -> Incoming<'_> {
        Incoming { pt: 0, seq, timestamp: u32::from(seq) * 160, ssrc: 7, payload }
    }

    fn drain(buffer: &mut Buffer) -> Vec<u16> {
        let mut all = vec![];
        while let Some(slot) = buffer.first() {
            all.push(slot.seq as u16);
            buffer.pop();
        }
        all
    }

    #[test]
    fn packets_leave_in_order_over_the_wrap_and_once() {
        let mut buffer = Buffer::default();
        assert_eq!(buffer.insert(&packet(65_534, &[1])), Kept::Begins);
        for (seq, kept) in [
            (1, Kept::Waits),
            (65_535, Kept::Waits),
            (65_535, Kept::Refused),
            (0, Kept::Waits),
            (65_533, Kept::Refused),
        ] {
            assert_eq!(buffer.insert(&packet(seq, &[seq as u8])), kept, "{seq}");
        }
        assert_eq!(drain(&mut buffer), [65_534, 65_535, 0, 1]);
        assert_eq!(buffer.insert(&packet(1, &[])), Kept::Refused, "its turn is over");
        assert_eq!(buffer.insert(&packet(3, &[])), Kept::Waits);
        assert!(!buffer.follows(), "2 is missing");
        assert_eq!(buffer.insert(&packet(9_000, &[])), Kept::Begins, "a restart");
        assert_eq!(
            buffer.insert(&Incoming { ssrc: 8, ..packet(9_001, &[]) }),
            Kept::Begins,
            "another source"
        );
    }

    #[test]
    fn the_oldest_gives_way_and_large_ones_are_refused() {
        let mut buffer = Buffer::default();
        for seq in 0..40 {
            buffer.insert(&packet(seq, &[seq as u8]));
        }
        assert_eq!((buffer.len(), buffer.first().unwrap().payload()), (SLOTS, &[8][..]));
        assert_eq!(buffer.insert(&packet(40, &[0; PAYLOAD + 1])), Kept::Refused);
    }

    proptest! {
        #[test]
        fn whatever_comes_leaves_in_order_with_its_own_payload(arrivals in prop::collection::vec((0u16..200, any::<bool>()), 0..400)) {
            let mut buffer = Buffer::default();
            let mut last = None;
            for (seq, pop) in arrivals {
                let seq = seq.wrapping_add(65_450);
                if buffer.insert(&packet(seq, &seq.to_be_bytes())) == Kept::Begins {
                    last = None;
                }
                prop_assert!(buffer.len() <= SLOTS);
                if pop && let Some(slot) = buffer.first() {
                    prop_assert_eq!(slot.payload(), (slot.seq as u16).to_be_bytes());
                    prop_assert!(last.is_none_or(|last| slot.seq > last));
                    last = Some(slot.seq);
                    buffer.pop();
                }
            }
        }
    }
}
