//! Contents of a leg that share one transport (BUNDLE, RFC 9143): the end that carries, and its members.
//!
//! One rule: what is a transport's (path, keys, latches) is the carrier's; what is a stream's (payload_types, names, reports) is each end's
//! own. Whose a packet is, is told by its payload number (RFC 9143 §9.2): no two contents of a leg are of one kind, so none
//! has to be of two.

use super::endpoint::{Link, Member};
use super::types::{Refusal, Remote};
use super::worker::Worker;

impl Worker {
    /// The end at `index` rides on the transport of content `tag` of its leg from now on, if it had none of its own yet.
    pub(super) fn join_bundle(&mut self, index: u32, tag: u32, remote: &Remote) -> Result<(), Refusal> {
        let refuse = |why: String| Err(Refusal::Bundle(why));
        let Some(end) = self.endpoints.get(index) else { return Ok(()) };
        let session = self.sessions.get(end.session);
        let carrier = session.and_then(|session| session.endpoint(end.leg, tag));
        let Some(carrier) = carrier.filter(|carrier| *carrier != index) else {
            return refuse(format!("the leg has no other content {tag}"));
        };
        self.distinct(carrier, index, remote)?;
        match &end.link {
            Link::Bundled(on) if *on == carrier => return Ok(()),
            Link::Open if end.members.is_empty() => {}
            Link::Open => return refuse("the content carries others".into()),
            Link::Bundled(_) | Link::Plain(_) | Link::WebRtc(_) => return Err(Refusal::NoPorts),
        }
        let Some(carrying) = self.endpoints.get_mut(carrier) else { return Ok(()) };
        if let Link::Bundled(_) = carrying.link {
            return refuse(format!("content {tag} has no transport of its own"));
        }
        carrying.members.push(Member { endpoint: index, payload_types: 0 });
        let Some(end) = self.endpoints.get_mut(index) else { return Ok(()) };
        (end.link, end.early, end.inherited) = (Link::Bundled(carrier), None, None);
        if std::mem::take(&mut end.sockets) {
            let id = end.id;
            self.closed.push_back(id);
        }
        Ok(())
    }

    /// An end that rode on `carrier` goes, or has a transport of its own from now on.
    pub(super) fn leave_bundle(&mut self, index: u32, carrier: u32) {
        if let Some(carrier) = self.endpoints.get_mut(carrier) {
            carrier.members.retain(|member| member.endpoint != index);
        }
    }

    /// No payload number of what is described for the end at `index` may be another content's on the transport of `carrier`.
    pub(super) fn distinct(&self, carrier: u32, index: u32, remote: &Remote) -> Result<(), Refusal> {
        let Some(carrying) = self.endpoints.get(carrier) else { return Ok(()) };
        let own = (carrier != index).then_some(carrying.payload_types);
        let members = carrying
            .members
            .iter()
            .filter(|member| member.endpoint != index)
            .map(|member| member.payload_types);
        let others = own.into_iter().chain(members).fold(0, |all, payload_types| all | payload_types);
        match remote.codecs.iter().find(|codec| others >> (codec.pt & 0x7f) & 1 == 1) {
            Some(codec) => Err(Refusal::Bundle(format!("payload number {} is another content's", codec.pt))),
            None => Ok(()),
        }
    }

    /// The payload_types of a member were agreed.
    pub(super) fn update_member(&mut self, index: u32) {
        let Some(end) = self.endpoints.get(index) else { return };
        let (Link::Bundled(carrier), payload_types) = (&end.link, end.payload_types) else { return };
        let carrier = *carrier;
        let members = self.endpoints.get_mut(carrier).map(|carrier| carrier.members.iter_mut());
        if let Some(member) = members.and_then(|mut members| members.find(|member| member.endpoint == index))
        {
            member.payload_types = payload_types;
        }
    }
}
