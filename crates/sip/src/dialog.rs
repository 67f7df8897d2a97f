//! A dialog (RFC 3261 §12) as the call record keeps it: whoever holds these octets can act for the leg.

use crate::message::{Message, Start};
use crate::transaction::ack;
use media::sdp::{Origin, Shape};
use serde::{Deserialize, Serialize};
use signal::Media;
use std::net::IpAddr;

/// Where the leg stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// The peer's INVITE waits for our final answer.
    Incoming,
    /// Our INVITE waits for the peer's.
    Outgoing,
    /// We gave up our INVITE: a CANCEL is sent once a provisional response has come.
    Cancelled,
    /// Answered.
    Active,
    /// BYE, CANCEL or a failure.
    Ended,
}

/// One leg's SIP state. Header values are kept as they are written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dialog {
    /// Where it stands.
    pub state: State,
    /// Call-ID.
    pub call_id: String,
    /// Our From (or To) with tag.
    pub local: String,
    /// The peer's; without tag until it has answered.
    pub remote: String,
    /// Our Contact.
    pub contact: String,
    /// Host and port for Via.
    pub sent_by: String,
    /// Remote target (§12.1.1).
    pub target: String,
    /// Route set, in order of use.
    pub route: Vec<String>,
    /// Where requests go: `udp://192.0.2.1:5060`.
    pub flow: String,
    /// Last CSeq that we used.
    pub local_cseq: u32,
    /// Last CSeq of the peer.
    pub remote_cseq: u32,
    /// The open INVITE as written: the peer's while Incoming, ours while Outgoing or Cancelled.
    pub invite: Vec<u8>,
    /// The peer's open re-INVITE or UPDATE; empty = none.
    pub asked: Vec<u8>,
    /// CSeq of our open re-INVITE.
    pub asking: Option<u32>,
    /// A provisional response came: CANCEL may be sent (§9.1).
    pub proceeding: bool,
    /// Ringing was heard or said.
    pub ringing: bool,
    /// The ACK that answers the 2xx of our last INVITE, to be sent each time that 2xx comes.
    pub ack: Vec<u8>,
    /// o= line; its version rises with each changed description (R-SDP-8).
    pub origin: Origin,
    /// Lines of the peer's last description.
    pub shape: Shape,
    /// The description that we sent last, byte for byte.
    pub said: Vec<u8>,
}

impl Dialog {
    /// Reads what [`Dialog::to_bytes`] wrote.
    #[must_use]
    pub fn from_bytes(octets: &[u8]) -> Option<Dialog> {
        postcard::from_bytes(octets).ok()
    }
    /// For the record.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }
    /// An origin whose id is taken from a keyed hash.
    #[must_use]
    pub fn origin(hash: [u8; 32], address: IpAddr) -> Origin {
        let id = hash.iter().take(6).fold(0u64, |id, octet| id << 8 | u64::from(*octet));
        Origin { session_id: id, version: 1, address }
    }
    /// The description of `media`; the o= version rises if it differs from the one said before.
    pub fn describe(&mut self, media: &Media, answer: bool) -> Vec<u8> {
        let shape = if answer { self.shape.clone() } else { Shape::default() };
        let same = media::sdp::write(media, &shape, &self.origin);
        if self.said.is_empty() || same == self.said {
            self.said = same;
        } else {
            self.origin.version += 1;
            self.said = media::sdp::write(media, &shape, &self.origin);
        }
        self.said.clone()
    }
    /// A request within the dialog (§12.2.1.1) with the next CSeq.
    pub fn request(&mut self, method: &str, branch: &str) -> Message {
        self.local_cseq += 1;
        self.numbered(method, self.local_cseq, branch)
    }
    /// The ACK for a 2xx to our INVITE of this CSeq (§13.2.2.4).
    #[must_use]
    pub fn acknowledge(&self, cseq: u32, branch: &str) -> Message {
        self.numbered("ACK", cseq, branch)
    }
    /// The CANCEL of our open INVITE: its branch and CSeq (§9.1).
    #[must_use]
    pub fn cancel(&self) -> Option<Message> {
        let invite = crate::message::read(&self.invite.clone().into()).ok()?;
        let number = invite.cseq()?.number;
        let to = Message { start: Start::Response { code: 487, phrase: String::new() }, ..invite.clone() };
        let mut cancel = ack(&invite, &to);
        cancel.headers.retain(|h| h.name.as_str() != "CSeq");
        if let Start::Request { method, .. } = &mut cancel.start {
            *method = "CANCEL".into();
        }
        Some(cancel.with("CSeq", format!("{number} CANCEL")))
    }
    fn numbered(&self, method: &str, cseq: u32, branch: &str) -> Message {
        let transport = if self.flow.starts_with("tcp") { "TCP" } else { "UDP" };
        let mut request = Message::request(method, self.target.clone())
            .with("Via", format!("SIP/2.0/{transport} {};branch={branch};rport", self.sent_by))
            .with("Max-Forwards", "70");
        for route in &self.route {
            request = request.with("Route", route.clone());
        }
        request
            .with("From", self.local.clone())
            .with("To", self.remote.clone())
            .with("Call-ID", self.call_id.clone())
            .with("CSeq", format!("{cseq} {method}"))
            .with("Contact", self.contact.clone())
    }
}
