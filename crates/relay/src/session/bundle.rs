//! Contents of a leg that share one transport (BUNDLE, RFC 9143): the end that carries, and its riders.
//!
//! One rule: what is a transport's (path, keys, latches) is the carrier's; what is a stream's (numbers, names, reports) is each end's
//! own. Whose a packet is, is told by its payload number (RFC 9143 §9.2): no two contents of a leg are of one kind, so none
//! has to be of two.

use super::end::{End, Link};
use super::facts::{Refusal, Remote};
use super::{Slot, Worker};

/// A content that another end's transport carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rider {
    /// Its end's place.
    pub end: u32,
    /// Payload numbers agreed for it, a bit each.
    pub numbers: u128,
}

impl End {
    /// The place of the end that a packet of this payload number is for; `own` is this end's.
    pub fn addressee(&self, pt: u8, own: u32) -> Option<u32> {
        let of = |numbers: u128| numbers >> (pt & 0x7f) & 1 == 1;
        if of(self.numbers) {
            return Some(own);
        }
        self.riders.iter().find(|rider| of(rider.numbers)).map(|rider| rider.end)
    }
}

/// The place of the end whose transport carries this one: its own, as a rule.
pub(super) fn carrier(ends: &[Slot], index: u32) -> u32 {
    match ends.get(index as usize).and_then(|slot| slot.end.as_ref()).map(|end| &end.link) {
        Some(Link::Riding(carrier)) => *carrier,
        _ => index,
    }
}

/// Some other stream on the transport of `index` has this name, in whichever direction: two under one would share SRTP keystream
/// (RFC 3711 §9.1), or be taken for one.
pub(super) fn taken(ends: &[Slot], index: u32, name: u32) -> bool {
    let at = |index: u32| ends.get(index as usize)?.end.as_ref();
    let carrier = carrier(ends, index);
    let riders = at(carrier).map_or(&[][..], |carrier| &carrier.riders);
    std::iter::once(carrier).chain(riders.iter().map(|rider| rider.end)).filter_map(at).any(|end| {
        let said =
            at(end.peer as u32).filter(|_| end.id.index != index).and_then(|peer| peer.splice.as_ref());
        end.reception.source() == Some(name) || said.is_some_and(|said| said.ssrc() == name)
    })
}

impl Worker {
    /// The end at `index` rides on the transport of content `tag` of its leg from now on, if it had none of its own yet.
    pub(super) fn ride(&mut self, index: u32, tag: u32, remote: &Remote) -> Result<(), Refusal> {
        let refuse = |why: String| Err(Refusal::Bundle(why));
        let Some(end) = self.end(index) else { return Ok(()) };
        let leg = self.session(end.session).and_then(|s| s.ends.get(usize::from(end.leg.0)));
        let carrier = leg.and_then(|leg| leg.get(tag as usize).copied());
        let Some(carrier) = carrier.filter(|carrier| *carrier != index) else {
            return refuse(format!("the leg has no other content {tag}"));
        };
        self.distinct(carrier, index, remote)?;
        match &end.link {
            Link::Riding(on) if *on == carrier => return Ok(()),
            Link::Open if end.riders.is_empty() => {}
            Link::Open => return refuse("the content carries others".into()),
            Link::Riding(_) | Link::Plain(_) | Link::Web(_) => return Err(Refusal::Settled),
        }
        let Some(carrying) = self.end_mut(carrier) else { return Ok(()) };
        if let Link::Riding(_) = carrying.link {
            return refuse(format!("content {tag} has no transport of its own"));
        }
        carrying.riders.push(Rider { end: index, numbers: 0 });
        let Some(end) = self.end_mut(index) else { return Ok(()) };
        (end.link, end.early, end.inherited) = (Link::Riding(carrier), None, None);
        if std::mem::take(&mut end.sockets) {
            let id = end.id;
            self.closed.push_back(id);
        }
        Ok(())
    }

    /// An end that rode on `carrier` goes, or has a transport of its own from now on.
    pub(super) fn dismount(&mut self, index: u32, carrier: u32) {
        if let Some(carrier) = self.end_mut(carrier) {
            carrier.riders.retain(|rider| rider.end != index);
        }
    }

    /// No payload number of what is described for the end at `index` may be another content's on the transport of `carrier`.
    pub(super) fn distinct(&self, carrier: u32, index: u32, remote: &Remote) -> Result<(), Refusal> {
        let Some(carrying) = self.end(carrier) else { return Ok(()) };
        let own = (carrier != index).then_some(carrying.numbers);
        let riders = carrying.riders.iter().filter(|rider| rider.end != index).map(|rider| rider.numbers);
        let others = own.into_iter().chain(riders).fold(0, |all, numbers| all | numbers);
        match remote.codecs.iter().find(|codec| others >> (codec.pt & 0x7f) & 1 == 1) {
            Some(codec) => Err(Refusal::Bundle(format!("payload number {} is another content's", codec.pt))),
            None => Ok(()),
        }
    }

    /// The numbers of a rider were agreed.
    pub(super) fn enrol(&mut self, index: u32) {
        let Some(end) = self.end(index) else { return };
        let (Link::Riding(carrier), numbers) = (&end.link, end.numbers) else { return };
        let carrier = *carrier;
        let riders = self.end_mut(carrier).map(|carrier| carrier.riders.iter_mut());
        if let Some(rider) = riders.and_then(|mut riders| riders.find(|rider| rider.end == index)) {
            rider.numbers = numbers;
        }
    }
}
