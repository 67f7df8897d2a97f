//! Feedback of video receivers (RFC 4585, RFC 5104), passed between two peers that agreed on different parts of
//! it (interworking §12.3). Only ends of video have any of this.

use super::cache::Cache;
use crate::packet::VIDEO;
use signal::Time;
use signal::media::Codec;

/// Least time between two keyframe requests to one peer, ms (R-RTP-4).
const KEYFRAME_MS: u64 = 1_000;
/// The same by signalling, ms (RFC 5168 §5: they go through proxies).
const KEYFRAME_SIGNALLED_MS: u64 = 2_000;
/// NACK items that may wait to be sent on; of packets that may wait to be sent again.
const LOST: usize = 16;
const AGAIN: usize = 64;

/// Feedback that a peer understands, by its rtcp-fb lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Takes {
    pub nack: bool,
    pub pli: bool,
    pub fir: bool,
    pub estimate: bool,
}

impl Takes {
    fn of(codecs: &[Codec]) -> Takes {
        let any = |line: &str| {
            codecs.iter().any(|codec| codec.feedback.iter().any(|f| f.trim().eq_ignore_ascii_case(line)))
        };
        Takes { nack: any("nack"), pli: any("nack pli"), fir: any("ccm fir"), estimate: any("goog-remb") }
    }
}

/// Way to request a keyframe of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyframeRequest {
    Pli,
    /// With its number.
    Fir(u8),
    /// By signalling, if at all.
    Signal,
    /// Not now, since one was requested a moment ago: at this time.
    Later(Time),
}

#[derive(Debug, Default)]
pub(super) struct Feedback {
    pub takes: Takes,
    /// Packets that left for the peer, where it may ask for them.
    pub cache: Option<Box<Cache>>,
    /// Packets that it asked for and that are still to leave.
    again: List<u16, AGAIN>,
    /// Packets that the peer is to send again, in its own numbers.
    lost: List<(u16, u16), LOST>,
    /// Bits per second that the peer may send.
    estimate: Option<u64>,
    /// A keyframe is to be requested of the peer.
    keyframe_wanted: bool,
    asked: Option<Time>,
    /// Newest packet that a keyframe was last requested in place of, and when.
    replaced: Option<(u16, Time)>,
    command: u8,
    /// A look at the time of [`KeyframeRequest::Later`] is on its way.
    pub waiting: bool,
}

impl Feedback {
    /// For an end whose peer agreed on these codecs; `None`: audio.
    pub fn of(codecs: &[Codec], before: Option<Box<Feedback>>) -> Option<Box<Feedback>> {
        if !codecs.iter().any(|codec| codec.clock == VIDEO) {
            return None;
        }
        let mut feedback = before.unwrap_or_default();
        feedback.takes = Takes::of(codecs);
        if !feedback.takes.nack {
            feedback.cache = None;
        } else if feedback.cache.is_none() {
            feedback.cache = Some(Box::default());
        }
        Some(feedback)
    }

    /// The peer misses packets that we sent. Those that are kept are sent again; the others are told by `ask`.
    pub fn missed(&mut self, first: u16, mask: u16, now: Time, mut ask: impl FnMut(u16)) {
        for n in 0..17u16 {
            if n > 0 && mask >> (n - 1) & 1 == 0 {
                continue;
            }
            let seq = first.wrapping_add(n);
            match &self.cache {
                Some(cache) if cache.has(seq, now) => self.again.add(seq),
                _ => ask(seq),
            }
        }
    }

    /// Requests a packet again. A peer that cannot send it is asked for a keyframe: a receiver that waits for the packet (libwebrtc:
    /// for 3 s) stands still.
    pub fn want(&mut self, seq: u16, now: Time) {
        if !self.takes.nack {
            // Missed once more is no further loss, as long as the keyframe may be on its way.
            let again =
                |(last, at): (u16, Time)| last.wrapping_sub(seq) < 0x8000 && now.since(at) < KEYFRAME_MS;
            if !self.replaced.is_some_and(again) {
                (self.keyframe_wanted, self.replaced) = (true, Some((seq, now)));
            }
            return;
        }
        if let Some((first, mask)) = self.lost.last() {
            match seq.wrapping_sub(*first) {
                0 => return,
                n @ 1..=16 => {
                    *mask |= 1 << (n - 1);
                    return;
                }
                _ => {}
            }
        }
        self.lost.add((seq, 0));
    }

    /// Requests a keyframe of the peer.
    pub fn want_keyframe(&mut self) {
        self.keyframe_wanted = true;
    }

    /// The peer may send so much.
    pub fn limit(&mut self, bits: u64) {
        if self.takes.estimate {
            self.estimate = Some(bits);
        }
    }

    /// The next packet to be sent again, at the front of `buffer`.
    pub fn repeat(&mut self, now: Time, buffer: &mut [u8]) -> Option<usize> {
        let cache = self.cache.as_mut()?;
        std::iter::from_fn(|| self.again.take()).find_map(|seq| cache.again(seq, now, buffer))
    }

    /// Returns how to request a keyframe of the peer now, if one is wanted; `plain`: signalling reaches it where RTCP does not serve.
    pub fn keyframe_request(&mut self, plain: bool, now: Time) -> Option<KeyframeRequest> {
        if !self.keyframe_wanted {
            return None;
        }
        let (how, apart) = match self.takes {
            Takes { pli: true, .. } => (KeyframeRequest::Pli, KEYFRAME_MS),
            Takes { fir: true, .. } => (KeyframeRequest::Fir(self.command), KEYFRAME_MS),
            _ if plain => (KeyframeRequest::Signal, KEYFRAME_SIGNALLED_MS),
            _ => {
                self.keyframe_wanted = false;
                return None;
            }
        };
        if let Some(at) = self.asked.map(|asked| asked + apart).filter(|at| *at > now) {
            return Some(KeyframeRequest::Later(at));
        }
        (self.keyframe_wanted, self.asked) = (false, Some(now));
        if let KeyframeRequest::Fir(_) = how {
            self.command = self.command.wrapping_add(1);
        }
        Some(how)
    }

    /// Takes the requests that are to be sent to the peer.
    pub fn take(&mut self) -> (List<(u16, u16), LOST>, Option<u64>) {
        (std::mem::take(&mut self.lost), self.estimate.take())
    }
}

/// A list of bounded length: what does not fit is left out.
#[derive(Clone, Copy, Debug)]
pub(super) struct List<T, const N: usize> {
    items: [T; N],
    length: usize,
}

impl<T: Copy + Default, const N: usize> Default for List<T, N> {
    fn default() -> List<T, N> {
        List { items: [T::default(); N], length: 0 }
    }
}

impl<T: Copy + PartialEq, const N: usize> List<T, N> {
    fn add(&mut self, item: T) {
        if !self.as_slice().contains(&item)
            && let Some(place) = self.items.get_mut(self.length)
        {
            *place = item;
            self.length += 1;
        }
    }

    fn last(&mut self) -> Option<&mut T> {
        self.items.get_mut(self.length.checked_sub(1)?)
    }

    fn take(&mut self) -> Option<T> {
        let first = *self.as_slice().first()?;
        self.items.copy_within(1..self.length, 0);
        self.length -= 1;
        Some(first)
    }

    pub fn as_slice(&self) -> &[T] {
        self.items.get(..self.length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn video(lines: &[&str]) -> Feedback {
        let mut codec = Codec::new(96, "VP8", VIDEO, 1);
        codec.feedback = lines.iter().map(|line| (*line).to_owned()).collect();
        *Feedback::of(&[codec], None).unwrap()
    }

    #[test]
    fn audio_has_none_and_video_what_was_agreed() {
        let mut opus = Codec::new(111, "opus", 48_000, 2);
        opus.feedback.push("transport-cc".into());
        assert!(Feedback::of(&[opus], None).is_none());
        let feedback = video(&["nack", "NACK PLI", "ccm fir", "goog-remb", "transport-cc"]);
        assert_eq!(feedback.takes, Takes { nack: true, pli: true, fir: true, estimate: true });
        let feedback = video(&["nack pli"]);
        assert_eq!(feedback.takes, Takes { pli: true, ..Takes::default() });
        assert!(feedback.cache.is_none());
    }

    /// R-RTP-4: a storm is one request a second, and the last one is not lost.
    #[test]
    fn keyframe_requests_are_merged() {
        for (lines, plain, wanted, apart) in [
            (&["nack pli", "ccm fir"][..], false, KeyframeRequest::Pli, KEYFRAME_MS),
            (&["ccm fir"], false, KeyframeRequest::Fir(0), KEYFRAME_MS),
            (&[], true, KeyframeRequest::Signal, KEYFRAME_SIGNALLED_MS),
        ] {
            let mut feedback = video(lines);
            let mut asked = vec![];
            for ms in 0..=2 * apart {
                if ms < apart + 10 {
                    feedback.want_keyframe();
                }
                match feedback.keyframe_request(plain, Time(ms)) {
                    None => {}
                    Some(KeyframeRequest::Later(at)) => assert!(at.0 > ms && at.0 % apart == 0),
                    Some(how) => asked.push((ms, how)),
                }
            }
            let times: Vec<u64> = asked.iter().map(|(ms, _)| *ms).collect();
            assert_eq!(times, [0, apart, 2 * apart], "{lines:?}");
            assert_eq!(asked[0].1, wanted);
            if let KeyframeRequest::Fir(_) = wanted {
                assert_eq!(asked[2].1, KeyframeRequest::Fir(2), "each is a new request");
            }
        }
        let mut deaf = video(&[]);
        deaf.want_keyframe();
        assert_eq!((deaf.keyframe_request(false, Time(0)), deaf.keyframe_wanted), (None, false));
    }

    #[test]
    fn missed_packets_are_served_or_asked_for() {
        let mut near = video(&["nack"]);
        near.cache.as_mut().unwrap().keep(65_535, b"one", Time(0));
        near.cache.as_mut().unwrap().keep(1, b"three", Time(0));
        let mut asked = vec![];
        near.missed(65_535, 0b1000_0000_0000_0011, Time(5), |seq| asked.push(seq));
        assert_eq!(asked, [0, 15]);
        let mut buffer = [0; 100];
        let repeated: Vec<Vec<u8>> =
            std::iter::from_fn(|| near.repeat(Time(5), &mut buffer).map(|n| buffer[..n].to_vec())).collect();
        assert_eq!(repeated, [&b"one"[..], b"three"]);

        let mut far = video(&["nack"]);
        for seq in [0, 15, 16, 16, 17, 40_000] {
            far.want(seq, Time(0));
        }
        let (lost, estimate) = far.take();
        assert_eq!(lost.as_slice(), [(0, 1 << 14 | 1 << 15), (17, 0), (40_000, 0)]);
        assert_eq!(estimate, None);
        (0..1_000).for_each(|n| far.want(n * 20, Time(0)));
        assert_eq!(far.take().0.as_slice().len(), LOST);
        assert!(!far.keyframe_wanted);
        let mut old = video(&["nack pli"]);
        let mut requests = vec![];
        // Missed again and again until the keyframe is there: it is requested once, and once more when it did not come.
        for ms in (0..1_500).step_by(100) {
            old.want(1, Time(ms));
            requests.extend(old.keyframe_request(false, Time(ms)).map(|how| (ms, how)));
        }
        assert_eq!(requests, [(0, KeyframeRequest::Pli), (1_000, KeyframeRequest::Pli)]);
        // Another loss is made good as well, though a keyframe was requested a moment ago and it is missed only once.
        old.want(2, Time(1_500));
        assert_eq!(old.keyframe_request(false, Time(1_500)), Some(KeyframeRequest::Later(Time(2_000))));
        assert_eq!(old.keyframe_request(false, Time(2_000)), Some(KeyframeRequest::Pli));
        old.limit(5);
        let (lost, estimate) = old.take();
        assert_eq!((lost.as_slice(), estimate), (&[][..], None));
    }
}
