//! A call between a browser and plain phones, with the relay told what signalling would tell it.

use crate::page::{Browser, candidate_line};
use crate::phone::Phone;
use crate::relays::Relays;
use anyhow::{Context, Result, ensure};
use media::sdp::{self, Origin};
use proto::v1::{self, LocalEnd};
use serde_json::{Value, json};
use signal::Media;
use signal::media::{Codec, Content, Direction, Dtls, Kind, Setup, Transport};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use testkit::namespace;

/// How long anything may take that should come at once.
pub const SOON: Duration = Duration::from_secs(15);
/// The browser is the second leg, whoever calls.
pub const WEB: u32 = 1;
const PHONE: u32 = 0;

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
    /// What the browser sends and what the phone sends, Hz.
    pub tones: (f64, f64),
}

/// One that stands.
pub struct Call {
    pub plan: Plan,
    pub phone: Phone,
    /// What the relay was told of both ends, for telling another one.
    facts: Vec<v1::ConnectRequest>,
    /// Where the phone sends to.
    target: SocketAddr,
}

impl Call {
    /// Describes both parties to each other by way of a relay.
    pub fn place(relays: &mut Relays, relay: usize, browser: &mut Browser, plan: Plan) -> Result<Call> {
        let phone = Phone::new(plan.tones.1)?;
        let ends = relays.allocate(relay, plan.name, 1, vec![])?;
        let mut open = json!({
            "do": "open", "call": plan.name, "hz": plan.tones.0, "certificate": plan.certificate
        });
        let codecs = if plan.opus {
            vec![Codec::new(111, "opus", 48_000, 2)]
        } else {
            vec![Codec::new(0, "PCMU", 8_000, 1)]
        };
        let end = end_of(&ends, WEB, 0)?;
        let ours = |setup| description(vec![content(end, "0", Kind::Audio, &codecs, setup)?]);
        let theirs = if plan.browser_offers {
            let told = browser.ask(&open, "described")?;
            let offer = read(&told)?;
            let setup = opposite(plan.setup);
            browser.ask(&json!({ "do": "meet", "call": plan.name, "sdp": ours(setup)? }), "met")?;
            offer
        } else {
            // Who offers lets the other choose, so a browser that is to wait is offered no choice.
            let setup = if plan.setup == Setup::Active { Setup::ActPass } else { Setup::Active };
            open["offer"] = ours(setup)?.into();
            let told = browser.ask(&open, "described")?;
            read(&told)?
        };
        let content = theirs.contents.first().context("a description without contents")?;
        let mut dtls = content.transport.dtls.clone().context("a description without DTLS")?;
        if plan.browser_offers {
            ensure!(dtls.setup == Setup::ActPass, "{dtls:?}");
            dtls.setup = plan.setup;
        }
        ensure!(dtls.setup == plan.setup, "the browser chose {:?}", dtls.setup);
        let pcmu = Codec::new(0, "PCMU", 8_000, 1);
        let facts = vec![
            v1::ConnectRequest {
                address: phone.address()?.to_string(),
                codecs: vec![codec(&pcmu)],
                ..facts(plan.name, PHONE, 0)
            },
            v1::ConnectRequest { ours: !plan.browser_offers, ..web(plan.name, 0, content, &dtls, &codecs)? },
        ];
        for facts in &facts {
            relays.connect(relay, facts.clone())?;
        }
        let call = Call { plan, phone, facts, target: rtp(&ends, 0)? };
        call.redirect();
        Ok(call)
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

    /// The longest silence at the browser and at the phone since they were asked last.
    pub fn gaps(&self, browser: &mut Browser) -> Result<(Duration, Duration)> {
        Ok((browser.gap(self.plan.name)?, self.phone.gap()))
    }

    /// Goes on at another relay with what the first one left; gives the line of the candidate that the browser is to be told.
    pub fn go_on(&mut self, relays: &mut Relays, relay: usize) -> Result<String> {
        let state = relays.state(self.plan.name).context("nothing was kept of the session")?;
        let ends = relays.allocate(relay, self.plan.name, 1, state)?;
        for facts in &self.facts {
            relays.connect(relay, facts.clone())?;
        }
        self.target = rtp(&ends, 0)?;
        let ice = end_of(&ends, WEB, 0)?.ice.as_ref().context("no ICE")?;
        candidate_line(ice.candidates.first().context("no candidate")?)
    }

    /// Tells the browser a candidate, by trickle.
    pub fn tell(&self, browser: &mut Browser, candidate: &str) -> Result<()> {
        let order = json!({ "do": "candidate", "call": self.plan.name, "mid": "0", "candidate": candidate });
        browser.ask(&order, "added").map(drop)
    }

    /// The phone speaks to the relay that it was told last.
    pub fn redirect(&self) {
        self.phone.call(self.target);
    }
}

/// What `getStats` says of the first transport.
pub fn transport(figures: &Value) -> &Value {
    &figures["transports"][0]
}

pub fn end_of(ends: &[LocalEnd], leg: u32, content: u32) -> Result<&LocalEnd> {
    ends.iter().find(|end| end.leg == leg && end.content == content).context("an end is missing")
}

/// Where the phone sends a content to.
pub fn rtp(ends: &[LocalEnd], content: u32) -> Result<SocketAddr> {
    let end = end_of(ends, PHONE, content)?;
    Ok(format!("{}:{}", end.address, end.rtp_port).parse()?)
}

pub fn opposite(setup: Setup) -> Setup {
    if setup == Setup::Active { Setup::Passive } else { Setup::Active }
}

/// Facts of an end that is not described yet.
pub fn facts(session: &str, leg: u32, content: u32) -> v1::ConnectRequest {
    let base = v1::ConnectRequest { session: session.into(), leg, content, ..Default::default() };
    v1::ConnectRequest { sends: true, receives: true, ..base }
}

/// What the relay is told of a content of the browser's.
pub fn web(
    session: &str,
    place: u32,
    content: &Content,
    dtls: &Dtls,
    codecs: &[Codec],
) -> Result<v1::ConnectRequest> {
    let ice = content.transport.ice.as_ref().context("a description without ICE")?;
    Ok(v1::ConnectRequest {
        mux: content.transport.mux,
        ice: Some(v1::Ice::from(ice)),
        dtls: Some(v1::Dtls::from(dtls)),
        codecs: codecs.iter().map(codec).collect(),
        ..facts(session, WEB, place)
    })
}

pub fn codec(codec: &Codec) -> v1::Codec {
    v1::Codec {
        pt: codec.pt.into(),
        name: codec.name.clone(),
        clock: codec.clock,
        channels: codec.channels.into(),
        feedback: codec.feedback.clone(),
    }
}

/// A content as the relay's end would be described.
pub fn content(end: &LocalEnd, name: &str, kind: Kind, codecs: &[Codec], setup: Setup) -> Result<Content> {
    let ice = end.ice.clone().context("an end without ICE")?;
    let fingerprint = end.fingerprint.clone().context("an end without fingerprint")?;
    let transport = Transport {
        mux: true,
        ice: Some(ice.try_into().map_err(|error| anyhow::anyhow!("{error:?}"))?),
        dtls: Some(Dtls { fingerprints: vec![fingerprint.into()], setup }),
        ..Transport::default()
    };
    let (name, codecs) = (name.to_owned(), codecs.to_vec());
    Ok(Content { name, kind, direction: Direction::Both, rejected: false, codecs, transport })
}

/// Contents as SDP, each on a transport of its own.
pub fn description(contents: Vec<Content>) -> Result<String> {
    let mut media = Media { contents, bundle: vec![] };
    // A group of one: without any group there would be no a=mid.
    media.bundle = media.contents.iter().take(1).map(|content| content.name.clone()).collect();
    let address = IpAddr::from(namespace::ADDRESS);
    let octets = sdp::write(&media, &sdp::Shape::default(), &Origin { session_id: 1, version: 1, address });
    Ok(String::from_utf8(octets)?)
}

/// The browser's description.
pub fn read(described: &Value) -> Result<Media> {
    let sdp = described["sdp"].as_str().context("no SDP")?;
    sdp::read(sdp.as_bytes()).map(|(media, _)| media).with_context(|| sdp.to_owned())
}
