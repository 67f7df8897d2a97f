//! SDES (RFC 4568): both directions of an end at ports, each under a key of its own that signalling brought.

use super::types::{Keyed, Refusal};
use crate::dtls::{Keys, Master};
use crate::packet::Class;
use crate::srtp::{Context, Index, SrtpError};
use signal::media::{Crypto, Suite};

/// The keys of an end and how far each got.
pub(super) struct Sdes {
    keys: Keys,
    mki: u8,
    outward: Context,
    inward: Context,
    /// Our keys of suites that were left for another, and how far they got: none may protect an index twice.
    left: Vec<(Suite, Vec<Index>)>,
}

impl std::fmt::Debug for Sdes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sdes").field("suite", &self.keys.suite).finish_non_exhaustive()
    }
}

impl Sdes {
    /// Keys of the peer's line and of ours of the same suite.
    pub fn new(ours: &[Crypto], theirs: &Crypto) -> Result<Sdes, Refusal> {
        let keys = keys(ours, theirs)?;
        let (outward, inward) = contexts(&keys, theirs.mki)?;
        Ok(Sdes { keys, mki: theirs.mki, outward, inward, left: vec![] })
    }

    /// The peer described itself again. The same key goes on where it is; another one begins anew, and only then.
    pub fn describe(&mut self, ours: &[Crypto], theirs: &Crypto) -> Result<(), Refusal> {
        let keys = keys(ours, theirs)?;
        if keys == self.keys && theirs.mki == self.mki {
            return Ok(());
        }
        let (mut outward, inward) = contexts(&keys, theirs.mki)?;
        if keys.suite != self.keys.suite {
            let used = self.left.iter().find(|(suite, _)| *suite == keys.suite);
            used.iter()
                .flat_map(|(_, used)| used)
                .try_for_each(|index| outward.resume(*index))
                .map_err(fault)?;
            self.left.retain(|(suite, _)| ![keys.suite, self.keys.suite].contains(suite));
            let outward = std::mem::replace(&mut self.outward, outward);
            self.left.push((self.keys.suite, outward.indices().collect()));
        }
        (self.keys, self.mki, self.inward) = (keys, theirs.mki, inward);
        Ok(())
    }

    pub fn suite(&self) -> Suite {
        self.keys.suite
    }

    /// Returns the state that must outlive a relay, beside our own lines.
    pub fn state(&self) -> Keyed {
        let Keys { suite, remote: Master { key, salt }, .. } = &self.keys;
        let theirs = Crypto { tag: 1, suite: *suite, key: [&key[..], salt].concat(), mki: self.mki };
        let used = (*suite, self.outward.indices().collect());
        let outward = std::iter::once(used).chain(self.left.iter().cloned()).collect();
        Keyed { theirs, outward, inward: self.inward.indices().collect() }
    }

    /// Goes on where another relay had come to, under our lines there. What was sent is beyond anything that relay may have sent.
    pub fn resume(ours: &[Crypto], keyed: Keyed) -> Result<Sdes, Refusal> {
        let Keyed { theirs, outward, inward } = keyed;
        let mut sdes = Sdes::new(ours, &theirs)?;
        let (used, left): (Vec<_>, Vec<_>) =
            outward.into_iter().partition(|(suite, _)| *suite == theirs.suite);
        let mut used = used.iter().flat_map(|(_, indices)| indices);
        used.try_for_each(|index| sdes.outward.resume(*index)).map_err(fault)?;
        inward.iter().try_for_each(|index| sdes.inward.resume(*index)).map_err(fault)?;
        Ok(Sdes { left, ..sdes })
    }

    /// Opens a packet of the peer's in place.
    pub fn open(&mut self, class: Class, packet: &mut [u8]) -> Result<usize, SrtpError> {
        match class {
            Class::Rtcp => self.inward.unprotect_rtcp(packet),
            _ => self.inward.unprotect(packet),
        }
    }

    /// Protects a packet for the peer in place.
    pub fn seal(&mut self, class: Class, buffer: &mut [u8], length: usize) -> Result<usize, SrtpError> {
        match class {
            Class::Rtcp => self.outward.protect_rtcp(buffer, length),
            _ => self.outward.protect(buffer, length),
        }
    }
}

fn keys(ours: &[Crypto], theirs: &Crypto) -> Result<Keys, Refusal> {
    let suite = theirs.suite;
    let ours = ours.iter().find(|line| line.suite == suite);
    let ours = ours.ok_or_else(|| Refusal::Crypto(format!("the end has no key for {}", suite.name())))?;
    let master = |line: &Crypto| {
        let (key, salt) = line.parts().ok_or_else(|| fault(SrtpError::Key))?;
        Ok(Master { key: key.to_vec(), salt: salt.to_vec() })
    };
    Ok(Keys { suite, local: master(ours)?, remote: master(theirs)? })
}

fn contexts(keys: &Keys, mki: u8) -> Result<(Context, Context), Refusal> {
    let (outward, inward) = keys.contexts().map_err(fault)?;
    Ok((outward, inward.with_mki(mki)))
}

fn fault(error: SrtpError) -> Refusal {
    Refusal::Crypto(error.to_string())
}
