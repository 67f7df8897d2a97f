//! Jingle and JMI ⇄ [`Signal`]: what a stanza means, and how a signal is said. Beside it: the same file of the sip crate.
//!
//! One rule: both functions are pure in session and stanza. The edge decides when the result leaves: `now`, or `after` the
//! commit where it promises something. [`hear`] goes on in `signal/{proposal,jingle,change,reply}.rs`.

use crate::reason;
use crate::session::{Asked, Asking, Sent, Session, State};
use crate::stanza::{self, COMPONENT, DTMF, HINTS, INFO, JINGLE, JMI, NICK, RTP, element, with};
use minidom::Element;
use signal::media::{Candidate, Content, Ice, Kind, Trickle};
use signal::{End, Media, Reason, Signal, Time};

mod change;
mod jingle;
pub(crate) mod proposal;
mod reply;

pub(crate) use jingle::{is_call, unknown_session};

/// What a stanza came to.
#[derive(Debug, Default)]
pub struct Hearing {
    /// For the call.
    pub signals: Vec<Signal>,
    /// Leaves at once.
    pub now: Vec<Element>,
    /// Leaves after the commit.
    pub after: Vec<Element>,
    /// The session's change must be in the record before `after` leaves, though the call has nothing to hear.
    pub keep: bool,
}

impl Hearing {
    fn reply(element: Element) -> Hearing {
        Hearing { now: vec![element], ..Hearing::default() }
    }
}

/// What a peer's stanza within this session means. `id` is for stanzas that must be sent in turn.
pub fn hear(session: &mut Session, stanza: &Element, id: &str, now: Time) -> Hearing {
    let mut heard = match (stanza.name(), stanza.attr("type")) {
        ("iq", Some("set")) => match stanza.children().find(|c| c.is("jingle", JINGLE)) {
            Some(jingle) => jingle::hear(session, stanza, jingle, id, now),
            None => Hearing::reply(stanza::error(stanza, "cancel", "service-unavailable", None)),
        },
        ("iq", Some("result" | "error")) | ("message", Some("error")) => reply::hear(session, stanza, id),
        ("message", _) => proposal::hear(session, stanza, id, now),
        _ => Hearing::default(),
    };
    heard.signals.extend(wish(session));
    heard
}

/// What the peer wishes and cannot be refused: a hold or unhold (interworking §2.11), an ICE restart. It has waited for an open
/// offer to close.
pub fn wish(session: &mut Session) -> Option<Signal> {
    let free = session.wishes() && session.asked.is_none() && session.asking.is_none();
    if !free || session.state != State::Active {
        return None;
    }
    session.asked = Some(if session.renewing { Asked::Restart } else { Asked::Hold });
    (session.wish, session.renewing) = (false, false);
    Some(Signal::Update(session.description()))
}

/// Nothing came in answer to the stanza of ours with the id `asked`.
pub fn silence(session: &mut Session, asked: &str, id: &str) -> Hearing {
    session.answered(asked).map_or_else(Hearing::default, |sent| reply::missing(session, sent, id))
}

/// Both proposed at once and their id is the lower one: ours is taken back (XEP-0353 §7.3). The caller hears busy.
pub fn crossed(session: &mut Session, id: &str) -> Hearing {
    if session.state != State::Proposing {
        return Hearing::default();
    }
    session.state = State::Ended;
    let retract = with(jmi(session, "retract"), reason::element(&Reason::Expired.into()));
    let retract = with(retract, Element::bare("tie-break", JMI));
    let now = vec![tell(session, stanza::bare(&session.peer), retract, id)];
    Hearing { now, signals: vec![Signal::End(Reason::Busy.into())], ..Hearing::default() }
}

/// No session-accept came of the device that proceeded: the terminate says `timeout`, the call hears a failure (cause 41).
pub fn unestablished(session: &mut Session, id: &str) -> Hearing {
    if session.state != State::Outgoing {
        return Hearing::default();
    }
    let now = terminate(session, &Reason::Timeout.into(), id);
    Hearing { now, signals: vec![Signal::End(Reason::Connectivity.into())], ..Hearing::default() }
}

/// The callee's client may never say that it rings: what the caller is told instead, if it still waits (interworking §2.4).
#[must_use]
pub fn presumed_ringing(session: &Session) -> Hearing {
    let waits = match session.state {
        State::Proposing => session.rang.is_none(),
        State::Outgoing => !session.jmi && session.acked && session.rang.is_none(),
        _ => false,
    };
    Hearing { signals: waits.then_some(Signal::Progress(None)).into_iter().collect(), ..Hearing::default() }
}

fn jingle(session: &Session, action: &str) -> Element {
    element("jingle", JINGLE, &[("action", action), ("sid", &session.sid)])
}

/// An IQ set of this session whose answer is awaited.
fn ask(session: &mut Session, jingle: Element, id: &str, sent: Sent) -> Element {
    session.expect(id, sent);
    stanza::iq(&session.local, &session.peer, id, jingle)
}

/// A session-info with this payload.
fn info(session: &mut Session, payload: Option<Element>, id: &str, sent: Sent) -> Element {
    let mut info = jingle(session, "session-info");
    info.extend(payload);
    ask(session, info, id, sent)
}

/// A JMI element of this session.
fn jmi(session: &Session, name: &str) -> Element {
    element(name, JMI, &[("id", &session.sid)])
}

fn tell(session: &Session, to: &str, element: Element, id: &str) -> Element {
    stanza::message(&session.local, to, id, element)
}

/// Contents as we write them; `creator` names who added each (XEP-0166 §7.3).
fn contents(session: &Session, media: &Media) -> Vec<Element> {
    let mut children = media::jingle::write(media, session.role());
    for content in children.iter_mut().filter(|c| c.is("content", JINGLE)) {
        if content.attr("name").is_some_and(|name| session.added.iter().any(|a| a == name)) {
            stanza::set(content, "creator", "responder");
        }
    }
    children
}

/// A content that is only named.
fn named(session: &Session, content: &Content) -> Element {
    let responder = session.added.contains(&content.name);
    let creator = if responder { "responder" } else { "initiator" };
    element("content", JINGLE, &[("creator", creator), ("name", &content.name)])
}

fn only(media: &Media, names: &[String], rejected: bool) -> Media {
    let chosen = |c: &&Content| names.contains(&c.name) && c.rejected == rejected;
    Media { contents: media.contents.iter().filter(chosen).cloned().collect(), bundle: vec![] }
}

/// session-initiate with all that was offered; the peer is known in full.
fn initiate(session: &mut Session, id: &str) -> Element {
    let mut initiate = jingle(session, "session-initiate");
    stanza::set(&mut initiate, "initiator", &session.local);
    initiate.extend(contents(session, &session.spoken));
    session.state = State::Outgoing;
    ask(session, initiate, id, Sent::Initiate)
}

fn accept(session: &mut Session, media: &Media, id: &str) -> Element {
    session.spoken = media.clone();
    session.state = State::Active;
    let mut accept = jingle(session, "session-accept");
    stanza::set(&mut accept, "responder", &session.local);
    // What was no RTP has no description that we could write: left out, it is not taken.
    let served = |content: &&Content| {
        !session.heard.contents.iter().any(|h| h.name == content.name && h.rejected && h.codecs.is_empty())
    };
    let taken = Media {
        contents: media.contents.iter().filter(served).cloned().collect(),
        bundle: media.bundle.clone(),
    };
    accept.extend(contents(session, &taken));
    ask(session, accept, id, Sent::Accept)
}

/// The session is over for us: session-terminate where there is one, finish where the call began with a propose.
fn terminate(session: &mut Session, end: &End, id: &str) -> Vec<Element> {
    let mut said = vec![];
    if session.is_open() {
        let terminate = with(jingle(session, "session-terminate"), reason::element(end));
        said.push(ask(session, terminate, id, Sent::Notice));
    }
    session.state = State::Ended;
    said.extend(finish(session, end, id));
    said
}

fn finish(session: &Session, end: &End, id: &str) -> Option<Element> {
    let finish = with(jmi(session, "finish"), reason::element(end));
    session.jmi.then(|| tell(session, &session.peer, finish, &format!("{id}f")))
}

/// Tells a device that another one took the call, where no carbon of it can reach that one (interworking §2.4).
fn too_late(session: &Session, device: &str, id: &str) -> Element {
    let end = End { text: Some("answered elsewhere".into()), ..Reason::Cancelled.into() };
    let retract = with(jmi(session, "retract"), reason::element(&end));
    let to: &[(&'static str, &str)] =
        &[("type", "chat"), ("from", &session.local), ("to", device), ("id", id)];
    let private = Element::bare("private", stanza::CARBONS);
    with(with(with(element("message", COMPONENT, to), retract), private), Element::bare("no-copy", HINTS))
}

/// How a signal is said to the peer of this session; nothing where the leg's state has no use for it any more.
pub fn say(session: &mut Session, signal: &Signal, id: &str) -> Vec<Element> {
    match (signal, session.state) {
        (Signal::Offer(media), State::New) if session.ours => {
            session.spoken = media.clone();
            vec![if session.jmi { propose(session, id) } else { initiate(session, id) }]
        }
        (Signal::Ringing | Signal::Progress(_), State::Proposed | State::Incoming) if !session.ringing => {
            session.ringing = true;
            if session.state == State::Proposed {
                return vec![tell(session, &session.peer, jmi(session, "ringing"), id)];
            }
            // A client that was told to proceed hears no ringing any more.
            let due = !session.jmi;
            let ringing = due.then(|| info(session, Some(Element::bare("ringing", INFO)), id, Sent::Notice));
            ringing.into_iter().collect()
        }
        (Signal::Answer(media), State::Proposed) => {
            session.spoken = media.clone();
            session.state = State::Proceeded;
            session.expect(id, Sent::Proceed);
            vec![tell(session, &session.peer, jmi(session, "proceed"), id)]
        }
        (Signal::Answer(media), State::Incoming) if !session.jmi => vec![accept(session, media, id)],
        (Signal::Update(media) | Signal::Answer(media), State::Active) => update(session, media, id),
        (Signal::Updated(media), State::Incoming | State::Active) => updated(session, media, id),
        (Signal::Refused(why), State::Active) => refused(session, *why, id),
        (Signal::Candidates(trickles), _) if session.is_open() => {
            vec![candidates(session, trickles, id, Sent::Notice)]
        }
        (Signal::Tone(tone), State::Active) => {
            let (code, duration) = (tone.digit.to_string(), tone.duration.to_string());
            let dtmf = element("dtmf", DTMF, &[("code", &code), ("duration", &duration)]);
            vec![info(session, Some(dtmf), id, Sent::Notice)]
        }
        // Jingle's redirect is an answer to session-initiate alone, which was acknowledged long ago.
        (Signal::Moved(_), State::Proposed | State::Incoming) => say_end(session, &Reason::Gone.into(), id),
        (Signal::End(end), _) => say_end(session, end, id),
        _ => vec![],
    }
}

/// The propose names exactly the media that the session-initiate will carry (R-CALL-6, R-CALL-34).
fn propose(session: &mut Session, id: &str) -> Element {
    session.state = State::Proposing;
    session.expect(id, Sent::Propose);
    let mut propose = jmi(session, "propose");
    for kind in session.spoken.kinds() {
        let name = if kind == Kind::Audio { "audio" } else { "video" };
        propose.append_child(element("description", RTP, &[("media", name)]));
    }
    let mut message = tell(session, &session.peer, propose, id);
    if let Some(nick) = session.nick.as_deref().filter(|n| !n.is_empty()) {
        let mut child = Element::bare("nick", NICK);
        child.append_text(stanza::clean(nick));
        message.append_child(child);
    }
    message
}

fn update(session: &mut Session, media: &Media, id: &str) -> Vec<Element> {
    let before = std::mem::replace(&mut session.spoken, media.clone());
    let known = |c: &Content| before.contents.iter().find(|b| b.name == c.name);
    let live = media.contents.iter().filter(|c| !c.rejected);
    let new: Vec<String> = live.filter(|c| known(c).is_none()).map(|c| c.name.clone()).collect();
    let gone: Vec<&Content> =
        media.contents.iter().filter(|c| c.rejected && known(c).is_some_and(|b| !b.rejected)).collect();
    let holds = media.holds();
    let (asking, said) = if !new.is_empty() {
        if !session.ours {
            session.added.extend(new.iter().cloned());
        }
        let mut add = jingle(session, "content-add");
        add.extend(contents(session, &only(media, &new, false)));
        (Asking::Add(new), ask(session, add, id, Sent::Update))
    } else if !gone.is_empty() {
        let mut remove = jingle(session, "content-remove");
        remove.extend(gone.into_iter().map(|c| named(session, c)));
        (Asking::Remove, ask(session, remove, id, Sent::Update))
    } else if let Some(trickles) = moved(&before, media) {
        // The old credentials and a new candidate: every client takes that, and no other form is taken by all (interworking
        // §2.17). The relay sees to it that the new path is nominated.
        let said = candidates(session, &trickles, id, Sent::Update);
        session.asking = Some((Asking::Info, before));
        let mut said = vec![said];
        if session.held != holds {
            session.held = holds;
            let payload = Element::bare(if holds { "hold" } else { "unhold" }, INFO);
            said.push(info(session, Some(payload), &format!("{id}h"), Sent::Notice));
        }
        return said;
    } else {
        // Hold is told by session-info alone, the relay does the direction: a content-modify ends the call at the clients of
        // one family (interworking §2.9). What a client need not know is an empty session-info: it shows that it is there.
        let payload = match (session.held, holds) {
            (false, true) => Some(Element::bare("hold", INFO)),
            (true, false) => Some(Element::bare("unhold", INFO)),
            _ => None,
        };
        session.held = holds;
        (Asking::Info, info(session, payload, id, Sent::Update))
    };
    session.asking = Some((asking, before));
    vec![said]
}

fn updated(session: &mut Session, media: &Media, id: &str) -> Vec<Element> {
    let Some(asked) = session.asked.take() else { return vec![] };
    session.spoken = media.clone();
    match asked {
        Asked::Initiate => vec![accept(session, media, id)],
        Asked::Add(names) => {
            let (taken, left) = (only(media, &names, false), only(media, &names, true));
            for content in session.heard.contents.iter_mut() {
                content.rejected |= left.contents.iter().any(|l| l.name == content.name);
            }
            let mut said = vec![];
            if !taken.contents.is_empty() {
                let mut accept = jingle(session, "content-accept");
                accept.extend(contents(session, &taken));
                said.push(ask(session, accept, id, Sent::Notice));
            }
            said.extend(reject(session, &left, &format!("{id}r")));
            said
        }
        Asked::Restart | Asked::Replace => {
            let replace = asked == Asked::Replace;
            let mut info = jingle(session, if replace { "transport-accept" } else { "transport-info" });
            for content in media.contents.iter().filter(|c| !c.rejected) {
                info.append_child(with(
                    named(session, content),
                    media::jingle::transport(&content.transport),
                ));
            }
            vec![ask(session, info, id, Sent::Notice)]
        }
        Asked::Change | Asked::Hold => vec![],
    }
}

fn refused(session: &mut Session, why: Reason, id: &str) -> Vec<Element> {
    match session.asked.take() {
        Some(Asked::Add(names)) => {
            let refused = only(&session.heard, &names, false);
            for content in session.heard.contents.iter_mut() {
                content.rejected |= names.contains(&content.name);
            }
            reject(session, &refused, id).into_iter().collect()
        }
        Some(Asked::Hold) => {
            session.wish = why == Reason::Glare;
            vec![]
        }
        Some(Asked::Restart) => {
            session.renewing = why == Reason::Glare;
            vec![]
        }
        Some(Asked::Replace) => {
            let mut reject = jingle(session, "transport-reject");
            for content in session.heard.contents.iter().filter(|c| !c.rejected) {
                reject.append_child(named(session, content));
            }
            vec![ask(session, reject, id, Sent::Notice)]
        }
        _ => vec![],
    }
}

fn reject(session: &mut Session, refused: &Media, id: &str) -> Option<Element> {
    if refused.contents.is_empty() {
        return None;
    }
    let mut reject = jingle(session, "content-reject");
    reject.extend(refused.contents.iter().map(|c| named(session, c)));
    reject.append_child(reason::element(&Reason::IncompatibleMedia.into()));
    Some(ask(session, reject, id, Sent::Notice))
}

/// The candidates that differ between two descriptions of ours, where our media has moved.
fn moved(before: &Media, now: &Media) -> Option<Vec<Trickle>> {
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
        let Some(content) = session.spoken.contents.iter().find(|c| c.name == trickle.name) else { continue };
        let mut transport = content.transport.clone();
        transport.dtls = None;
        transport.ice = Some(trickle.ice.clone());
        info.append_child(with(named(session, content), media::jingle::transport(&transport)));
    }
    ask(session, info, id, sent)
}

fn say_end(session: &mut Session, end: &End, id: &str) -> Vec<Element> {
    let end = End { sip: None, ..end.clone() };
    match session.state {
        State::Proposed => {
            session.state = State::Ended;
            let reject = with(jmi(session, "reject"), reason::element(&end));
            vec![tell(session, &session.peer, reject, id)]
        }
        State::Proposing => {
            session.state = State::Ended;
            // A caller who hangs up before anybody came has cancelled.
            let end = if end.reason == Reason::Normal { Reason::Cancelled.into() } else { end };
            let retract = with(jmi(session, "retract"), reason::element(&end));
            vec![tell(session, stanza::bare(&session.peer), retract, id)]
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

/// Element has no `extend` of its own.
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
