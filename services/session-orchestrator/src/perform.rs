//! Performing: effects become orders to edges, relays and listeners.
//!
//! Orders to one leg, and orders to the relay of one end, keep their order; different lanes go side by side. What cannot be performed now
//! stays in the record and is tried again by the deadline.

use crate::cdr::Cdrs;
use crate::gather::Gather;
use crate::records::{Perform, Performed};
use crate::relays::{Failure, LegRequest, Relays};
use crate::runner::Loaded;
use crate::spans;
use crate::view::EndView;
use bus::directory::Directory;
use bus::{Bus, BusError, Message};
use media::LocalEnd;
use proto::v1::EndStatistics;
use proto::wire::WireFormat;
use session::call::{CALLER, Call, Connect, Effect, Event, Fact, Lane, Quality, RelaySession, Renewal};
use session::{Entry, StoredEffect};
use signal::media::Ice;
use signal::{
    EffectId, LegId, LegState, Order, Protocol, Reason, RecordId, Said, Say, Signal, Time, Wake, subjects,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tracing::{Instrument, Span, info_span, warn};

/// How long an edge may take to say something.
const SAY: Duration = Duration::from_secs(2);
/// Attempts in a row when nobody is there; an edge that takes over needs a moment.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(300);
/// A leg that nobody could open by then is not opened any more.
const OPEN_BY_MS: u64 = 4_000;
/// An order that nobody took by then is given up.
const GIVE_UP_MS: u64 = 60_000;

/// Outcome of some effects of a call.
#[derive(Default)]
struct Outcome {
    done: Vec<EffectId>,
    events: Vec<Event>,
    /// Relay that does not have the session any more.
    lost: Option<RelaySession>,
    /// Quality of the media of legs that were given back, while the call does not know it.
    measured: Vec<(LegId, Quality)>,
}

impl Outcome {
    /// Notes the ICE that an end answers with, if the call does not know it.
    fn renew(&mut self, call: &Call, leg: LegId, content: u16, told: Option<Ice>) {
        let news = told.filter(|told| ice(call, leg, content).is_none_or(|known| known.ufrag != told.ufrag));
        if let (Some(told), Some(relay)) = (news, &call.relay) {
            self.renewed(leg, relay, &[], vec![(content, told)]);
        }
    }

    /// Notes the ends that a relay gave.
    fn allocated(&mut self, relay: &RelaySession, ends: Vec<(LegId, Vec<LocalEnd>)>) {
        let event = |(leg, ends)| Event::Allocated(leg, relay.clone(), Ok(ends));
        self.events.extend(ends.into_iter().map(event));
    }

    /// Notes the relay's answer to `asked`, or its unasked news.
    fn renewed(&mut self, leg: LegId, relay: &RelaySession, asked: &[Connect], ends: Vec<(u16, Ice)>) {
        let theirs = asked.iter().map(Connect::ufrag).collect();
        self.events.push(Event::Renewed(leg, Renewal { relay: relay.clone(), theirs, ends }));
    }
}

/// Returns the ICE that the peer of an end was told.
fn ice(call: &Call, leg: LegId, content: u16) -> Option<&Ice> {
    Some(&call.leg(leg)?.ends.get(usize::from(content))?.ice)
}

/// Performs the effects of calls.
#[derive(Clone)]
pub struct Performer {
    bus: Bus,
    gather: Arc<Gather>,
    relays: Relays,
    cdrs: Cdrs,
    instances: Arc<Directory>,
    /// Id of this orchestrator.
    instance: String,
    lost: mpsc::Sender<(RecordId, RelaySession)>,
    now: fn() -> Time,
}

impl Perform<Call> for Performer {
    async fn perform(&self, record: &Arc<Loaded<Call>>, batch: Vec<Entry<Effect>>) -> Performed<Event> {
        let mut lanes: BTreeMap<Lane, Vec<Entry<Effect>>> = BTreeMap::new();
        for entry in batch {
            lanes.entry(entry.effect.lane()).or_default().push(entry);
        }
        // Side by side in this task: what they hand to the bus leaves with one write.
        let lanes = lanes.into_values().map(|lane| self.lane(&record.machine, lane));
        let (mut performed, mut lost) = (Performed::default(), None);
        for lane in futures::future::join_all(lanes).await {
            performed.done.extend(lane.done);
            performed.events.extend(lane.events);
            lost = lost.or(lane.lost);
        }
        if let Some(from) = lost
            && self.lost.send((record.machine.id, from)).await.is_err()
        {
            warn!(call.id = %record.machine.id, "a lost relay session is left to the monitor");
        }
        performed
    }

    fn is_alone(&self) -> bool {
        !self.instances.any(|card| card.kind == "orchestrator" && card.instance != self.instance)
    }
}

impl Performer {
    /// Creates the performer of the orchestrator `instance` over this bus, with this plan, these relays, these detail records and the
    /// edges of this directory. Calls whose relay has lost their session go to `lost`.
    #[must_use]
    pub fn new(
        bus: Bus,
        (gather, relays, cdrs): (Arc<Gather>, Relays, Cdrs),
        instances: Arc<Directory>,
        instance: String,
        lost: mpsc::Sender<(RecordId, RelaySession)>,
        now: fn() -> Time,
    ) -> Performer {
        Performer { bus, gather, relays, cdrs, instances, instance, lost, now }
    }

    async fn lane(&self, call: &Call, lane: Vec<Entry<Effect>>) -> Outcome {
        let mut performed = Outcome::default();
        // What an edge said moves the leg on; the next order of this lane builds on it.
        let mut states: BTreeMap<LegId, LegState> = BTreeMap::new();
        for entry in lane {
            let id = entry.id;
            let state = |leg: LegId| states.get(&leg).cloned().or_else(|| call.state(leg));
            let done = match entry.effect.clone() {
                Effect::Say { leg, count, signal, opening } => {
                    let Some(state) = state(leg) else { continue };
                    let opens = matches!(signal, Signal::Offer(_));
                    let rings = matches!(signal, Signal::Ringing | Signal::Progress(_));
                    let tells = leg == CALLER && (rings || matches!(signal, Signal::Answer(_)));
                    let order = Say { id, state, count, signal, opening };
                    match self.tell(call, order.into()).await {
                        Some(said) => {
                            if tells {
                                self.gather.lines().told(call, count, rings, (self.now)());
                            }
                            if let (Some(dialog), Some(mut state)) = (said.dialog.clone(), call.state(leg)) {
                                (state.dialog, state.revision) = (dialog, said.base + 1);
                                state.edge.clone_from(&said.edge);
                                states.insert(leg, state);
                            }
                            performed.events.push(Event::Said(leg, said));
                            true
                        }
                        None => {
                            let age = (self.now)().since(entry.since);
                            let given_up = age >= GIVE_UP_MS || (opens && age >= OPEN_BY_MS);
                            if given_up {
                                performed.events.push(Event::GivenUp(leg));
                            }
                            given_up
                        }
                    }
                }
                Effect::Wake { leg } => {
                    let Some(state) = state(leg) else { continue };
                    // An edge changes the leg by what it hears. If no edge takes this, the leg stays as it is, and is woken again.
                    self.tell(call, Wake { id, state }.into()).await;
                    true
                }
                other => self.order(call, &entry, &other, &mut performed).await,
            };
            if !done {
                break;
            }
            performed.done.push(id);
        }
        let measured = std::mem::take(&mut performed.measured);
        if !measured.is_empty() {
            performed.events.push(Event::Measured(measured));
        }
        performed
    }

    /// Gives an order to an edge; `None`: try again later.
    async fn tell(&self, call: &Call, order: Order) -> Option<Said> {
        let state = order.state();
        let leg = call.leg(state.leg.leg)?;
        let span = info_span!(
            "call.say",
            otel.name = format!("say {}", order.name()),
            call.id = %call.id,
            leg.id = state.leg.leg.0,
            signal = order.name(),
            otel.kind = "client",
            otel.status_code = tracing::field::Empty,
            otel.status_description = tracing::field::Empty,
            call.reason = tracing::field::Empty,
            sip.status = tracing::field::Empty,
        );
        runtime::trace::adopt(&span, &call.trace);
        let message = Message { trace: runtime::trace::parent_of(&span), payload: order.encode() };
        let link = leg.opening.link.as_str();
        let protocol = leg.protocol();
        let anybody = subjects::say(protocol, link);
        let named = (!state.edge.is_empty()).then(|| subjects::edge(&state.edge));
        // An edge that died without a word still takes orders on the bus for a while and answers none. Saying is deterministic, so
        // any other may say it, too; over `anybody` it might be the dead one's turn again.
        let mut silent = false;
        async {
            for attempt in 0..TRIES {
                if attempt > 0 {
                    tokio::time::sleep(PAUSE).await;
                }
                // A SIP transaction is open at the edge that the leg names; an XMPP leg is wherever the link of its domain is, and
                // the edge that it names may hold that no more.
                let places = match protocol {
                    Protocol::Sip => {
                        let other = self.other(&state.edge, attempt).filter(|_| named.is_some());
                        [named.clone().filter(|_| !silent), other, Some(anybody.clone())]
                    }
                    Protocol::Xmpp => [Some(anybody.clone()), named.clone(), None],
                };
                let mut answer = Err(BusError::NoResponder);
                for place in places.iter().flatten() {
                    answer = self.bus.request(place, message.clone(), SAY).await;
                    let lost = protocol == Protocol::Sip && answer == Err(BusError::Timeout);
                    silent |= lost && Some(place) == named.as_ref();
                    if answer != Err(BusError::NoResponder) && !lost {
                        break;
                    }
                }
                match answer {
                    Ok(octets) => match Said::decode(&octets) {
                        Ok(said) => {
                            said.failed.iter().for_each(|end| bus::trace::ended(&Span::current(), end));
                            return Some(said);
                        }
                        Err(error) => warn!(%error, "an edge answered nonsense"),
                    },
                    Err(error) => warn!(%error, signal = order.name(), "no edge takes an order"),
                }
            }
            bus::trace::failed(&Span::current(), "no edge takes the order");
            None
        }
        .instrument(span)
        .await
    }

    /// The subject of a living SIP edge that is not this one.
    fn other(&self, edge: &str, attempt: u32) -> Option<String> {
        let cards = self.instances.list_where(|card| card.kind == "sip-edge" && card.instance != edge);
        let turn = attempt as usize % cards.len().max(1);
        cards.get(turn).map(|card| subjects::edge(&card.instance))
    }

    /// Orders that no edge takes; true: done.
    async fn order(
        &self,
        call: &Call,
        entry: &Entry<Effect>,
        effect: &Effect,
        performed: &mut Outcome,
    ) -> bool {
        let span = info_span!(
            "call.media",
            otel.name = effect.name(),
            call.id = %call.id,
            otel.kind = "client",
            otel.status_code = tracing::field::Empty,
            otel.status_description = tracing::field::Empty,
        );
        runtime::trace::adopt(&span, &call.trace);
        let trace = runtime::trace::parent_of(&span);
        async {
            let (session, outcome) = match (effect, &call.relay) {
                (Effect::Record(fact), _) => return self.publish(call, entry, fact).await,
                (Effect::Cdr, _) if !self.cdrs.are_kept() => return true,
                (Effect::Cdr, _) => return self.write_cdrs(call, performed).await,
                (Effect::Route { leg, opening, diverts }, _) => {
                    let route = self.gather.route(call.id, opening, *diverts).await;
                    performed.events.push(Event::Routed(*leg, route));
                    return true;
                }
                (Effect::Allocate { leg, contents, webrtc }, Some(session)) => {
                    let legs = [LegRequest { leg: *leg, contents: (*contents).into(), webrtc: *webrtc }];
                    let ends = self.relays.add_legs(session, call.id, &legs, &trace).await;
                    (session, ends.map(|ends| performed.allocated(session, ends)))
                }
                (Effect::Bridge { one, other }, Some(session)) => {
                    (session, self.relays.bridge(session, call.id, &[(*one, *other)], &trace).await)
                }
                (Effect::ReleaseLeg(leg), Some(session)) => {
                    let last = self.relays.release_legs(session, call.id, &[*leg], &trace).await;
                    if let Ok(ends) = &last {
                        self.publish_media(call, entry, ends).await;
                        self.measure(ends, performed);
                    }
                    (session, last.map(drop))
                }
                (Effect::Probe, Some(session)) => (session, self.relays.probe(session, call.id).await),
                // A relay that was started anew may have the session again, and that is not this one.
                (Effect::Release(session), _) if !self.relays.lives(session) => return true,
                (Effect::Release(session), _) => {
                    let last = self.relays.release(session, call.id, &trace).await;
                    if let Ok(ends) = &last {
                        self.publish_media(call, entry, ends).await;
                        self.measure(ends, performed);
                    }
                    (session, last.map(drop))
                }
                (Effect::Leave(session), _) => (session, self.relays.leave(session, call.id, &trace).await),
                (Effect::Connect(connect), Some(session)) => {
                    let told = ice(call, connect.leg, connect.content);
                    let networks = self.networks(call, connect.leg);
                    let known = (told, &*networks);
                    let outcome = self.relays.connect(session, call.id, connect, known, &trace).await;
                    (session, outcome.map(|ice| performed.renew(call, connect.leg, connect.content, ice)))
                }
                (Effect::Restart { leg, ends }, Some(session)) => {
                    let outcome = self.restart(call, session, ends, &trace).await;
                    (session, outcome.map(|renewed| performed.renewed(*leg, session, ends, renewed)))
                }
                // Nobody loses anything by silence: once, and no more.
                (Effect::Play { leg, content, sound }, Some(session)) => {
                    let end = (*leg, *content);
                    let _ = self.relays.play(session, call.id, end, sound.as_deref(), &trace).await;
                    return true;
                }
                (Effect::Press { leg, content, tone }, Some(session)) => {
                    let end = (*leg, *content);
                    let key = (*tone, entry.id);
                    (session, self.relays.press(session, call.id, end, key, &trace).await)
                }
                (Effect::Candidates { leg, content, ice }, Some(session)) => {
                    let end = (*leg, *content);
                    let outcome = self.relays.candidates(session, call.id, end, ice, &trace).await;
                    (session, outcome.map(|ice| performed.renew(call, *leg, *content, ice)))
                }
                // The call has ended meanwhile.
                _ => return true,
            };
            let needed = matches!(
                effect,
                Effect::Connect(_)
                    | Effect::Restart { .. }
                    | Effect::Probe
                    | Effect::Allocate { .. }
                    | Effect::Bridge { .. }
            );
            if let Err(failure) = &outcome {
                bus::trace::failed(&Span::current(), &format!("{failure:?}"));
            }
            match outcome {
                Ok(()) => true,
                // The session is gone with its relay; another may go on with it.
                Err(Failure::Lost) => {
                    if needed {
                        performed.lost = Some(session.clone());
                    }
                    true
                }
                Err(Failure::Later) => {
                    let age = (self.now)().since(entry.since);
                    let gone = age >= OPEN_BY_MS && !self.relays.lives(session);
                    if gone && needed {
                        performed.lost = Some(session.clone());
                    }
                    if let (true, Effect::Allocate { leg, .. }) = (!gone && age >= OPEN_BY_MS, effect) {
                        // Its target is not called.
                        let refused = Err(Reason::Connectivity);
                        performed.events.push(Event::Allocated(*leg, session.clone(), refused));
                        return true;
                    }
                    // A key that comes late is another key.
                    let late = age >= OPEN_BY_MS && matches!(effect, Effect::Press { .. });
                    let given_up = !gone && (age >= GIVE_UP_MS || late);
                    if let (true, Effect::Restart { leg, ends }) = (given_up, effect) {
                        // The peer waits for an answer.
                        performed.renewed(*leg, session, ends, vec![]);
                    }
                    gone || given_up
                }
            }
        }
        .instrument(span)
        .await
    }

    /// Returns the networks that media of a leg may come from beside what its peer describes.
    fn networks(&self, call: &Call, leg: LegId) -> Arc<[String]> {
        let leg = call.leg(leg);
        leg.map(|leg| self.gather.media_networks(leg.protocol(), &leg.opening.link)).unwrap_or_default()
    }

    /// Tells a relay that a peer has restarted ICE; what its ends answer with.
    async fn restart(
        &self,
        call: &Call,
        session: &RelaySession,
        ends: &[Connect],
        trace: &str,
    ) -> Result<Vec<(u16, Ice)>, Failure> {
        let mut renewed = vec![];
        for connect in ends {
            let told = ice(call, connect.leg, connect.content);
            let networks = self.networks(call, connect.leg);
            let known = (told, &*networks);
            let ice = self.relays.connect(session, call.id, connect, known, trace).await?;
            renewed.extend(ice.map(|ice| (connect.content, ice)));
        }
        Ok(renewed)
    }

    /// False: the bus does not take it; it stays in the outbox.
    async fn publish(&self, call: &Call, entry: &Entry<Effect>, fact: &Fact) -> bool {
        let payload = fact_json(call, entry.id, entry.since, fact).to_string();
        let message = Message { trace: call.trace.clone(), payload: payload.into() };
        match self.bus.publish(subjects::FACTS, message).await {
            Ok(()) => {
                self.gather.lines().count(call, fact);
                if let Fact::Ended { end, .. } = fact {
                    spans::tell(call, &self.gather.lines().of_call(call), end);
                }
                true
            }
            Err(error) => {
                warn!(%error, "a fact of a call is not published yet");
                false
            }
        }
    }

    /// Keeps the last media figures of a call for its detail record, if there will be one.
    fn measure(&self, ends: &[EndStatistics], performed: &mut Outcome) {
        if self.cdrs.are_kept() {
            performed.measured.extend(ends.iter().filter_map(quality));
        }
    }

    /// Writes the detail records of a call, with the figures that have just come. False: they stay in the outbox.
    async fn write_cdrs(&self, call: &Call, performed: &mut Outcome) -> bool {
        let mut call = call.clone();
        for (leg, quality) in &performed.measured {
            let leg = call.legs.iter_mut().find(|known| known.id == *leg);
            leg.into_iter().for_each(|leg| leg.timeline.add(quality));
        }
        let written = self.cdrs.write_ended(&call, self.gather.lines()).await;
        if written {
            performed.measured.clear();
        }
        written
    }

    /// Publishes the last media figures of a call. The relay tells them once: a bus that does not take them then misses them.
    async fn publish_media(&self, call: &Call, entry: &Entry<Effect>, ends: &[EndStatistics]) {
        if ends.is_empty() {
            return;
        }
        let ends: Vec<EndView> = ends.iter().map(EndView::of).collect();
        let mut json = fact_head(call, entry.id, entry.since);
        json["fact"] = "media".into();
        json["ends"] = serde_json::json!(ends);
        let message = Message { trace: call.trace.clone(), payload: json.to_string().into() };
        if let Err(error) = self.bus.publish(subjects::FACTS, message).await {
            warn!(%error, "the last figures of a call are not published");
        }
    }
}

/// Returns the leg of an end and the quality of its media.
fn quality(end: &EndStatistics) -> Option<(LegId, Quality)> {
    let known = |figure: u32| Some(figure).filter(|figure| *figure > 0);
    let seen = end.seen.as_ref();
    let quality = Quality {
        content: u16::try_from(end.content).ok()?,
        codec: end.codec.clone(),
        security: end.security.clone(),
        packets_in: end.packets_in,
        octets_in: end.octets_in,
        packets_out: end.packets_out,
        octets_out: end.octets_out,
        lost: end.lost,
        jitter_us: end.jitter_us,
        mos: known(end.mos_mean),
        round_trip_us: known(end.round_trip_us),
        seen_lost: seen.map(|seen| seen.lost),
        seen_jitter_us: seen.map(|seen| seen.jitter_us),
        seen_mos: seen.and_then(|seen| known(seen.mos)),
    };
    Some((LegId(u8::try_from(end.leg).ok()?), quality))
}

/// Returns the head that every fact has.
fn fact_head(call: &Call, id: EffectId, at: Time) -> serde_json::Value {
    serde_json::json!({ "id": id.to_string(), "call": call.id.to_string(), "at_ms": at.0 })
}

/// A fact as listeners get it; told twice, it has the same `id`.
fn fact_json(call: &Call, id: EffectId, at: Time, fact: &Fact) -> serde_json::Value {
    let mut json = fact_head(call, id, at);
    let more = match fact {
        Fact::Placed { from, to } => serde_json::json!({ "fact": "placed", "from": from, "to": to }),
        Fact::Answered => serde_json::json!({ "fact": "answered" }),
        Fact::Transferred { to } => serde_json::json!({ "fact": "transferred", "to": to }),
        Fact::Diverted { from, to, reason } => serde_json::json!({
            "fact": "diverted",
            "from": from,
            "to": to,
            "reason": reason.name(),
        }),
        Fact::Ended { end, talked_ms } => serde_json::json!({
            "fact": "ended",
            "reason": format!("{:?}", end.reason),
            "sip": end.sip,
            "talked_ms": talked_ms,
        }),
    };
    if let (Some(json), serde_json::Value::Object(more)) = (json.as_object_mut(), more) {
        json.extend(more);
    }
    json
}
