//! A call between a browser and plain phones, with the relay told what signalling would tell it.

use crate::camera::Camera;
use crate::describe::{self, PHONE, Part, WEB, end_of};
use crate::page::{Browser, Colour, candidate_line, css, shows};
use crate::phone::Phone;
use crate::relays::Relays;
use anyhow::{Context, Result, ensure};
use prost::Message as _;
use proto::v1::{self, LocalEnd};
use serde_json::{Value, json};
use signal::Media;
use signal::media::{Codec, Kind, Setup};
use std::time::Duration;
use testkit::clock::poll;

/// How long anything may take that should come at once.
pub const SOON: Duration = Duration::from_secs(15);
/// Size of the pictures of the page and of the films that it makes.
pub const SIZE: (u16, u16) = (320, 240);
/// Pictures of a film: 30 s, so that none begins anew unless it is asked to.
const FILM: usize = 600;
/// Where the pictures are among the contents.
pub const VIDEO: u32 = 1;

/// A call: how it is set up, and what each party sends.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub name: &'static str,
    /// The browser offers: it controls ICE.
    pub browser_offers: bool,
    /// Its DTLS role, from its view.
    pub setup: Setup,
    /// `ec` or `rsa`.
    pub certificate: &'static str,
    /// The browser speaks Opus: the relay turns it into PCMU and back.
    pub opus: bool,
    /// Tones of the browser and of the phone, Hz.
    pub tones: (f64, f64),
    pub pictures: Option<Pictures>,
    /// The browser's contents share one transport.
    pub bundled: bool,
}

/// Video beside the sound.
#[derive(Clone, Copy, Debug)]
pub struct Pictures {
    /// Films of the browser and of the phone.
    pub colours: (Colour, Colour),
    /// rtcp-fb of the phone; none: it speaks AVP.
    pub feedback: &'static [&'static str],
}

impl Plan {
    /// One without pictures.
    pub const SOUND: Plan = Plan {
        name: "",
        browser_offers: true,
        setup: Setup::Active,
        certificate: "ec",
        opus: false,
        tones: (440.0, 700.0),
        pictures: None,
        bundled: false,
    };

    fn parts(&self) -> Vec<Part> {
        let pcmu = Codec::new(0, "PCMU", 8_000, 1);
        let web = if self.opus { Codec::new(111, "opus", 48_000, 2) } else { pcmu.clone() };
        let mut parts = vec![Part { kind: Kind::Audio, web, phone: pcmu }];
        if let Some(pictures) = self.pictures {
            // The number that Chromium gives it in its offers.
            let vp8 = |pt, feedback: &[&str]| Codec {
                feedback: feedback.iter().map(|&line| line.to_owned()).collect(),
                ..Codec::new(pt, "VP8", 90_000, 1)
            };
            let web = vp8(96, &["nack", "nack pli", "ccm fir"]);
            parts.push(Part { kind: Kind::Video, web, phone: vp8(crate::camera::VP8, pictures.feedback) });
        }
        parts
    }
}

/// One that stands.
pub struct Call {
    pub plan: Plan,
    pub phone: Phone,
    camera: Option<Camera>,
    parts: Vec<Part>,
    /// Descriptions of both ends that the relay was told, for telling another one.
    facts: Vec<v1::ConnectRequest>,
    /// Its own ends, as it described them.
    ends: Vec<LocalEnd>,
}

/// The longest times in which the browser and the phone heard nothing and saw nothing new.
#[derive(Clone, Copy, Debug)]
pub struct Gaps {
    pub heard: (Duration, Duration),
    pub seen: Option<(Duration, Duration)>,
}

impl Call {
    /// Describes both parties to each other by way of a relay.
    pub fn place(relays: &mut Relays, relay: usize, browser: &mut Browser, plan: Plan) -> Result<Call> {
        let phone = Phone::new(plan.tones.1)?;
        let mut camera = None;
        let mut open = json!({
            "do": "open", "call": plan.name, "hz": plan.tones.0, "certificate": plan.certificate,
            "bundled": plan.bundled
        });
        if let Some(pictures) = plan.pictures {
            open["colour"] = css(pictures.colours.0).into();
            camera = Some(Camera::new(browser.film(plan.name, pictures.colours.1, FILM)?)?);
        }
        let parts = plan.parts();
        let ends = relays.allocate(relay, plan.name, parts.len() as u32, vec![])?;
        let ours = |setup| describe::ours(&ends, &parts, setup, plan.bundled);
        let theirs = if plan.browser_offers {
            let told = browser.ask(&open, "described")?;
            let setup = opposite(plan.setup);
            browser.ask(&json!({ "do": "meet", "call": plan.name, "sdp": ours(setup)? }), "met")?;
            told
        } else {
            // Who offers lets the other choose, so a browser that is to wait is offered no choice.
            let setup = if plan.setup == Setup::Active { Setup::ActPass } else { Setup::Active };
            open["offer"] = ours(setup)?.into();
            browser.ask(&open, "described")?
        };
        let mut call = Call { plan, phone, camera, parts, facts: vec![], ends };
        call.facts = call.facts(&describe::read(&theirs)?)?;
        for facts in &call.facts {
            relays.connect(relay, facts.clone())?;
        }
        call.redirect()?;
        Ok(call)
    }

    /// Descriptions for the relay of both ends of each content.
    fn facts(&self, theirs: &Media) -> Result<Vec<v1::ConnectRequest>> {
        let Call { plan, parts, .. } = self;
        ensure!(theirs.contents.len() == parts.len(), "{theirs:?}");
        let mut all = vec![];
        for (place, (part, content)) in (0..).zip(parts.iter().zip(&theirs.contents)) {
            // Of a transport that is shared, the first content tells.
            let content = if plan.bundled { &theirs.contents[0] } else { content };
            let mut dtls = content.transport.dtls.clone().context("a description without DTLS")?;
            if plan.browser_offers {
                ensure!(dtls.setup == Setup::ActPass, "{dtls:?}");
                dtls.setup = plan.setup;
            }
            ensure!(dtls.setup == plan.setup, "the browser chose {:?}", dtls.setup);
            let (address, rtcp_port) = match &self.camera {
                Some(camera) if place == VIDEO => camera.address()?,
                _ => (self.phone.address()?, 0),
            };
            all.push(v1::ConnectRequest {
                address: address.to_string(),
                rtcp_port: rtcp_port.into(),
                codecs: vec![describe::codec(&part.phone)],
                ..describe::facts(plan.name, PHONE, place)
            });
            let web = describe::web(plan.name, place, content, &dtls, &part.web)?;
            let bundled = (plan.bundled && place > 0).then_some(0);
            all.push(v1::ConnectRequest { ours: !plan.browser_offers, bundled, ..web });
        }
        Ok(all)
    }

    /// The browser told no address.
    pub fn is_hidden(&self) -> bool {
        self.facts.iter().all(|facts| facts.ice.as_ref().is_none_or(|ice| ice.candidates.is_empty()))
    }

    /// Each hears the other, from now on.
    pub fn sound(&self, browser: &mut Browser) -> Result<()> {
        let (browsers, phones) = self.plan.tones;
        browser.hears(self.plan.name, phones, SOON).context(self.plan.name)?;
        self.phone.hears(browsers, SOON).with_context(|| browser.failure(self.plan.name))
    }

    /// Each sees the other, from now on; the phone's newest key frame shows what the browser sends.
    pub fn sight(&self, browser: &mut Browser) -> Result<()> {
        let (browsers, phones) = self.plan.pictures.context("a call without pictures")?.colours;
        browser.sees(self.plan.name, phones, SIZE, SOON).context(self.plan.name)?;
        let camera = self.camera()?;
        camera.sees(10, SOON).with_context(|| browser.failure(self.plan.name))?;
        let key = camera.key(camera.keys().saturating_sub(1), SOON)?;
        let developed = browser.develop(self.plan.name, &key.octets)?;
        ensure!(key.size == SIZE && shows(&developed, browsers, SIZE), "{:?}: {developed:#}", key.size);
        Ok(())
    }

    pub fn camera(&self) -> Result<&Camera> {
        self.camera.as_ref().context("a call without pictures")
    }

    /// The longest silences since this was asked last.
    pub fn gaps(&self, browser: &mut Browser) -> Result<Gaps> {
        let (silence, unseen) = browser.gap(self.plan.name)?;
        let seen = self.camera.as_ref().map(|camera| (unseen.unwrap_or(Duration::MAX), camera.gap()));
        Ok(Gaps { heard: (silence, self.phone.gap()), seen })
    }

    /// Goes on at another relay with what the first one left; gives the line of the candidate that the browser is to be told.
    pub fn go_on(&mut self, relays: &mut Relays, relay: usize) -> Result<String> {
        let state = relays.state(self.plan.name).context("nothing was kept of the session")?;
        self.ends = relays.allocate(relay, self.plan.name, self.parts.len() as u32, state)?;
        for facts in &self.facts {
            relays.connect(relay, facts.clone())?;
        }
        let ice = end_of(&self.ends, WEB, 0)?.ice.as_ref().context("no ICE")?;
        candidate_line(ice.candidates.first().context("no candidate")?)
    }

    /// Tells the browser a candidate, by trickle.
    pub fn tell(&self, browser: &mut Browser, candidate: &str) -> Result<()> {
        let order = json!({ "do": "candidate", "call": self.plan.name, "mid": "0", "candidate": candidate });
        browser.ask(&order, "added").map(drop)
    }

    /// The phone speaks to the relay that it was told last; a camera that did not play yet begins in the middle.
    pub fn redirect(&self) -> Result<()> {
        self.phone.call(describe::target(&self.ends, 0)?.0);
        if let Some(camera) = &self.camera {
            camera.call(describe::target(&self.ends, VIDEO)?, 20);
        }
        Ok(())
    }

    /// States of the browser's connection so far, one after the other.
    pub fn states(&self, browser: &mut Browser) -> Vec<String> {
        let mut states = vec![];
        let is_state = |event: &Value| {
            if event["event"] == "state" {
                states.push(event["state"].as_str().unwrap_or("").to_owned());
            }
            None::<()>
        };
        // Nothing is found: all are looked at.
        let _ = browser.find(0, self.plan.name, "nothing", Duration::ZERO, is_state);
        states
    }

    /// The browser takes other ICE credentials (RFC 8445 §9); the relay is told, and the browser what it answers. Gives what the
    /// browser calls itself now, by transport.
    pub fn restart(
        &mut self,
        relays: &mut Relays,
        relay: usize,
        browser: &mut Browser,
    ) -> Result<Vec<v1::Ice>> {
        let name = self.plan.name;
        let told = browser.ask(&json!({ "do": "restart", "call": name }), "described")?;
        let mut all = vec![];
        let transports = if self.plan.bundled { 1 } else { self.parts.len() };
        for (content, described) in (0..).zip(describe::read(&told)?.contents).take(transports) {
            let ice = v1::Ice::from(described.transport.ice.as_ref().context("no ICE")?);
            let facts = self.facts.iter_mut().find(|facts| (facts.leg, facts.content) == (WEB, content));
            let before = facts.context("no such content")?.ice.replace(ice.clone()).context("no ICE")?;
            ensure!(ice.ufrag != before.ufrag && ice.pwd != before.pwd, "no restart");
            let request = v1::UpdateRequest {
                session: name.into(),
                leg: WEB,
                content,
                ice: Some(ice.clone()),
                ..Default::default()
            };
            let reply = relays.update(relay, request)?;
            let end = self.ends.iter_mut().find(|end| (end.leg, end.content) == (WEB, content));
            if let (Some(end), Some(ours)) = (end, renewed(&reply)?) {
                end.ice = Some(ours);
            }
            all.push(ice);
        }
        let sdp = describe::ours(&self.ends, &self.parts, opposite(self.plan.setup), self.plan.bundled)?;
        browser.ask(&json!({ "do": "meet", "call": name, "sdp": sdp }), "met")?;
        Ok(all)
    }

    /// Waits until media takes the path of these credentials: the relay has its peer where they are, and so has the browser.
    pub fn took(
        &self,
        relays: &mut Relays,
        relay: usize,
        browser: &mut Browser,
        now: &[v1::Ice],
    ) -> Result<()> {
        for (content, ice) in (0..).zip(now) {
            let mut peer = String::new();
            let found = poll(SOON, || {
                peer = relays.figures(relay, self.plan.name, (WEB, content)).ok()?.peer;
                ice.candidates.iter().any(|candidate| candidate.address == peer).then_some(())
            });
            ensure!(found.is_some(), "{}: content {content} is at {peer}, not at {ice:?}", self.plan.name);
        }
        let mut names = vec![];
        let found = poll(SOON, || {
            names = local_names(&browser.figures(self.plan.name).ok()?);
            now.iter().all(|ice| names.contains(&ice.ufrag)).then_some(())
        });
        ensure!(found.is_some(), "{}: the browser is {names:?}, not {now:?}", self.plan.name);
        Ok(())
    }
}

/// Answer to an update, as far as it matters here.
#[derive(Clone, PartialEq, prost::Message)]
struct Renewed {
    /// The relay's own credentials, where it took others for a restart of its peer (R-RTP-17); absent: they are as they were.
    #[prost(message, optional, tag = "1")]
    ice: Option<v1::Ice>,
}

fn renewed(reply: &v1::UpdateReply) -> Result<Option<v1::Ice>> {
    Ok(Renewed::decode(reply.encode_to_vec().as_slice())?.ice)
}

/// Addresses of the browser on the pairs that it has selected.
fn local_names(figures: &Value) -> Vec<String> {
    let all = |list: &str| figures[list].as_array().cloned().unwrap_or_default();
    let (pairs, locals) = (all("pairs"), all("locals"));
    let by = |list: &[Value], id: &Value| list.iter().find(|entry| entry["id"] == *id).cloned();
    let name = |transport: &Value| {
        let pair = by(&pairs, &transport["selectedCandidatePairId"])?;
        let local = by(&locals, &pair["localCandidateId"])?;
        local["usernameFragment"].as_str().map(str::to_owned)
    };
    all("transports").iter().filter_map(name).collect()
}

/// Report of `getStats` about the first transport.
pub fn transport(figures: &Value) -> &Value {
    &figures["transports"][0]
}

/// Report of `getStats` about the pictures that the browser gets.
pub fn watched(figures: &Value) -> Value {
    let mut all = figures["inbound"].as_array().into_iter().flatten();
    all.rfind(|stream| stream["kind"] == "video").cloned().unwrap_or_default()
}

fn opposite(setup: Setup) -> Setup {
    if setup == Setup::Active { Setup::Passive } else { Setup::Active }
}
