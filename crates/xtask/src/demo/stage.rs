//! Programs of the demo: an XMPP server, the gateway, a SIP phone, a Jingle client.

use anyhow::{Result, bail};
use std::time::Duration;
use testkit::prosody::{self, SECRET};
use testkit::{Baresip, Gateway, Phone, Prosody, baresip, clock, gateway, interrupt, phone};

/// The desk phone's number.
pub const DESK: &str = "2041";
/// Tone that the desk phone sends, Hz.
pub const DESK_TONE: f64 = 700.0;
/// Tone that rosa's client sends, Hz.
pub const ROSA_TONE: f64 = 440.0;
/// Number of the second phone, at an exchange of its own.
pub const KARL: &str = "2042";
/// Tone that the second phone sends, Hz.
pub const KARL_TONE: f64 = 1_000.0;
/// Host of that exchange.
pub const EXCHANGE: &str = "localhost";
/// Tone that the voicemail box sends, Hz.
pub const BOX_TONE: f64 = 600.0;
/// How long either lets it ring.
pub const RING: Duration = Duration::from_millis(800);

/// Everything that runs. Fields end in this order.
pub struct Stage {
    /// baresip.
    pub desk: Baresip,
    /// Second phone, which answers by itself.
    pub karl: Baresip,
    /// Voicemail box: a phone that answers by itself.
    pub voicemail: Baresip,
    /// The Jingle phone.
    pub rosa: Phone,
    gateway: Gateway,
    server: Prosody,
    began: u64,
}

impl Stage {
    /// Starts everybody on these ports for SIP, XMPP and admin; 0 = a free one.
    pub fn set([sip_port, xmpp_port, admin_port]: [u16; 3], began: u64) -> Result<Stage> {
        tell(began, "starting Prosody, an XMPP server");
        let server = Prosody::with(&prosody::Options {
            users: vec!["rosa".into(), "juliet".into()],
            components: [prosody::COMPONENT, &domain("exchange"), &domain("voicemail")]
                .map(str::to_owned)
                .into(),
            port: xmpp_port,
            tls: true,
            ..prosody::Options::default()
        })?;
        tell(began, "starting baresip three times: a desk phone, a second phone, a voicemail box");
        let mut options =
            baresip::Options { codecs: "pcmu,opus/48000/2".into(), tone: 700, ..Default::default() };
        // The phone wants to know the gateway's port, and the gateway the phone's.
        let sip_port = if sip_port == 0 { testkit::ports::one() } else { sip_port };
        options.proxy = Some(([127, 0, 0, 1], sip_port).into());
        let desk = Baresip::start(DESK, &options)?;
        let answering = |tone| baresip::Options { tone, auto: true, ..options.clone() };
        let karl = Baresip::start(KARL, &answering(1_000))?;
        let voicemail = Baresip::start("600", &answering(600))?;
        tell(began, "starting tandem: all four services in one process, bus and store inside");
        let serves = gateway::Options {
            trunk: Some(desk.address),
            aliases: vec![("2700".into(), "rosa".into()), ("2701".into(), "juliet".into())],
            sip_port,
            admin_port,
            more: further_trunk("exchange", EXCHANGE, &karl, server.component_port)
                + &further_trunk("voicemail", "127.0.0.1", &voicemail, server.component_port)
                + &format!("\n[call]\nvoicemail = \"600@{}\"\n", domain("voicemail")),
            ..Default::default()
        };
        let gateway = Gateway::start(&server, &serves)?;
        tell(began, "starting the Jingle client of rosa@example.net (slixmpp and aiortc)");
        let rosa = Phone::start(
            &server,
            "rosa",
            &phone::Options { tone: ROSA_TONE, auto: Some(RING), ..Default::default() },
        )?;
        Ok(Stage { desk, karl, voicemail, rosa, gateway, server, began })
    }

    /// Tells the person in front of it what happens now.
    pub fn say(&self, what: &str) {
        tell(self.began, what);
    }

    /// Phones beside the desk phone, by the name that they have in a ladder.
    pub fn further_phones(&self) -> [(&'static str, &Baresip); 2] {
        [(KARL, &self.karl), ("voicemail", &self.voicemail)]
    }

    /// Stays until Ctrl-C, and says how to join.
    pub fn keep(&mut self) -> Result<()> {
        let (sip, admin, xmpp) = (self.gateway.sip, self.gateway.admin, self.server.port);
        println!(
            "
Everything keeps running; Ctrl-C ends it all.

  Your SIP phone     no registration; outbound proxy {sip} (UDP or TCP), any user name
                     call sip:rosa@{domain} (or 2700): she answers by herself and sends {ROSA_TONE} Hz
                     call sip:juliet@{domain} (or 2701) to reach your own XMPP client
  Your XMPP client   account juliet@{users}, password {password}, server 127.0.0.1 port {xmpp}
                     (its certificate is self-made: tell your client to trust it)
                     call {DESK}@{component}: the desk phone picks up by itself and sends {DESK_TONE} Hz
                     call {KARL}@{exchange}: the second phone; write \"help\" to {component}: phone services
  Calls              curl http://{admin}/calls
  Metrics, health    curl http://{admin}/metrics   curl http://{admin}/readyz
  Configuration      {config}
",
            domain = gateway::SIP_DOMAIN,
            users = prosody::DOMAIN,
            component = prosody::COMPONENT,
            exchange = domain("exchange"),
            password = Prosody::password("juliet"),
            config = self.gateway.config().display(),
        );
        while !interrupt::happened() {
            let programs = [
                ("Prosody", self.server.program().running()),
                ("tandem", self.gateway.program().running()),
                ("the desk phone", self.desk.program().running()),
                ("the second phone", self.karl.program().running()),
                ("the voicemail box", self.voicemail.program().running()),
                ("rosa's client", self.rosa.program().running()),
            ];
            if let Some((gone, _)) = programs.iter().find(|(_, running)| !running)
                && !interrupt::happened()
            {
                bail!("{gone} has ended by itself; run `cargo xtask demo --keep` again");
            }
            if self.desk.expect("CALL_INCOMING", Duration::from_millis(100)).is_ok() {
                self.say("the desk phone rings and answers");
                std::thread::sleep(RING);
                // The caller may have given up meanwhile.
                let _ = self.desk.answer();
            }
        }
        Ok(())
    }
}

/// Component domain of a further trunk.
fn domain(trunk: &str) -> String {
    format!("{trunk}.{}", prosody::COMPONENT)
}

/// Sections of a further trunk with a component domain of its own.
fn further_trunk(name: &str, host: &str, phone: &Baresip, component_port: u16) -> String {
    let (domain, users) = (domain(name), prosody::DOMAIN);
    format!(
        "\n[[xmpp.component]]\ndomain = \"{domain}\"\nserver = \"127.0.0.1:{component_port}\"\nsecret = \"{SECRET}\"\n\
         users = \"{users}\"\n\n[[trunk]]\nname = \"{name}\"\nuri = \"sip:{host}:{}\"\ndomain = \"{domain}\"\n",
        phone.address.port()
    )
}

fn tell(began: u64, what: &str) {
    let seconds = clock::now_ms().saturating_sub(began) as f64 / 1000.0;
    eprintln!("[{seconds:5.1} s] {what}");
}
