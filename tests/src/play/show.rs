//! Messages and decisions as they stand in a flow.

use minidom::Element;
use session::call::{Connect, Effect, Event, Fact};
use signal::{Media, ReferStatus, Signal};
use sip::message::{Message, Start};

/// A SIP message as its lines; Content-Length says nothing here.
#[must_use]
pub fn sip(message: &Message) -> Vec<String> {
    let octets = message.write();
    let text = String::from_utf8_lossy(&octets).replace("\r\n", "\n");
    text.trim_end().lines().filter(|l| !l.starts_with("Content-Length:")).map(str::to_owned).collect()
}

/// A message in a few words.
#[must_use]
pub fn brief(message: &Message) -> String {
    match &message.start {
        Start::Request { method, .. } => method.clone(),
        Start::Response { code, phrase } => {
            format!("{code} {phrase} ({})", message.method().unwrap_or_default())
        }
    }
}

/// An element as its lines, one tag each.
#[must_use]
pub fn xml(element: &Element) -> Vec<String> {
    let mut lines = vec![];
    tag(element, "jabber:component:accept", 0, &mut lines);
    lines
}

fn tag(element: &Element, parent: &str, depth: usize, lines: &mut Vec<String>) {
    let indent = "  ".repeat(depth);
    let mut open = format!("{indent}<{}", element.name());
    let space = element.ns();
    if space != parent {
        open += &format!(" xmlns='{space}'");
    }
    let mut attributes: Vec<(String, String)> =
        element.attrs().iter().map(|((_, name), value)| (name.to_string(), value.clone())).collect();
    attributes.sort();
    for (name, value) in attributes {
        open += &format!(" {name}='{value}'");
    }
    let children: Vec<&Element> = element.children().collect();
    let text = element.text();
    if children.is_empty() {
        lines.push(if text.is_empty() {
            format!("{open}/>")
        } else {
            format!("{open}>{text}</{}>", element.name())
        });
        return;
    }
    lines.push(format!("{open}>"));
    for child in children {
        tag(child, &space, depth + 1, lines);
    }
    lines.push(format!("{indent}</{}>", element.name()));
}

/// A signal with the details that decide.
#[must_use]
pub fn signal(signal: &Signal) -> String {
    let media = |media: &Media| match (media.is_described(), media.holds()) {
        (false, _) => "(undescribed)",
        (true, true) => "(hold)",
        (true, false) => "",
    };
    let more = match signal {
        Signal::Offer(m) | Signal::Answer(m) | Signal::Update(m) | Signal::Updated(m) => media(m).to_owned(),
        Signal::Refused(reason) => format!("({reason:?})").to_lowercase(),
        Signal::End(end) => format!("({:?})", end.reason).to_lowercase(),
        Signal::Tone(tone) => format!("({})", tone.digit),
        Signal::Refer { target, .. } => format!("({target})"),
        Signal::Referred(ReferStatus::Failed(end)) => format!("(failed: {:?})", end.reason).to_lowercase(),
        Signal::Referred(status) => format!("({status:?})").to_lowercase(),
        _ => String::new(),
    };
    format!("{}{more}", signal.name())
}

/// An event of a call; `None` for one that says nothing to it: an order that was said, a change of the leg's own state.
#[must_use]
pub fn event(event: &Event) -> Option<String> {
    Some(match event {
        Event::Heard(heard) if heard.signals.is_empty() => return None,
        Event::Heard(heard) => {
            let signals: Vec<String> = heard.signals.iter().map(signal).collect();
            format!("{} {}", heard.leg.leg.0, signals.join(" + "))
        }
        Event::Said(leg, said) => {
            format!("{} failed({:?})", leg.0, said.failed.as_ref()?.reason).to_lowercase()
        }
        Event::GivenUp(leg) => format!("{} given up", leg.0),
        Event::Media(leg, event) => format!("{} media {event:?}", leg.0).to_lowercase(),
        Event::RelayChanged(to) => format!("moved{}", if to.alive { ", the old relay lives" } else { "" }),
        Event::Renewed(leg, _) => format!("{} renewed", leg.0),
        Event::Routed(leg, Ok(route)) => format!("{} leads to {}", leg.0, route.opening.to.address),
        Event::Routed(leg, Err(end)) => format!("{} leads nowhere ({:?})", leg.0, end.reason).to_lowercase(),
        Event::Allocated(leg, _, Ok(_)) => format!("{} allocated", leg.0),
        Event::Allocated(leg, _, Err(reason)) => {
            format!("{} not allocated ({reason:?})", leg.0).to_lowercase()
        }
        Event::Measured(_) => return None,
        Event::Transfer(leg, to) => format!("transfer {} to {to}", leg.0),
        Event::Deadline => "time is up".into(),
        Event::HangUp(reason) => format!("hang up ({reason:?})").to_lowercase(),
    })
}

/// An effect in short, and in full where it is for a relay.
#[must_use]
pub fn effect(effect: &Effect) -> (String, Option<String>) {
    match effect {
        Effect::Say { leg, signal: said, .. } => (format!("{} {}", leg.0, signal(said)), None),
        Effect::Restart { leg, ends } => {
            let details: Vec<String> = ends.iter().map(whereabouts).collect();
            (format!("restart {}", leg.0), Some(details.join("\n")))
        }
        Effect::Connect(connect) => (format!("connect {}", connect.leg.0), Some(whereabouts(connect))),
        Effect::Candidates { leg, ice, .. } => {
            let places: Vec<String> = ice.candidates.iter().map(|c| c.address.to_string()).collect();
            let detail = format!("relay: {} may be at {}", leg.0, places.join(", "));
            (format!("candidates {}", leg.0), Some(detail))
        }
        Effect::Play { leg, sound, .. } => (
            format!("play {}", leg.0),
            Some(format!("relay: {} hears {}", leg.0, sound.as_deref().unwrap_or("no music"))),
        ),
        Effect::Press { leg, tone, .. } => (
            format!("press {}", leg.0),
            Some(format!("relay: {} hears the key {} for {} ms", leg.0, tone.digit, tone.duration)),
        ),
        Effect::Route { leg, opening, .. } => {
            let detail = format!("plan: {} wants {}", opening.from.address, opening.to.address);
            (format!("route {}", leg.0), Some(detail))
        }
        Effect::Allocate { leg, contents, webrtc } => {
            let form = if *webrtc { "WebRTC" } else { "any" };
            let detail = format!("relay: {} gets {contents} end of {form} form", leg.0);
            (format!("allocate {}", leg.0), Some(detail))
        }
        Effect::Bridge { one, other } => (format!("bridge {} and {}", one.0, other.0), None),
        Effect::ReleaseLeg(leg) => (format!("release {}", leg.0), None),
        Effect::Wake { leg } => (format!("wake {}", leg.0), None),
        Effect::Leave(_) => ("leave".into(), None),
        Effect::Release(_) => ("release".into(), None),
        Effect::Probe => ("probe".into(), None),
        Effect::Cdr => ("cdr".into(), None),
        Effect::Record(Fact::Placed { from, to }) => {
            ("placed".into(), Some(format!("fact: {from} calls {to}")))
        }
        Effect::Record(Fact::Answered) => ("answered".into(), None),
        Effect::Record(Fact::Transferred { to }) => {
            ("transferred".into(), Some(format!("fact: transferred to {to}")))
        }
        Effect::Record(Fact::Diverted { from, to, reason }) => {
            ("diverted".into(), Some(format!("fact: {from} diverts to {to} ({})", reason.name())))
        }
        Effect::Record(Fact::Ended { end, .. }) => (format!("ended({:?})", end.reason).to_lowercase(), None),
    }
}

/// Address and agreement of a peer as a relay is told them.
fn whereabouts(connect: &Connect) -> String {
    let remote = &connect.remote;
    let place = match (&remote.ice, remote.address) {
        (Some(ice), _) => format!("ICE {} with {} candidates", ice.ufrag, ice.candidates.len()),
        (None, Some(address)) => address.to_string(),
        (None, None) => "nowhere".into(),
    };
    let keys = remote.crypto.first().map_or_else(String::new, |line| format!(" under {}", line.suite.name()));
    let codecs: Vec<String> = connect.codecs.iter().map(|c| format!("{} {}", c.pt, c.name)).collect();
    let direction = format!("{:?}", connect.direction).to_lowercase();
    format!("relay: {} is at {place}{keys}; {}; sends {direction}", connect.leg.0, codecs.join(", "))
}
