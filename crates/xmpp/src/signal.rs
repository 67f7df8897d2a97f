//! Translation between Jingle or JMI and [`Signal`]: [`hear`] up, [`say`] down. The sip crate has the same file.
//!
//! One rule: both functions are pure in session and stanza. The edge sends what they return: at once, or after the commit
//! where a stanza promises something. [`hear`] continues in `signal/{proposal,jingle,change,reply}.rs`.

use crate::reason;
use crate::session::{LocalOffer, RemoteOffer, Sent, Session, State};
use crate::stanza::{self, COMPONENT, DTMF, HINTS, INFO, JINGLE, JMI, NICK, RTP, TRANSFER, element, with};
use minidom::Element;
use signal::media::{Candidate, Content, Ice, Trickle};
use signal::{End, Media, Reason, ReferStatus, Signal, Time};

mod change;
mod jingle;
pub(crate) mod proposal;
mod reply;
pub(crate) mod typed;

pub(crate) use jingle::{is_call, unknown_session};

/// Outcome of a stanza or a timer.
pub type Outcome = ::edge::Outcome<Element>;

/// Answers with this stanza at once.
fn reply(stanza: Element) -> Outcome {
    Outcome { send_now: vec![stanza], ..Outcome::default() }
}

/// Translates a stanza of this session's peer. `id` becomes the id of stanzas sent in response.
pub fn hear(session: &mut Session, stanza: &Element, id: &str, now: Time) -> Outcome {
    let mut outcome = match (stanza.name(), stanza.attr("type")) {
        ("iq", Some("set")) => match stanza.children().find(|c| c.is("jingle", JINGLE)) {
            Some(jingle) => jingle::hear(session, stanza, jingle, id, now),
            None => reply(stanza::error(stanza, "cancel", "service-unavailable", None)),
        },
        ("iq", Some("result" | "error")) | ("message", Some("error")) => reply::hear(session, stanza, id),
        ("message", _) => proposal::hear(session, stanza, id, now),
        ("presence", Some("unavailable")) => proposal::caller_left(session, stanza, id),
        _ => Outcome::default(),
    };
    outcome.signals.extend(take_deferred_offer(session));
    session.forget_answered();
    outcome
}

/// Takes the peer's deferred offer, a hold or unhold (interworking §2.11) or an ICE restart, once no other offer is open.
pub fn take_deferred_offer(session: &mut Session) -> Option<Signal> {
    let free =
        session.has_deferred_offer() && session.remote_offer.is_none() && session.local_offer.is_none();
    if !free || session.state != State::Active {
        return None;
    }
    session.remote_offer =
        Some(if session.ice_restart_pending { RemoteOffer::Restart } else { RemoteOffer::Hold });
    (session.deferred_hold, session.ice_restart_pending) = (false, false);
    Some(Signal::Update(session.description()))
}

/// Handles the missing answer to our stanza `unanswered`.
pub fn reply_timeout(session: &mut Session, unanswered: &str, id: &str) -> Outcome {
    session.answered(unanswered).map_or_else(Outcome::default, |sent| reply::timed_out(session, sent, id))
}

/// Retracts our propose, which lost the tie-break to one of the peer's with a lower id (XEP-0353 §7.3). The caller hears busy.
pub fn tie_break_lost(session: &mut Session, id: &str) -> Outcome {
    if session.state != State::Proposing {
        return Outcome::default();
    }
    session.state = State::Ended;
    let retract = with(jmi(session, "retract"), reason::element(&Reason::Expired.into()));
    let retract = with(retract, Element::bare("tie-break", JMI));
    let send_now = vec![jmi_message(session, stanza::bare(&session.peer), retract, id)];
    Outcome { send_now, signals: vec![Signal::End(Reason::Busy.into())], ..Outcome::default() }
}

/// Ends a session whose device proceeded and never accepted: session-terminate says `timeout`, the call hears a failure (cause 41).
pub fn accept_timeout(session: &mut Session, id: &str) -> Outcome {
    if session.state != State::Outgoing {
        return Outcome::default();
    }
    let send_now = terminate(session, &Reason::Timeout.into(), id);
    Outcome { send_now, signals: vec![Signal::End(Reason::Connectivity.into())], ..Outcome::default() }
}

/// Reports progress to a caller whose callee's client has not said that it rings, and may never do (interworking §2.4).
#[must_use]
pub fn presumed_ringing(session: &Session) -> Outcome {
    let silent = match session.state {
        State::Proposing => session.remote_ringing.is_none(),
        State::Outgoing => !session.jmi && session.initiate_acked && session.remote_ringing.is_none(),
        _ => false,
    };
    Outcome { signals: silent.then_some(Signal::Progress(None)).into_iter().collect(), ..Outcome::default() }
}

fn jingle(session: &Session, action: &str) -> Element {
    element("jingle", JINGLE, &[("action", action), ("sid", &session.sid)])
}

/// Builds an IQ set of this session and remembers it for its answer.
fn request(session: &mut Session, jingle: Element, id: &str, sent: Sent) -> Element {
    session.expect(id, sent);
    stanza::iq(&session.local, &session.peer, id, jingle)
}

/// Builds a session-info with this payload.
fn info(session: &mut Session, payload: Option<Element>, id: &str, sent: Sent) -> Element {
    let mut info = jingle(session, "session-info");
    info.extend(payload);
    request(session, info, id, sent)
}

/// Builds a JMI element of this session.
fn jmi(session: &Session, name: &str) -> Element {
    element(name, JMI, &[("id", &session.sid)])
}

fn jmi_message(session: &Session, to: &str, element: Element, id: &str) -> Element {
    stanza::message(&session.local, to, id, element)
}

/// Writes contents; `creator` names the side that added each (XEP-0166 §7.3).
fn contents(session: &Session, media: &Media) -> Vec<Element> {
    let mut children = media::jingle::write(media, session.role());
    for content in children.iter_mut().filter(|c| c.is("content", JINGLE)) {
        if content.attr("name").is_some_and(|name| session.responder_contents.iter().any(|a| a == name)) {
            stanza::set(content, "creator", "responder");
        }
    }
    children
}

/// Builds a content element that only names the content.
fn content_ref(session: &Session, content: &Content) -> Element {
    let responder = session.responder_contents.contains(&content.name);
    let creator = if responder { "responder" } else { "initiator" };
    element("content", JINGLE, &[("creator", creator), ("name", &content.name)])
}

fn select(media: &Media, names: &[String], rejected: bool) -> Media {
    let chosen = |c: &&Content| names.contains(&c.name) && c.rejected == rejected;
    Media { contents: media.contents.iter().filter(chosen).cloned().collect(), bundle: vec![] }
}

/// Builds the session-initiate with our whole offer; the peer's JID is full by now.
fn initiate(session: &mut Session, id: &str) -> Element {
    let mut initiate = jingle(session, "session-initiate");
    stanza::set(&mut initiate, "initiator", &session.local);
    initiate.extend(contents(session, &session.local_description));
    session.state = State::Outgoing;
    request(session, initiate, id, Sent::Initiate)
}

/// Accepts a session. A client that groups its contents wants each of them back, a refused one with `senders='none'` (R-CALL-34);
/// for others a refused content is left out and removed: no transport is said that they would begin to check.
fn accept(session: &mut Session, media: &Media, id: &str) -> Vec<Element> {
    session.local_description = media.clone().into();
    session.state = State::Active;
    let mut accept = jingle(session, "session-accept");
    stanza::set(&mut accept, "responder", &session.local);
    // A content without RTP has no description that we could write.
    let has_rtp = |name: &String| {
        let theirs = session.remote_description.contents.iter().find(|c| c.name == *name);
        theirs.is_none_or(|c| !c.rejected || !c.codecs.is_empty())
    };
    let stays = |c: &Content| !c.rejected || media.bundle.contains(&c.name) && has_rtp(&c.name);
    let (kept, gone): (Vec<Content>, Vec<Content>) = media.contents.iter().cloned().partition(stays);
    let grouped = media.bundle.iter().filter(|name| kept.iter().any(|c| c.name == **name));
    let bundle = grouped.cloned().collect();
    accept.extend(contents(session, &Media { contents: kept, bundle }));
    let mut stanzas = vec![request(session, accept, id, Sent::Accept)];
    if !gone.is_empty() {
        let mut remove = jingle(session, "content-remove");
        remove.extend(gone.iter().map(|c| content_ref(session, c)));
        remove.append_child(reason::element(&Reason::IncompatibleMedia.into()));
        stanzas.push(request(session, remove, &format!("{id}r"), Sent::Notice));
    }
    stanzas
}

/// Ends the session: session-terminate if one is open, finish if the call began with a propose.
fn terminate(session: &mut Session, end: &End, id: &str) -> Vec<Element> {
    let mut stanzas = vec![];
    if session.is_open() {
        let terminate = with(jingle(session, "session-terminate"), reason::element(end));
        stanzas.push(request(session, terminate, id, Sent::Notice));
    }
    session.state = State::Ended;
    stanzas.extend(finish(session, end, id));
    stanzas
}

/// Ends a session whose peer now talks to somebody else, as the client has asked.
fn transferred(session: &mut Session, id: &str) -> Vec<Element> {
    let end = Reason::Normal.into();
    let reason = with(reason::element(&end), Element::bare("transferred", TRANSFER));
    let terminate = with(jingle(session, "session-terminate"), reason);
    let terminate = request(session, terminate, id, Sent::Notice);
    session.state = State::Ended;
    [terminate].into_iter().chain(finish(session, &end, id)).collect()
}

/// Tells the user in words that a transfer has come to nothing: XEP-0251 has no status, and the call goes on.
fn transfer_failed(session: &Session, reason: Reason, id: &str) -> Element {
    let why = match reason {
        Reason::Busy => "busy",
        Reason::NoAnswer | Reason::Timeout => "no answer",
        Reason::Declined => "declined",
        Reason::Offline => "not there",
        Reason::NotFound => "there is nobody by that address",
        Reason::Forbidden | Reason::AnonymityDisallowed => "not allowed",
        _ => "not possible now",
    };
    let mut body = Element::bare("body", COMPONENT);
    body.append_text(format!("The transfer has failed ({why}); the call goes on."));
    stanza::message(&session.local, &session.peer, id, body)
}

fn finish(session: &Session, end: &End, id: &str) -> Option<Element> {
    let finish = with(jmi(session, "finish"), reason::element(end));
    session.jmi.then(|| jmi_message(session, &session.peer, finish, &format!("{id}f")))
}

/// Tells a device that another one took the call, without a carbon to that one (interworking §2.4).
fn too_late(session: &Session, device: &str, id: &str) -> Element {
    let end = End { text: Some("answered elsewhere".into()), ..Reason::Cancelled.into() };
    let retract = with(jmi(session, "retract"), reason::element(&end));
    let to: &[(&'static str, &str)] =
        &[("type", "chat"), ("from", &session.local), ("to", device), ("id", id)];
    let private = Element::bare("private", stanza::CARBONS);
    with(with(with(element("message", COMPONENT, to), retract), private), Element::bare("no-copy", HINTS))
}

/// Translates a signal for the peer of this session; returns nothing where the session's state has no use for it.
pub fn say(session: &mut Session, signal: &Signal, id: &str) -> Vec<Element> {
    match (signal, session.state) {
        (Signal::Offer(media), State::New) if session.initiator => {
            session.local_description = media.clone().into();
            vec![if session.jmi { propose(session, id) } else { initiate(session, id) }]
        }
        (Signal::Ringing | Signal::Progress(_), State::Proposed | State::Incoming)
            if !session.local_ringing =>
        {
            session.local_ringing = true;
            if session.state == State::Proposed {
                return vec![jmi_message(session, &session.peer, jmi(session, "ringing"), id)];
            }
            // After a proceed the client expects no ringing.
            let ringing =
                (!session.jmi).then(|| info(session, Some(Element::bare("ringing", INFO)), id, Sent::Notice));
            ringing.into_iter().collect()
        }
        (Signal::Answer(media), State::Proposed) => {
            session.local_description = media.clone().into();
            session.state = State::Proceeded;
            session.expect(id, Sent::Proceed);
            vec![jmi_message(session, &session.peer, jmi(session, "proceed"), id)]
        }
        (Signal::Answer(media), State::Incoming) if !session.jmi => accept(session, media, id),
        (Signal::Update(media) | Signal::Answer(media), State::Active) => update(session, media, id),
        (Signal::Updated(media), State::Incoming | State::Active) => updated(session, media, id),
        (Signal::Refused(why), State::Active) => refused(session, *why, id),
        (Signal::Candidates(trickles), _) if session.is_open() => {
            vec![candidates(session, trickles, id, Sent::Notice)]
        }
        (Signal::Tone(tone), State::Active) if !tone.is_pause() => {
            let (code, duration) = (tone.digit.to_string(), tone.duration.to_string());
            let dtmf = element("dtmf", DTMF, &[("code", &code), ("duration", &duration)]);
            vec![info(session, Some(dtmf), id, Sent::Notice)]
        }
        // Jingle has a redirect only as the answer to a session-initiate, which is acknowledged long before.
        (Signal::Redirect(..), State::Proposed | State::Incoming) => {
            say_end(session, &Reason::Gone.into(), id)
        }
        // The client knows that it is out of the call (XEP-0251 §2); the call lets it go.
        (Signal::Referred(ReferStatus::Accepted), State::Active) => transferred(session, id),
        (Signal::Referred(ReferStatus::Failed(end)), State::Active) => {
            vec![transfer_failed(session, end.reason, id)]
        }
        (Signal::End(end), _) => say_end(session, end, id),
        _ => vec![],
    }
}

/// The propose names exactly the media that the session-initiate will carry (R-CALL-6, R-CALL-34).
fn propose(session: &mut Session, id: &str) -> Element {
    session.state = State::Proposing;
    session.expect(id, Sent::Propose);
    let mut propose = jmi(session, "propose");
    for kind in session.local_description.kinds() {
        propose.append_child(element("description", RTP, &[("media", kind.name())]));
    }
    let mut message = jmi_message(session, &session.peer, propose, id);
    if let Some(nick) = &session.nick {
        let mut child = Element::bare("nick", NICK);
        child.append_text(stanza::clean(nick));
        message.append_child(child);
    }
    message
}

fn update(session: &mut Session, media: &Media, id: &str) -> Vec<Element> {
    let previous = std::mem::replace(&mut session.local_description, media.clone().into());
    let known = |c: &Content| previous.contents.iter().find(|p| p.name == c.name);
    let live = media.contents.iter().filter(|c| !c.rejected);
    let new: Vec<String> = live.filter(|c| known(c).is_none()).map(|c| c.name.clone()).collect();
    let removed: Vec<&Content> =
        media.contents.iter().filter(|c| c.rejected && known(c).is_some_and(|p| !p.rejected)).collect();
    let holds = media.holds();
    let (offer, stanza) = if !new.is_empty() {
        if !session.initiator {
            session.responder_contents.extend(new.iter().cloned());
        }
        let mut add = jingle(session, "content-add");
        add.extend(contents(session, &select(media, &new, false)));
        (LocalOffer::Add(new), request(session, add, id, Sent::Update))
    } else if !removed.is_empty() {
        let mut remove = jingle(session, "content-remove");
        remove.extend(removed.into_iter().map(|c| content_ref(session, c)));
        (LocalOffer::Remove, request(session, remove, id, Sent::Update))
    } else if let Some(trickles) = new_candidates(&previous, media) {
        // The old credentials with a new candidate: the only form that all clients take (interworking §2.17). The relay
        // nominates the new path.
        let mut stanzas = vec![candidates(session, &trickles, id, Sent::Update)];
        session.local_offer = Some((LocalOffer::Info, previous));
        if session.local_hold != holds {
            session.local_hold = holds;
            let payload = Element::bare(if holds { "hold" } else { "unhold" }, INFO);
            stanzas.push(info(session, Some(payload), &format!("{id}h"), Sent::Notice));
        }
        return stanzas;
    } else {
        // Hold is a session-info alone, and the relay applies the direction: a content-modify ends the call at the clients of
        // one family (interworking §2.9). A change that the client need not know is an empty session-info, as a ping.
        let payload = match (session.local_hold, holds) {
            (false, true) => Some(Element::bare("hold", INFO)),
            (true, false) => Some(Element::bare("unhold", INFO)),
            _ => None,
        };
        session.local_hold = holds;
        (LocalOffer::Info, info(session, payload, id, Sent::Update))
    };
    session.local_offer = Some((offer, previous));
    vec![stanza]
}

fn updated(session: &mut Session, media: &Media, id: &str) -> Vec<Element> {
    let Some(offer) = session.remote_offer.take() else { return vec![] };
    session.local_description = media.clone().into();
    match offer {
        RemoteOffer::Initiate => accept(session, media, id),
        RemoteOffer::Add(names) => {
            let (taken, refused) = (select(media, &names, false), select(media, &names, true));
            session.remote_description.edit(|description| {
                for content in &mut description.contents {
                    content.rejected |= refused.contents.iter().any(|r| r.name == content.name);
                }
            });
            let mut stanzas = vec![];
            if !taken.contents.is_empty() {
                let mut accept = jingle(session, "content-accept");
                accept.extend(contents(session, &taken));
                stanzas.push(request(session, accept, id, Sent::Notice));
            }
            stanzas.extend(reject(session, &refused, &format!("{id}r")));
            stanzas
        }
        RemoteOffer::Restart | RemoteOffer::Replace => {
            let replace = offer == RemoteOffer::Replace;
            let mut info = jingle(session, if replace { "transport-accept" } else { "transport-info" });
            for content in media.contents.iter().filter(|c| !c.rejected) {
                info.append_child(with(
                    content_ref(session, content),
                    media::jingle::transport(&content.transport),
                ));
            }
            vec![request(session, info, id, Sent::Notice)]
        }
        RemoteOffer::Change | RemoteOffer::Hold => vec![],
    }
}

fn refused(session: &mut Session, why: Reason, id: &str) -> Vec<Element> {
    match session.remote_offer.take() {
        Some(RemoteOffer::Add(names)) => {
            let refused = select(&session.remote_description, &names, false);
            session.remote_description.edit(|description| {
                for content in &mut description.contents {
                    content.rejected |= names.contains(&content.name);
                }
            });
            reject(session, &refused, id).into_iter().collect()
        }
        // Acknowledged, and nothing that the peer could take back: what met an open offer is brought again.
        Some(RemoteOffer::Hold | RemoteOffer::Change) => {
            session.deferred_hold = why == Reason::Glare;
            vec![]
        }
        Some(RemoteOffer::Restart) => {
            session.ice_restart_pending = why == Reason::Glare;
            vec![]
        }
        Some(RemoteOffer::Replace) => {
            let mut reject = jingle(session, "transport-reject");
            for content in session.remote_description.contents.iter().filter(|c| !c.rejected) {
                reject.append_child(content_ref(session, content));
            }
            vec![request(session, reject, id, Sent::Notice)]
        }
        _ => vec![],
    }
}

fn reject(session: &mut Session, refused: &Media, id: &str) -> Option<Element> {
    if refused.contents.is_empty() {
        return None;
    }
    let mut reject = jingle(session, "content-reject");
    reject.extend(refused.contents.iter().map(|c| content_ref(session, c)));
    reject.append_child(reason::element(&Reason::IncompatibleMedia.into()));
    Some(request(session, reject, id, Sent::Notice))
}

/// Returns the candidates of `now` that `before` lacks, after our media has moved to another relay.
fn new_candidates(before: &Media, now: &Media) -> Option<Vec<Trickle>> {
    let trickles = now.contents.iter().filter(|c| !c.rejected).filter_map(|content| {
        let was = before.contents.iter().find(|b| b.name == content.name)?.transport.ice.as_ref()?;
        let ice = content.transport.ice.as_ref()?;
        let known = |candidate: &&Candidate| !was.candidates.iter().any(|c| c.address == candidate.address);
        let candidates: Vec<Candidate> = ice.candidates.iter().filter(known).cloned().collect();
        let ice = Ice { candidates, ..ice.clone() };
        (!ice.candidates.is_empty()).then(|| Trickle { name: content.name.clone(), ice })
    });
    let trickles: Vec<Trickle> = trickles.collect();
    (!trickles.is_empty()).then_some(trickles)
}

fn candidates(session: &mut Session, trickles: &[Trickle], id: &str, sent: Sent) -> Element {
    let mut info = jingle(session, "transport-info");
    for trickle in trickles {
        let Some(content) = session.local_description.contents.iter().find(|c| c.name == trickle.name) else {
            continue;
        };
        let mut transport = content.transport.clone();
        transport.dtls = None;
        transport.ice = Some(trickle.ice.clone());
        info.append_child(with(content_ref(session, content), media::jingle::transport(&transport)));
    }
    request(session, info, id, sent)
}

fn say_end(session: &mut Session, end: &End, id: &str) -> Vec<Element> {
    let end = End { sip: None, ..end.clone() };
    match session.state {
        State::Proposed => {
            session.state = State::Ended;
            let reject = with(jmi(session, "reject"), reason::element(&end));
            vec![jmi_message(session, &session.peer, reject, id)]
        }
        State::Proposing => {
            session.state = State::Ended;
            // A caller who hangs up before any device proceeded has cancelled.
            let end = if end.reason == Reason::Normal { Reason::Cancelled.into() } else { end };
            let retract = with(jmi(session, "retract"), reason::element(&end));
            vec![jmi_message(session, stanza::bare(&session.peer), retract, id)]
        }
        State::Proceeded | State::Incoming | State::Outgoing | State::Active => {
            let early = session.state == State::Outgoing && end.reason == Reason::Normal;
            let end = if early { Reason::Cancelled.into() } else { end };
            terminate(session, &end, id)
        }
        State::New | State::Ended => {
            session.state = State::Ended;
            vec![]
        }
    }
}

/// Adds `extend` to [`Element`].
trait Extend {
    fn extend(&mut self, children: impl IntoIterator<Item = Element>);
}

impl Extend for Element {
    fn extend(&mut self, children: impl IntoIterator<Item = Element>) {
        for child in children {
            self.append_child(child);
        }
    }
}
