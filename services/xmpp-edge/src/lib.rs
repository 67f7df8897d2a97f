//! The XMPP edge's shell: component links, clock and bus around `xmpp::Edge`.
//!
//! One rule: one task owns the edge; links and the bus reach it by bounded channels. What a stanza means is decided in
//! `crates/xmpp`. Start at [`run`], then [`link`] for how a link is kept.

mod frames;
mod lease;
mod link;
mod reader;

use anyhow::{Context, Result, ensure};
use bus::Bus;
use bus::directory::{Card, Directory, announce, asked_to_drain};
use bus::edge::{Inbound, Line, Name, Served, Tracing};
use lease::Lease;
use link::{Input, Others};
use minidom::Element;
use runtime::drain::Stage;
use runtime::{Config, Drain};
use signal::{Ask, Protocol, Secret, Time, subjects};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};
use xmpp::edge::{Component, Edge, Output};

/// Stanzas that wait for the edge; then the link waits, and TCP makes the server wait.
const QUEUE: usize = 4_096;
/// Verdicts and orders taken along at once.
const BURST: usize = 256;
/// Heartbeat and drain are looked at this often.
const BEAT: Duration = Duration::from_secs(1);
/// A draining edge waits so many beats for verdicts before it hands over.
const MAX_BEATS: u32 = 3;
/// Legs held at once.
const MAX_LEGS: usize = 100_000;
/// A callee's client that says nothing is taken to ring after this time, ms (interworking §2.4).
const PRESUME_RINGING: u64 = 3_000;
const TRACING: Tracing = Tracing { adopt: runtime::trace::adopt, parent_of: runtime::trace::parent_of };

/// A link that is up: where its stanzas go, and its subject on the bus.
struct Link {
    sender: mpsc::Sender<Element>,
    _served: Served,
}

/// Runs one XMPP edge until the drain says stop, or it drains and nothing is left that needs it.
///
/// # Errors
/// No component is configured, or no link to the bus.
pub async fn run(config: Config, bus: Bus, drain: Drain) -> Result<()> {
    let instance = config.instance("xmpp-edge");
    let components = &config.xmpp.component;
    ensure!(!components.is_empty(), "[[xmpp.component]]: absent; name the domain, server and secret of one");
    let mut edge = Edge::new(
        xmpp::edge::Config {
            instance: instance.clone(),
            components: components
                .iter()
                .map(|c| Component { domain: c.domain.to_lowercase(), video: false })
                .collect(),
            max_legs: MAX_LEGS,
            presume_ringing: Some(PRESUME_RINGING),
        },
        Secret::new(&config.secret()),
    );
    let mut line = Line::open(bus.clone(), TRACING);
    let own_subject = subjects::edge(&instance);
    let mut own = Some(line.serve(&own_subject, "edge").await.context("cannot serve the orchestrators")?);
    let edges = Directory::watch(&bus, "xmpp-edge").await.context("cannot see the other edges")?;
    let (others_sender, others) = watch::channel(Others::default());
    let (inputs, mut input) = mpsc::channel(QUEUE);
    let mut keeping = tokio::task::JoinSet::new();
    for component in components {
        let lease = Lease::claim(bus.clone(), &component.domain, &instance);
        keeping.spawn(link::keep(component.clone(), lease, inputs.clone(), drain.clone(), others.clone()));
    }
    let card = Card {
        kind: "xmpp-edge".into(),
        instance: instance.clone(),
        capacity: MAX_LEGS as u64,
        started_ms: runtime::clock::now_ms(),
        ..Card::default()
    };
    let here = announce(&bus, card);
    let told = tokio::spawn({
        let (bus, instance, drain) = (bus.clone(), instance.clone(), drain.clone());
        async move {
            if asked_to_drain(&bus, &instance).await.is_ok() {
                drain.drain();
            }
        }
    });
    info!(instance, "the XMPP edge runs");

    let mut links: HashMap<String, Link> = HashMap::new();
    // Domains whose link is ours, be it up or down.
    let mut ours = BTreeSet::new();
    let mut draining_beats = 0u32;
    let mut beat = tokio::time::interval(BEAT);
    loop {
        let wait = edge.deadline().map_or(BEAT, |at| Duration::from_millis(at.since(now())));
        tokio::select! {
            () = drain.stopping() => break,
            () = tokio::time::sleep(wait) => edge.tick(now()),
            Some(input) = input.recv() => match input {
                Input::Stanza(stanza) => {
                    metrics::counter!("tandem_xmpp_stanzas_in_total").increment(1);
                    edge.receive(&stanza, now());
                }
                Input::Up(domain, sender) => {
                    ours.insert(domain.clone());
                    if own.is_none() {
                        let served = line.serve(&own_subject, "edge").await;
                        own = served.inspect_err(|error| warn!(%error, "the bus does not take us")).ok();
                    }
                    let subject = subjects::say(Protocol::Xmpp, &domain);
                    match line.serve(&subject, "link").await {
                        Ok(served) => {
                            links.insert(domain.clone(), Link { sender, _served: served });
                            edge.linked(&domain.to_lowercase(), true, now());
                        }
                        // Dropping the sender ends the link; the next one tries again.
                        Err(error) => warn!(%error, domain, "the bus does not take the link"),
                    }
                }
                Input::Down(domain, still_ours) => {
                    links.remove(&domain);
                    edge.linked(&domain.to_lowercase(), false, now());
                    if !still_ours {
                        ours.remove(&domain);
                    }
                    // What we were told to say now would stay here.
                    if ours.is_empty() {
                        own = None;
                    }
                }
            },
            inbound = line.next() => come(&mut edge, inbound),
            _ = beat.tick() => {
                let legs = edge.legs();
                metrics::gauge!("tandem_xmpp_legs").set(legs as f64);
                let draining = drain.stage() > Stage::Running;
                here.update(|card| (card.load, card.draining) = (legs as u64, draining));
                let live = edges.list().iter().any(|card| card.instance != instance && !card.draining);
                draining_beats = if draining { draining_beats + 1 } else { 0 };
                // Any edge serves the calls that we know. What is being committed is seen through, if it does not take long.
                let seen_through = edge.asks() == 0 || draining_beats > MAX_BEATS;
                let relieve = draining && live && seen_through;
                others_sender.send_if_modified(|others| {
                    std::mem::replace(others, Others { live, relieve }) != Others { live, relieve }
                });
                if draining && !live {
                    // Nobody else would take new calls: they are refused, and live ones served.
                    edge.drain();
                }
                if draining && edge.live() == 0 || relieve && links.is_empty() {
                    break;
                }
            }
        }
        // What waits already is taken along, so that a flood of stanzas keeps no verdict waiting.
        for _ in 0..BURST {
            match line.try_next() {
                Some(inbound) => come(&mut edge, inbound),
                None => break,
            }
        }
        while let Some(output) = edge.poll() {
            match output {
                Output::Send(stanza) => send(&links, stanza),
                Output::Ask(ticket, ask) => {
                    let name = match &ask {
                        Ask::Heard(heard) => edge.sid(heard.leg).unwrap_or_default().to_owned(),
                        Ask::Recall(_) => String::new(),
                    };
                    if let Err(verdict) = line.ask(ticket, ask, Name::Sid(&name)) {
                        edge.verdict(ticket, verdict, now());
                    }
                }
                Output::Said(said) => line.said(&said),
            }
        }
    }
    told.abort();
    keeping.shutdown().await;
    for component in components {
        lease::give_back(&bus, &component.domain, &instance).await;
    }
    here.leave().await;
    info!(instance, "the XMPP edge leaves");
    Ok(())
}

/// By the domain of its `from`.
fn send(links: &HashMap<String, Link>, stanza: Element) {
    metrics::counter!("tandem_xmpp_stanzas_out_total").increment(1);
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

fn come(edge: &mut Edge, inbound: Inbound) {
    match inbound {
        Inbound::Verdict(ticket, verdict) => edge.verdict(ticket, verdict, now()),
        Inbound::Say(say) => edge.say(say, now()),
    }
}

fn now() -> Time {
    Time(runtime::clock::now_ms())
}
