//! The XMPP edge's shell: component links, clock and bus around `xmpp::Edge`.
//!
//! One rule: one task owns the edge; links and the bus reach it by bounded channels. Stanzas are understood in
//! `crates/xmpp` alone. Start at [`run`], then [`link`] for how a link is kept.

mod framer;
mod lease;
mod link;
mod reader;

use anyhow::{Context, Result, ensure};
use bus::Bus;
use bus::directory::{Directory, InstanceInfo, announce, asked_to_drain};
use bus::edge::{EdgeClient, Inbound, Name, Served, Tracing};
use lease::Lease;
use link::{LinkEvent, OtherEdges};
use minidom::Element;
use runtime::drain::Stage;
use runtime::{Config, Drain};
use signal::{Ask, Protocol, Secret, Time, subjects};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};
use xmpp::edge::{Component, Edge, Output};

/// Most stanzas that wait for the edge; beyond that the link waits, and TCP makes the server wait.
const QUEUE: usize = 4_096;
/// Most verdicts and orders handled in one go.
const BURST: usize = 256;
/// Interval of heartbeat and drain checks.
const BEAT: Duration = Duration::from_secs(1);
/// Most beats that a draining edge waits for verdicts before it hands over.
const MAX_BEATS: u32 = 3;
/// Most legs held at once.
const MAX_LEGS: usize = 100_000;
/// Time after which a silent client of the callee is taken to ring, ms (interworking §2.4).
const PRESUME_RINGING: u64 = 3_000;
const TRACING: Tracing = Tracing { adopt: runtime::trace::adopt, parent_of: runtime::trace::parent_of };

/// Link that is up: the sender of its stanzas, and its subject on the bus.
struct Link {
    sender: mpsc::Sender<Element>,
    _served: Served,
}

/// Runs one XMPP edge until the drain says stop, or the edge has drained and nothing needs it any more.
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
    let mut line = EdgeClient::open(bus.clone(), TRACING);
    let own_subject = subjects::edge(&instance);
    let mut own_orders =
        Some(line.serve(&own_subject, "edge").await.context("cannot serve the orchestrators")?);
    let edges = Directory::watch(&bus, "xmpp-edge").await.context("cannot see the other edges")?;
    let (others_sender, others) = watch::channel(OtherEdges::default());
    let (events, mut link_events) = mpsc::channel(QUEUE);
    let mut link_tasks = tokio::task::JoinSet::new();
    for component in components {
        let lease = Lease::claim(bus.clone(), &component.domain, &instance);
        link_tasks.spawn(link::keep_linked(
            component.clone(),
            lease,
            events.clone(),
            drain.clone(),
            others.clone(),
        ));
    }
    let card = InstanceInfo {
        kind: "xmpp-edge".into(),
        instance: instance.clone(),
        capacity: MAX_LEGS as u64,
        started_ms: runtime::clock::now_ms(),
        ..InstanceInfo::default()
    };
    let announcement = announce(&bus, card);
    let drain_orders = tokio::spawn({
        let (bus, instance, drain) = (bus.clone(), instance.clone(), drain.clone());
        async move {
            if asked_to_drain(&bus, &instance).await.is_ok() {
                drain.drain();
            }
        }
    });
    info!(instance, "the XMPP edge runs");

    let mut links: HashMap<String, Link> = HashMap::new();
    // Domains whose link is ours to hold, up or down.
    let mut ours = BTreeSet::new();
    let mut drain_beats = 0u32;
    let mut beat = tokio::time::interval(BEAT);
    loop {
        let wait = edge.deadline().map_or(BEAT, |at| Duration::from_millis(at.since(now())));
        tokio::select! {
            () = drain.stopping() => break,
            () = tokio::time::sleep(wait) => edge.tick(now()),
            Some(event) = link_events.recv() => match event {
                LinkEvent::Stanza(stanza) => {
                    metrics::counter!("tandem_xmpp_stanzas_in_total").increment(1);
                    edge.receive(&stanza, now());
                }
                LinkEvent::Up(domain, sender) => {
                    ours.insert(domain.clone());
                    if own_orders.is_none() {
                        let served = line.serve(&own_subject, "edge").await;
                        own_orders = served.inspect_err(|error| warn!(%error, "the bus does not take us")).ok();
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
                LinkEvent::Down(domain, still_ours) => {
                    links.remove(&domain);
                    edge.linked(&domain.to_lowercase(), false, now());
                    if !still_ours {
                        ours.remove(&domain);
                    }
                    // Orders that came now could not be sent.
                    if ours.is_empty() {
                        own_orders = None;
                    }
                }
            },
            inbound = line.next() => handle_inbound(&mut edge, inbound),
            _ = beat.tick() => {
                let legs = edge.legs();
                metrics::gauge!("tandem_xmpp_legs").set(legs as f64);
                let draining = drain.stage() > Stage::Running;
                announcement.update(|card| (card.load, card.draining) = (legs as u64, draining));
                let live = edges.list().iter().any(|card| card.instance != instance && !card.draining);
                drain_beats = if draining { drain_beats + 1 } else { 0 };
                // Any edge serves the calls that we know; commits under way are finished first if that takes only moments.
                let commits_done = edge.asks() == 0 || drain_beats > MAX_BEATS;
                let take_over = draining && live && commits_done;
                others_sender.send_if_modified(|others| {
                    std::mem::replace(others, OtherEdges { live, take_over }) != OtherEdges { live, take_over }
                });
                if draining && !live {
                    // Nobody else would take new calls: they are refused, and live ones served.
                    edge.drain();
                }
                if draining && edge.live() == 0 || take_over && links.is_empty() {
                    break;
                }
            }
        }
        // Handles everything that waits on the bus, so that a flood of stanzas delays no verdict.
        for _ in 0..BURST {
            match line.try_next() {
                Some(inbound) => handle_inbound(&mut edge, inbound),
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
    drain_orders.abort();
    link_tasks.shutdown().await;
    for component in components {
        lease::release(&bus, &component.domain, &instance).await;
    }
    announcement.leave().await;
    info!(instance, "the XMPP edge leaves");
    Ok(())
}

/// Sends a stanza on the link of the domain of its `from`.
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

fn handle_inbound(edge: &mut Edge, inbound: Inbound) {
    match inbound {
        Inbound::Verdict(ticket, verdict) => edge.verdict(ticket, verdict, now()),
        Inbound::Say(say) => edge.say(say, now()),
    }
}

fn now() -> Time {
    Time(runtime::clock::now_ms())
}
