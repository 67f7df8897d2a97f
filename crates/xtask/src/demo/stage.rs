//! Programs of the demo: an XMPP server, the gateway, a SIP phone, a Jingle client.

use anyhow::{Result, bail};
use std::time::Duration;
use testkit::{Baresip, Gateway, Phone, Prosody, baresip, clock, gateway, interrupt, phone, prosody};

/// The desk phone's number.
pub const DESK: &str = "2041";
/// Tone that the desk phone sends, Hz.
pub const DESK_TONE: f64 = 700.0;
/// Tone that rosa's client sends, Hz.
pub const ROSA_TONE: f64 = 440.0;
/// How long either lets it ring.
pub const RING: Duration = Duration::from_millis(800);

/// Everything that runs. Fields end in this order.
pub struct Stage {
    /// baresip.
    pub desk: Baresip,
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
            components: vec![prosody::COMPONENT.into()],
            port: xmpp_port,
            tls: true,
            ..prosody::Options::default()
        })?;
        tell(began, "starting baresip, a SIP phone");
        let mut options =
            baresip::Options { codecs: "pcmu,opus/48000/2".into(), tone: 700, ..Default::default() };
        // The phone wants to know the gateway's port, and the gateway the phone's.
        let sip_port = if sip_port == 0 { testkit::ports::one() } else { sip_port };
        options.proxy = Some(([127, 0, 0, 1], sip_port).into());
        let desk = Baresip::start(DESK, &options)?;
        tell(began, "starting tandem: all four services in one process, bus and store inside");
        let serves = gateway::Options {
            trunk: Some(desk.address),
            aliases: vec![("2700".into(), "rosa".into()), ("2701".into(), "juliet".into())],
            sip_port,
            admin_port,
            ..Default::default()
        };
        let gateway = Gateway::start(&server, &serves)?;
        tell(began, "starting the Jingle client of rosa@example.net (slixmpp and aiortc)");
        let rosa = Phone::start(
            &server,
            "rosa",
            &phone::Options { tone: ROSA_TONE, auto: Some(RING), ..Default::default() },
        )?;
        Ok(Stage { desk, rosa, gateway, server, began })
    }

    /// Tells the person in front of it what happens now.
    pub fn say(&self, what: &str) {
        tell(self.began, what);
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
  Calls              curl http://{admin}/calls
  Metrics, health    curl http://{admin}/metrics   curl http://{admin}/readyz
  Configuration      {config}
",
            domain = gateway::SIP_DOMAIN,
            users = prosody::DOMAIN,
            component = prosody::COMPONENT,
            password = Prosody::password("juliet"),
            config = self.gateway.config().display(),
        );
        while !interrupt::happened() {
            let programs = [
                ("Prosody", self.server.program().running()),
                ("tandem", self.gateway.program().running()),
                ("baresip", self.desk.program().running()),
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

fn tell(began: u64, what: &str) {
    let seconds = clock::now_ms().saturating_sub(began) as f64 / 1000.0;
    eprintln!("[{seconds:5.1} s] {what}");
}
