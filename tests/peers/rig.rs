//! A server, the gateway, a SIP phone and a Jingle client, started for one test.

use std::net::SocketAddr;
use std::time::Duration;
use testkit::{Baresip, Gateway, Phone, Prosody, baresip, gateway, phone, ports, prosody};

/// How long anything may take that should come at once.
pub const SOON: Duration = Duration::from_secs(15);
/// How soon the other end must know of a hang-up.
pub const PROMPT: Duration = Duration::from_secs(2);
/// Tone of the desk phone, Hz.
pub const DESK_TONE: f64 = 700.0;
/// Tone of rosa's client, Hz.
pub const ROSA_TONE: f64 = 440.0;

/// Component domain that the server knows beside the first, and the gateway not at the start.
pub const SECOND: &str = "sip2.example.net";

/// Fields end in this order: phones first, then the gateway, then the server.
pub struct Rig {
    pub desk: Baresip,
    pub rosa: Phone,
    pub gateway: Gateway,
    pub server: Prosody,
}

impl Rig {
    pub fn new(desk: baresip::Options, rosa: phone::Options) -> Rig {
        Rig::with(desk, rosa, gateway::Options::default())
    }

    pub fn with(desk: baresip::Options, rosa: phone::Options, gateway: gateway::Options) -> Rig {
        let components = [prosody::COMPONENT, SECOND].map(str::to_owned).into();
        let users = ["rosa", "nils", "mallory"].map(str::to_owned).into();
        let server =
            Prosody::with(&prosody::Options { users, components, port: 0, tls: false, component_tls: None })
                .unwrap();
        let sip_port = ports::one();
        let transport = match (&gateway.tls, desk.tcp) {
            (Some(_), _) => "tls",
            (None, true) => "tcp",
            (None, false) => "udp",
        };
        let port = gateway.tls.as_ref().map_or(sip_port, |tls| tls.port);
        let proxy = Some(SocketAddr::from(([127, 0, 0, 1], port)));
        let desk = Baresip::start("2041", &baresip::Options { tone: 700, proxy, ..desk }).unwrap();
        let options = gateway::Options {
            trunk: gateway.trunk.or(Some(desk.address)),
            transport: transport.into(),
            aliases: vec![("2700".into(), "rosa".into())],
            sip_port,
            more: gateway.more.replace("{server}", &format!("127.0.0.1:{}", server.component_port)),
            ..gateway
        };
        let gateway = Gateway::start(&server, &options).unwrap();
        let rosa = Phone::start(&server, "rosa", &phone::Options { tone: ROSA_TONE, ..rosa }).unwrap();
        Rig { desk, rosa, gateway, server }
    }

    /// The desk phone calls, rosa answers; both are in the call.
    pub fn desk_calls(&mut self, uri: &str) {
        self.desk.dial(uri).unwrap();
        self.ringing("propose");
        self.rosa.accept().unwrap();
        self.see("established at the desk", |rig| rig.desk.expect("CALL_ESTABLISHED", SOON).map(drop));
    }

    /// Rosa calls, the desk phone answers; both are in the call.
    pub fn rosa_calls(&mut self, jmi: bool) {
        self.rosa.call(&Gateway::jid_of("2041"), jmi).unwrap();
        self.see("incoming at the desk", |rig| rig.desk.expect("CALL_INCOMING", SOON).map(drop));
        self.see("ringing at rosa", |rig| rig.rosa.expect("ringing", SOON).map(drop));
        self.desk.answer().unwrap();
        self.see("established at the desk", |rig| rig.desk.expect("CALL_ESTABLISHED", SOON).map(drop));
    }

    pub fn ringing(&mut self, event: &str) {
        self.see("ringing at rosa", |rig| rig.rosa.expect(event, SOON).map(drop));
        self.see("ringing at the desk", |rig| rig.desk.expect("CALL_RINGING", SOON).map(drop));
    }

    /// Sound both ways, in this codec on the Jingle side.
    pub fn talk(&mut self, codec: &str) {
        self.see("media", |rig| {
            let connected = rig.rosa.expect("connected", SOON)?;
            anyhow::ensure!(connected.text("codec").eq_ignore_ascii_case(codec), "{connected:?}");
            Ok(())
        });
        self.sound();
    }

    /// How media is spoken on the desk's leg of the call that goes on.
    pub fn spoken(&mut self, profile: &str) {
        self.see("the profile", |rig| {
            let told = rig.gateway.ask("/calls")?;
            let calls = told["calls"].as_array().into_iter().flatten();
            let legs =
                calls.filter(|call| call["state"] == "active").flat_map(|call| call["legs"].as_array());
            let sip: Vec<_> = legs.flatten().filter(|leg| leg["protocol"] == "sip").collect();
            anyhow::ensure!(sip.len() == 1 && sip[0]["profile"] == profile, "{sip:?}");
            Ok(())
        });
    }

    /// Each hears the other now.
    pub fn sound(&mut self) {
        self.see("sound", |rig| {
            rig.rosa.hears(DESK_TONE, 1.0, SOON)?;
            rig.desk.hears(ROSA_TONE, 1.0, SOON).map(drop)
        });
    }

    /// The desk phone hangs up and rosa knows.
    pub fn desk_hangs_up(&mut self) {
        self.desk.hang_up().unwrap();
        self.see("the end at rosa", |rig| {
            let ended = rig.rosa.expect("ended", PROMPT)?;
            anyhow::ensure!(ended.text("by") == "peer" && ended.text("reason") == "success", "{ended:?}");
            Ok(())
        });
        self.figures();
    }

    /// Rosa hangs up and the desk phone knows.
    pub fn rosa_hangs_up(&mut self) {
        self.rosa.hang_up().unwrap();
        self.see("the end at the desk", |rig| rig.desk.expect("CALL_CLOSED", PROMPT).map(drop));
        self.see("the end at rosa", |rig| rig.rosa.expect("ended", SOON).map(drop));
        self.figures();
    }

    /// Packets came on both sides and none were lost on the way to rosa.
    fn figures(&mut self) {
        self.see("figures", |rig| {
            let stats = rig.rosa.expect("stats", SOON)?;
            anyhow::ensure!(stats.number("packets") > 40.0 && stats.number("lost") == 0.0, "{stats:?}");
            let packets = rig.desk.packets(SOON)?;
            anyhow::ensure!(packets.received > 40 && packets.lost.unwrap_or(0) == 0, "{packets:?}");
            Ok(())
        });
    }

    /// Does a step; a failure shows what the gateway said meanwhile.
    pub fn see(&mut self, what: &str, step: impl FnOnce(&mut Rig) -> anyhow::Result<()>) {
        if let Err(error) = step(self) {
            panic!("{what}: {error:#}\n\n{:#}", self.gateway.failure("was there"));
        }
    }
}
