//! SRTP and SRTCP (RFC 3711, RFC 6188, RFC 7714), in place.
//!
//! One rule: a [`Context`] is one direction of one key; key schedules and the HMAC's inner states are made once, and a packet
//! costs no allocation. Buffers need [`ROOM`] octets behind the packet to grow into.

mod cipher;
mod window;

pub use signal::media::Suite;

use crate::packet::rtp;
use cipher::Keys;
use smallvec::SmallVec;
use window::Window;

/// Octets that a packet may grow by: tag, SRTCP index.
pub const ROOM: usize = 20;
/// Sources that one context follows; further ones are refused.
pub const SOURCES: usize = 16;

/// Why a packet is dropped. Failures are counted, never answered, and never latched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    /// Too short, or no RTP.
    #[error("malformed packet")]
    Malformed,
    /// The tag does not fit.
    #[error("authentication failed")]
    Forged,
    /// RemoteReport before, or older than the window.
    #[error("replayed packet")]
    Replayed,
    /// No room behind the packet.
    #[error("no room to grow")]
    NoRoom,
    /// More sources than a context follows.
    #[error("too many sources")]
    TooManySources,
    /// Key or salt of the wrong length.
    #[error("key material of the wrong length")]
    Key,
}

/// How far one source got under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    /// The source.
    pub ssrc: u32,
    /// Highest index of RTP: roll-over counter and sequence number; `None` before the first packet.
    pub rtp: Option<u64>,
    /// Highest index of RTCP; 0 before the first.
    pub rtcp: u32,
}

/// One direction under one master key.
pub struct Context {
    suite: Suite,
    /// Octets of the master key identifier in the packets that are opened.
    mki: usize,
    rtp: Keys,
    rtcp: Keys,
    /// At most [`SOURCES`]; sound and pictures find room without an allocation.
    sources: SmallVec<[Source; 2]>,
}

/// State of one SSRC.
#[derive(Clone, Debug)]
struct Source {
    ssrc: u32,
    /// Highest index of RTP seen or sent: ROC and sequence number; `None` before the first.
    index: Option<u64>,
    window: Window,
    rtcp_index: u32,
    rtcp_window: Window,
    /// Its index is what another relay knew; nothing has confirmed it yet.
    unsure: bool,
}

/// Octets of a packet that can be opened under a second guess.
const GUESSED: usize = 2_048;

impl Context {
    /// Derives session keys from a master key and salt (RFC 3711 §4.3).
    ///
    /// # Errors
    /// [`SrtpError::Key`] when the lengths are not the suite's.
    pub fn new(suite: Suite, key: &[u8], salt: &[u8]) -> Result<Context, SrtpError> {
        let (rtp, rtcp) = cipher::derive(suite, key, salt).ok_or(SrtpError::Key)?;
        Ok(Context { suite, mki: 0, rtp, rtcp, sources: SmallVec::new() })
    }

    /// The packets that are opened name their key in so many octets (RFC 3711 §3.1). There is one key, so what they say is
    /// passed over; the tag tells whether it was right.
    #[must_use]
    pub fn with_mki(mut self, octets: u8) -> Context {
        self.mki = octets.into();
        self
    }

    /// Protects the packet that fills the first `length` octets of `buffer`; gives the new length.
    ///
    /// # Errors
    /// [`SrtpError`]
    pub fn protect(&mut self, buffer: &mut [u8], length: usize) -> Result<usize, SrtpError> {
        let header = buffer.get(..length).and_then(rtp).ok_or(SrtpError::Malformed)?;
        let source = source(&mut self.sources, header.ssrc)?;
        let index = source.estimate(header.seq);
        // The same index twice would be the same keystream twice; the receiver would refuse it anyway.
        if source.window.has(index) {
            return Err(SrtpError::Replayed);
        }
        let sealed = self.rtp.seal(self.suite, buffer, header.header, length, header.ssrc, index);
        let length = sealed.ok_or(SrtpError::NoRoom)?;
        source.window.note(index);
        source.index = Some(source.index.map_or(index, |i| i.max(index)));
        Ok(length)
    }

    /// Opens a protected packet in place; gives the length of the plain one.
    ///
    /// # Errors
    /// [`SrtpError`]; the packet's octets are then of no use.
    pub fn unprotect(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let packet = self.anonymous(packet, cipher::tag_length(self.suite))?;
        let header = rtp(packet).ok_or(SrtpError::Malformed)?;
        if packet.len() < header.header + cipher::tag_length(self.suite) {
            return Err(SrtpError::Malformed);
        }
        // A source is remembered only once a packet of its was authentic.
        let (index, known, unsure) = match self.sources.iter().find(|s| s.ssrc == header.ssrc) {
            Some(source) => {
                let index = source.estimate(header.seq);
                if source.window.has(index) && !source.unsure {
                    return Err(SrtpError::Replayed);
                }
                (index, true, source.unsure)
            }
            None => (u64::from(header.seq), false, false),
        };
        if !known && self.sources.len() >= SOURCES {
            return Err(SrtpError::TooManySources);
        }
        let (length, index) = if unsure {
            self.guess(packet, header.header, header.ssrc, index)?
        } else {
            let open = self.rtp.open(self.suite, packet, header.header, header.ssrc, index);
            (open.ok_or(SrtpError::Forged)?, index)
        };
        let source = source(&mut self.sources, header.ssrc)?;
        source.unsure = false;
        source.window.note(index);
        source.index = Some(source.index.map_or(index, |i| i.max(index)));
        Ok(length)
    }

    /// The source has sent on while nobody listened, by more than RFC 3711 appendix A can tell perhaps: the tag says whether the
    /// roll-over counter is the nearest one, the one last known, or the one after it (interworking §12.2). Ends with the first
    /// authentic packet.
    fn guess(
        &self,
        packet: &mut [u8],
        header: usize,
        ssrc: u32,
        nearest: u64,
    ) -> Result<(usize, u64), SrtpError> {
        let last = self.sources.iter().find(|s| s.ssrc == ssrc).and_then(|s| s.index).unwrap_or(0);
        let here = last & !0xffff | nearest & 0xffff;
        let mut kept = [0u8; GUESSED];
        let kept = kept.get_mut(..packet.len()).ok_or(SrtpError::Malformed)?;
        kept.copy_from_slice(packet);
        let guesses = [Some(nearest), Some(here), here.checked_add(1 << 16)];
        for (place, index) in guesses.into_iter().enumerate().filter_map(|(at, guess)| Some((at, guess?))) {
            if guesses.iter().take(place).any(|before| *before == Some(index)) {
                continue;
            }
            // What was refused under one guess is spoiled for the next.
            packet.copy_from_slice(kept);
            if let Some(length) = self.rtp.open(self.suite, packet, header, ssrc, index) {
                let seen = self.sources.iter().any(|s| s.ssrc == ssrc && s.window.has(index));
                return if seen { Err(SrtpError::Replayed) } else { Ok((length, index)) };
            }
        }
        Err(SrtpError::Forged)
    }

    /// [`Context::protect`] for a compound RTCP packet.
    ///
    /// # Errors
    /// [`SrtpError`]
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], length: usize) -> Result<usize, SrtpError> {
        let ssrc = rtcp_ssrc(buffer.get(..length).ok_or(SrtpError::Malformed)?)?;
        let source = source(&mut self.sources, ssrc)?;
        source.rtcp_index = (source.rtcp_index + 1) & 0x7fff_ffff;
        self.rtcp.seal_rtcp(self.suite, buffer, length, ssrc, source.rtcp_index).ok_or(SrtpError::NoRoom)
    }

    /// [`Context::unprotect`] for a compound RTCP packet.
    ///
    /// # Errors
    /// [`SrtpError`]
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let packet = self.anonymous(packet, cipher::rtcp_tag_length(self.suite))?;
        let ssrc = rtcp_ssrc(packet)?;
        let index = cipher::rtcp_index(self.suite, packet).ok_or(SrtpError::Malformed)?;
        if self.sources.iter().any(|s| s.ssrc == ssrc && s.rtcp_window.has(u64::from(index))) {
            return Err(SrtpError::Replayed);
        }
        let length = self.rtcp.open_rtcp(self.suite, packet, ssrc, index).ok_or(SrtpError::Forged)?;
        let source = source(&mut self.sources, ssrc)?;
        source.rtcp_window.note(u64::from(index));
        source.rtcp_index = source.rtcp_index.max(index);
        Ok(length)
    }

    /// The packet without its key identifier: before the tag of HMAC-SHA1, behind all else with GCM (RFC 7714 §17).
    fn anonymous<'a>(&self, packet: &'a mut [u8], tag: usize) -> Result<&'a mut [u8], SrtpError> {
        if self.mki == 0 {
            return Ok(packet);
        }
        let end = packet.len().checked_sub(self.mki + tag).ok_or(SrtpError::Malformed)?;
        if !cipher::is_gcm(self.suite) {
            packet.copy_within(end + self.mki.., end);
        }
        packet.get_mut(..end + tag).ok_or(SrtpError::Malformed)
    }

    /// How far each source got: what must outlive a relay (R-RTP-7).
    pub fn indices(&self) -> impl Iterator<Item = Index> + '_ {
        self.sources.iter().map(|s| Index { ssrc: s.ssrc, rtp: s.index, rtcp: s.rtcp_index })
    }

    /// Goes on where another relay had come to. Whoever sends on must be sure to be beyond what that one sent last: an index
    /// used twice under one key gives the plain text away.
    ///
    /// # Errors
    /// [`SrtpError::TooManySources`]
    pub fn resume(&mut self, index: Index) -> Result<(), SrtpError> {
        let source = source(&mut self.sources, index.ssrc)?;
        source.index = index.rtp;
        source.unsure = index.rtp.is_some();
        // What came before is not taken again: which of it was seen is not known here.
        if let Some(rtp) = index.rtp {
            source.window = Window::closed(rtp);
        }
        source.rtcp_index = index.rtcp;
        if index.rtcp > 0 {
            source.rtcp_window = Window::closed(u64::from(index.rtcp));
        }
        Ok(())
    }
}

fn rtcp_ssrc(packet: &[u8]) -> Result<u32, SrtpError> {
    match packet {
        [first, _, _, _, a, b, c, d, ..] if first >> 6 == 2 => Ok(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => Err(SrtpError::Malformed),
    }
}

fn source(sources: &mut SmallVec<[Source; 2]>, ssrc: u32) -> Result<&mut Source, SrtpError> {
    let at = sources.iter().position(|s| s.ssrc == ssrc).unwrap_or(sources.len());
    if at == sources.len() {
        if at >= SOURCES {
            return Err(SrtpError::TooManySources);
        }
        sources.push(Source {
            ssrc,
            index: None,
            window: Window::default(),
            rtcp_index: 0,
            rtcp_window: Window::default(),
            unsure: false,
        });
    }
    sources.get_mut(at).ok_or(SrtpError::TooManySources)
}

impl Index {
    /// The index of whoever goes on with sending: so many packets of RTP and of RTCP beyond what may have been sent meanwhile, the
    /// roll-over counter raised where that wraps.
    #[must_use]
    pub fn ahead(self, packets: u32, reports: u32) -> Index {
        Index {
            ssrc: self.ssrc,
            rtp: self.rtp.map(|rtp| rtp + u64::from(packets)),
            rtcp: self.rtcp.wrapping_add(reports) & 0x7fff_ffff,
        }
    }
}

impl Source {
    /// RFC 3711 appendix A: the index nearest to the highest one known.
    fn estimate(&self, seq: u16) -> u64 {
        let Some(highest) = self.index else { return u64::from(seq) };
        let (roc, last) = (highest >> 16, (highest & 0xffff) as u16);
        let roc = if last < 0x8000 {
            if i32::from(seq) - i32::from(last) > 0x8000 { roc.saturating_sub(1) } else { roc }
        } else if i32::from(last) - 0x8000 > i32::from(seq) {
            roc + 1
        } else {
            roc
        };
        roc << 16 | u64::from(seq)
    }
}

#[cfg(test)]
mod tests;
