//! A dialog (RFC 3261 §12) as the call record keeps it: any edge that holds these octets can act for the leg.

use crate::message::{Message, Start};
use crate::transaction::ack;
use crate::uri::{NameAddr, Uri};
use address::transport::{self, Transport};
use media::sdp::{Origin, Shape};
use minicbor::{Decode, Encode};
use signal::media::Content;
use signal::{Media, Stored, Time, stored};
use std::net::IpAddr;

mod identity;
mod refer;
pub mod reliable;
pub mod session_timer;

pub use identity::same_tag;
pub use refer::Refer;
use reliable::Reliable;
use session_timer::SessionTimer;

/// Name of the gateway in its requests, without a version that would help those who look for a weak one (RFC 3261 §20.41).
const USER_AGENT: &str = "Tandem";

/// State of a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum State {
    /// The peer's INVITE waits for our final answer.
    #[n(0)]
    Incoming,
    /// Our INVITE waits for the peer's final answer.
    #[n(1)]
    Outgoing,
    /// Our INVITE is given up: a CANCEL is sent once a provisional response has come.
    #[n(2)]
    Cancelled,
    /// Answered.
    #[n(3)]
    Active,
    /// Over: BYE, CANCEL or a failure.
    #[n(4)]
    Ended,
}

/// Offer of ours in a 2xx to an INVITE without one: its answer comes with the ACK (RFC 3261 §13.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct OfferIn2xx {
    /// CSeq of the INVITE.
    #[n(0)]
    pub cseq: u32,
    /// True for the INVITE that opened the dialog, false for a re-INVITE.
    #[n(1)]
    pub first: bool,
}

/// [`Dialog::local_offer_cseq`] of an offer that waits for the end of the pause after a 491. No CSeq is as high (§8.1.1.5).
pub const PUT_OFF: u32 = u32::MAX;
/// Most remote tags kept of the early dialogs of an INVITE of ours (R-CALL-29).
pub const MAX_FORKS: usize = 8;
/// Most nonces kept of a dialog: two realms, each by server and by proxy.
pub const MAX_NONCES: usize = 4;

/// Nonce with the number of its uses (RFC 7616 §3.4: nc never repeats).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Nonce {
    /// Realm.
    #[n(0)]
    pub realm: String,
    /// Nonce, as given.
    #[n(1)]
    pub nonce: String,
    /// Number of uses.
    #[n(2)]
    pub count: u32,
}

/// SIP state of one leg. Header values are kept as they are written.
#[derive(Clone, PartialEq, Encode, Decode)]
pub struct Dialog {
    /// State.
    #[n(0)]
    pub state: State,
    /// Call-ID.
    #[n(1)]
    pub call_id: String,
    /// Our From (or To), with tag.
    #[n(2)]
    pub local: String,
    /// From (or To) of the peer; without tag until it has answered.
    #[n(3)]
    pub remote: String,
    /// Our Contact.
    #[n(4)]
    pub contact: String,
    /// Host and port for Via.
    #[n(5)]
    pub sent_by: String,
    /// Remote target (§12.1.1).
    #[n(6)]
    pub target: String,
    /// Route set, in order of use.
    #[n(7)]
    pub route: Vec<String>,
    /// Name of the trunk.
    #[n(8)]
    pub link: String,
    /// Flow of the dialog's first message of ours, or of the last request that was accepted from the peer:
    /// `udp://192.0.2.1:5060`.
    #[n(9)]
    pub flow: String,
    /// Flow of our requests where route set and target name no address of the trunk's, if not `flow` (the peer called over
    /// TCP, and that connection may be gone); empty = `flow`.
    #[n(10)]
    pub fallback_flow: String,
    /// Max-Forwards of our INVITE (R-SIP-11).
    #[n(11)]
    pub hops: u8,
    /// Last CSeq that we used.
    #[n(12)]
    pub local_cseq: u32,
    /// Last CSeq of the peer.
    #[n(13)]
    pub remote_cseq: u32,
    /// Branch of the request with that CSeq, which may come again.
    #[n(14)]
    pub remote_branch: String,
    /// CSeq of our INVITE that opened the dialog; 0 = the peer opened it.
    #[n(15)]
    pub invite_cseq: u32,
    /// Open INVITE as written: the peer's while Incoming, ours while Outgoing or Cancelled.
    #[cbor(n(16), with = "minicbor::bytes")]
    pub invite: Vec<u8>,
    /// Open re-INVITE or UPDATE of the peer, with its offer; empty = none.
    #[cbor(n(17), with = "minicbor::bytes")]
    pub remote_offer: Vec<u8>,
    /// CSeq of our open re-INVITE, with our offer; [`PUT_OFF`] before it is sent.
    #[n(18)]
    pub local_offer_cseq: Option<u32>,
    /// Our offer in a 2xx that waits for its ACK.
    #[n(19)]
    pub offer_in_2xx: Option<OfferIn2xx>,
    /// True once a provisional response came: CANCEL may be sent (§9.1).
    #[n(20)]
    pub proceeding: bool,
    /// True once ringing was heard or said.
    #[n(21)]
    pub ringing: bool,
    /// Description in the peer's last provisional response: the 200 may come without one.
    #[cbor(n(22), with = "minicbor::bytes")]
    pub early_sdp: Vec<u8>,
    /// Remote tags that our INVITE met, the newest last; at most [`MAX_FORKS`].
    #[n(23)]
    pub forks: Vec<String>,
    /// Nonces of the challenges to us, the newest last; at most [`MAX_NONCES`].
    #[n(24)]
    pub nonces: Vec<Nonce>,
    /// CSeq of our last request that was repeated for a stale nonce: not repeated a third time.
    #[n(25)]
    pub stale_retry_cseq: u32,
    /// ACK for the 2xx of our last INVITE, sent again each time that 2xx comes.
    #[cbor(n(26), with = "minicbor::bytes")]
    pub ack: Vec<u8>,
    /// Our o= line; its version rises with each changed description (R-SDP-8).
    #[n(27)]
    pub origin: Origin,
    /// Shape (the lines) of the dialog's descriptions: of the peer's last one, and no fewer than ours had.
    #[n(28)]
    pub shape: Shape,
    /// Description that we sent last, byte for byte.
    #[cbor(n(29), with = "minicbor::bytes")]
    pub last_sdp: Vec<u8>,
    /// Time at which our open re-INVITE is given up at any edge; means nothing while none is open.
    #[n(30)]
    pub local_offer_by: Option<Time>,
    /// Payload types of our last offer that its answer left in use, by content; `None` = we described ourselves in an answer, or nobody
    /// has answered yet.
    #[n(31)]
    pub in_use: Option<Vec<Vec<u8>>>,
    /// Time before which no offer of ours leaves, after a 491 (§14.1).
    #[n(32)]
    pub quiet_until: Option<Time>,
    /// Reliable provisional responses; `None` = the INVITE has had none and requires none.
    #[n(33)]
    pub reliable: Option<Box<Reliable>>,
    /// Session timer.
    #[cbor(n(34), default)]
    pub session_timer: SessionTimer,
    /// Description of ours that is in force, while `last_sdp` is an offer that is open or was refused; empty = `last_sdp`.
    #[cbor(n(35), with = "minicbor::bytes", default)]
    pub sdp_in_force: Vec<u8>,
    /// REFER of the peer that waits for its answer, or its subscription.
    #[n(36)]
    pub refer: Option<Refer>,
    /// True once a REFER was accepted: the subscriptions of further ones have an id (RFC 3515 §2.4.6).
    #[cbor(n(37), default)]
    pub referred: bool,
    /// Dialog of an INVITE that is to take the place of this one (RFC 3891), while the call decides.
    #[n(38)]
    pub replacement: Option<Box<Dialog>>,
}

impl std::fmt::Debug for Dialog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Descriptions hold keys, which never reach a log.
        let mut shown = f.debug_struct("Dialog");
        shown.field("state", &self.state).field("call_id", &self.call_id).field("link", &self.link);
        shown.field("local", &self.local).field("remote", &self.remote).finish_non_exhaustive()
    }
}

impl Stored for Dialog {
    const NAME: &'static str = "a SIP dialog";
    const VERSION: u16 = 4;
    const OLDEST: u16 = 1;
}

impl Dialog {
    /// Reads what [`Dialog::to_bytes`] wrote.
    #[must_use]
    pub fn from_bytes(octets: &[u8]) -> Option<Dialog> {
        stored::decode(octets).ok()
    }
    /// Writes the octets for the record.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        stored::encode(self)
    }
    /// Makes an origin whose id is taken from a keyed hash.
    #[must_use]
    pub fn origin(hash: [u8; 32], address: IpAddr) -> Origin {
        let id = hash.iter().take(6).fold(0u64, |id, octet| id << 8 | u64::from(*octet));
        Origin { session_id: id, version: 1, address }
    }
    /// Takes the lines of a description of the peer's. An answer with fewer lines than were offered does not take any away: no m= line
    /// ever vanishes (RFC 3264 §8).
    pub(crate) fn take_shape(&mut self, shape: Shape, answer: bool) {
        if !answer || shape.lines.len() >= self.shape.lines.len() {
            self.shape = shape;
        }
    }
    /// Notes the codecs that an answer of the peer's leaves in use: a peer that asks for an offer is offered no other, which the other
    /// side of the call would not know of (RFC 3264 §8.3.2).
    pub(crate) fn take_answer(&mut self, answer: &Media) {
        let Ok((mut ours, _)) = media::sdp::read(&self.last_sdp) else { return };
        media::keep_in_use(&mut ours, answer);
        let numbers = |content: &Content| content.codecs.iter().map(|codec| codec.pt).collect();
        self.in_use = Some(ours.contents.iter().map(numbers).collect());
    }
    /// Returns what we described last, with no other codecs than those in use.
    pub(crate) fn described(&self) -> Option<Media> {
        let (mut ours, _) = media::sdp::read(&self.last_sdp).ok()?;
        for (content, used) in ours.contents.iter_mut().zip(self.in_use.iter().flatten()) {
            if content.codecs.iter().any(|codec| used.contains(&codec.pt)) {
                content.codecs.retain(|codec| used.contains(&codec.pt));
            }
        }
        Some(ours)
    }
    /// Writes the description of `media`, an answer or an offer, in the m= lines that the dialog has had so far: those that are not
    /// served keep their places with port 0 (RFC 3264 §6, §8). The o= version rises if it differs from the last one.
    pub fn describe(&mut self, media: &Media, answer: bool) -> Vec<u8> {
        let shape = if answer { self.shape.clone() } else { self.shape.offering(media) };
        self.in_use = None;
        let same = media::sdp::write(media, &shape, &self.origin);
        if self.last_sdp.is_empty() || same == self.last_sdp {
            self.last_sdp = same;
        } else {
            self.origin.version += 1;
            self.last_sdp = media::sdp::write(media, &shape, &self.origin);
        }
        self.last_sdp.clone()
    }
    /// Keeps the description that is in force, before another one is offered.
    pub(crate) fn keep_in_force(&mut self) {
        if self.sdp_in_force.is_empty() {
            self.sdp_in_force.clone_from(&self.last_sdp);
        }
    }

    /// Writes the description in force as an offer that changes nothing: byte for byte (R-SDP-8), unless another one was refused since
    /// (RFC 3264 §8: the o= version rises with whatever is described).
    pub(crate) fn describe_again(&mut self) -> Vec<u8> {
        let in_force = std::mem::take(&mut self.sdp_in_force);
        if !in_force.is_empty()
            && in_force != self.last_sdp
            && let Ok((media, _)) = media::sdp::read(&in_force)
        {
            let in_use = self.in_use.take();
            self.describe(&media, false);
            self.in_use = in_use;
        }
        self.last_sdp.clone()
    }

    /// Makes a request within the dialog (§12.2.1.1) with the next CSeq.
    pub fn request(&mut self, method: &str, branch: &str) -> Message {
        self.local_cseq += 1;
        self.numbered(method, self.local_cseq, branch).with("User-Agent", USER_AGENT.to_owned())
    }
    /// Makes the ACK for a 2xx to our INVITE of this CSeq (§13.2.2.4).
    #[must_use]
    pub fn acknowledge(&self, cseq: u32, branch: &str) -> Message {
        let mut ack = self.numbered("ACK", cseq, branch);
        if cseq == self.invite_cseq
            && let Ok(invite) = crate::message::read(&self.invite.clone().into())
        {
            // Credentials are the INVITE's (§22.1).
            let credentials = ["Authorization", "Proxy-Authorization"];
            ack.headers.extend(invite.headers.into_iter().filter(|h| credentials.contains(&h.name.as_str())));
        }
        ack
    }
    /// Makes the CANCEL of our open INVITE: its branch and CSeq (§9.1).
    #[must_use]
    pub fn cancel(&self) -> Option<Message> {
        cancel(&crate::message::read(&self.invite.clone().into()).ok()?)
    }
    /// Makes the ACK for a failure of our INVITE whose transaction is (or died) at another edge (§17.1.1.3). `None` if it
    /// answers no INVITE.
    #[must_use]
    pub fn acknowledge_failure(&self, response: &Message) -> Option<Message> {
        let number = response.cseq().filter(|c| c.method == "INVITE")?.number;
        if number == self.invite_cseq {
            let invite = crate::message::read(&self.invite.clone().into()).ok()?;
            let mut ack = ack(&invite, response);
            // Of an earlier attempt, whose branch and sent-by were others: its response repeats its Via.
            let via = response
                .via()
                .filter(|via| Some(via.branch()) != invite.via().as_ref().map(|own| own.branch()));
            if let Some((mut via, header)) =
                via.zip(ack.headers.iter_mut().find(|header| header.name.as_str() == "Via"))
            {
                via.params.retain(|(name, _)| name != "received");
                via.params
                    .iter_mut()
                    .filter(|(name, _)| name == "rport")
                    .for_each(|(_, value)| *value = None);
                header.value = via.to_string().into();
            }
            return Some(ack);
        }
        let mut again = self.numbered("ACK", number, response.via()?.branch()?);
        again.headers.retain(|h| h.name.as_str() != "Contact");
        Some(again)
    }
    /// Counts a use of a nonce. Returns its nc, from 1.
    pub fn count(&mut self, realm: &str, nonce: &str) -> u32 {
        let known = self.nonces.iter().position(|n| n.realm == realm && n.nonce == nonce);
        let mut used = match known {
            Some(at) => self.nonces.remove(at),
            None => Nonce { realm: realm.to_owned(), nonce: nonce.to_owned(), count: 0 },
        };
        used.count += 1;
        let count = used.count;
        if self.nonces.len() >= MAX_NONCES {
            self.nonces.remove(0);
        }
        self.nonces.push(used);
        count
    }
    /// Returns the URI of the first route if that is a strict router of RFC 2543 (§12.2.1.1), in the form of a Request-URI.
    #[must_use]
    pub fn strict(&self) -> Option<String> {
        let first = NameAddr::parse(self.route.first()?)?;
        let Uri::Sip(mut uri) = first.uri else { return None };
        if uri.param("lr").is_some() {
            return None;
        }
        uri.headers = None;
        uri.params.retain(|(name, _)| name != "method");
        Some(uri.to_string())
    }
    /// Establishes the dialog by a response (§12.1.2): takes over tag, target and route set.
    pub fn establish(&mut self, response: &Message) {
        if let Some(to) = response.to() {
            self.remote = to.to_string();
        }
        if let Some(tag) = self.remote_tag().filter(|tag| !self.forks.contains(tag)) {
            if self.forks.len() >= MAX_FORKS {
                self.forks.remove(0);
            }
            self.forks.push(tag);
        }
        if let Some(contact) = response.contact() {
            self.target = contact.uri.to_string();
        }
        self.route = response.list("Record-Route").into_iter().rev().map(str::to_owned).collect();
    }
    pub(crate) fn numbered(&self, method: &str, cseq: u32, branch: &str) -> Message {
        let way = if self.fallback_flow.is_empty() { &self.flow } else { &self.fallback_flow };
        let transport = transport::split(way).map_or(Transport::Udp, |(transport, _)| transport).via_name();
        let hops = if method == "INVITE" { self.hops } else { 70 };
        let strict = self.strict();
        let target = format!("<{}>", self.target);
        let routes: Vec<&String> = match strict {
            Some(_) => self.route.iter().skip(1).chain([&target]).collect(),
            None => self.route.iter().collect(),
        };
        let uri = strict.unwrap_or_else(|| self.target.clone());
        let mut request = Message::request(method, uri)
            .with("Via", format!("SIP/2.0/{transport} {};branch={branch};rport", self.sent_by))
            .with("Max-Forwards", hops.to_string());
        for route in routes {
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

/// Makes the CANCEL of an INVITE of ours: its branch, To and CSeq number (§9.1).
#[must_use]
pub fn cancel(invite: &Message) -> Option<Message> {
    let number = invite.cseq()?.number;
    let to = Message { start: Start::Response { code: 487, phrase: String::new() }, ..invite.clone() };
    let mut cancel = ack(invite, &to);
    cancel.headers.retain(|h| h.name.as_str() != "CSeq");
    if let Start::Request { method, .. } = &mut cancel.start {
        *method = "CANCEL".into();
    }
    Some(cancel.with("CSeq", format!("{number} CANCEL")))
}
