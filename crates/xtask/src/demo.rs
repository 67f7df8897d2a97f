//! `cargo xtask demo`: a real SIP phone and a real Jingle client call each other through the gateway, and use phone services.
//!
//! One rule: nothing is played. What is printed was said on the wire by programs that know nothing of each other, and the
//! sound is recognised at the far ends. Start at [`Demo::run`].

mod report;
mod services;
mod stage;

use anyhow::{Result, bail, ensure};
use report::Report;
use stage::Stage;
use std::time::Duration;
use testkit::{clock, interrupt};

/// How long each call lasts: receivers get their first reports after five seconds.
const TALK: Duration = Duration::from_secs(6);
/// How long anything may take.
const SOON: Duration = Duration::from_secs(15);

/// Switches of the demo.
#[derive(clap::Args)]
pub struct Demo {
    /// Leave everything running and say how to connect your own SIP phone and XMPP client
    #[arg(long)]
    keep: bool,
    /// Port for SIP on 127.0.0.1 [default: a free one; 5060 with --keep]
    #[arg(long, value_name = "PORT")]
    sip_port: Option<u16>,
    /// Port for XMPP clients on 127.0.0.1 [default: a free one; 5222 with --keep]
    #[arg(long, value_name = "PORT")]
    xmpp_port: Option<u16>,
    /// Port for the admin API on 127.0.0.1 [default: a free one; 8080 with --keep]
    #[arg(long, value_name = "PORT")]
    admin_port: Option<u16>,
}

impl Demo {
    /// Installs, builds, starts, calls both ways, reports.
    ///
    /// # Errors
    /// The step that failed and the remedy, in one line where the machine is at fault.
    pub fn run(&self) -> Result<()> {
        interrupt::catch();
        let done = self.perform();
        if interrupt::happened() {
            eprintln!("\ninterrupted; everything that was started has ended");
            return if self.keep && done.is_ok() { Ok(()) } else { bail!("interrupted") };
        }
        done
    }

    fn perform(&self) -> Result<()> {
        let ports = [
            self.port("SIP", "--sip-port", self.sip_port, 5060)?,
            self.port("XMPP", "--xmpp-port", self.xmpp_port, 5222)?,
            self.port("the admin API", "--admin-port", self.admin_port, 8080)?,
        ];
        crate::setup::demo()?;
        crate::steps::build_gateway()?;
        let began = clock::now_ms();
        let mut stage = Stage::set(ports, began)?;
        let reports = [
            desk_calls_rosa(&mut stage)?,
            rosa_calls_desk(&mut stage)?,
            services::desk_transfers_rosa(&mut stage)?,
            services::nobody_answers(&mut stage)?,
        ];
        reports.iter().for_each(Report::print);
        ensure!(reports.iter().all(Report::good), "a call was not as it should be: see the figures above");
        println!("\nAll calls went through, and everybody heard the tone of the one they talked to.");
        if self.keep { stage.keep() } else { Ok(()) }
    }

    /// The port to use: the one asked for, the well-known one with `--keep`, else 0 = any.
    fn port(&self, what: &str, switch: &str, wanted: Option<u16>, known: u16) -> Result<u16> {
        let port = wanted.unwrap_or(if self.keep { known } else { 0 });
        ensure!(
            port == 0 || testkit::ports::is_free(port),
            "port {port} of 127.0.0.1 ({what}) is taken by another program: end that program or give {switch} PORT"
        );
        Ok(port)
    }
}

fn desk_calls_rosa(stage: &mut Stage) -> Result<Report> {
    stage.say("call 1: the desk phone calls rosa");
    let mut report = Report::begin("Call 1: desk phone (SIP) calls rosa (Jingle)", stage);
    stage.desk.dial(&testkit::Gateway::uri_of("rosa"))?;
    let propose = stage.rosa.expect("propose", SOON)?;
    report.note(propose.at, "rosa's client rings");
    let up = stage.desk.expect("CALL_ESTABLISHED", SOON)?;
    report.answered = Some(up.at);
    talk(stage, &mut report)?;
    stage.say("the desk phone hangs up");
    stage.desk.hang_up()?;
    let ended = stage.rosa.expect("ended", SOON)?;
    report.note(ended.at, &format!("rosa's client: the call has ended ({})", ended.text("reason")));
    stage.desk.expect("CALL_CLOSED", SOON)?;
    let report = finish(stage, report);
    // Let the last words of this call pass before the next begins.
    std::thread::sleep(Duration::from_millis(300));
    report
}

fn rosa_calls_desk(stage: &mut Stage) -> Result<Report> {
    stage.say("call 2: rosa calls the desk phone");
    let mut report = Report::begin("Call 2: rosa (Jingle) calls desk phone (SIP)", stage);
    stage.rosa.call(&testkit::Gateway::jid_of(stage::DESK), true)?;
    let incoming = stage.desk.expect("CALL_INCOMING", SOON)?;
    report.note(incoming.at, "the desk phone rings");
    std::thread::sleep(stage::RING);
    stage.desk.answer()?;
    let up = stage.rosa.expect("accepted", SOON)?;
    report.answered = Some(up.at);
    talk(stage, &mut report)?;
    stage.say("rosa hangs up");
    stage.rosa.hang_up()?;
    let closed = stage.desk.expect("CALL_CLOSED", SOON)?;
    report.note(closed.at, "the desk phone: the call has ended");
    stage.rosa.expect("ended", SOON)?;
    finish(stage, report)
}

fn talk(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let up = stage.rosa.expect("connected", SOON)?;
    let secured = format!("ICE and DTLS are up: {} ({})", up.text("codec"), up.text("srtp"));
    report.note(up.at, &secured);
    report.codec = up.text("codec").to_owned();
    stage.say("answered; listening for the tones");
    let first = stage.rosa.hears(stage::DESK_TONE, 0.5, SOON)?;
    report.note(first.at, &format!("rosa hears {:.0} Hz, the desk phone's tone", first.number("hz")));
    let heard = stage.desk.hears(stage::ROSA_TONE, 0.5, SOON)?;
    report.note(clock::now_ms(), &format!("the desk phone hears {:.0} Hz, rosa's tone", heard.hz));
    let end = report.answered.unwrap_or(up.at) + u64::try_from(TALK.as_millis())?;
    while clock::now_ms() < end && !interrupt::happened() {
        std::thread::sleep(Duration::from_millis(50));
    }
    // Still, at the end of the call.
    let hz = stage.rosa.hears(stage::DESK_TONE, 1.0, SOON)?.number("hz");
    report.hears("rosa", hz, stage::DESK_TONE);
    report.hears("desk phone", stage.desk.hears(stage::ROSA_TONE, 1.0, SOON)?.hz, stage::ROSA_TONE);
    Ok(())
}

fn finish(stage: &mut Stage, mut report: Report) -> Result<Report> {
    let stats = stage.rosa.expect("stats", SOON)?;
    let packets = stage.desk.packets(SOON)?;
    report.figures(&stats, packets);
    report.take_traces(stage);
    Ok(report)
}
