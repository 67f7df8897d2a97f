//! Calls through the gateway: who does what, when, and what must come of it at the other side.
//!
//! One rule: a step waits for what a person would notice, at the side where it is noticed, and has a deadline. Start at [`Stage::call`].

mod client_calls;
mod phone_calls;

use crate::client::{self, Client};
use crate::codec::Codec;
use crate::jingle::{self, Remote};
use crate::media::{End, State, Talk};
use crate::phone::{self, Phone};
use crate::report::{Failed, Fault, Report};
use crate::sdp;
use serde_json::json;
use signal::media::{Dtls, Setup};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Tone that the SIP side says, and the one that the XMPP side says, Hz.
const OF_PHONE: f64 = 440.0;
const OF_CLIENT: f64 = 660.0;
/// Deadline of a step of signalling.
const STEP: Duration = Duration::from_secs(12);
/// Time within which each side must hear the other.
const HEARING: Duration = Duration::from_secs(12);
/// Time from ringing to the answer.
const PICK_UP: Duration = Duration::from_millis(300);
/// Windows of a tone that count as heard: a third of a second.
const WINDOWS: u64 = 3;
/// Part of the windows that must be the tone while both talk.
const UNBROKEN: f64 = 0.8;
/// Time that a packet takes to be filled, microseconds.
const PACKET_US: u64 = 20_000;
/// Remedy where only the gateway can know more.
const LOOK: &str = "look at the gateway's log of this call";
/// Events of one side that wait for their step.
const BACKLOG: usize = 256;

/// Direction of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The phone calls the account.
    Sip,
    /// The account calls the phone.
    Xmpp,
}

/// Wishes for the calls.
#[derive(Clone, Debug)]
pub struct Plan {
    /// SIP URI of the account.
    pub uri: String,
    /// JID of the phone.
    pub jid: String,
    /// True for calls without Message Initiation.
    pub direct: bool,
    /// Address for media of both sides.
    pub media: IpAddr,
    /// Codecs of the phone.
    pub phone_codecs: Vec<Codec>,
    /// Codecs of the account's client.
    pub client_codecs: Vec<Codec>,
    /// How long both talk.
    pub talk: Duration,
    /// Lowest mean opinion score of a call that worked.
    pub min_mos: f64,
}

#[derive(Debug)]
enum Event {
    Phone(phone::Heard),
    Client(client::Heard),
}

/// Both sides, and what they heard that no step has asked for yet.
pub struct Stage<'a> {
    plan: &'a Plan,
    phone: &'a mut Phone,
    client: &'a mut Client,
    backlog: VecDeque<Event>,
    /// Session of the client, until it is ended.
    session: Option<Session>,
    ending: bool,
}

/// Session of the client.
struct Session {
    peer: String,
    sid: String,
    /// True if it began by a proposal.
    proposed: bool,
    /// True if the client calls.
    ours: bool,
}

/// Ends of a call that is answered.
struct Ends {
    phone: End,
    client: End,
    /// Codec of each.
    codecs: (Codec, Codec),
}

impl<'a> Stage<'a> {
    /// Returns a stage on which nothing has happened.
    pub fn new(plan: &'a Plan, phone: &'a mut Phone, client: &'a mut Client) -> Stage<'a> {
        Stage { plan, phone, client, backlog: VecDeque::new(), session: None, ending: false }
    }

    /// Makes a call and reports it. One that fails is ended, as far as possible.
    pub async fn call(mut self, from: From) -> Report {
        let way = match from {
            From::Sip => "SIP to XMPP",
            From::Xmpp if self.plan.direct => "XMPP to SIP, session-initiate at once",
            From::Xmpp => "XMPP to SIP, by Message Initiation",
        };
        let mut report = Report::new(way);
        let done = match from {
            From::Sip => self.phone_calls(&mut report).await,
            From::Xmpp => self.client_calls(&mut report).await,
        };
        if done.is_err() {
            // The report has the fault; nobody shall ring on.
            let _ = self.phone.hang_up().await;
            if let Some(Session { peer, sid, proposed, ours }) = &self.session {
                if *proposed {
                    self.client.tell(jingle::give_up(*ours, peer, sid)).await;
                }
                self.client.tell(jingle::terminate(peer, sid, "cancel")).await;
            }
            sleep(PICK_UP).await;
        }
        report
    }

    /// Accepts a session.
    async fn accept(&mut self, peer: &str, sid: &str, remote: &Remote) -> Result<(End, Codec), Fault> {
        let codec = remote.choose(&self.plan.client_codecs)?;
        let (end, local) = End::secure(self.plan.media, false).await?;
        // Whoever offers `active` sends the ClientHello (RFC 4145 §4.1).
        let setup = if remote.dtls.setup == Setup::Active { Setup::Passive } else { Setup::Active };
        let theirs = if setup == Setup::Active { Setup::Passive } else { Setup::Active };
        let accept = jingle::accept(peer, sid, self.client.jid(), remote, &[codec], &end, &local, setup);
        self.client.tell(accept).await;
        end.remote(remote.ice.clone(), Dtls { setup: theirs, ..remote.dtls.clone() }).await;
        Ok((end, codec))
    }

    /// Offers a session.
    async fn offer(&mut self, peer: &str, sid: &str) -> Result<End, Fault> {
        let (end, local) = End::secure(self.plan.media, true).await?;
        let offer = jingle::initiate(peer, sid, self.client.jid(), &self.plan.client_codecs, &end, &local);
        self.client.tell(offer).await;
        Ok(end)
    }

    /// Answers the phone, and gives the codec that it will speak.
    async fn answer(&mut self, end: &End, invited: &str) -> Result<Codec, Fault> {
        if invited.is_empty() {
            // An INVITE without offer: the answer stands in the ACK (RFC 3261 §13.2.1), which the probe does not read.
            return Err(Fault::new(
                "the gateway's INVITE has no description",
                "report this: the gateway always sends one",
            ));
        }
        let theirs = described(invited)?;
        let codec = theirs.codecs.iter().find(|codec| self.plan.phone_codecs.contains(codec)).copied();
        let codec = codec.ok_or_else(|| {
            Fault::new("the phone has none of the codecs offered", "give more --sip-codecs")
        })?;
        self.phone.answer(sdp::write(end.address, &[codec])).await?;
        end.peer(theirs.address).await;
        Ok(codec)
    }

    /// Lets both sides hear each other for a while.
    async fn talk(&mut self, report: &mut Report, mut ends: Ends) -> Result<(), Failed> {
        let (of_phone, of_client) = ends.codecs;
        report.fact("sip_codec", of_phone.name());
        report.fact("xmpp_codec", of_client.name());
        let late = Fault::new("nobody heard anything", "look at the media of `tandem call ID`");
        let (phone_after, client_after) = report
            .step("heard", HEARING + Duration::from_secs(1), late, async {
                ends.phone.talk(Talk { codec: of_phone, say: OF_PHONE, hear: OF_CLIENT }).await;
                ends.client.talk(Talk { codec: of_client, say: OF_CLIENT, hear: OF_PHONE }).await;
                let began = Instant::now();
                let phone = hears("the SIP side", &mut ends.phone, began);
                let client = hears("the XMPP side", &mut ends.client, began);
                futures::future::try_join(phone, client).await
            })
            .await?;
        report.fact("sip_after_ms", milliseconds(phone_after));
        report.fact("xmpp_after_ms", milliseconds(client_after));

        let (plan, before) =
            (self.plan, (ends.phone.state.borrow().clone(), ends.client.state.borrow().clone()));
        let late = Fault::new("the clock stands still", "look at the machine");
        let quality = report.step("talked", plan.talk + STEP, late, async {
            let ended = timeout(plan.talk, self.until(|_| None::<()>)).await;
            if let Ok(Err(fault)) = ended {
                return Err(fault);
            }
            Ok((ends.phone.state.borrow().clone(), ends.client.state.borrow().clone()))
        });
        let after = quality.await?;
        let mut worst = None;
        for (side, codec, before, after) in
            [("sip", of_phone, &before.0, &after.0), ("xmpp", of_client, &before.1, &after.1)]
        {
            let mos =
                f64::from(relay::session::mos(codec.name(), after.loss_ppm, PACKET_US + 2 * after.jitter_us))
                    / 100.0;
            report.fact(&format!("{side}_packets"), after.received);
            report.fact(&format!("{side}_loss_percent"), json!(after.loss_ppm as f64 / 10_000.0));
            report.fact(&format!("{side}_jitter_ms"), json!((after.jitter_us as f64 / 100.0).round() / 10.0));
            report.fact(&format!("{side}_mos"), json!(mos));
            worst = worst.or_else(|| worse(side, mos, plan, before, after));
        }
        let verdict = std::future::ready(worst.map_or(Ok(()), Err));
        let late = Fault::new("no verdict", "report this");
        report.step("good", STEP, late, verdict).await
    }

    /// Waits for the event that `wanted` takes; what ends the call meanwhile is the fault.
    async fn until<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> Result<T, Fault> {
        let waited = self.backlog.iter().enumerate().find_map(|(place, event)| Some((place, wanted(event)?)));
        if let Some((place, found)) = waited {
            self.backlog.remove(place);
            return Ok(found);
        }
        loop {
            let event = tokio::select! {
                heard = self.phone.next() => Event::Phone(heard?),
                heard = self.client.next() => Event::Client(heard?),
            };
            if let Some(found) = wanted(&event) {
                return Ok(found);
            }
            if let Some(fault) = refusal(&event).filter(|_| !self.ending) {
                return Err(fault);
            }
            if self.backlog.len() == BACKLOG {
                self.backlog.pop_front();
            }
            self.backlog.push_back(event);
        }
    }
}

/// Returns the fault that an event means for a call that should go on.
fn refusal(event: &Event) -> Option<Fault> {
    let remedy = "look at the gateway's log of this call, and at [[trunk]] and [[xmpp.component]]";
    let cause = match event {
        Event::Phone(phone::Heard::Response { method, code, why, .. })
            if *code >= 300 && method == "INVITE" =>
        {
            format!("the gateway refused the phone's call: {why}")
        }
        Event::Phone(phone::Heard::Over { method, why }) => {
            format!("the phone was hung up on: {method} {why}")
        }
        Event::Phone(phone::Heard::Unreadable(error)) => {
            format!("rsip cannot read what the gateway sent: {error}")
        }
        Event::Client(client::Heard::Rejected { why, .. }) => {
            format!("the client's call was rejected: {why}")
        }
        Event::Client(client::Heard::Retracted { why, .. }) => {
            format!("the call to the client was retracted: {why}")
        }
        Event::Client(client::Heard::Terminated { why, .. }) => {
            format!("the client's session was terminated: {why}")
        }
        Event::Client(client::Heard::Refused { why, .. }) => {
            format!("a stanza of the client was refused: {why}")
        }
        Event::Client(client::Heard::Unreadable(error)) => {
            format!("xmpp-parsers cannot read what the gateway sent: {error}")
        }
        _ => return None,
    };
    Some(Fault::new(cause, remedy))
}

fn described(sdp: &str) -> Result<sdp::Described, Fault> {
    sdp::read(sdp).map_err(|cause| {
        Fault::new(
            format!("the gateway's description for the phone: {cause}"),
            "look at [[trunk]] srtp, and --sip-codecs",
        )
    })
}

/// Waits until an end hears its tone.
async fn hears(side: &str, end: &mut End, began: Instant) -> Result<Duration, Fault> {
    let heard = timeout(HEARING, end.wait(|state| state.windows.good >= WINDOWS)).await;
    match heard {
        Ok(Ok(_)) => Ok(began.elapsed()),
        Ok(Err(fault)) => Err(Fault { cause: format!("{side}: {}", fault.cause), ..fault }),
        Err(_) => {
            let State { connected, received, strange, .. } = *end.state.borrow();
            let cause = match (connected, received, strange) {
                (false, ..) => "found no way to the relay",
                (_, 0, 0) => "got no packet",
                (_, 0, _) => "got packets of another codec only",
                _ => "got packets, and not the tone",
            };
            let remedy = "look at [relay] listen and advertise, its ports in firewalls, and at the media of `tandem call ID`";
            Err(Fault::new(format!("{side} heard nothing: it {cause}"), remedy))
        }
    }
}

/// Returns the fault of a side whose sound was too bad.
fn worse(side: &str, mos: f64, plan: &Plan, before: &State, after: &State) -> Option<Fault> {
    let all = after.windows.all - before.windows.all;
    let good = after.windows.good - before.windows.good;
    // What did not come makes no window.
    let due = u64::try_from(plan.talk.as_millis() / 100).unwrap_or(0).max(all).max(1);
    let share = good as f64 / due as f64;
    let remedy = "look at the load of the relay and of the network between";
    if share < UNBROKEN {
        return Some(Fault::new(
            format!("the {side} side heard the tone for {:.0} % of the time", share * 100.0),
            remedy,
        ));
    }
    (mos < plan.min_mos).then(|| Fault::new(format!("the {side} side's score is {mos}"), remedy))
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
