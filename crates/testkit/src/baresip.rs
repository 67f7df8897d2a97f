//! A SIP phone: baresip with a sine tone for a microphone, a recorder for an ear and its TCP control port.

use crate::clock::{now_ms, poll};
use crate::ladder::{self, Step};
use crate::log::{Log, Stream};
use crate::tone::{Heard, Wav};
use crate::{Program, ports};
use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// The largest control message that is read.
const MESSAGE: usize = 256 * 1024;

/// How a phone behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Codecs in order of preference, as baresip writes them: `pcmu`, `pcma`, `opus/48000/2`.
    pub codecs: String,
    /// The tone that it sends, in Hz.
    pub tone: u32,
    /// Answers by itself.
    pub auto: bool,
    /// Where requests go that it makes.
    pub proxy: Option<SocketAddr>,
    /// SIP over TCP.
    pub tcp: bool,
    /// SIP over TLS: PEM file with a certificate and its key.
    pub tls: Option<PathBuf>,
    /// `srtp-mand`, `srtp`, `dtls_srtp`; empty = plain RTP.
    pub encryption: String,
    /// ICE, and RTCP on the port of RTP.
    pub ice: bool,
    /// Address for media.
    pub media: Ipv4Addr,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            codecs: "pcmu,pcma".into(),
            tone: 700,
            auto: false,
            proxy: None,
            tcp: false,
            tls: None,
            encryption: String::new(),
            ice: false,
            media: Ipv4Addr::LOCALHOST,
        }
    }
}

/// One event of the phone, as its control port tells it.
#[derive(Clone, Debug)]
pub struct Event {
    /// `CALL_INCOMING`, `CALL_RINGING`, `CALL_ESTABLISHED`, `CALL_CLOSED`, `CALL_RTCP`…
    pub name: String,
    /// The event as JSON.
    pub facts: Value,
    /// When it was read, in ms since 1970.
    pub at: u64,
    /// Its place among all messages.
    pub number: usize,
}

/// Packets of a call that has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Packets {
    /// Sent.
    pub sent: u64,
    /// Received.
    pub received: u64,
    /// Lost on the way here; `None` while no sender report has come to compare with (one comes every 5 s).
    pub lost: Option<i64>,
    /// Jitter in ms; as `lost`.
    pub jitter: Option<f64>,
}

/// A running phone.
pub struct Baresip {
    program: Program,
    _directory: TempDir,
    control: TcpStream,
    messages: Arc<Log>,
    next: usize,
    counted: usize,
    token: u32,
    /// Its user name.
    pub user: String,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Baresip {
    /// Starts a phone of that user name.
    ///
    /// # Errors
    /// baresip is not installed or does not come up.
    pub fn start(user: &str, options: &Options) -> Result<Baresip> {
        let directory = TempDir::with_prefix("tandem-baresip-")?;
        // It binds the port after its own too (TLS).
        let (port, control, media) = (ports::block(2), ports::one(), ports::block(40));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let config = configuration(directory.path(), port, control, media, options);
        std::fs::write(directory.path().join("config"), config)?;
        std::fs::write(directory.path().join("accounts"), account(user, port, options))?;
        std::fs::create_dir(directory.path().join("heard"))?;
        let mut command = Command::new("baresip");
        command.arg("-s").arg("-f").arg(directory.path()).current_dir(directory.path());
        let program = Program::start(&format!("baresip {user}"), command)?;
        program.expect(0, "baresip is ready", Duration::from_secs(20))?;
        let connected =
            poll(Duration::from_secs(5), || TcpStream::connect((Ipv4Addr::LOCALHOST, control)).ok());
        let control = connected.with_context(|| program.failure("opens no control port"))?;
        let messages = Arc::new(Log::default());
        let (log, reading) = (Arc::clone(&messages), control.try_clone()?);
        std::thread::spawn(move || {
            read_messages(reading, &log);
            log.end();
        });
        let user = user.to_owned();
        let address = if options.tls.is_some() { SocketAddr::new(address.ip(), port + 1) } else { address };
        Ok(Baresip {
            program,
            _directory: directory,
            control,
            messages,
            next: 0,
            counted: 0,
            token: 0,
            user,
            address,
        })
    }

    /// Its SIP address.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("sip:{}@{}", self.user, self.address)
    }

    /// The program.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    /// Sends a command such as `dial`, `accept`, `hangup`, `hold`, `resume`, and waits for its answer.
    ///
    /// # Errors
    /// The phone has gone or refuses.
    pub fn order(&mut self, command: &str, parameters: &str) -> Result<()> {
        self.token += 1;
        let token = self.token.to_string();
        let from = self.messages.mark();
        let message = json!({"command": command, "params": parameters, "token": token}).to_string();
        let netstring = format!("{}:{message},", message.len());
        self.control
            .write_all(netstring.as_bytes())
            .map_err(|e| self.failure(&format!("takes no order: {e}")))?;
        let answer = self.messages.find(from, Duration::from_secs(5), |line| {
            let answer: Value = serde_json::from_str(&line.text).ok()?;
            (answer.get("token").and_then(Value::as_str) == Some(token.as_str())).then_some(answer)
        });
        let answer = answer.ok_or_else(|| self.failure(&format!("does not answer {command}")))?;
        ensure!(answer["ok"] == true, self.failure(&format!("refuses {command} {parameters}: {answer}")));
        Ok(())
    }

    /// Calls a SIP URI.
    ///
    /// # Errors
    /// The phone has gone or refuses.
    pub fn dial(&mut self, uri: &str) -> Result<()> {
        self.order("dial", uri)
    }

    /// Answers the call that rings.
    ///
    /// # Errors
    /// The phone has gone or refuses.
    pub fn answer(&mut self) -> Result<()> {
        self.order("accept", "")
    }

    /// Hangs up, cancels or declines.
    ///
    /// # Errors
    /// The phone has gone or refuses.
    pub fn hang_up(&mut self) -> Result<()> {
        self.order("hangup", "")
    }

    /// Presses a key (`0`-`9`, `*`, `#`) during a call.
    ///
    /// # Errors
    /// The phone has gone.
    pub fn press(&mut self, key: char) -> Result<()> {
        self.program.write(&key.to_string())
    }

    /// The next event of this name after the last one that was waited for.
    ///
    /// # Errors
    /// None came in time.
    pub fn expect(&mut self, name: &str, within: Duration) -> Result<Event> {
        let found = self.messages.find(self.next, within, |line| event(line).filter(|e| e.name == name));
        let found = found.ok_or_else(|| self.failure(&format!("had no {name} within {within:?}")))?;
        self.next = found.number + 1;
        Ok(found)
    }

    /// All its events so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.messages.since(0).iter().filter_map(event).collect()
    }

    /// The SIP messages that it sent and got so far.
    #[must_use]
    pub fn trace(&self) -> Vec<Step> {
        ladder::sip(&self.program.log().since(0), &self.address.to_string())
    }

    /// The newest recording of what it hears in the call that goes on.
    #[must_use]
    pub fn recording(&self) -> Option<PathBuf> {
        let lines = self.program.log().since(0);
        lines.iter().rev().find_map(|line| {
            let path = line.text.strip_prefix("sndfile: dumping decode audio to ").map(PathBuf::from);
            // What lies before the end of a call belongs to that call.
            (path.is_some() || line.text.contains(" terminated (duration")).then_some(path)
        })?
    }

    /// Waits until it has heard the tone `hz` for `seconds` just now.
    ///
    /// # Errors
    /// The phone did not.
    pub fn hears(&mut self, hz: f64, seconds: f64, within: Duration) -> Result<Heard> {
        let mut last = None;
        let heard = poll(within, || {
            let wav = self.recording().and_then(|path| Wav::read(&path).ok())?;
            last = wav.end(seconds).or(last);
            last.filter(|heard| heard.is(hz))
        });
        heard.ok_or_else(|| self.failure(&format!("does not hear {hz} Hz but {last:?}")))
    }

    /// How much of the call that goes on it has recorded by now.
    ///
    /// # Errors
    /// Nothing is recorded.
    pub fn recorded(&self) -> Result<Recorded> {
        let path = self.recording().with_context(|| self.failure("records nothing"))?;
        let wav = Wav::read(&path)?;
        let seconds = wav.samples.len() as f64 / f64::from(wav.rate);
        Ok(Recorded { at: Duration::from_millis(now_ms()), length: Duration::from_secs_f64(seconds) })
    }

    /// Sound that did not arrive since: it records what comes and no silence in place of what does not.
    ///
    /// # Errors
    /// Nothing is recorded.
    pub fn missed(&self, since: Recorded) -> Result<Duration> {
        let now = self.recorded()?;
        let (passed, came) = (now.at.saturating_sub(since.at), now.length.saturating_sub(since.length));
        Ok(passed.saturating_sub(came))
    }

    /// Outcome of the next established call that has ended and was not asked about yet.
    ///
    /// # Errors
    /// None has ended in time.
    pub fn packets(&mut self, within: Duration) -> Result<Packets> {
        // "packets:            176          175", printed a moment after the call's last event
        let found = self.program.log().find(self.counted, within, |line| {
            let mut numbers = line.text.strip_prefix("packets:")?.split_whitespace().map(str::parse);
            Some((line.number, numbers.next()?.ok()?, numbers.next()?.ok()?))
        });
        let (number, sent, received) =
            found.with_context(|| self.failure(&format!("gave no figures within {within:?}")))?;
        self.counted = number + 1;
        let mut packets = Packets { sent, received, ..Packets::default() };
        for event in self.events().iter().filter(|e| e.name == "CALL_RTCP") {
            let received = &event.facts["rtcp_stats"]["rx"];
            if received["sent"].as_u64().is_some_and(|sent| sent > 0) {
                packets.lost = received["lost"].as_i64();
                packets.jitter = received["jit"].as_f64().map(|us| us / 1000.0);
            }
        }
        Ok(packets)
    }

    fn failure(&self, what: &str) -> anyhow::Error {
        anyhow!("{:#}\nits last messages:\n{}", self.program.failure(what), self.messages.tail(12))
    }
}

fn event(line: &crate::log::Line) -> Option<Event> {
    let facts: Value = serde_json::from_str(&line.text).ok()?;
    let name = facts.get("type")?.as_str()?.to_owned();
    Some(Event { name, facts, at: line.at, number: line.number })
}

/// How long a recording was at a moment (since 1970).
#[derive(Clone, Copy, Debug)]
pub struct Recorded {
    at: Duration,
    length: Duration,
}

/// Netstrings (`length:octets,`) from the control port into the log, one line each.
fn read_messages(mut source: impl Read, log: &Log) {
    let (mut held, mut chunk) = (Vec::new(), [0u8; 8192]);
    while let Ok(count @ 1..) = source.read(&mut chunk) {
        held.extend(chunk.iter().take(count));
        while let Some(colon) = held.iter().position(|b| *b == b':') {
            let length =
                held.get(..colon).and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| d.parse().ok());
            let Some(length @ 0..=MESSAGE) = length else { return };
            let Some(message) = held.get(colon + 1..colon + 1 + length) else { break };
            let text = String::from_utf8_lossy(message).into_owned();
            log.push(Stream::Out, text);
            held.drain(..(colon + 2 + length).min(held.len()));
        }
    }
}

fn account(user: &str, port: u16, options: &Options) -> String {
    let mut out = format!("<sip:{user}@127.0.0.1:{port}>;regint=0;audio_codecs={}", options.codecs);
    let transport = match (&options.tls, options.tcp) {
        (Some(_), _) => "tls",
        (None, true) => "tcp",
        (None, false) => "udp",
    };
    if let Some(proxy) = options.proxy {
        out += &format!(";outbound=\"sip:{proxy};transport={transport}\"");
    }
    if options.auto {
        out += ";answermode=auto";
    }
    if !options.encryption.is_empty() {
        out += &format!(";mediaenc={}", options.encryption);
    }
    if options.ice {
        out += ";medianat=ice";
    }
    out + "\n"
}

fn configuration(directory: &Path, port: u16, control: u16, media: u16, options: &Options) -> String {
    let at = directory.display();
    let last = media + 38;
    let (tone, interface, mux) = (options.tone, options.media, if options.ice { "yes" } else { "no" });
    let certificate = options.tls.as_ref();
    let certificate =
        certificate.map_or_else(String::new, |file| format!("sip_certificate {}\n", file.display()));
    // The sine source gives 48 kHz stereo alone, so baresip is told to convert it to what the codec needs.
    format!(
        "{certificate}poll_method epoll
sip_listen 127.0.0.1:{port}
net_interface {interface}
rtp_ports {media}-{last}
rtcp_mux {mux}
call_local_timeout 120
call_max_calls 200
statmode_default off
audio_source ausine,{tone}
audio_player aubridge,nil
audio_alert aubridge,nil
ausrc_srate 48000
ausrc_channels 2
audio_level no
jitter_buffer_delay 1-5
rtp_stats yes
snd_path {at}/heard
ctrl_tcp_listen 127.0.0.1:{control}
module_path {}
module stdio.so
module g711.so
module g722.so
module opus.so
module ausine.so
module aubridge.so
module sndfile.so
module srtp.so
module dtls_srtp.so
module ice.so
module_app account.so
module_app menu.so
module_app ctrl_tcp.so
module_app rtcpsummary.so
",
        modules().display()
    )
}

/// Where Debian keeps the modules.
fn modules() -> PathBuf {
    let known = ["/usr/lib/baresip/modules", "/usr/local/lib/baresip/modules"];
    let found = known.iter().map(PathBuf::from).find(|path| path.exists());
    found.unwrap_or_else(|| PathBuf::from("/usr/lib/baresip/modules"))
}
