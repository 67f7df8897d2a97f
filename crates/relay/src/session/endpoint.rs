//! One endpoint: one content of one leg, its transport, what was agreed for it and what it has counted.

use super::feedback::Feedback;
use super::plain::Plain;
use super::quality::{Histograms, Scale, mos};
use super::reception::Reception;
use super::reports::Reports;
use super::sources::Source;
use super::tones::Tones;
use super::types::{
    Arrival, Deaf, EndpointId, Form, Inherited, Local, Remote, RemoteReport, Statistics, Why,
};
use super::webrtc::WebRtc;
use crate::packet::{Payloads, Rtp, Splice};
use signal::media::{Candidate, Codec, Direction};
use signal::{LegId, Time};
use sound::event::Events;
use std::net::SocketAddr;

#[derive(Debug)]
pub(super) struct Endpoint {
    pub id: EndpointId,
    /// Index of the endpoint that it hears and is heard by now.
    pub peer: Option<u32>,
    pub session: u32,
    pub leg: LegId,
    pub content: u16,
    pub local: Local,
    pub link: Link,
    /// Contents of its leg that its transport carries too.
    pub members: Vec<Member>,
    /// ICE that came before the peer was described.
    pub early: Option<Box<Early>>,
    /// State of another relay, until the endpoint is connected.
    pub inherited: Option<Box<Inherited>>,
    /// The plain sockets are still open.
    pub sockets: bool,
    pub codecs: Vec<Codec>,
    pub direction: Direction,
    /// Payload types agreed on this leg, a bit each.
    pub payload_types: u128,
    /// Payload types at the hearer for those that come in here.
    pub payloads: Payloads,
    /// The stream that its peer hears, whoever its source is; begins with the first packet.
    pub outgoing: Option<Splice>,
    /// Another relay goes on with that stream: none is begun here.
    pub frozen: bool,
    pub clock: u32,
    /// Payload type that came in last.
    pub last_pt: u8,
    pub reception: Reception,
    /// RTCP with the peer.
    pub reports: Reports,
    /// Only with video.
    pub feedback: Option<Box<Feedback>>,
    /// The last second; `None`: nothing came in.
    pub recent: Option<Recent>,
    /// Scores of all seconds, and how many.
    pub scores: (u64, u64),
    pub count: Count,
    /// When media or RTCP last came in.
    pub heard: Option<Time>,
    /// Packets that come in here are forwarded.
    pub forwarding: bool,
    /// Packets that came in here were not forwarded, or not to the present hearer: with video, later frames depend on them.
    pub gap: bool,
    /// Since when media is due from its peer; `None` = none is.
    pub due: Option<Time>,
    /// The silence was reported.
    pub silent: bool,
    /// When it was connected.
    pub since: Option<Time>,
    /// The first packet that was refused since the last that was not.
    pub refusal: Option<Refused>,
    /// True after [`Endpoint::deaf`] was told.
    pub told_deaf: bool,
    /// Transcodes the sound that comes in here.
    pub stream: Option<Box<Source>>,
    /// Track that is played to the peer, in place of what it hears.
    pub playback: Option<Box<Source>>,
    /// Keys that are said to the peer.
    pub tones: Option<Box<Tones>>,
    /// Converts the keys that come in here to the clock of the hearer's.
    pub keypad: Option<Box<Keypad>>,
}

/// Keys whose clock is not the hearer's (R-DTMF-3).
#[derive(Debug)]
pub(super) struct Keypad {
    /// Payload types heard and said.
    pub pts: (u8, u8),
    clocks: (u32, u32),
    pub events: Events,
}

/// Transport of an endpoint.
#[derive(Debug)]
pub(super) enum Link {
    Open,
    Plain(Plain),
    WebRtc(Box<WebRtc>),
    /// On the transport of the endpoint at this index ([`super::bundle`]).
    Bundled(u32),
}

/// Time for which nothing but refused packets has come of a party that is not heard, ms.
const DEAF_MS: u64 = 2_000;

/// A packet that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub from: SocketAddr,
    pub why: Why,
    pub at: Time,
    /// Packets that were accepted before.
    pub accepted: u64,
}

/// A content that another endpoint's transport carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Index of its endpoint.
    pub endpoint: u32,
    /// Payload types agreed for it, a bit each.
    pub payload_types: u128,
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

impl Endpoint {
    /// `cname` is the leg's.
    pub fn new(id: EndpointId, session: u32, leg: LegId, content: u16, local: Local, cname: u64) -> Endpoint {
        let reports = Reports::new((local.word() >> 32) as u32, cname);
        let sockets = local.rtp_port != 0;
        Endpoint {
            id,
            peer: None,
            session,
            leg,
            content,
            local,
            link: Link::Open,
            members: vec![],
            early: None,
            inherited: None,
            sockets,
            codecs: vec![],
            direction: Direction::None,
            payload_types: 0,
            payloads: Payloads::new([]),
            outgoing: None,
            frozen: false,
            clock: 8_000,
            last_pt: 0,
            reception: Reception::default(),
            reports,
            feedback: None,
            recent: None,
            scores: (0, 0),
            count: Count::default(),
            heard: None,
            forwarding: false,
            gap: false,
            due: None,
            silent: false,
            since: None,
            refusal: None,
            told_deaf: false,
            stream: None,
            playback: None,
            tones: None,
            keypad: None,
        }
    }

    pub fn is_open(&self) -> bool {
        matches!(self.link, Link::Open)
    }

    /// Keeps to the numbering of the stream that its peer hears, or ends that.
    pub fn freeze(&mut self, frozen: bool) {
        self.frozen = frozen;
        self.outgoing.iter_mut().for_each(|outgoing| outgoing.freeze(frozen));
    }

    /// Returns the index of the endpoint that a packet of this payload type is for; `own` is this endpoint's.
    pub fn addressee(&self, pt: u8, own: u32) -> Option<u32> {
        let of = |payload_types: u128| payload_types >> (pt & 0x7f) & 1 == 1;
        if of(self.payload_types) {
            return Some(own);
        }
        self.members.iter().find(|member| of(member.payload_types)).map(|member| member.endpoint)
    }

    /// Takes what the peer described, but for its transport.
    pub fn set_remote(&mut self, remote: &Remote) {
        self.codecs.clone_from(&remote.codecs);
        self.direction = remote.direction;
        self.payload_types = remote.codecs.iter().fold(0, |set, c| set | 1 << (c.pt & 0x7f));
        if let Some(main) = remote.codecs.iter().find(|c| !c.is_auxiliary()) {
            self.clock = main.clock;
        }
        self.feedback = Feedback::of(&remote.codecs, self.feedback.take());
        if let Some(ssrc) = remote.ssrc {
            self.reports.set_source(ssrc);
        }
    }

    /// Returns the codec that is heard; keypad events and comfort noise are not what is meant.
    pub fn current_codec(&self) -> Option<&Codec> {
        let mut main = self.codecs.iter().filter(|codec| !codec.is_auxiliary());
        let heard = main.clone().find(|codec| codec.pt == self.last_pt);
        heard.or_else(|| main.next())
    }

    fn may_forward(&self, far: &Endpoint) -> bool {
        self.direction.sends() && far.direction.receives()
    }

    /// Fits the stream from here to what `far` has agreed; both are connected.
    pub fn fit(&mut self, far: &mut Endpoint, now: Time) {
        self.payloads = Payloads::new(pairs(&self.codecs, &far.codecs));
        let keys = keys(&self.codecs, &far.codecs, &self.payloads);
        if keys != self.keypad.as_ref().map(|keypad| (keypad.pts, keypad.clocks)) {
            let keypad = |(pts, clocks): ((u8, u8), (u32, u32))| {
                Box::new(Keypad { pts, clocks, events: Events::new(clocks.0, clocks.1) })
            };
            self.keypad = keys.map(keypad);
        }
        let forwards = self.may_forward(far);
        if std::mem::replace(&mut self.forwarding, forwards) && !forwards {
            self.interrupt(far);
        }
        // Who holds may send music or nothing at all: only a conversation has two sides that must be heard (§12.6 rule 10).
        let both = [self.direction, far.direction] == [Direction::Both; 2];
        match (both, self.due) {
            (true, None) => (self.due, self.silent) = (Some(now), false),
            (false, _) => self.due = None,
            _ => {}
        }
    }

    /// Interrupts the stream from here to `far`: packets that come in from now on do not reach it.
    fn interrupt(&mut self, far: &mut Endpoint) {
        self.gap = true;
        far.outgoing.iter_mut().for_each(Splice::interrupt);
    }

    /// Ends that `far` hears what comes in here.
    pub fn part(&mut self, far: &mut Endpoint) {
        self.interrupt(far);
        (self.peer, self.forwarding, self.due) = (None, false, None);
    }

    /// Counts RTP that was accepted.
    pub fn received(&mut self, rtp: &Rtp, length: usize, at: Arrival) {
        (self.heard, self.silent) = (Some(at.time()), false);
        self.count.packets_in += 1;
        self.count.octets_in += length as u64;
        self.reception.packet(rtp, self.clock, at);
        self.last_pt = rtp.pt;
    }

    /// Milliseconds that media has been missing; zero when none is due.
    pub fn missing(&self, now: Time) -> u64 {
        self.due.map_or(0, |due| now.since(self.heard.map_or(due, |heard| heard.max(due))))
    }

    /// Notes a packet that was refused.
    pub fn refuse(&mut self, from: SocketAddr, why: Why, at: Time) {
        let accepted = self.count.packets_in;
        if self.refusal.is_none_or(|refused| refused.accepted != accepted) {
            self.refusal = Some(Refused { from, why, at, accepted });
        }
    }

    /// Returns what is to be told of an endpoint of which nothing but refused packets came for [`DEAF_MS`]; told once.
    pub fn deaf(&mut self, now: Time) -> Option<Deaf> {
        let Refused { from, why, at, accepted } = self.refusal?;
        if self.told_deaf || accepted != self.count.packets_in || now.since(at) < DEAF_MS {
            return None;
        }
        self.told_deaf = true;
        let Link::Plain(plain) = &self.link else { return None };
        Some(Deaf { from, expected: plain.expected(), why })
    }

    /// Packets refused so far.
    pub fn refused(&self) -> u64 {
        self.count.dropped + if let Link::WebRtc(web) = &self.link { web.dropped() } else { 0 }
    }

    /// `link`: its own, or that of the end whose transport carries it.
    pub fn statistics(&self, link: &Link) -> Statistics {
        let (form, peer, suite) = match link {
            Link::Open | Link::Bundled(_) => (Form::Open, None, None),
            Link::Plain(plain) => (plain.form(), plain.locked(), plain.suite()),
            Link::WebRtc(web) => (Form::Webrtc, web.transport.pair().map(|pair| pair.remote), web.suite),
        };
        let codec = self.current_codec().map(|codec| codec.name.clone()).unwrap_or_default();
        let view = self.reports.view;
        // Sound as the peer reports that it hears it, over its own half of the way.
        let peer_mos = view.filter(|_| self.feedback.is_none()).map(|view| {
            let loss = u64::from(view.fraction) * 1_000_000 / 256;
            mos(&codec, loss, delay(view.jitter_us.into(), self.reports.round_trip_us, None))
        });
        Statistics {
            leg: self.leg,
            content: self.content,
            packets_in: self.count.packets_in,
            octets_in: self.count.octets_in,
            packets_out: self.count.packets_out,
            octets_out: self.count.octets_out,
            dropped: self.refused(),
            lost: self.reception.lost(),
            jitter_us: self.reception.jitter_us(),
            expected: self.reception.expected(),
            loss_ppm: self.recent.map_or(0, |recent| recent.loss as u32),
            round_trip_us: self.reports.round_trip_us,
            mos: self.recent.and_then(|recent| recent.mos),
            mos_mean: self.scores.0.checked_div(self.scores.1).map(|mean| mean as u16),
            view: view.map(|view| RemoteReport {
                lost: view.lost,
                loss_ppm: u32::from(view.fraction) * 1_000_000 / 256,
                jitter_us: view.jitter_us,
                mos: peer_mos,
            }),
            codec,
            form,
            peer,
            suite,
        }
    }

    /// Records the last second: loss, jitter and score of the stream that came in. `far`: the round trip of the other side, whose
    /// half is a part of the way from mouth to ear.
    pub fn sample(&mut self, far: Option<u32>, histograms: &mut Histograms) {
        self.recent = None;
        let Some((expected, lost)) = self.reception.look() else { return };
        let loss = lost * 1_000_000 / expected.max(1);
        let jitter = u64::from(self.reception.jitter_us());
        let near = self.reports.round_trip_us;
        histograms.note(Scale::Loss, loss);
        histograms.note(Scale::Jitter, jitter);
        if let Some(trip) = near {
            histograms.note(Scale::RoundTrip, trip.into());
        }
        let mut recent = Recent { loss, mos: None };
        if let Some(codec) = self.current_codec().filter(|_| self.feedback.is_none()) {
            let score = mos(&codec.name, loss, delay(jitter, near, far));
            histograms.note(Scale::Mos, score.into());
            recent.mos = Some(score);
            self.scores.0 += u64::from(score);
            self.scores.1 += 1;
        }
        self.recent = Some(recent);
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

/// Payload types and clocks of keys that both legs have, but of no clock in common (R-DTMF-3).
fn keys(heard: &[Codec], said: &[Codec], payloads: &Payloads) -> Option<((u8, u8), (u32, u32))> {
    let event = |codec: &&Codec| codec.name.eq_ignore_ascii_case("telephone-event");
    let (heard, said) = (heard.iter().filter(event), said.iter().find(event)?);
    let heard = heard.clone().find(|codec| payloads.get(codec.pt).is_none())?;
    Some(((heard.pt, said.pt), (heard.clock, said.clock)))
}

/// The last second of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recent {
    /// Parts per million.
    pub loss: u64,
    /// Hundredths; `None`: not for ears.
    pub mos: Option<u16>,
}

/// From mouth to ear, µs: half of each round trip, a packet of 20 ms, and a jitter buffer of twice the jitter, 20 ms at least.
fn delay(jitter: u64, near: Option<u32>, far: Option<u32>) -> u64 {
    let way = |trip: Option<u32>| u64::from(trip.unwrap_or(0)) / 2;
    20_000 + (2 * jitter).max(20_000) + way(near) + way(far)
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
