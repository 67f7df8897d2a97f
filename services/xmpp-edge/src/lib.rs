//! The XMPP edge's shell: component links, clock and bus around `xmpp::Edge`.
//!
//! One rule: one task owns the edge; links and the bus reach it by bounded channels. Stanzas are understood in
//! `crates/xmpp` alone. Start at [`run`], then [`link`] for how a link is kept.

mod counters;
mod framer;
mod headlines;
mod lease;
mod link;
pub mod reader;
mod server;
mod standing;
mod tag;
mod tree;

use anyhow::{Context, Result, ensure};
use bus::directory::{InstanceInfo, LINKS};
use bus::edge::{EdgeClient, Served, Tracing};
use bus::member::Member;
use bus::{Bus, BusError, Message};
use headlines::Headlines;
use lease::Lease;
pub use link::log_in;
use link::{LinkEvent, OtherEdges};
use minidom::Element;
use runtime::alarm::Alarm;
use runtime::config::{ComponentConfig, Fault};
use runtime::drain::Stage;
use runtime::refusals::Refusals;
use runtime::{Config, Drain, Live, Masked};
use server::Server;
use signal::service::{Answer, Request};
use signal::{Protocol, Secret, Time, stored, subjects};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};
use xmpp::edge::{Component, Edge, Limits, Output};

/// Most stanzas that wait for the edge; beyond that the link waits, and TCP makes the server wait.
const QUEUE: usize = 4_096;
/// Interval of heartbeat and drain checks.
const BEAT: Duration = Duration::from_secs(1);
/// Most beats that a draining edge waits for verdicts before it hands over.
const MAX_BEATS: u32 = 3;
/// Longest wait for an orchestrator's answer to a request for a phone service.
const SERVICE_ANSWER: Duration = Duration::from_secs(5);
/// Most legs held at once.
const MAX_LEGS: usize = 100_000;
/// Time after which a silent client of the callee is taken to ring, ms (interworking §2.4).
const PRESUME_RINGING: u64 = 3_000;
/// Calls at once of a caller, unless the configuration says otherwise.
const CALLS_PER_CALLER: u32 = 10;
const TRACING: Tracing = Tracing {
    adopt: runtime::trace::adopt,
    parent_of: runtime::trace::parent_of,
    root: runtime::trace::root,
    service: "xmpp-edge",
};

/// Runs one XMPP edge until the drain says stop, or the edge has drained and nothing needs it any more. Another configuration takes
/// effect on limits, on further components, and on the next login.
///
/// # Errors
/// No component is configured, or no link to the bus.
pub async fn run(config: impl Into<Live>, bus: Bus, drain: Drain) -> Result<()> {
    let mut config: Live = config.into();
    let instance = config.instance("xmpp-edge");
    let components = &config.xmpp.component;
    ensure!(!components.is_empty(), "[[xmpp.component]]: absent; name the domain, server and secret of one");
    check(&config)?;
    config.check_by(check);
    counters::begin(components.iter().map(|component| component.domain.as_str()));
    let client = EdgeClient::open(bus.clone(), TRACING);
    let own_subject = subjects::edge(&instance);
    let own_orders = client.serve(&own_subject, "edge").await.context("cannot serve the orchestrators")?;
    let (events, mut events_of_links) = mpsc::channel(QUEUE);
    let mut keeper = Keeper {
        bus: bus.clone(),
        instance: instance.clone(),
        events,
        drain: drain.clone(),
        others: watch::Sender::new(OtherEdges::default()),
        components: HashMap::new(),
        tasks: JoinSet::new(),
    };
    components.iter().for_each(|component| keeper.keep(component));
    let info = InstanceInfo {
        kind: "xmpp-edge".into(),
        instance: instance.clone(),
        capacity: MAX_LEGS as u64,
        started_ms: runtime::clock::now_ms(),
        ..InstanceInfo::default()
    };
    let ordered = drain.clone();
    let member = Member::join(&bus, info, move || ordered.drain()).await;
    let member = member.context("cannot see the other edges")?;
    runtime::admin::ready("xmpp-edge", None);
    info!(instance, "the XMPP edge runs");

    let edge = edge(&config, instance.clone());
    let own_orders = Some(own_orders);
    let links = HashMap::new();
    let mut shell = Shell {
        bus: bus.clone(),
        events: keeper.events.clone(),
        edge,
        client,
        refusals: Refusals::new("xmpp"),
        links,
        ours: BTreeSet::new(),
        own_subject,
        own_orders,
        drain_beats: 0,
    };
    let (mut beat, mut timer) = (tokio::time::interval(BEAT), Alarm::default());
    loop {
        if let Some(at) = shell.edge.deadline() {
            timer.set(Duration::from_millis(at.since(now())));
        }
        tokio::select! {
            () = drain.stopping() => break,
            () = timer.ring() => shell.edge.tick(now()),
            Some(event) = events_of_links.recv() => shell.handle_link(event).await,
            inbound = shell.client.next() => EdgeClient::deliver(inbound, &mut shell.edge, now()),
            config = config.changed() => {
                config.xmpp.component.iter().for_each(|component| keeper.keep(component));
                shell.edge.add_components(config.xmpp.component.iter().map(component));
                shell.edge.set_limits(config.xmpp.component.iter().map(limits).collect());
            }
            _ = beat.tick() => {
                if shell.beat(&member, &keeper.others, drain.stage() > Stage::Running) {
                    break;
                }
            }
        }
        shell.client.deliver_arrived(&mut shell.edge, now());
        shell.send_outputs();
    }
    keeper.tasks.shutdown().await;
    for domain in keeper.components.keys() {
        lease::release(&bus, domain, &instance).await;
    }
    member.leave().await;
    info!(instance, "the XMPP edge leaves");
    Ok(())
}

/// Looks at the files of TLS that component links name.
fn check(config: &Config) -> Result<(), Fault> {
    config.xmpp.component.iter().try_for_each(|component| Server::new(component).map(drop))
}

/// Keeper of the links of all component domains.
struct Keeper {
    bus: Bus,
    instance: String,
    events: mpsc::Sender<LinkEvent>,
    drain: Drain,
    others: watch::Sender<OtherEdges>,
    /// Components as they are configured now, by domain.
    components: HashMap<String, watch::Sender<ComponentConfig>>,
    tasks: JoinSet<()>,
}

impl Keeper {
    /// Keeps the link of a component, or has it made by another configuration the next time.
    fn keep(&mut self, component: &ComponentConfig) {
        if let Some(known) = self.components.get(&component.domain) {
            known.send_replace(component.clone());
            return;
        }
        counters::link_up(&component.domain).set(0.0);
        let lease = Lease::claim(self.bus.clone(), &component.domain, &self.instance);
        let (sender, receiver) = watch::channel(component.clone());
        self.components.insert(component.domain.clone(), sender);
        let (events, drain, others) = (self.events.clone(), self.drain.clone(), self.others.subscribe());
        self.tasks.spawn(link::keep_linked(receiver, lease, events, drain, others));
    }
}

/// Returns a component as the edge has it.
fn component(component: &ComponentConfig) -> Component {
    let users = component.users.clone().filter(|users| !users.is_empty());
    Component { domain: component.domain.to_lowercase(), video: false, users }
}

/// Returns the limits of a component domain.
fn limits(component: &ComponentConfig) -> (String, Limits) {
    let limits = Limits {
        calls: component.max_calls,
        calls_per_caller: Some(component.max_calls_per_caller.unwrap_or(CALLS_PER_CALLER)),
        setups_per_second: component.max_setup_rate,
    };
    (component.domain.to_lowercase(), limits)
}

fn edge(config: &Config, instance: String) -> Edge {
    let config_of_edge = xmpp::edge::Config {
        instance,
        components: config.xmpp.component.iter().map(component).collect(),
        max_legs: MAX_LEGS,
        limits: config.xmpp.component.iter().map(limits).collect(),
        presume_ringing: Some(PRESUME_RINGING),
    };
    Edge::new(config_of_edge, Secret::new(&config.secret()))
}

/// Link that is up: the sender of its stanzas, and its subject on the bus.
struct Link {
    sender: mpsc::Sender<Element>,
    _served: Served,
    _headlines: Headlines,
}

/// Edge with its links and its client of the orchestrators.
struct Shell {
    bus: Bus,
    /// Where events of links go.
    events: mpsc::Sender<LinkEvent>,
    edge: Edge,
    client: EdgeClient,
    refusals: Refusals,
    links: HashMap<String, Link>,
    /// Domains whose link is ours to hold, up or down.
    ours: BTreeSet<String>,
    own_subject: String,
    own_orders: Option<Served>,
    drain_beats: u32,
}

impl Shell {
    async fn handle_link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Stanza(stanza) => {
                counters::STANZAS_IN.increment(1);
                debug!(stanza = %Masked(text(&stanza).as_bytes()), "received");
                self.edge.receive(&stanza, now());
            }
            LinkEvent::Up(domain, sender) => self.link_up(domain, sender).await,
            LinkEvent::Legs(legs) => self.edge.tell_legs(legs),
            LinkEvent::Served(ticket, answer) => self.edge.served(ticket, &answer),
            LinkEvent::Headline(headline, request) => {
                self.edge.headline(&headline);
                self.send_outputs();
                headlines::confirm(request);
            }
            LinkEvent::Down(domain, still_ours) => {
                self.links.remove(&domain);
                counters::link_up(&domain).set(0.0);
                self.edge.linked(&domain.to_lowercase(), false, now());
                if !still_ours {
                    self.ours.remove(&domain);
                }
                // Orders that came now could not be sent.
                if self.ours.is_empty() {
                    self.own_orders = None;
                }
            }
        }
    }

    async fn link_up(&mut self, domain: String, sender: mpsc::Sender<Element>) {
        self.ours.insert(domain.clone());
        if self.own_orders.is_none() {
            let served = self.client.serve(&self.own_subject, "edge").await;
            self.own_orders = served.inspect_err(|error| warn!(%error, "the bus does not take us")).ok();
        }
        let served = async {
            let served = self.client.serve(&subjects::say(Protocol::Xmpp, &domain), "link").await?;
            Ok::<_, BusError>((served, Headlines::serve(&self.bus, &domain, self.events.clone()).await?))
        };
        match served.await {
            Ok((served, headlines)) => {
                self.links.insert(domain.clone(), Link { sender, _served: served, _headlines: headlines });
                counters::link_up(&domain).set(1.0);
                self.edge.linked(&domain.to_lowercase(), true, now());
                let (bus, events) = (self.bus.clone(), self.events.clone());
                tokio::spawn(async move {
                    let legs = standing::legs(&bus, &domain).await;
                    let _ = events.send(LinkEvent::Legs(legs)).await;
                });
            }
            // Dropping the sender ends the link; the next one tries again.
            Err(error) => warn!(%error, domain, "the bus does not take the link"),
        }
    }

    /// Announces the edge and looks at the drain. Returns true once nothing needs this edge any more.
    fn beat(&mut self, member: &Member, others: &watch::Sender<OtherEdges>, draining: bool) -> bool {
        let legs = self.edge.legs();
        counters::LEGS.set(legs as f64);
        member.update(legs as u64, draining);
        member.tell(LINKS, &self.links.len().to_string());
        let live = member.has_successor();
        self.drain_beats = if draining { self.drain_beats + 1 } else { 0 };
        // Any edge serves the calls that we know; commits under way are finished first if that takes only moments.
        let commits_done = self.edge.asks() == 0 || self.drain_beats > MAX_BEATS;
        let news = OtherEdges { live, take_over: draining && live && commits_done };
        others.send_if_modified(|others| std::mem::replace(others, news) != news);
        if draining && !live {
            // Nobody else would take new calls: they are refused, and live ones served.
            self.edge.drain();
        }
        draining && self.edge.live() == 0 || news.take_over && self.links.is_empty()
    }

    /// Asks the orchestrators for a phone service. The edge bounds the number of those that wait.
    fn ask_for_service(&self, ticket: u64, request: Request) {
        let (bus, events) = (self.bus.clone(), self.events.clone());
        tokio::spawn(async move {
            let message = Message { trace: String::new(), payload: stored::encode(&request).into() };
            let answer = match bus.request(subjects::SERVICE, message, SERVICE_ANSWER).await {
                Ok(octets) => stored::decode(&octets).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            let answer = answer.unwrap_or_else(|error| {
                warn!(error, "no orchestrator serves a user's request");
                Answer::Unavailable
            });
            let _ = events.send(LinkEvent::Served(ticket, answer)).await;
        });
    }

    fn send_outputs(&mut self) {
        while let Some(output) = self.edge.poll() {
            match output {
                Output::Send(stanza) => send(&self.links, stanza),
                Output::Ask(ticket, ask) => self.client.ask_for(&mut self.edge, ticket, ask, now()),
                Output::Said(said) => self.client.said(&said),
                Output::Serve(ticket, request) => self.ask_for_service(ticket, request),
                Output::Refused(refusal) => self.refusals.tell(&refusal, runtime::clock::now_ms()),
            }
        }
    }
}

/// Returns a stanza as text, for the log.
fn text(stanza: &Element) -> String {
    xmpp::writer::write(stanza).unwrap_or_default()
}

/// Sends a stanza on the link of the domain of its `from`.
fn send(links: &HashMap<String, Link>, stanza: Element) {
    counters::STANZAS_OUT.increment(1);
    debug!(stanza = %Masked(text(&stanza).as_bytes()), "sent");
    let from = stanza.attr("from").unwrap_or_default();
    let bare = from.split('/').next().unwrap_or(from);
    let domain = bare.rsplit('@').next().unwrap_or(bare).to_owned();
    match links.iter().find(|(name, _)| name.eq_ignore_ascii_case(&domain)) {
        Some((_, link)) => {
            if link.sender.try_send(stanza).is_err() {
                warn!(domain, "the link takes no more stanzas");
            }
        }
        None => warn!(domain, "a stanza for a link that is down"),
    }
}

fn now() -> Time {
    Time(runtime::clock::steady_ms())
}
