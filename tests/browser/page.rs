//! Chromium with the page of this directory in it: orders go in, events come out, over HTTP on loopback.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use testkit::Program;
use testkit::log::{Log, Stream};

/// What every test's Chromium is started with: nothing that phones home, nothing that asks.
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

    /// The longest silence since it was asked last.
    pub fn gap(&mut self, call: &str) -> Result<Duration> {
        let told = self.ask(&serde_json::json!({ "do": "gap", "call": call }), "gap")?;
        Ok(Duration::from_millis(told["ms"].as_f64().context("no number")? as u64))
    }

    /// What `getStats` says.
    pub fn figures(&mut self, call: &str) -> Result<Value> {
        self.ask(&serde_json::json!({ "do": "figures", "call": call }), "figures")
    }

    /// An error with what page and browser said last.
    pub fn failure(&self, what: &str) -> anyhow::Error {
        let page = self.events.tail(30);
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
