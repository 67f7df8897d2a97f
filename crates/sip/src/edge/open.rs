//! New dialogs, their openings, and the ids of events.

use super::user_agent::UserAgent;
use super::{Flow, Target};
use crate::dialog::{Dialog, State};
use crate::message::Message;
use crate::signal::branch;
use crate::uri::{NameAddr, Uri};
use address::transport::Transport;
use media::sdp::Shape;
use signal::{EventId, LegRef, Opening, Party};

impl UserAgent {
    pub(super) fn incoming(&self, message: &Message, leg: LegRef, flow: Flow, link: &str) -> Option<Dialog> {
        let tag = self.secret.token(leg, 0).tag();
        Some(Dialog {
            local: format!("{};tag={tag}", message.text("To")?),
            remote: message.text("From")?.to_owned(),
            target: message.contact()?.uri.to_string(),
            route: message.list("Record-Route").into_iter().map(str::to_owned).collect(),
            remote_cseq: message.cseq()?.number,
            remote_branch: branch(message),
            invite: message.write().to_vec(),
            fallback_flow: self.return_flow(flow),
            ..self.dialog(State::Incoming, leg, flow, message.call_id()?.to_owned(), link)
        })
    }

    /// Returns the flow of requests to a peer that called over TCP and whose Contact and route name no address: nobody
    /// listens at its connection's port, so the trunk's own flow.
    pub(super) fn return_flow(&self, flow: Flow) -> String {
        let mut targets = self.config.trunks.iter().flat_map(|trunk| &trunk.targets).flat_map(Target::flows);
        let same = |to: &Flow| to.transport == flow.transport && to.peer.ip() == flow.peer.ip();
        let known =
            targets.find(|to| flow.transport.is_reliable() && same(to)).filter(|to| !to.reaches(&flow));
        known.map_or_else(String::new, |flow| flow.to_string())
    }

    pub(super) fn dialog(
        &self,
        state: State,
        leg: LegRef,
        flow: Flow,
        call_id: String,
        link: &str,
    ) -> Dialog {
        let name = leg.to_string();
        let transport = match flow.transport {
            Transport::Udp => String::new(),
            other => format!(";transport={other}"),
        };
        Dialog {
            state,
            call_id,
            local: String::new(),
            remote: String::new(),
            contact: format!("<sip:{}{transport}>", self.config.advertise),
            sent_by: self.config.advertise.clone(),
            target: String::new(),
            route: vec![],
            link: link.to_owned(),
            flow: flow.to_string(),
            fallback_flow: String::new(),
            hops: 70,
            local_cseq: 0,
            remote_cseq: 0,
            remote_branch: String::new(),
            invite_cseq: 0,
            invite: vec![],
            remote_offer: vec![],
            local_offer_cseq: None,
            offer_in_2xx: None,
            proceeding: false,
            ringing: false,
            early_sdp: vec![],
            forks: vec![],
            nonces: vec![],
            stale_retry_cseq: 0,
            ack: vec![],
            origin: Dialog::origin(self.secret.derive("origin", &[name.as_bytes()]), self.config.address),
            shape: Shape::default(),
            last_sdp: vec![],
            local_offer_by: None,
            in_use: None,
        }
    }

    pub(super) fn outgoing(&self, leg: LegRef, opening: &Opening) -> Option<Dialog> {
        let trunk = self.config.trunks.iter().find(|t| t.name == opening.link)?;
        let target = trunk.targets.first()?;
        let user = match Uri::parse(&opening.to.address)? {
            Uri::Sip(uri) => uri.user?,
            Uri::Tel(number, _) => number,
            Uri::Other(_) => return None,
        };
        let uri = format!("sip:{user}@{}", target.host);
        let call_id = self.secret.derive_text("call-id", &[leg.to_string().as_bytes()], 32);
        let display = opening.from.display.as_deref().unwrap_or("").replace(['"', '\\', '\r', '\n'], "");
        let display = if display.is_empty() { String::new() } else { format!("\"{display}\" ") };
        Uri::parse(&opening.from.address)?;
        Some(Dialog {
            local: format!("{display}<{}>;tag={}", opening.from.address, self.secret.token(leg, 0).tag()),
            remote: format!("<{uri}>"),
            target: uri,
            hops: opening.hops,
            ..self.dialog(State::Outgoing, leg, target.flow, call_id, &trunk.name)
        })
    }
}

pub(super) fn event(message: &Message) -> EventId {
    let via = branch(message);
    let code = message.code().map_or_else(String::new, |c| c.to_string());
    // Forks answer with one branch and code, but with tags of their own.
    let tag = message.to().and_then(|t| t.tag().map(str::to_owned)).unwrap_or_default();
    EventId::of(&[&via, message.text("CSeq").unwrap_or(""), &code, message.call_id().unwrap_or(""), &tag])
}

/// Reads caller and callee. The trunk is trusted: its P-Asserted-Identity comes before From (RFC 3325 §9.1), unless the
/// caller asked for privacy: our user may not see it then (RFC 3323 §4.2, RFC 3325 §9.3, R-SIP-8).
pub(super) fn opening(message: &Message, uri: &str, link: String) -> Option<Opening> {
    let asserted = message.list("P-Asserted-Identity").first().and_then(|v| NameAddr::parse(v));
    let from = message.from()?;
    let address = |uri: &Uri| match uri {
        Uri::Sip(sip) => sip.aor().to_string(),
        other => other.to_string(),
    };
    let from = if unnamed(message) {
        Party::sip(ANONYMOUS)
    } else {
        let shown = asserted.as_ref().unwrap_or(&from);
        // Trunks often assert the number alone; the name is in From then.
        let display = shown.display.clone().or_else(|| from.display.clone());
        Party { display, ..Party::sip(address(&shown.uri)) }
    };
    let to = Uri::parse(uri)?;
    Some(Opening { from, to: Party::sip(address(&to)), link, hops: message.max_forwards().unwrap_or(70) })
}

/// URI of an anonymous caller (RFC 3323 §4.1.1.3).
const ANONYMOUS: &str = "sip:anonymous@anonymous.invalid";

fn unnamed(message: &Message) -> bool {
    let values = message.list("Privacy");
    let mut wishes = values.iter().flat_map(|v| v.split(';')).map(|wish| wish.trim().to_ascii_lowercase());
    wishes.any(|wish| matches!(wish.as_str(), "id" | "user" | "header"))
}
