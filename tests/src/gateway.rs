//! A gateway in one thread on virtual time: both edges, an orchestrator, and relays that allocate fixed ends.
//!
//! One rule: [`Gateway::poll`] goes on by one step and returns what leaves it, until nothing is left to do; time passes only by
//! [`Gateway::advance`]. Between decisions a call exists as octets alone, as in the store.

use crate::orchestrator::{Decision, Orchestrator};
use crate::{Fault, fault, relays};
use bytes::Bytes;
use media::{Policy, Profile};
use minidom::Element;
use session::Machine;
use session::call::{Effect, Event, Phase, Placement, RelayChange, Route};
use session::mailbox::Announcement;
use session::user::{self, User};
use signal::mailbox::{Headline, Noted, Notice};
use signal::{
    Ask, EffectId, End, Heard, LegId, Opening, Protocol, RecordId, RecordKind, Said, Time, Verdict,
};
use std::collections::BTreeMap;
use store::Store;

/// Route to a callee, by the parties in the caller's words; true: the last party of its history diverts the call there.
pub type RouteOf = Box<dyn Fn(&Opening, bool) -> Result<Route, End>>;

/// User whose box a voicemail server tells of, and the content of the box.
pub type MailboxOf = Box<dyn Fn(&Notice) -> Option<(String, Announcement)>>;

/// Routing of calls.
pub struct Plan {
    /// Routes.
    pub route: RouteOf,
    /// Media profile of a party.
    pub profile: Box<dyn Fn(Protocol) -> Profile>,
    /// Media that is served.
    pub policy: Policy,
    /// Boxes.
    pub mailbox: MailboxOf,
}

/// The gateway.
pub struct Gateway {
    /// Time of edges and orchestrator.
    pub now: Time,
    /// The SIP edge.
    pub sip: sip::edge::Edge,
    /// The XMPP edge.
    pub xmpp: xmpp::edge::Edge,
    /// The orchestrator.
    pub orchestrator: Orchestrator,
    /// Relays transcode.
    pub transcodes: bool,
    store: Store,
    plan: Plan,
    /// The relay that new sessions are at.
    relay: u8,
    /// The order that an edge has.
    saying: Option<(EffectId, LegId)>,
    /// Users whose boxes were told of.
    users: BTreeMap<String, User>,
    refused: Option<(Heard, End)>,
}

/// Something that leaves the gateway, or that is worth a note.
pub enum Output {
    /// A datagram to a SIP peer.
    Sip(sip::edge::Flow, Bytes),
    /// A stanza.
    Xmpp(Element),
    /// A call has decided.
    Decided(Box<Decision>),
    /// A call was not placed.
    Refused(Heard, End),
}

impl Gateway {
    /// A gateway with these edges.
    #[must_use]
    pub fn new(now: Time, sip: sip::edge::Edge, xmpp: xmpp::edge::Edge, plan: Plan) -> Gateway {
        let store = Store::in_memory();
        Gateway {
            now,
            sip,
            xmpp,
            orchestrator: Orchestrator::new(store.clone()),
            store,
            transcodes: false,
            plan,
            relay: 1,
            saying: None,
            users: BTreeMap::new(),
            refused: None,
        }
    }

    /// Notes what a voicemail server tells, and has the user told at once.
    fn note(&mut self, notice: &Notice) -> Noted {
        let Some((jid, announcement)) = (self.plan.mailbox)(notice) else { return Noted::Unknown };
        let event = user::Event::Notified(announcement);
        let (user, effects) = match self.users.remove(&jid) {
            Some(user) => user.decide(event, self.now),
            None => {
                let id = RecordId { kind: RecordKind::User, hash: [7; 10] };
                User::create(id, jid.clone(), event, self.now)
            }
        };
        self.users.insert(jid, user);
        for effect in effects {
            let user::Effect::Announce { jid, announcement } = effect else { continue };
            let text = announcement.text();
            self.xmpp.headline(&Headline { from: announcement.mailbox, to: jid, id: "box-1".into(), text });
        }
        Noted::Stored
    }

    /// Goes on until something leaves. `None`: nothing is left to do.
    ///
    /// # Errors
    /// A record that cannot be read or stored.
    pub fn poll(&mut self) -> Result<Option<Output>, Fault> {
        loop {
            if let Some((heard, end)) = self.refused.take() {
                return Ok(Some(Output::Refused(heard, end)));
            }
            if let Some(decision) = self.orchestrator.decision() {
                return Ok(Some(Output::Decided(Box::new(decision))));
            }
            if let Some(output) = self.sip.poll() {
                match output {
                    sip::edge::Output::Send(to, octets) => return Ok(Some(Output::Sip(to, octets))),
                    sip::edge::Output::Ask(ticket, ask) => {
                        let verdict = self.ask(ask)?;
                        self.sip.verdict(ticket, verdict, self.now);
                    }
                    sip::edge::Output::Said(said) => self.said(said)?,
                    // There is only one edge at a time.
                    sip::edge::Output::Forward(ticket, ..) => {
                        self.sip.forward_result(ticket, false, self.now)
                    }
                    sip::edge::Output::Mailbox(ticket, notice) => {
                        let noted = self.note(&notice);
                        self.sip.noted(ticket, noted, self.now);
                    }
                    sip::edge::Output::Refused(_)
                    | sip::edge::Output::RefusedSource(..)
                    | sip::edge::Output::ForeignHop(..) => {}
                }
            } else if let Some(output) = self.xmpp.poll() {
                match output {
                    xmpp::edge::Output::Send(stanza) => return Ok(Some(Output::Xmpp(stanza))),
                    xmpp::edge::Output::Ask(ticket, ask) => {
                        let verdict = self.ask(ask)?;
                        self.xmpp.verdict(ticket, verdict, self.now);
                    }
                    xmpp::edge::Output::Said(said) => self.said(said)?,
                    xmpp::edge::Output::Refused(_) | xmpp::edge::Output::Serve(..) => {}
                }
            } else if let Some((id, _)) = self.saying.take() {
                // The edge has said nothing: the order comes again with the record's deadline.
                self.orchestrator.failed(id, self.now)?;
            } else if let Some(id) = self.orchestrator.waiting().first() {
                self.execute(*id)?;
            } else {
                return Ok(None);
            }
        }
    }

    /// Lets time pass until something is due, at most until then. False: nothing is due before.
    ///
    /// # Errors
    /// A record that cannot be read or stored.
    pub fn advance(&mut self, until: Time) -> Result<bool, Fault> {
        let due = [self.sip.deadline(), self.xmpp.deadline(), self.orchestrator.deadline(self.now)?];
        let Some(next) = due.into_iter().flatten().min().filter(|at| *at <= until) else {
            self.now = until;
            return Ok(false);
        };
        self.now = self.now.max(next);
        self.sip.tick(self.now);
        self.xmpp.tick(self.now);
        self.orchestrator.tick(self.now)?;
        Ok(true)
    }

    /// Puts another orchestrator in the place of the one that dies, which knows nothing but what is stored.
    pub fn replace_orchestrator(&mut self) {
        self.orchestrator = Orchestrator::new(self.store.clone());
    }

    /// Tells every call of an event.
    ///
    /// # Errors
    /// A record that cannot be read or stored.
    pub fn decide(&mut self, event: &Event) -> Result<(), Fault> {
        for call in self.orchestrator.calls()? {
            self.orchestrator.decide(call, event, self.now)?;
        }
        Ok(())
    }

    /// Moves the session of every call to another relay; `alive`: the old one still forwards.
    ///
    /// # Errors
    /// A record that cannot be read or stored.
    pub fn relocate(&mut self, alive: bool) -> Result<(), Fault> {
        self.relay += 1;
        for id in self.orchestrator.calls()? {
            let Some(from) = self.orchestrator.call(id)?.and_then(|call| call.relay) else { continue };
            let Some(call) = self.orchestrator.call(id)? else { continue };
            let held = call.legs.iter().filter(|leg| leg.phase != Phase::Over && !leg.ends.is_empty());
            let held: Vec<LegId> = held.map(|leg| leg.id).collect();
            let allocation = relays::allocation_for(self.relay, &held, self.transcodes);
            self.orchestrator.decide(
                id,
                &Event::RelayChanged(RelayChange { from, alive, allocation }),
                self.now,
            )?;
        }
        Ok(())
    }

    fn ask(&mut self, ask: Ask) -> Result<Verdict, Fault> {
        let heard = match ask {
            Ask::Recall(leg) => return self.orchestrator.recall(leg),
            Ask::Heard(heard) => heard,
        };
        let (plan, allocation) = (&self.plan, relays::allocation(self.relay, self.transcodes));
        let gather = |heard: Heard| {
            let opening = heard.opening.as_ref().ok_or(signal::Reason::BadRequest)?;
            Ok(Placement {
                caller: (plan.profile)(opening.from.protocol),
                route: (plan.route)(opening, false)?,
                policy: plan.policy.clone(),
                heard,
                allocation,
                trace: String::new(),
            })
        };
        let verdict = self.orchestrator.hear(heard.clone(), self.now, gather)?;
        if let Verdict::Refused(end) = &verdict {
            self.refused = Some((heard, end.clone()));
        }
        Ok(verdict)
    }

    fn said(&mut self, said: Said) -> Result<(), Fault> {
        match self.saying.take_if(|(id, _)| *id == said.id) {
            Some((id, leg)) => self.orchestrator.performed(id, vec![Event::Said(leg, said)], self.now),
            None => fault("an edge said what nobody ordered"),
        }
    }

    fn execute(&mut self, id: EffectId) -> Result<(), Fault> {
        let Some(order) = self.orchestrator.order(id) else { return fault(format!("nobody waits for {id}")) };
        let call = &order.record.machine;
        let events = match &order.entry.effect {
            Effect::Say { leg, .. } | Effect::Wake { leg } => {
                let (Some(order), Some(party)) = (order.of_edge(), call.leg(*leg)) else {
                    return fault(format!("there is no leg {}", leg.0));
                };
                match party.protocol() {
                    Protocol::Sip => self.sip.order(order, self.now),
                    Protocol::Xmpp => self.xmpp.order(order, self.now),
                }
                self.saying = Some((id, *leg));
                return Ok(());
            }
            Effect::Restart { leg, ends } => {
                let renewal = relays::renewal(call, *leg, ends);
                renewal.map(|renewal| Event::Renewed(*leg, renewal)).into_iter().collect()
            }
            Effect::Route { leg, opening, diverts } => {
                vec![Event::Routed(*leg, (self.plan.route)(opening, *diverts))]
            }
            Effect::Allocate { leg, .. } => {
                let session = call.relay.clone().into_iter();
                let ends = relays::ends(self.relay, *leg);
                session.map(|session| Event::Allocated(*leg, session, Ok(ends.clone()))).collect()
            }
            Effect::Connect(_)
            | Effect::Candidates { .. }
            | Effect::Play { .. }
            | Effect::Press { .. }
            | Effect::Leave(_)
            | Effect::Release(_)
            | Effect::Record(_)
            | Effect::Cdr
            | Effect::Probe
            | Effect::Bridge { .. }
            | Effect::ReleaseLeg(_) => vec![],
        };
        self.orchestrator.performed(id, events, self.now)
    }

    /// Returns the one call that is stored.
    ///
    /// # Errors
    /// There is none, or several.
    pub fn the_call(&self) -> Result<session::call::Call, Fault> {
        let calls: Vec<RecordId> = self.orchestrator.calls()?;
        let [id] = calls.as_slice() else { return fault(format!("{} calls are stored", calls.len())) };
        self.orchestrator.call(*id)?.map_or_else(|| fault("it is gone"), Ok)
    }
}
