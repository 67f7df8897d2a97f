//! Chromium with the page of this directory in it: orders go in, events come out, over HTTP on loopback.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use testkit::Program;
use testkit::log::{Log, Stream};

/// Flags of every test's Chromium: nothing that phones home, nothing that asks.
const SWITCHES: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
    "--remote-debugging-port=0",
];
/// How long the page holds on for an order before it asks anew.
const POLL: Duration = Duration::from_secs(10);
/// Octets of one event.
const EVENT: u64 = 1024 * 1024;
/// How long Chromium may take to start, on a busy machine.
const START: Duration = Duration::from_secs(25);

/// Characters of an event in an error.
const WIDTH: usize = 2_000;
/// How far a part of a colour may be off, of 255: who encodes VP8 and who decodes it may mean different colour spaces.
const OFF: u64 = 40;

/// Red, green, blue.
pub type Colour = [u8; 3];

/// As a canvas is told it.
pub fn css([red, green, blue]: Colour) -> String {
    format!("rgb({red},{green},{blue})")
}

/// An event about a picture tells of this colour and size.
pub fn shows(event: &Value, colour: Colour, (width, height): (u16, u16)) -> bool {
    let part = |place: usize| event["colour"][place].as_u64().unwrap_or(u64::MAX);
    event["size"] == json!([width, height])
        && (0..3).all(|place| part(place).abs_diff(colour[place].into()) <= OFF)
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    text.as_bytes().chunks(2).map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?)).collect()
}

/// A browser with one page.
pub struct Browser {
    program: Program,
    events: Arc<Log>,
    orders: Sender<String>,
    _profile: TempDir,
}

impl Browser {
    /// Starts one that shows the addresses of its host.
    pub fn start() -> Result<Browser> {
        Browser::with("?hosts", &["--use-fake-ui-for-media-stream"])
    }

    /// One that hides them behind mDNS names.
    pub fn shy() -> Result<Browser> {
        Browser::with("", &[])
    }

    fn with(query: &str, switches: &[&str]) -> Result<Browser> {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = server.local_addr()?;
        let (orders, inbox) = channel();
        let events = Arc::new(Log::default());
        serve(server, inbox, Arc::clone(&events));
        let profile = TempDir::with_prefix("tandem-chromium-")?;
        let mut command = Command::new("chromium");
        command.args(SWITCHES).arg(format!("--user-data-dir={}", profile.path().display()));
        command.args(switches).arg(format!("http://{address}/{query}"));
        let program = Program::start("Chromium", command)?;
        let mut browser = Browser { program, events, orders, _profile: profile };
        browser.expect("", "ready", START)?;
        Ok(browser)
    }

    /// Gives an order.
    pub fn order(&self, order: &Value) -> Result<()> {
        self.orders.send(order.to_string()).context("nobody takes orders")
    }

    /// The number that the next event will have.
    pub fn mark(&self) -> usize {
        self.events.mark()
    }

    /// Waits for the first event of a call from number `from` on that `wanted` makes something of.
    pub fn find<T>(
        &mut self,
        from: usize,
        call: &str,
        what: &str,
        within: Duration,
        mut wanted: impl FnMut(&Value) -> Option<T>,
    ) -> Result<T> {
        let found = self.events.find(from, within, |line| {
            let event: Value = serde_json::from_str(&line.text).ok()?;
            if event["event"] == "fault" {
                return Some(Err(line.text.clone()));
            }
            (event["call"] == call).then(|| wanted(&event)).flatten().map(Ok)
        });
        match found {
            Some(Ok(found)) => Ok(found),
            Some(Err(fault)) => bail!("a fault of the page: {fault}"),
            None => Err(self.failure(&format!("{what} of {call:?}: not within {within:?}"))),
        }
    }

    /// Waits for an event, whenever it came.
    pub fn expect(&mut self, call: &str, event: &str, within: Duration) -> Result<Value> {
        self.find(0, call, event, within, |found| (found["event"] == event).then(|| found.clone()))
    }

    /// Gives an order and waits for the event that answers it.
    pub fn ask(&mut self, order: &Value, event: &str) -> Result<Value> {
        let (from, call) = (self.mark(), order["call"].as_str().unwrap_or("").to_owned());
        self.order(order)?;
        let within = Duration::from_secs(10);
        self.find(from, &call, event, within, |found| (found["event"] == event).then(|| found.clone()))
    }

    /// Waits until a call hears this tone, from now on.
    pub fn hears(&mut self, call: &str, hz: f64, within: Duration) -> Result<()> {
        let from = self.mark();
        self.find(from, call, &format!("a tone of {hz} Hz"), within, |event| {
            let near = |key: &str, to: f64, by: f64| (event[key].as_f64().unwrap_or(0.0) - to).abs() <= by;
            (event["event"] == "heard" && near("hz", hz, 5.0) && near("share", 1.0, 0.2)).then_some(())
        })
    }

    /// Waits until a call sees this colour, in this size, from now on.
    pub fn sees(&mut self, call: &str, colour: Colour, size: (u16, u16), within: Duration) -> Result<()> {
        let from = self.mark();
        self.find(from, call, &format!("a picture of {colour:?}, {size:?}"), within, |event| {
            (event["event"] == "seen" && shows(event, colour, size)).then_some(())
        })
    }

    /// The longest silence since it was asked last, and the longest time without a picture; `None`: none has come yet.
    pub fn gap(&mut self, call: &str) -> Result<(Duration, Option<Duration>)> {
        let told = self.ask(&json!({ "do": "gap", "call": call }), "gap")?;
        let of = |key: &str| told[key].as_f64().map(|ms| Duration::from_millis(ms as u64));
        Ok((of("ms").context("no number")?, of("unseen")))
    }

    /// A film in one colour, encoded as VP8: the first picture is its only key frame.
    pub fn film(&mut self, call: &str, colour: Colour, pictures: usize) -> Result<Vec<Vec<u8>>> {
        let order = json!({ "do": "film", "call": call, "colour": css(colour), "pictures": pictures });
        let told = self.ask(&order, "film")?;
        let film = told["film"].as_array().context("no film")?;
        film.iter().map(|picture| unhex(picture.as_str().context("no picture")?)).collect()
    }

    /// Decodes a keyframe that came elsewhere and shows it.
    pub fn develop(&mut self, call: &str, picture: &[u8]) -> Result<Value> {
        let hex: String = picture.iter().map(|octet| format!("{octet:02x}")).collect();
        self.ask(&json!({ "do": "develop", "call": call, "picture": hex }), "developed")
    }

    /// Returns the report of `getStats`.
    pub fn figures(&mut self, call: &str) -> Result<Value> {
        self.ask(&json!({ "do": "figures", "call": call }), "figures")
    }

    /// An error with what page and browser said last.
    pub fn failure(&self, what: &str) -> anyhow::Error {
        // Descriptions and films are long.
        let page = self.events.tail(30);
        let page: Vec<String> = page.lines().map(|line| line.chars().take(WIDTH).collect()).collect();
        let page = page.join("\n");
        self.program.failure(&format!("{what}; the last events of its page:\n{page}\n"))
    }
}

/// Serves the page, hands out orders and keeps events, until the process ends.
fn serve(server: TcpListener, orders: Receiver<String>, events: Arc<Log>) {
    let orders = Arc::new(Mutex::new(orders));
    std::thread::spawn(move || {
        for stream in server.incoming().flatten() {
            let (orders, events) = (Arc::clone(&orders), Arc::clone(&events));
            std::thread::spawn(move || {
                // A connection that breaks is the browser's affair: it asks again.
                let _ = answer(stream, &orders, &events);
            });
        }
    });
}

fn answer(stream: TcpStream, orders: &Mutex<Receiver<String>>, events: &Log) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?.take(EVENT));
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        ensure!(reader.read_line(&mut line)? > 0, "cut short");
        if line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (status, kind, content) = match first.split(' ').nth(1).unwrap_or("") {
        "/order" => {
            let order = orders.lock().ok().and_then(|orders| orders.recv_timeout(POLL).ok());
            let status = if order.is_some() { "200 OK" } else { "204 No Content" };
            (status, "application/json", order.unwrap_or_default())
        }
        "/event" => {
            events.push(Stream::Out, String::from_utf8_lossy(&body).into_owned());
            ("204 No Content", "text/plain", String::new())
        }
        "/page.js" => ("200 OK", "text/javascript", include_str!("page.js").to_owned()),
        path if path == "/" || path.starts_with("/?") => {
            ("200 OK", "text/html", include_str!("page.html").to_owned())
        }
        _ => ("404 Not Found", "text/plain", String::new()),
    };
    let mut stream = stream;
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\ncache-control: no-store\r\nconnection: close\r\n\r\n",
        content.len()
    );
    stream.write_all(head.as_bytes())?;
    Ok(stream.write_all(content.as_bytes())?)
}

/// An address of the relay, as the browser is told it by trickle.
pub fn candidate_line(candidate: &proto::v1::Candidate) -> Result<String> {
    let address: SocketAddr = candidate.address.parse()?;
    Ok(format!(
        "candidate:{} 1 udp {} {} {} typ host",
        candidate.foundation,
        candidate.priority,
        address.ip(),
        address.port()
    ))
}
