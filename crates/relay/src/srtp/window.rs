//! The replay window (RFC 3711 §3.3.2): 128 packets back from the highest.

#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    highest: u64,
    /// Bit n: `highest - n` was seen; 0 = nothing seen.
    seen: u128,
}

impl Window {
    /// Everything up to this one counts as seen.
    pub fn closed(highest: u64) -> Window {
        Window { highest, seen: u128::MAX }
    }

    /// RemoteReport before, or too old to tell.
    pub fn has(&self, index: u64) -> bool {
        if self.seen == 0 || index > self.highest {
            return false;
        }
        let back = self.highest - index;
        back >= 128 || self.seen >> back & 1 == 1
    }

    /// Marks an authentic packet.
    pub fn note(&mut self, index: u64) {
        if self.seen == 0 || index > self.highest {
            let forward = if self.seen == 0 { 128 } else { index - self.highest };
            self.seen = if forward >= 128 { 0 } else { self.seen << forward };
            self.highest = index;
            self.seen |= 1;
        } else if self.highest - index < 128 {
            self.seen |= 1 << (self.highest - index);
        }
    }
}
