//! New dialogs, their openings, and the ids of events.

use super::user_agent::UserAgent;
use super::{Flow, Trunk};
use crate::dialog::reliable::Reliable;
use crate::dialog::session_timer::SessionTimer;
use crate::dialog::{Dialog, State};
use crate::diversion;
use crate::message::{Message, Start};
use crate::privacy;
use crate::signal::{Outgoing, branch, is_required, rseq};
use crate::uri::{NameAddr, SipUri, Uri, host_port};
use address::transport::Transport;
use address::{Number, Role, Way, display_name, sip_user};
use media::sdp::Shape;
use signal::{EventId, LegRef, Opening, Party, Signal};

impl UserAgent {
    /// Makes the dialog that an INVITE opens. `number`: of the dialogs of the leg, which each have a tag of their own.
    pub(super) fn incoming(
        &self,
        message: &Message,
        (leg, number): (LegRef, u8),
        flow: Flow,
        link: &str,
    ) -> Option<Dialog> {
        let Start::Request { uri, .. } = &message.start else { return None };
        let mut local = message.to()?;
        local.params.push(("tag".into(), Some(self.secret.token(leg, number).tag())));
        Some(Dialog {
            local: local.to_string(),
            remote: message.from()?.to_string(),
            contact: self.contact(flow, &Uri::parse(uri)?),
            target: target(message)?,
            route: message.list("Record-Route").into_iter().map(str::to_owned).collect(),
            remote_cseq: message.cseq()?.number,
            remote_branch: branch(message),
            invite: message.write().to_vec(),
            fallback_flow: self.return_flow(flow),
            reliable: is_required(message).then(|| Box::new(self.first_rseq(leg))),
            ..self.dialog(State::Incoming, leg, flow, message.call_id()?.to_owned(), link)
        })
    }

    /// Returns the flow of requests to a peer that called over TCP and whose Contact and route name no address: nobody
    /// listens at its connection's port, so the trunk's own flow.
    pub(super) fn return_flow(&self, flow: Flow) -> String {
        let mut targets = self.trunks().flat_map(|trunk| trunk.flows().copied());
        let same = |to: &Flow| to.transport == flow.transport && to.peer.ip() == flow.peer.ip();
        let known =
            targets.find(|to| flow.transport.is_reliable() && same(to)).filter(|to| !to.reaches(&flow));
        known.map_or_else(String::new, |flow| flow.to_string())
    }

    /// Returns our Contact for a dialog by this flow, with the user that we are in it.
    fn contact(&self, flow: Flow, own: &Uri) -> String {
        let user = match (Number::of(own), own) {
            (Some(number), _) => Some(sip_user(&number.dialled())),
            (None, Uri::Sip(uri)) => uri.user.clone(),
            (None, _) => None,
        };
        self.contact_of(user.as_deref(), &flow)
    }

    /// Returns our Contact with this user, by which the peer of a flow reaches us.
    pub(super) fn contact_of(&self, user: Option<&str>, flow: &Flow) -> String {
        let user = user.map_or_else(String::new, |user| format!("{user}@"));
        let transport = match flow.transport {
            Transport::Udp => String::new(),
            other => format!(";transport={other}"),
        };
        format!("<sip:{user}{}{transport}>", self.config.local(flow).0)
    }

    /// Returns reliable provisional responses of ours that begin with an RSeq from 1 to 2^31 - 1, drawn from the leg (RFC 3262 §3).
    fn first_rseq(&self, leg: LegRef) -> Reliable {
        let [a, b, c, d, ..] = self.secret.derive("rseq", &[leg.to_string().as_bytes()]);
        Reliable { rseq: u32::from_be_bytes([a, b, c, d]) % (i32::MAX as u32 - 1), ..Reliable::default() }
    }

    /// Returns the session interval that calls of a trunk ask for, s; 0 = none.
    fn session_interval(&self, link: &str) -> u32 {
        self.trunks().find(|trunk| trunk.name == link).map_or(0, |trunk| trunk.session_expires)
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
        let (sent_by, address) = self.config.local(&flow);
        Dialog {
            state,
            call_id,
            local: String::new(),
            remote: String::new(),
            contact: String::new(),
            sent_by,
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
            origin: Dialog::origin(self.secret.derive("origin", &[name.as_bytes()]), address),
            shape: Shape::default(),
            last_sdp: vec![],
            local_offer_by: None,
            in_use: None,
            quiet_until: None,
            reliable: None,
            session_timer: SessionTimer { wish: self.session_interval(link), ..SessionTimer::default() },
            sdp_in_force: vec![],
            refer: None,
            referred: false,
            replacement: None,
        }
    }

    pub(super) fn outgoing(&self, leg: LegRef, opening: &Opening) -> Option<Dialog> {
        let trunk = self.config.trunks.iter().find(|t| t.name == opening.link)?;
        let flow = *self.attempts(leg, trunk, self.failed.now).first()?;
        let target = trunk.targets.iter().find(|target| target.flows.contains(&flow))?;
        let (host, port) = host_port(&target.host)?;
        let callee = SipUri { host, ..called(&Uri::parse(&opening.to.address)?)? };
        let params = opening.diverted.as_ref().map(diversion::mailbox).unwrap_or_default();
        let mut request_uri = SipUri { port, ..callee.clone() };
        request_uri.params.extend(params);
        let call_id = self.secret.derive_text("call-id", &[leg.to_string().as_bytes()], 32);
        let caller = match Uri::parse(&opening.from.address)? {
            Uri::Sip(uri) => Uri::Sip(uri.aor()),
            other => other,
        };
        let tag = self.secret.token(leg, 0).tag();
        let local = NameAddr {
            display: match opening.from.is_anonymous() {
                true => Some("Anonymous".to_owned()),
                false => opening.from.display.as_deref().and_then(shown),
            },
            uri: caller.clone(),
            params: vec![("tag".into(), Some(tag))],
        };
        Some(Dialog {
            local: local.to_string(),
            remote: format!("<{callee}>"),
            contact: self.contact(flow, &caller),
            target: request_uri.to_string(),
            hops: opening.hops,
            ..self.dialog(State::Outgoing, leg, flow, call_id, &trunk.name)
        })
    }
}

/// Returns user and `user=phone` of the URI that is called. Only a global number has no need of a context to be a
/// telephone-subscriber (RFC 3261 §19.1.6, RFC 3966 §3; interworking §1.3).
fn called(uri: &Uri) -> Option<SipUri> {
    let (user, global) = match Number::of(uri) {
        Some(number) => (sip_user(&number.dialled()), number.is_global()),
        None => (uri.sip()?.user.clone()?, false),
    };
    let params = if global { vec![("user".to_owned(), Some("phone".to_owned()))] } else { vec![] };
    Some(SipUri { user: Some(user), params, ..SipUri::default() })
}

/// Returns a display name as a trunk is shown it: there is nothing in it that would have to be escaped.
fn shown(name: &str) -> Option<String> {
    display_name(&name.replace(['"', '\\'], ""))
}

/// Returns the remote target of the dialog that an INVITE opens (§12.1.1). A peer of RFC 2543, whose Via has no cookie, may leave
/// Contact out: it is reached by its From then (inv2543 of RFC 4475).
fn target(message: &Message) -> Option<String> {
    let old = message.all("Contact").next().is_none() && message.via()?.branch().is_none();
    let from = message.from().filter(|_| old);
    Some(message.contact().or(from)?.uri.to_string())
}

pub(super) fn event(message: &Message) -> EventId {
    let via = branch(message);
    let code = message.code().map_or_else(String::new, |c| c.to_string());
    // Forks answer with one branch and code, but with tags of their own.
    let tag = message.to().and_then(|t| t.tag().map(str::to_owned)).unwrap_or_default();
    let mut parts =
        vec![&*via, message.text("CSeq").unwrap_or(""), &code, message.call_id().unwrap_or(""), &tag];
    // Reliable provisional responses may differ in that alone.
    let rseq = rseq(message).map(|rseq| rseq.to_string());
    parts.extend(rseq.as_deref());
    EventId::of(&parts)
}

/// Reads caller and callee of a call of this trunk.
pub(super) fn opening(message: &Message, uri: &str, trunk: &Trunk) -> Option<Opening> {
    let calling = |address: &mut String| {
        *address = trunk.rewrites.address(Way::From, Role::Calling, address);
    };
    let mut from = privacy::caller(message, trunk.trusted)?;
    calling(&mut from.address);
    from.identity.iter_mut().flat_map(|identity| &mut identity.asserted).for_each(calling);
    let mut diverted = diversion::read(message);
    let past = diverted.iter_mut().flat_map(|diverted| &mut diverted.history);
    past.for_each(|diversion| calling(&mut diversion.party.address));
    let to = privacy::address(&Uri::parse(uri)?);
    Some(Opening {
        from,
        to: Party::sip(trunk.rewrites.address(Way::From, Role::Called, &to)),
        link: trunk.name.clone(),
        hops: message.max_forwards().unwrap_or(70),
        diverted,
        referral: None,
    })
}

/// Rewrites the numbers of a trunk's that a phone names as others to call.
pub(super) fn rewrite_targets(signal: &mut Signal, trunk: &Trunk) {
    let called = |address: &mut String| *address = trunk.rewrites.address(Way::From, Role::Called, address);
    match signal {
        Signal::Refer { target, .. } => called(target),
        Signal::Redirect(first, further) => {
            called(first);
            further.iter_mut().for_each(called);
        }
        _ => {}
    }
}

/// Tells the callee of an INVITE of ours, among `outgoing`, who sent the call there, and what is known of the caller.
pub(super) fn tell_past(dialog: &mut Dialog, opening: &Opening, outgoing: &mut [Outgoing]) {
    let target = Uri::parse(&dialog.target);
    let told = opening.diverted.as_ref().zip(target.as_ref().and_then(Uri::sip));
    let past = told.map(|(diverted, target)| diversion::headers(diverted, target)).unwrap_or_default();
    let mut headers: Vec<(&str, String)> =
        past.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    headers.extend(privacy::headers(&opening.from));
    for one in outgoing {
        let Outgoing::Request(invite) = one else { continue };
        if headers.is_empty() || invite.method().as_deref() != Some("INVITE") {
            continue;
        }
        privacy::insert(invite, &headers);
        dialog.invite = invite.write().to_vec();
    }
}
