//! Both edges, the call machine and everybody around them, in one thread on virtual time.

use super::client::Client;
use super::flow::{Flow, Kind, Step};
use super::names::Names;
use super::phone::Phone;
use super::plan::{plan, profile, route, users};
use super::show;
use crate::gateway::{Gateway, Output};
use crate::{Fault, fault};
use media::{Policy, Profile};
use minidom::Element;
use session::call::{Call, Effect, Event, MediaEvent};
use session::mailbox::Announcement;
use signal::{LegId, Reason, Secret, Time};
use sip::message::Message;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use xmpp::stanza;

const START: Time = Time(1_795_385_000_000);
const DOMAIN: &str = "sip.example.net";
/// Time that a flow is left alone after its last step, ms.
const REST: u64 = 1_300_000;
/// Most starting points that a flow may follow.
const MAX_CHAIN: usize = 4;
/// Most timers of one wait, more are a loop.
const MAX_TICKS: usize = 10_000;

/// Outcome of a flow.
#[derive(Clone, Debug, Default)]
pub struct Played {
    /// The file as it should be.
    pub text: String,
    /// Decisions of the call, without addresses.
    pub decisions: Vec<String>,
    /// Record and effects of each decision, those of starting points too.
    pub records: Vec<(Call, Vec<Effect>)>,
    /// Messages to the phone as they left, those of starting points too.
    pub messages: Vec<bytes::Bytes>,
    /// Stanzas to clients, those of starting points too.
    pub stanzas: Vec<Element>,
}

/// The gateway with the parties around it, and the transcript so far.
pub struct World {
    gateway: Gateway,
    /// Start of the part that is shown.
    start: Time,
    instances: u32,
    /// Phones by name; each has one call, if there are several.
    phones: Vec<(String, Phone)>,
    /// True if further calls to SIP are those of further phones, `desk` and `desk2`.
    desks: bool,
    clients: BTreeMap<String, Client>,
    names: Names,
    sent: Vec<(String, Vec<u8>)>,
    lines: Vec<String>,
    decisions: Vec<String>,
    records: Vec<(Call, Vec<Effect>)>,
    messages: Vec<bytes::Bytes>,
    stanzas: Vec<Element>,
}

/// Address of every phone.
fn address() -> SocketAddr {
    ([192, 0, 2, 9], 5060).into()
}

fn trunk() -> sip::edge::Flow {
    sip::edge::Flow::udp(address())
}

fn secret() -> Secret {
    Secret::new(b"the secret of all flows")
}

fn sip_edge(instance: &str) -> sip::edge::Edge {
    let trunk = sip::edge::Trunk {
        name: "pbx".into(),
        targets: vec![sip::edge::Target::new(address().ip().to_string(), vec![trunk()])],
        sources: vec![(address().ip(), 32)],
        networks: vec![],
        certified: false,
        roaming: false,
        credentials: Some(sip::digest::Credentials {
            username: "gateway".into(),
            password: "of the gateway".into(),
        }),
        inbound: None,
        rewrites: sip::edge::Rewrites::default(),
        trusted: true,
        use_6xx: false,
        session_expires: 1_800,
    };
    let config = sip::edge::Config {
        instance: instance.into(),
        advertise: "gw.example.net:5060".into(),
        address: [203, 0, 113, 1].into(),
        listeners: vec![],
        trunks: vec![trunk],
        max_legs: 100,
        limits: vec![],
    };
    sip::edge::Edge::new(config, secret())
}

fn xmpp_edge(instance: &str, now: Time) -> xmpp::edge::Edge {
    let component = xmpp::edge::Component { domain: DOMAIN.into(), video: false, users: None };
    let config = xmpp::edge::Config {
        instance: instance.into(),
        components: vec![component],
        max_legs: 100,
        limits: vec![],
        presume_ringing: Some(3_000),
    };
    let mut edge = xmpp::edge::Edge::new(config, secret());
    edge.linked(DOMAIN, true, now);
    edge
}

/// A flow after those that it begins from, first to last.
struct Chain(Vec<Flow>);

impl Chain {
    fn of(flow: &Flow, file: &impl Fn(&str) -> Option<String>) -> Result<Chain, Fault> {
        let mut flows = vec![flow.clone()];
        while let Some(from) = flows.first().and_then(|flow| flow.setting("from")) {
            let Some(text) = file(&format!("from/{from}.flow")) else {
                return fault(format!("there is no starting point {from}"));
            };
            if flows.len() > MAX_CHAIN {
                return fault(format!("{from} begins from itself, or from too many others"));
            }
            flows.insert(0, Flow::parse(&text).map_err(|f| Fault(format!("{from}: {f}")))?);
        }
        Ok(Chain(flows))
    }

    /// Returns true if somebody of this name says something.
    fn names(&self, actor: &str) -> bool {
        let says = |step: &Step| matches!(&step.kind, Kind::Given(who) if who == actor);
        self.0.iter().any(|flow| flow.steps.iter().any(says))
    }

    fn setting(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find_map(|flow| flow.setting(name))
    }

    fn routes(&self) -> Result<crate::gateway::Plan, Fault> {
        let voicemail = self.setting("voicemail").map(str::to_owned);
        let plan = plan(voicemail.as_deref(), self.setting("asserted").is_some())?;
        let modes = (self.setting("direct").is_some(), self.setting("early").is_some());
        let users = users(self.setting("settings").unwrap_or_default())?;
        let music = self.setting("music").map(|_| "hold.wav".to_owned());
        let trunk = match self.setting("srtp") {
            Some("required") => Profile::Sdes,
            Some("optional") => Profile::BestEffort,
            Some("dtls") => Profile::Dtls,
            Some("osrtp") => Profile::Osrtp,
            _ => Profile::Plain,
        };
        let boxes = plan.clone();
        Ok(crate::gateway::Plan {
            mailbox: Box::new(move |notice| {
                let (jid, mailbox) = boxes.mailbox(&notice.trunk, &notice.to, notice.account.as_deref())?;
                Some((jid, Announcement { mailbox, counts: notice.counts }))
            }),
            route: Box::new(move |opening, diverts| {
                let plan = (&plan, voicemail.as_deref());
                route(plan, (opening, diverts), &users, modes, profile(trunk))
            }),
            profile: Box::new(profile(trunk)),
            // As far as the relay can.
            policy: Policy { transcode: true, music, ..Policy::default() },
        })
    }
}

impl World {
    /// Plays a flow to its end, after which nothing may be left; `file` gives the text of a file in `tests/flows`.
    ///
    /// # Errors
    /// A step that cannot be played, with its line.
    pub fn play(flow: &Flow, file: impl Fn(&str) -> Option<String>) -> Result<Played, Fault> {
        let mut world = World::begin(flow, &file)?;
        let shown = world.lines.len();
        if let Some(who) = flow.setting("ends") {
            world.end(who).map_err(|f| world.so_far(&f.0))?;
        }
        world.lines.truncate(shown);
        world.rest().map_err(|f| world.so_far(&f.0))?;
        Ok(world.played())
    }

    /// Plays a starting point.
    ///
    /// # Errors
    /// A step that cannot be played, with its line.
    pub fn play_start(flow: &Flow, file: impl Fn(&str) -> Option<String>) -> Result<Played, Fault> {
        World::begin(flow, &file).map(World::played)
    }

    fn begin(flow: &Flow, file: &impl Fn(&str) -> Option<String>) -> Result<World, Fault> {
        let chain = Chain::of(flow, file)?;
        let (sip, xmpp) = (sip_edge("sip-1"), xmpp_edge("xmpp-1", START));
        let mut gateway = Gateway::new(START, sip, xmpp, chain.routes()?);
        gateway.transcodes = chain.setting("transcodes").is_some();
        let mut world = World {
            gateway,
            start: START,
            instances: 1,
            desks: chain.names("desk"),
            phones: vec![("phone".into(), Phone::new(address(), "phone"))],
            clients: BTreeMap::new(),
            names: Names::default(),
            sent: vec![],
            lines: vec![],
            decisions: vec![],
            records: vec![],
            messages: vec![],
            stanzas: vec![],
        };
        for flow in &chain.0 {
            world.start = world.gateway.now;
            world.lines.clone_from(&flow.head);
            world.decisions.clear();
            world.steps(&flow.steps, file)?;
        }
        Ok(world)
    }

    fn played(self) -> Played {
        let World { lines, decisions, records, messages, stanzas, .. } = self;
        Played { text: lines.join("\n") + "\n", decisions, records, messages, stanzas }
    }

    fn steps(&mut self, steps: &[Step], file: &impl Fn(&str) -> Option<String>) -> Result<(), Fault> {
        for step in steps {
            self.paragraph();
            self.lines.extend(step.notes.iter().cloned());
            self.lines.push(step.line.clone());
            self.lines.extend(step.block.iter().map(|line| format!("  {line}").trim_end().to_owned()));
            let played = self.step(step, file).and_then(|()| self.run());
            played.map_err(|f| self.so_far(&format!("line {}: {f}", step.number)))?;
        }
        Ok(())
    }

    /// Returns a fault with the end of what was played.
    fn so_far(&self, fault: &str) -> Fault {
        let from = self.lines.len().saturating_sub(40);
        Fault(format!("{fault}; played so far:\n    | {}", self.lines[from..].join("\n    | ")))
    }

    /// Hangs up for one party and confirms for the other, which takes the call one decision.
    fn end(&mut self, who: &str) -> Result<(), Fault> {
        const TERMINATE: &str = "<session-terminate><reason><success/></reason></session-terminate>";
        let words = match who {
            "phone" => [("phone", "BYE"), ("rosa", "result")],
            "rosa" => [("rosa", TERMINATE), ("phone", "200 OK (BYE)")],
            _ => return fault(format!("{who} cannot end a flow")),
        };
        let before = self.decisions.len();
        for (actor, words) in words {
            self.given(actor, &[words.to_owned()])?;
            self.run()?;
        }
        let usual =
            |from: u8, to: u8| format!("{from} end(normal) -> {to} end(normal); release; ended(normal)");
        match &self.decisions[before..] {
            [one] if *one == usual(0, 1) || *one == usual(1, 0) => Ok(()),
            other => fault(format!("{who} hangs up and the call decides {other:?}")),
        }
    }

    /// Checks that nothing follows the last step and nothing is held after it.
    fn rest(&mut self) -> Result<(), Fault> {
        let shown = self.lines.len();
        self.wait(REST)?;
        if let Some(line) = self.lines.get(shown..).and_then(|more| more.iter().find(|l| !l.is_empty())) {
            return fault(format!("after the last step: \"{line}\"; give what answers it, or wait for it"));
        }
        let Gateway { sip, xmpp, orchestrator, .. } = &self.gateway;
        let held = (sip.legs(), xmpp.legs(), orchestrator.calls()?.len(), orchestrator.waiting().len());
        if held == (0, 0, 0, 0) {
            Ok(())
        } else {
            fault(format!("after the last step is still held: {held:?}"))
        }
    }

    fn paragraph(&mut self) {
        if !self.lines.is_empty() {
            self.lines.push(String::new());
        }
    }

    fn step(&mut self, step: &Step, file: &impl Fn(&str) -> Option<String>) -> Result<(), Fault> {
        match &step.kind {
            Kind::Wait(ms) => self.wait(*ms),
            Kind::Act(act) => self.act(act),
            Kind::Given(actor) => {
                let mut block = vec![];
                for line in &step.block {
                    let name = line.trim().strip_prefix('{').and_then(|l| l.strip_suffix('}'));
                    match name.filter(|n| n.contains('.')) {
                        Some(name) => match file(&format!("parts/{name}")) {
                            Some(text) => block.extend(text.lines().map(str::to_owned)),
                            None => return fault(format!("there is no part {name}")),
                        },
                        None => block.push(self.names.reveal(line)),
                    }
                }
                self.given(actor, &block)
            }
        }
    }

    fn given(&mut self, actor: &str, block: &[String]) -> Result<(), Fault> {
        if let Some((_, phone)) = self.phones.iter_mut().find(|(name, _)| name == actor) {
            let message = phone.message(block)?;
            self.gateway.sip.receive(&message.write(), trunk(), self.gateway.now);
            return Ok(());
        }
        let (user, device) = actor.split_once('/').unwrap_or((actor, "phone"));
        let bare = format!("{user}@example.net");
        let client = self.clients.entry(bare.clone()).or_insert_with(|| Client::new(&bare));
        let stanza = client.stanza(device, block)?;
        self.names.learn("sid", super::client::SID);
        self.gateway.xmpp.receive(&stanza, self.gateway.now);
        Ok(())
    }

    /// Makes something happen.
    fn act(&mut self, act: &str) -> Result<(), Fault> {
        let words: Vec<&str> = act.split(' ').collect();
        match words.as_slice() {
            ["link", up @ ("up" | "down")] => self.gateway.xmpp.linked(DOMAIN, *up == "up", self.gateway.now),
            ["trunk", "unreachable"] => self.gateway.sip.unreachable(trunk(), self.gateway.now),
            // Another takes over that knows nothing but what is stored.
            ["sip-edge", "dies"] => {
                self.instances += 1;
                self.gateway.sip = sip_edge(&format!("sip-{}", self.instances));
            }
            ["orchestrator", "dies"] => self.gateway.replace_orchestrator(),
            ["xmpp-edge", "dies"] => {
                self.instances += 1;
                self.gateway.xmpp = xmpp_edge(&format!("xmpp-{}", self.instances), self.gateway.now);
            }
            ["transfer", leg, "to", to] => {
                let Ok(leg) = leg.parse() else { return fault(format!("{leg} is no leg")) };
                return self.gateway.decide(&Event::Transfer(LegId(leg), (*to).to_owned()));
            }
            ["hang", "up"] => return self.gateway.decide(&Event::HangUp(Reason::Normal)),
            // Another relay takes its sessions, under the same names and keys.
            ["relay", how @ ("dies" | "drains")] => return self.gateway.relocate(*how == "drains"),
            ["relay", leg, what] => {
                let event = match *what {
                    "connected" => MediaEvent::Connected,
                    "silent" => MediaEvent::TimedOut,
                    "unreachable" => MediaEvent::Unreachable,
                    "insecure" => MediaEvent::Insecure,
                    _ => return fault(format!("a relay does not say \"{what}\"")),
                };
                let Ok(leg) = leg.parse() else { return fault(format!("{leg} is no leg")) };
                return self.gateway.decide(&Event::Media(LegId(leg), event));
            }
            _ => return fault(format!("\"{act}\" cannot happen")),
        }
        Ok(())
    }

    fn wait(&mut self, ms: u64) -> Result<(), Fault> {
        let until = self.gateway.now + ms;
        for _ in 0..MAX_TICKS {
            if !self.gateway.advance(until)? {
                return Ok(());
            }
            self.run()?;
        }
        fault("time does not pass: something is due again and again")
    }

    /// Goes on until nothing is left to do.
    fn run(&mut self) -> Result<(), Fault> {
        while let Some(output) = self.gateway.poll()? {
            match output {
                Output::Sip(to, octets) => {
                    self.phone_hears(to, &octets)?;
                    self.messages.push(octets);
                }
                Output::Xmpp(stanza) => {
                    self.client_hears(&stanza);
                    self.stanzas.push(stanza);
                }
                Output::Decided(decision) => {
                    self.tell(&decision.event, &decision.effects);
                    self.records.push((decision.after, decision.effects));
                }
                Output::Refused(heard, end) => {
                    let heard = show::event(&Event::Heard(heard)).unwrap_or_default();
                    self.note(format!("{heard} -> refused({:?})", end.reason).to_lowercase());
                }
            }
        }
        Ok(())
    }

    fn heading(&mut self, to: &str, again: Option<String>) {
        self.paragraph();
        let ms = self.gateway.now.since(self.start);
        let at = if ms > 0 { format!(" @ {}.{}", ms / 1_000, ms % 1_000 / 100) } else { String::new() };
        let again = again.map(|what| format!(" again {what}")).unwrap_or_default();
        self.lines.push(format!("gw > {to}{at}{again}"));
    }

    fn block(&mut self, lines: &[String]) {
        let text = self.names.hide(&lines.join("\n"));
        self.lines.extend(text.lines().map(|line| format!("  {line}").trim_end().to_owned()));
    }

    fn known(&mut self, to: &str, octets: &[u8]) -> bool {
        let known = self.sent.iter().any(|(who, what)| who == to && what == octets);
        if !known {
            self.sent.push((to.to_owned(), octets.to_vec()));
        }
        known
    }

    fn phone_hears(&mut self, to: sip::edge::Flow, octets: &bytes::Bytes) -> Result<(), Fault> {
        let Ok(message) = sip::message::read(octets) else { return fault("we sent what cannot be read") };
        if to != trunk() {
            return fault(format!("we sent to {to}, where nobody is"));
        }
        let at = self.phone_of(&message);
        let name = self.phones[at].0.clone();
        if self.known(&name, octets) {
            self.heading(&name, Some(show::brief(&message)));
            return Ok(());
        }
        self.learn(&message);
        self.heading(&name, None);
        self.block(&show::sip(&message));
        self.phones[at].1.receive(&message);
        Ok(())
    }

    /// Returns the place of the phone whose call a message belongs to: a further call is another phone's.
    fn phone_of(&mut self, message: &Message) -> usize {
        let call = message.call_id().unwrap_or("");
        if !self.desks {
            return 0;
        }
        let own = self.phones.iter().position(|(_, phone)| phone.is_in(call));
        let free = || self.phones.iter().position(|(_, phone)| phone.is_free());
        own.or_else(free).unwrap_or_else(|| {
            let name = match self.phones.len() {
                1 => "desk".to_owned(),
                number => format!("desk{number}"),
            };
            self.phones.push((name.clone(), Phone::new(address(), &name)));
            self.phones.len() - 1
        })
    }

    fn learn(&mut self, message: &Message) {
        let request = message.code().is_none();
        let ours = if request { message.from() } else { message.to() };
        if let Some(tag) = ours.as_ref().and_then(|n| n.tag()) {
            self.names.learn("tag", tag);
        }
        if request {
            let via = message.via();
            self.names.learn("branch", via.as_ref().and_then(|v| v.branch()).unwrap_or(""));
            self.names.learn("call-id", message.call_id().filter(|id| *id != "phone-1").unwrap_or(""));
        }
        self.names.learn("rseq", message.text("RSeq").unwrap_or(""));
        let body = String::from_utf8_lossy(&message.body).into_owned();
        let origin = body.lines().find_map(|l| l.strip_prefix("o=- ")?.split(' ').next());
        self.names.learn("origin", origin.unwrap_or(""));
    }

    fn client_hears(&mut self, stanza: &Element) {
        let to = stanza.attr("to").unwrap_or("");
        let bare = stanza::bare(to).to_owned();
        let user = bare.strip_suffix("@example.net").unwrap_or(&bare).to_owned();
        let actor = match stanza::resource(to) {
            Some("phone") => user,
            Some(device) => format!("{user}/{device}"),
            None => bare.clone(),
        };
        let again = self.known(&actor, String::from(stanza).as_bytes());
        let from = stanza.attr("from").and_then(stanza::resource).unwrap_or("");
        self.names.learn("resource", from);
        let kind = stanza.attr("type").unwrap_or("");
        if !matches!(kind, "result" | "error") {
            self.names.learn("id", stanza.attr("id").unwrap_or(""));
        }
        for child in stanza.children() {
            self.names.learn("sid", child.attr("sid").or(child.attr("id")).unwrap_or(""));
        }
        self.heading(&actor, again.then(|| stanza.name().to_owned()));
        if !again {
            self.block(&show::xml(stanza));
            let client = self.clients.entry(bare.clone()).or_insert_with(|| Client::new(&bare));
            client.receive(stanza);
        }
    }

    fn tell(&mut self, event: &Event, effects: &[Effect]) {
        let Some(heard) = show::event(event) else { return };
        // A detail record goes with every end.
        let shown = effects.iter().filter(|effect| **effect != Effect::Cdr);
        let (kinds, details): (Vec<String>, Vec<Option<String>>) = shown.map(show::effect).unzip();
        let kinds = if kinds.is_empty() { "nothing".to_owned() } else { kinds.join("; ") };
        self.note(format!("{heard} -> {kinds}"));
        self.block(&details.into_iter().flatten().collect::<Vec<_>>());
    }

    fn note(&mut self, decision: String) {
        self.paragraph();
        self.lines.push(format!("* {decision}"));
        self.decisions.push(decision);
    }
}
