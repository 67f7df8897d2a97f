//! A server, a cluster, a SIP phone and a Jingle client, started for one test.

use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use testkit::clock::poll;
use testkit::{Authority, Baresip, Cluster, Gateway, Phone, Prosody, baresip, gateway, phone, ports};

/// How long anything may take that should come at once.
pub const SOON: Duration = Duration::from_secs(20);
/// How soon the other end must know of a hang-up.
pub const PROMPT: Duration = Duration::from_secs(5);
/// Tone of the desk phone, Hz.
pub const DESK_TONE: f64 = 700.0;
/// Tone of rosa's client, Hz.
pub const ROSA_TONE: f64 = 440.0;

fn client(server: &Prosody, user: &str, tone: f64) -> Phone {
    Phone::start(server, user, &phone::Options { tone, ..Default::default() }).unwrap()
}

/// Fields end in this order: phones first, then the gateway, then the server.
pub struct Rig {
    pub desk: Baresip,
    pub rosa: Phone,
    pub cluster: Cluster,
    server: Prosody,
}

impl Rig {
    pub fn new(more: &str) -> Rig {
        Rig::with(more, 2)
    }

    /// With so many instances of each service.
    pub fn with(more: &str, each: usize) -> Rig {
        Rig::speaking("", gateway::Options { more: more.into(), ..Default::default() }, each)
    }

    /// File that a held party hears.
    pub fn with_music(music: std::path::PathBuf) -> Rig {
        Rig::speaking("", gateway::Options { music: Some(music), ..Default::default() }, 2)
    }

    /// The desk phone speaks SRTP under keys of signalling, and nothing else.
    pub fn secure(each: usize) -> Rig {
        let options = gateway::Options { srtp: "required".into(), ..Default::default() };
        Rig::speaking("srtp-mand", options, each)
    }

    /// Instances have certificates of an authority.
    pub fn certified(authority: &Authority, each: usize) -> Rig {
        let own = authority.sign("instance", &["rtp-relay"]).unwrap();
        let cluster = format!(
            "ca_file = {:?}\ncertificate_file = {:?}\nkey_file = {:?}",
            authority.certificate(),
            own.certificate,
            own.key
        );
        Rig::speaking("", gateway::Options { cluster, ..Default::default() }, each)
    }

    fn speaking(encryption: &str, options: gateway::Options, each: usize) -> Rig {
        let server = Prosody::start(&["rosa", "nils"]).unwrap();
        let sip_port = ports::one();
        let proxy = Some(SocketAddr::from(([127, 0, 0, 1], sip_port)));
        let codecs = "pcmu,pcma".into();
        let encryption = encryption.into();
        let spoken = baresip::Options { tone: 700, proxy, codecs, encryption, ..Default::default() };
        let desk = Baresip::start("2041", &spoken).unwrap();
        let options = gateway::Options {
            trunk: Some(desk.address),
            aliases: vec![("2700".into(), "rosa".into()), ("2701".into(), "nils".into())],
            sip_port,
            ..options
        };
        let cluster = Cluster::start(&server, &options, each).unwrap();
        let rosa = client(&server, "rosa", ROSA_TONE);
        Rig { desk, rosa, cluster, server }
    }

    /// Another client, that plays this tone.
    pub fn client(&self, user: &str, tone: f64) -> Phone {
        client(&self.server, user, tone)
    }

    /// The desk phone calls, rosa answers; both hear the other.
    pub fn desk_calls(&mut self) -> String {
        self.desk.dial(&Gateway::uri_of("rosa")).unwrap();
        self.see("ringing at rosa", |rig| rig.rosa.expect("propose", SOON).map(drop));
        self.see("ringing at the desk", |rig| rig.desk.expect("CALL_RINGING", SOON).map(drop));
        self.rosa.accept().unwrap();
        self.see("established at the desk", |rig| rig.desk.expect("CALL_ESTABLISHED", SOON).map(drop));
        self.sound();
        self.call()
    }

    /// Rosa calls, the desk phone answers; both hear the other.
    pub fn rosa_calls(&mut self) -> String {
        self.rosa.call(&Gateway::jid_of("2041"), true).unwrap();
        self.see("incoming at the desk", |rig| rig.desk.expect("CALL_INCOMING", SOON).map(drop));
        self.desk.answer().unwrap();
        self.see("established at the desk", |rig| rig.desk.expect("CALL_ESTABLISHED", SOON).map(drop));
        self.sound();
        self.call()
    }

    /// Each hears the other now.
    pub fn sound(&mut self) {
        self.see("sound", |rig| {
            rig.rosa.hears(DESK_TONE, 1.0, SOON)?;
            rig.desk.hears(ROSA_TONE, 1.0, SOON).map(drop)
        });
    }

    /// The id of the one call that is active.
    pub fn call(&mut self) -> String {
        self.one("active").unwrap_or_else(|calls| panic!("{calls:#}"))
    }

    /// The id of the one call that rings: phones hear of it a moment before the store.
    pub fn ringing(&mut self) -> String {
        poll(SOON, || self.one("ringing").ok()).expect("one call that rings")
    }

    /// The id of the one call in this state; all calls if there is not exactly one.
    fn one(&mut self, state: &str) -> Result<String, Value> {
        let calls = self.cluster.ask("/calls").unwrap();
        let found: Vec<&Value> =
            calls["calls"].as_array().unwrap().iter().filter(|call| call["state"] == state).collect();
        let [call] = found[..] else { return Err(calls) };
        Ok(call["id"].as_str().unwrap().to_owned())
    }

    /// The edge that a leg of the call was last served by.
    pub fn edge(&mut self, call: &str, protocol: &str) -> String {
        let call = self.cluster.ask(&format!("/calls/{call}")).unwrap();
        let legs = call["legs"].as_array().unwrap();
        let leg = legs.iter().find(|leg| leg["protocol"] == protocol).unwrap();
        leg["edge"].as_str().unwrap().to_owned()
    }

    /// The relay that carries the call.
    pub fn relay(&mut self, call: &str) -> String {
        let call = self.cluster.ask(&format!("/calls/{call}")).unwrap();
        call["relay"].as_str().unwrap().to_owned()
    }

    /// The desk's media is under keys of signalling.
    pub fn sealed(&mut self, call: &str) {
        let call = self.cluster.ask(&format!("/calls/{call}")).unwrap();
        let ends = call["media"].as_array().unwrap();
        let sealed = ends.iter().any(|end| end["form"] == "sdes" && end["security"] != "");
        assert!(sealed, "{call:#}");
    }

    /// Waits until another relay than this one carries the call.
    pub fn moved(&mut self, call: &str, from: &str) -> anyhow::Result<()> {
        let until = runtime::clock::instant() + SOON;
        while runtime::clock::instant() < until {
            let shown = self.cluster.ask(&format!("/calls/{call}"))?;
            if shown["relay"].as_str().is_some_and(|relay| relay != from) {
                return Ok(());
            }
            anyhow::ensure!(shown["state"] == "active", "{shown:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
        anyhow::bail!("it is still at {from}")
    }

    /// Each hears the other again within this time.
    pub fn heard_within(&mut self, within: Duration) -> anyhow::Result<()> {
        std::thread::sleep(within);
        self.rosa.hears(DESK_TONE, 0.5, within)?;
        self.desk.hears(ROSA_TONE, 0.5, within).map(drop)
    }

    /// No relay holds a session any more.
    pub fn released(&mut self) {
        let mut last = Value::Null;
        for _ in 0..100 {
            last = self.cluster.ask("/instances").unwrap();
            let relays =
                last["instances"].as_array().unwrap().iter().filter(|card| card["kind"] == "rtp-relay");
            if relays.map(|card| card["load"].as_u64().unwrap()).sum::<u64>() == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("a relay still holds a session: {last:#}");
    }

    /// Does a step; a failure shows what the gateway said meanwhile.
    pub fn see(&mut self, what: &str, step: impl FnOnce(&mut Rig) -> anyhow::Result<()>) {
        if let Err(error) = step(self) {
            panic!("{what}: {error:#}\n\n{:#}", self.cluster.failure("was there"));
        }
    }
}
