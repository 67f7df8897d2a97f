//! How dialogs begin, and how what was heard is named.

use super::{Edge, Flow};
use crate::dialog::{Dialog, State};
use crate::message::Message;
use crate::uri::{NameAddr, Uri};
use media::sdp::Shape;
use signal::{EventId, LegRef, Opening, Party};
use std::net::SocketAddr;

impl Edge {
    pub(super) fn incoming(&self, message: &Message, leg: LegRef, flow: Flow) -> Option<Dialog> {
        let tag = self.secret.token(leg, 0).tag();
        Some(Dialog {
            local: format!("{};tag={tag}", message.text("To")?),
            remote: message.text("From")?.to_owned(),
            target: message.contact()?.uri.to_string(),
            route: message.list("Record-Route").into_iter().map(str::to_owned).collect(),
            remote_cseq: message.cseq()?.number,
            invite: message.write().to_vec(),
            next: self.way_back(message, flow),
            ..self.dialog(State::Incoming, leg, flow, message.call_id()?.to_owned())
        })
    }

    /// Where requests go to a peer that called over TCP: its connection's port is nobody's to connect to, so the address of its
    /// Contact or route where that is numeric and its own, else the trunk's.
    fn way_back(&self, message: &Message, flow: Flow) -> String {
        if !flow.tcp {
            return String::new();
        }
        let route = message.list("Record-Route").first().and_then(|r| NameAddr::parse(r));
        let uri = route.or_else(|| message.contact()).map(|n| n.uri);
        let host = uri.as_ref().and_then(Uri::sip).map(|s| (s.host.clone(), s.port.unwrap_or(5060)));
        let own = host.and_then(|(host, port)| Some(SocketAddr::new(host.parse().ok()?, port)));
        let trunk = || self.config.trunks.iter().find(|t| t.flow.tcp && t.flow.peer.ip() == flow.peer.ip());
        match own.filter(|a| a.ip() == flow.peer.ip()).or_else(|| Some(trunk()?.flow.peer)) {
            Some(peer) if peer != flow.peer => Flow { tcp: true, peer }.to_string(),
            _ => String::new(),
        }
    }

    pub(super) fn dialog(&self, state: State, leg: LegRef, flow: Flow, call_id: String) -> Dialog {
        let name = leg.to_string();
        let transport = if flow.tcp { ";transport=tcp" } else { "" };
        Dialog {
            state,
            call_id,
            local: String::new(),
            remote: String::new(),
            contact: format!("<sip:{}{transport}>", self.config.advertise),
            sent_by: self.config.advertise.clone(),
            target: String::new(),
            route: vec![],
            flow: flow.to_string(),
            next: String::new(),
            hops: 70,
            local_cseq: 0,
            remote_cseq: 0,
            opened: 0,
            invite: vec![],
            asked: vec![],
            asking: None,
            offered: None,
            proceeding: false,
            ringing: false,
            early: vec![],
            nonce: None,
            ack: vec![],
            origin: Dialog::origin(self.secret.derive("origin", &[name.as_bytes()]), self.config.address),
            shape: Shape::default(),
            said: vec![],
        }
    }

    pub(super) fn outgoing(&self, leg: LegRef, opening: &Opening) -> Option<Dialog> {
        let trunk = self.config.trunks.iter().find(|t| t.name == opening.link)?;
        let user = match Uri::parse(&opening.to.address)? {
            Uri::Sip(uri) => uri.user?,
            Uri::Tel(number, _) => number,
            Uri::Other(_) => return None,
        };
        let target = format!("sip:{user}@{}", trunk.host);
        let call_id = self.secret.derive_text("call-id", &[leg.to_string().as_bytes()], 32);
        let display = opening.from.display.as_deref().unwrap_or("").replace(['"', '\\', '\r', '\n'], "");
        let display = if display.is_empty() { String::new() } else { format!("\"{display}\" ") };
        Uri::parse(&opening.from.address)?;
        Some(Dialog {
            local: format!("{display}<{}>;tag={}", opening.from.address, self.secret.token(leg, 0).tag()),
            remote: format!("<{target}>"),
            target,
            hops: opening.hops,
            ..self.dialog(State::Outgoing, leg, trunk.flow, call_id)
        })
    }
}

pub(super) fn event(message: &Message) -> EventId {
    let via = message.via().and_then(|v| v.param("branch").map(str::to_owned)).unwrap_or_default();
    let code = message.code().map_or_else(String::new, |c| c.to_string());
    // Branches of a forked INVITE answer with one branch and code, but with tags of their own.
    let tag = message.to().and_then(|t| t.tag().map(str::to_owned)).unwrap_or_default();
    EventId::of(&[&via, message.text("CSeq").unwrap_or(""), &code, message.call_id().unwrap_or(""), &tag])
}

/// Who calls whom. The trunk is trusted: its P-Asserted-Identity comes before From.
pub(super) fn opening(message: &Message, uri: &str, link: String) -> Option<Opening> {
    let asserted = message.list("P-Asserted-Identity").first().and_then(|v| NameAddr::parse(v));
    let from = asserted.or_else(|| message.from())?;
    let address = |uri: &Uri| match uri {
        Uri::Sip(sip) => sip.aor().to_string(),
        other => other.to_string(),
    };
    let to = Uri::parse(uri)?;
    Some(Opening {
        from: Party { display: from.display.clone(), ..Party::sip(address(&from.uri)) },
        to: Party::sip(address(&to)),
        link,
        hops: message.max_forwards().unwrap_or(70),
    })
}
