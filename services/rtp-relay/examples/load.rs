//! What a forwarded packet costs, beside rtpengine where that is installed: the same calls, in turns, the least of each.
//!
//! `cargo run --release -p tandem-rtp-relay --example load -- [calls] [rounds]`
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a measuring tool ends where something is wrong"
)]

use proto::v1::relay_client::RelayClient;
use proto::v1::{AllocateRequest, Codec, ConnectRequest};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SECONDS: u64 = 3;

/// What one run showed.
struct Figures {
    cpu_us: f64,
    lost: f64,
    p50_us: u64,
    p99_us: u64,
}

/// The two parties of all calls: each side one socket, told apart by the relay's port.
struct Parties {
    sides: [UdpSocket; 2],
}

impl Parties {
    fn new() -> Parties {
        let side = || {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
            socket.set_recv_buffer_size(8 << 20).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
            UdpSocket::from(socket)
        };
        Parties { sides: [side(), side()] }
    }

    fn address(&self, side: usize) -> SocketAddr {
        self.sides[side].local_addr().unwrap()
    }

    /// Speaks at the ports of all calls for a while; `cpu` gives what the relay has used so far.
    fn speak(&self, ports: &[[SocketAddr; 2]], cpu: impl Fn() -> Duration) -> Figures {
        let mut packet = [0u8; 172];
        packet[0] = 0x80;
        let (started, before) = (Instant::now(), cpu());
        let (mut sent, mut late) = (0u64, vec![]);
        let take = |late: &mut Vec<u64>| {
            let mut buffer = [0u8; 2_048];
            for side in &self.sides {
                while let Ok(length) = side.recv(&mut buffer) {
                    if length == packet.len() {
                        let then = u64::from_be_bytes(buffer[12..20].try_into().unwrap());
                        late.push((started.elapsed().as_nanos() as u64).saturating_sub(then));
                    }
                }
            }
        };
        // The calls are spread over the frame, a slot a millisecond.
        for slot in 0..SECONDS * 1_000 {
            while started.elapsed() < Duration::from_millis(slot) {
                take(&mut late);
            }
            let seq = (slot / 20) as u16;
            for (call, ports) in ports.iter().enumerate().skip((slot % 20) as usize).step_by(20) {
                for (side, port) in ports.iter().enumerate() {
                    let mut packet = packet;
                    packet[2..4].copy_from_slice(&seq.to_be_bytes());
                    packet[4..8].copy_from_slice(&(u32::from(seq) * 160).to_be_bytes());
                    packet[8..12].copy_from_slice(&((call * 2 + side) as u32 + 1).to_be_bytes());
                    packet[12..20].copy_from_slice(&(started.elapsed().as_nanos() as u64).to_be_bytes());
                    sent += u64::from(self.sides[side].send_to(&packet, *port).is_ok());
                }
            }
        }
        let end = Instant::now();
        while end.elapsed() < Duration::from_millis(200) {
            take(&mut late);
        }
        late.sort_unstable();
        let at = |percent: usize| late.get(late.len() * percent / 100).copied().unwrap_or(0) / 1_000;
        Figures {
            cpu_us: (cpu() - before).as_nanos() as f64 / 1_000.0 / late.len().max(1) as f64,
            lost: 100.0 * (sent as f64 - late.len() as f64) / sent as f64,
            p50_us: at(50),
            p99_us: at(99),
        }
    }
}

/// Nanoseconds that threads have run, by the scheduler's own count.
fn ran(pid: u32, name: &str) -> Duration {
    let mut sum = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let read = |file| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        if read("comm").starts_with(name) {
            sum += read("schedstat").split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    Duration::from_nanos(sum)
}

/// Our relay with so many calls, in this process.
async fn ours(calls: usize) -> Figures {
    let mut config = runtime::Config::default();
    config.relay.ports = "20000-29999".into();
    let drain = runtime::Drain::default();
    let (dialer, listener) = proto::pipe::pipe();
    let control = tandem_rtp_relay::Control::Pipe(listener);
    let running = tokio::spawn(tandem_rtp_relay::run(config, bus::Bus::in_process(), control, drain.clone()));
    let mut client = RelayClient::new(dialer.channel());
    let parties = Parties::new();
    let mut ports = vec![];
    for call in 0..calls {
        let session = call.to_string();
        let ask = AllocateRequest { session: session.clone(), legs: 2, contents: 1, ..Default::default() };
        let ends = client.allocate(ask).await.unwrap().into_inner().ends;
        for leg in 0..2 {
            let codec = Codec { pt: 0, name: "PCMU".into(), clock: 8_000, channels: 1, feedback: vec![] };
            let facts = ConnectRequest {
                session: session.clone(),
                leg,
                address: parties.address(leg as usize).to_string(),
                codecs: vec![codec],
                sends: true,
                receives: true,
                ..Default::default()
            };
            client.connect(facts).await.unwrap();
        }
        ports.push([0, 1].map(|leg| SocketAddr::from(([127, 0, 0, 1], ends[leg].rtp_port as u16))));
    }
    let speaking = move || parties.speak(&ports, || ran(std::process::id(), "media-"));
    let figures = tokio::task::spawn_blocking(speaking).await.unwrap();
    drain.stop();
    running.await.unwrap().unwrap();
    figures
}

struct Rtpengine(Child, UdpSocket);

impl Drop for Rtpengine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Rtpengine {
    fn start() -> Option<Rtpengine> {
        let empty = std::env::temp_dir().join(format!("tandem-load-{}.conf", std::process::id()));
        std::fs::write(&empty, "[x]\n").unwrap();
        let control = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("rtpengine")
            .arg(format!("--config-file={}", empty.display()))
            .arg(format!("--listen-ng=127.0.0.1:{port}"))
            .args(["--config-section=x", "--table=-1", "--interface=127.0.0.1", "--port-min=20000"])
            .args(["--port-max=29999", "--num-threads=1", "--log-level=3", "--log-stderr", "--foreground"])
            .args(["--timeout=3600", "--silent-timeout=3600", "--offer-timeout=3600", "--tos=184"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let engine = Rtpengine(child.ok()?, control);
        engine.1.connect(("127.0.0.1", port)).unwrap();
        engine.1.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let up = (0..20).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            engine.ask("0 d7:command4:pinge").is_some()
        });
        up.then_some(engine)
    }

    fn ask(&self, request: &str) -> Option<String> {
        self.1.send(request.as_bytes()).ok()?;
        let mut buffer = [0; 8_192];
        let length = self.1.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    /// The port that it offers in place of ours.
    fn describe(&self, command: &str, call: usize, from: SocketAddr) -> u16 {
        let ip = from.ip();
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {} RTP/AVP 0\r\n",
            from.port()
        );
        let mut fields = vec![("call-id", format!("call{call}")), ("command", command.into())];
        fields.push(("from-tag", "a".into()));
        fields.push(("sdp", sdp));
        if command == "answer" {
            fields.push(("to-tag", "b".into()));
        }
        let fields: String =
            fields.iter().map(|(key, value)| format!("{}:{key}{}:{value}", key.len(), value.len())).collect();
        let reply = self.ask(&format!("{command}{call} d{fields}e")).expect("rtpengine answers");
        let port = reply.split("m=audio ").nth(1).and_then(|rest| rest.split(' ').next());
        port.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("no port in {reply}"))
    }
}

/// rtpengine with so many calls, in userspace with one thread.
fn theirs(calls: usize) -> Option<Figures> {
    let engine = Rtpengine::start()?;
    let parties = Parties::new();
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let mut ports = vec![];
    for call in 0..calls {
        let second = engine.describe("offer", call, parties.address(0));
        let first = engine.describe("answer", call, parties.address(1));
        ports.push([local(first), local(second)]);
    }
    Some(parties.speak(&ports, || ran(engine.0.id(), "")))
}

fn print(who: &str, f: &Figures) {
    println!(
        "{who:10} {:6.2} us/packet  lost {:5.2} %  p50 {:6} us  p99 {:6} us",
        f.cpu_us, f.lost, f.p50_us, f.p99_us
    );
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|a| a.parse::<usize>().expect("a number"));
    let (calls, rounds) = (arguments.next().unwrap_or(500), arguments.next().unwrap_or(5));
    let mut least = [f64::MAX; 2];
    for round in 1..=rounds {
        println!("round {round}: {calls} calls, {} packets a second", calls * 100);
        let figures = ours(calls).await;
        print("tandem", &figures);
        least[0] = least[0].min(figures.cpu_us);
        match tokio::task::spawn_blocking(move || theirs(calls)).await.unwrap() {
            Some(figures) => {
                print("rtpengine", &figures);
                least[1] = least[1].min(figures.cpu_us);
            }
            None => println!("rtpengine  is not installed: no comparison"),
        }
    }
    if least[1] < f64::MAX {
        println!("ratio of the least: {:.2}", least[0] / least[1]);
    }
}
