//! One end: one content of one leg, its form, what it may say and what it has counted.

use super::facts::{EndId, Figures, Form, Local, Remote};
use super::plain::Plain;
use super::reception::Reception;
use super::snapshot::Inherited;
use super::web::Web;
use crate::packet::{Payloads, Splice};
use signal::media::{Candidate, Codec, Direction};
use signal::{LegId, Time};
use std::net::SocketAddr;

#[derive(Debug)]
pub(super) struct End {
    pub id: EndId,
    /// Place of the end that it talks to.
    pub peer: usize,
    pub session: u32,
    pub leg: LegId,
    pub content: u16,
    pub local: Local,
    pub link: Link,
    /// What came before the peer was described.
    pub early: Option<Box<Early>>,
    /// What another relay had come to, until the end is connected.
    pub inherited: Option<Box<Inherited>>,
    /// The plain sockets are still open.
    pub sockets: bool,
    pub codecs: Vec<Codec>,
    pub direction: Direction,
    /// Payload numbers agreed on this leg, a bit each.
    pub numbers: u128,
    /// What goes out at the peer for what comes in here.
    pub payloads: Payloads,
    /// The stream from here as the peer's receiver sees it; begins with the first packet.
    pub splice: Option<Splice>,
    pub clock: u32,
    pub reception: Reception,
    pub count: Count,
    /// When it last heard its peer.
    pub heard: Option<Time>,
    /// What comes in here goes out at the peer.
    pub crossing: bool,
    /// Since when media is due from its peer; `None` = none is.
    pub due: Option<Time>,
    /// The silence was reported.
    pub silent: bool,
}

/// How an end speaks.
#[derive(Debug)]
pub(super) enum Link {
    Open,
    Plain(Plain),
    Web(Box<Web>),
}

/// ICE that came before the peer was described; bounded.
#[derive(Debug, Default)]
pub(super) struct Early {
    pub checks: Vec<(SocketAddr, Vec<u8>)>,
    pub candidates: Vec<Candidate>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub packets_in: u64,
    pub octets_in: u64,
    pub packets_out: u64,
    pub octets_out: u64,
    pub dropped: u64,
}

impl End {
    pub fn new(id: EndId, session: u32, leg: LegId, content: u16, local: Local) -> End {
        End {
            id,
            peer: usize::MAX,
            session,
            leg,
            content,
            local,
            link: Link::Open,
            early: None,
            inherited: None,
            sockets: true,
            codecs: vec![],
            direction: Direction::None,
            numbers: 0,
            payloads: Payloads::new([]),
            splice: None,
            clock: 8_000,
            reception: Reception::default(),
            count: Count::default(),
            heard: None,
            crossing: false,
            due: None,
            silent: false,
        }
    }

    pub fn is_open(&self) -> bool {
        matches!(self.link, Link::Open)
    }

    /// Takes what the peer described, but for its transport.
    pub fn agree(&mut self, remote: &Remote) {
        self.codecs.clone_from(&remote.codecs);
        self.direction = remote.direction;
        self.numbers = remote.codecs.iter().fold(0, |set, c| set | 1 << (c.pt & 0x7f));
        if let Some(main) = remote.codecs.iter().find(|c| !c.is_auxiliary()) {
            self.clock = main.clock;
        }
    }

    fn may_cross(&self, far: &End) -> bool {
        self.direction.sends() && far.direction.receives()
    }

    /// Fits what comes in here to what `far` has agreed; both are connected.
    pub fn fit(&mut self, far: &End, now: Time) {
        self.payloads = Payloads::new(pairs(&self.codecs, &far.codecs));
        let crosses = self.may_cross(far);
        let crossed = std::mem::replace(&mut self.crossing, crosses);
        if crossed
            && !self.crossing
            && let Some(splice) = &mut self.splice
        {
            splice.interrupt();
        }
        // Who holds may send music or nothing at all: only a conversation has two sides that must be heard (§12.6 rule 10).
        let both = [self.direction, far.direction] == [Direction::Both; 2];
        match (both, self.due) {
            (true, None) => (self.due, self.silent) = (Some(now), false),
            (false, _) => self.due = None,
            _ => {}
        }
    }

    /// Milliseconds that media has been missing; zero when none is due.
    pub fn missing(&self, now: Time) -> u64 {
        self.due.map_or(0, |due| now.since(self.heard.map_or(due, |heard| heard.max(due))))
    }

    /// Packets refused so far.
    pub fn refused(&self) -> u64 {
        self.count.dropped + if let Link::Web(web) = &self.link { web.dropped() } else { 0 }
    }

    pub fn figures(&self) -> Figures {
        let (form, peer, suite) = match &self.link {
            Link::Open => (Form::Open, None, None),
            Link::Plain(plain) => (Form::Plain, plain.locked(), None),
            Link::Web(web) => (Form::Webrtc, web.end.pair().map(|pair| pair.remote), web.suite),
        };
        Figures {
            leg: self.leg,
            content: self.content,
            packets_in: self.count.packets_in,
            octets_in: self.count.octets_in,
            packets_out: self.count.packets_out,
            octets_out: self.count.octets_out,
            dropped: self.refused(),
            lost: self.reception.lost(),
            jitter_us: self.reception.jitter_us(),
            form,
            peer,
            suite,
        }
    }
}

/// Payload numbers of the same codec on both legs. Of several alike (H.264 profiles) the first is paired with the first.
fn pairs<'a>(heard: &'a [Codec], said: &'a [Codec]) -> impl Iterator<Item = (u8, u8)> + 'a {
    heard.iter().enumerate().filter_map(move |(place, codec)| {
        let before = heard.iter().take(place).filter(|c| c.same(codec)).count();
        let mut alike = said.iter().filter(|s| s.same(codec));
        let first = alike.clone().next();
        Some((codec.pt, alike.nth(before).or(first)?.pt))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_paired_by_codec_clock_and_place() {
        let heard = [
            Codec::new(111, "opus", 48_000, 2),
            Codec::new(0, "PCMU", 8_000, 1),
            Codec::new(101, "telephone-event", 8_000, 1),
            Codec::new(126, "telephone-event", 48_000, 1),
            Codec::new(96, "H264", 90_000, 1),
            Codec::new(97, "H264", 90_000, 1),
        ];
        let said = [
            Codec::new(0, "pcmu", 8_000, 1),
            Codec::new(96, "Opus", 48_000, 1),
            Codec::new(110, "telephone-event", 48_000, 1),
            Codec::new(100, "telephone-event", 8_000, 1),
            Codec::new(102, "H264", 90_000, 1),
        ];
        let pairs: Vec<_> = pairs(&heard, &said).collect();
        assert_eq!(pairs, [(111, 96), (0, 0), (101, 100), (126, 110), (96, 102), (97, 102)]);
    }
}
