use super::{AFB, BYE, Block, FIR, NACK, PLI, PSFB, REMB, RR, RTPFB, SDES, SR, Sender};

/// Writes a compound packet into a buffer, packet by packet. What does not fit is told at the end.
#[derive(Debug)]
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    length: usize,
    fits: bool,
}

impl<'a> Writer<'a> {
    /// Into the front of this buffer.
    #[must_use]
    pub fn new(buffer: &'a mut [u8]) -> Writer<'a> {
        Writer { buffer, length: 0, fits: true }
    }

    /// Octets written; `None`: there was no room.
    #[must_use]
    pub fn finish(self) -> Option<usize> {
        self.fits.then_some(self.length)
    }

    /// SR of `ssrc` where it sends, else RR; the block is what it hears.
    pub fn report(&mut self, ssrc: u32, sender: Option<&Sender>, block: Option<&Block>) -> &mut Self {
        let count = u32::from(block.is_some());
        let words = 1 + 5 * u32::from(sender.is_some()) + 6 * count;
        self.head(count, if sender.is_some() { SR } else { RR }, words).word(ssrc);
        if let Some(sender) = sender {
            self.word((sender.ntp >> 32) as u32).word(sender.ntp as u32);
            self.word(sender.timestamp).word(sender.packets).word(sender.octets);
        }
        if let Some(block) = block {
            // Clamped, not wrapped (RFC 3550 A.3).
            let lost = block.lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0xff_ffff;
            self.word(block.ssrc).word(u32::from(block.fraction) << 24 | lost).word(block.highest);
            self.word(block.jitter).word(block.last_report).word(block.delay);
        }
        self
    }

    /// SDES with a CNAME of 16 octets (RFC 7022: of a random number, the same for all media of one party).
    pub fn name(&mut self, ssrc: u32, name: [u8; 16]) -> &mut Self {
        self.head(1, SDES, 6).word(ssrc);
        // Item 1, 16 octets, the name; the zero that ends the items fills the last word.
        self.octets(&[1, 16]).octets(&name).octets(&[0, 0])
    }

    /// Generic NACK: each of `first` and the bits behind it, as [`super::Item::Nack`] has them.
    pub fn nack(&mut self, ssrc: u32, media: u32, lost: &[(u16, u16)]) -> &mut Self {
        self.head(u32::from(NACK), RTPFB, 2 + lost.len() as u32).word(ssrc).word(media);
        for (first, mask) in lost {
            self.word(u32::from(*first) << 16 | u32::from(*mask));
        }
        self
    }

    /// PLI (RFC 4585 §6.3.1).
    pub fn pli(&mut self, ssrc: u32, media: u32) -> &mut Self {
        self.head(u32::from(PLI), PSFB, 2).word(ssrc).word(media)
    }

    /// FIR (RFC 5104 §4.3.1.1); `command` rises with each request that is a new one.
    pub fn fir(&mut self, ssrc: u32, media: u32, command: u8) -> &mut Self {
        self.head(u32::from(FIR), PSFB, 4).word(ssrc).word(0).word(media).word(u32::from(command) << 24)
    }

    /// REMB: `media` is to send no more than so many bits per second.
    pub fn estimate(&mut self, ssrc: u32, media: u32, bits: u64) -> &mut Self {
        let exponent = (64 - bits.leading_zeros()).saturating_sub(18);
        let rate = exponent << 18 | (bits >> exponent) as u32 & 0x3_ffff;
        self.head(u32::from(AFB), PSFB, 5).word(ssrc).word(0).octets(&REMB).word(1 << 24 | rate).word(media)
    }

    /// BYE.
    pub fn bye(&mut self, ssrc: u32) -> &mut Self {
        self.head(1, BYE, 1).word(ssrc)
    }

    /// `words` are those behind the first.
    fn head(&mut self, count: u32, kind: u8, words: u32) -> &mut Self {
        self.word(0x8000_0000 | (count & 0x1f) << 24 | u32::from(kind) << 16 | words & 0xffff)
    }

    fn word(&mut self, word: u32) -> &mut Self {
        self.octets(&word.to_be_bytes())
    }

    fn octets(&mut self, octets: &[u8]) -> &mut Self {
        match self.buffer.get_mut(self.length..self.length + octets.len()) {
            Some(place) => {
                place.copy_from_slice(octets);
                self.length += octets.len();
            }
            None => self.fits = false,
        }
        self
    }
}
