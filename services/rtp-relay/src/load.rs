//! Load of a relay, as orchestrators are told: packets a second and the busiest thread's share of its core.

/// Counters of one thread, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Sessions now.
    pub sessions: u64,
    /// Packets forwarded since the start.
    pub forwarded: u64,
    /// Packets refused since the start.
    pub dropped: u64,
    /// Share of its core, thousandths; of several threads the busiest one's.
    pub busy: u32,
}

/// The load at the last look.
#[derive(Clone, Debug, Default)]
pub struct Load {
    /// Of all threads.
    pub sum: Counted,
    /// Packets forwarded a second.
    pub packets: u64,
    at_ms: Option<u64>,
}

impl Load {
    /// Takes what the threads have counted by now.
    pub fn take(&mut self, each: impl Iterator<Item = Counted>, now_ms: u64) {
        let before = std::mem::take(&mut self.sum);
        for one in each {
            self.sum.sessions += one.sessions;
            self.sum.forwarded += one.forwarded;
            self.sum.dropped += one.dropped;
            self.sum.busy = self.sum.busy.max(one.busy);
        }
        if let Some(at) = self.at_ms.replace(now_ms) {
            let passed = now_ms.saturating_sub(at).max(1);
            self.packets = self.sum.forwarded.saturating_sub(before.forwarded) * 1_000 / passed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_told_by_the_second_and_the_busiest_thread_counts() {
        let mut load = Load::default();
        let one = |forwarded, busy| Counted { sessions: 2, forwarded, dropped: 1, busy };
        load.take([one(1_000, 0), one(0, 0)].into_iter(), 50_000);
        assert_eq!(load.packets, 0, "nothing is known of before");
        load.take([one(2_000, 310), one(500, 870)].into_iter(), 50_500);
        assert_eq!((load.packets, load.sum.busy, load.sum.sessions, load.sum.dropped), (3_000, 870, 4, 2));
    }
}
