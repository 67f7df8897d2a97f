//! Third act of the demo: a call that is held and transferred, and one that nobody answers.

use super::SOON;
use super::report::Report;
use super::stage::{self, BOX_TONE, DESK_TONE, EXCHANGE, KARL, KARL_TONE, ROSA_TONE, Stage};
use anyhow::{Context, Result};
use std::time::Duration;
use testkit::{Gateway, clock, prosody};

/// How long a person takes from one key to the next.
const MOMENT: Duration = Duration::from_millis(1_000);

/// The desk phone calls rosa, holds her, goes on, and transfers her to a second phone at another exchange.
pub fn desk_transfers_rosa(stage: &mut Stage) -> Result<Report> {
    stage.say("call 3: the desk phone calls rosa, holds her, and gives her to a second phone");
    let mut report = Report::begin("Call 3: hold, and a transfer to a second phone", stage);
    stage.desk.dial(&Gateway::uri_of("rosa"))?;
    report.note(stage.rosa.expect("propose", SOON)?.at, "rosa's client rings");
    report.answered = Some(stage.desk.expect("CALL_ESTABLISHED", SOON)?.at);
    report.codec = stage.rosa.expect("connected", SOON)?.text("codec").to_owned();
    stage.rosa.hears(DESK_TONE, 0.5, SOON)?;
    stage.desk.order("hold", "")?;
    report.note(stage.rosa.expect("hold", SOON)?.at, "rosa is held");
    std::thread::sleep(MOMENT);
    stage.desk.order("resume", "")?;
    report.note(stage.rosa.expect("unhold", SOON)?.at, "rosa is held no more");
    std::thread::sleep(MOMENT);
    stage.rosa.hears(DESK_TONE, 0.5, SOON)?;
    stage.say("the desk phone transfers rosa");
    stage.desk.order("transfer", &format!("sip:{KARL}@{EXCHANGE}"))?;
    let up = stage.karl.expect("CALL_ESTABLISHED", SOON)?;
    report.note(up.at, "the second phone has answered");
    report.note(stage.desk.expect("CALL_CLOSED", SOON)?.at, "the desk phone is let go");
    report.hears("rosa", stage.rosa.hears(KARL_TONE, 1.0, SOON)?.number("hz"), KARL_TONE);
    report.hears("second phone", stage.karl.hears(ROSA_TONE, 1.0, SOON)?.hz, ROSA_TONE);
    stage.karl.hang_up()?;
    let ended = stage.rosa.expect("ended", SOON)?;
    report.note(ended.at, &format!("rosa's client: the call has ended ({})", ended.text("reason")));
    stage.rosa.expect("stats", SOON)?;
    stage.desk.packets(SOON)?;
    report.take_traces(stage);
    // Let the last words of this call pass before the next begins.
    std::thread::sleep(MOMENT);
    Ok(report)
}

/// Rosa sets a forward to voicemail and does not answer.
pub fn nobody_answers(stage: &mut Stage) -> Result<Report> {
    stage.say("call 4: the desk phone calls rosa, who lets it ring; her forward leads to voicemail");
    let mut report = Report::begin("Call 4: nobody answers, and the caller reaches voicemail", stage);
    stage.rosa.answer_after(None)?;
    order(stage, &mut report, "forward no answer to voicemail after 5", "not answered")?;
    stage.desk.dial(&Gateway::uri_of("rosa"))?;
    report.note(stage.rosa.expect("propose", SOON)?.at, "rosa's client rings");
    let up = stage.desk.expect("CALL_ESTABLISHED", SOON)?;
    report.answered = Some(up.at);
    report.note(up.at, "voicemail has answered");
    stage.say("voicemail answers; listening for the tones");
    report.hears("desk phone", stage.desk.hears(BOX_TONE, 1.0, SOON)?.hz, BOX_TONE);
    report.hears("voicemail", stage.voicemail.hears(DESK_TONE, 1.0, SOON)?.hz, DESK_TONE);
    stage.desk.hang_up()?;
    report.note(stage.voicemail.expect("CALL_CLOSED", SOON)?.at, "the message is left");
    order(stage, &mut report, "forward off", "not answered")?;
    stage.rosa.answer_after(Some(stage::RING))?;
    report.take_traces(stage);
    Ok(report)
}

/// Writes words to the gateway as rosa does, and shows the line of its answer with this phrase.
fn order(stage: &mut Stage, report: &mut Report, words: &str, phrase: &str) -> Result<()> {
    report.note(clock::now_ms(), &format!("rosa writes to {}: {words}", prosody::COMPONENT));
    stage.rosa.say(prosody::COMPONENT, words)?;
    let said = stage.rosa.expect("said", SOON)?;
    let body = said.text("body");
    let answer = body.lines().find(|line| line.contains(phrase)).map(str::to_owned);
    let answer = answer.with_context(|| format!("the gateway answers rosa's words with {body:?}"))?;
    report.note(said.at, &format!("the gateway answers: {answer}"));
    Ok(())
}
