//! Contract of every bus, checked within one process and on a real NATS server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tandem_bus::directory::{Directory, InstanceInfo, announce, ask_to_drain, asked_to_drain};
use tandem_bus::{Bus, BusError, Cause, Inbox, MAX_PAYLOAD, Message, NatsConfig, QUEUE, Request};

/// NATS server on a free port, killed at the end of the test.
struct Server(Child, u16);

impl Server {
    /// Starts a server on a port that it chose itself, so that no other test has it.
    fn start() -> Server {
        let directory = std::env::temp_dir();
        let child = spawn(&["-p", "-1", "--ports_file_dir", directory.to_str().unwrap()]);
        let file = directory.join(format!("nats-server_{}.ports", child.id()));
        let mut server = Server(child, 0);
        server.1 = within(|| {
            let ports: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).ok()?).ok()?;
            ports["nats"][0].as_str()?.rsplit(':').next()?.parse().ok()
        });
        let _ = std::fs::remove_file(&file);
        server
    }

    fn on(port: u16) -> Server {
        let server = Server(spawn(&["-p", &port.to_string()]), port);
        within(|| std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        server
    }

    fn config(&self) -> NatsConfig {
        config(self.1)
    }

    fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }
}

fn config(port: u16) -> NatsConfig {
    NatsConfig::new(
        &format!("nats://127.0.0.1:{port}"),
        "contract",
        &signal::Secret::new(b"contract"),
        now_ms,
    )
}

fn spawn(arguments: &[&str]) -> Child {
    let program = ["/usr/sbin/nats-server", "nats-server"]
        .into_iter()
        .find(|p| !p.starts_with('/') || std::path::Path::new(p).exists())
        .unwrap();
    Command::new(program)
        .args(["-a", "127.0.0.1"])
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nats-server is missing: run `cargo xtask setup`")
}

fn within<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let began = now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "nats-server does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[allow(clippy::disallowed_methods, reason = "a bounded wait in a test")]
fn now() -> Instant {
    Instant::now()
}

#[allow(clippy::disallowed_methods, reason = "real servers know no other clock")]
fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_millis().try_into().unwrap()
}

fn text(payload: &str) -> Message {
    Message { trace: String::new(), payload: payload.to_owned().into() }
}

const SOON: Duration = Duration::from_secs(2);
/// Time after which a request has expired: more than the tolerance for clocks that differ.
const CLOCKS: Duration = Duration::from_millis(2_200);

/// Answers every request with the name of the server, the payload and the trace.
fn answering(mut inbox: Inbox<Request>, name: &'static str) -> tokio::task::JoinHandle<usize> {
    tokio::spawn(async move {
        let mut served = 0;
        while let Some(request) = inbox.next().await {
            let answer = format!(
                "{name} {} {}",
                String::from_utf8_lossy(&request.message.payload),
                request.message.trace
            );
            if &request.message.payload[..] == b"stop" {
                let _ = request.reply("stopped").await;
                break;
            }
            served += 1;
            let _ = request.reply(answer).await;
        }
        served
    })
}

/// Checks the contract: `here` and `there` are two handles to the same bus, as two instances have them.
async fn holds(here: Bus, there: Bus) {
    // Without a server a request fails at once.
    let began = now();
    assert_eq!(here.request("t.ask", text("x"), SOON).await, Err(BusError::NoResponder));
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());

    // The members of a group share the requests; the trace travels along.
    let members = [
        answering(here.serve("t.ask", "g").await.unwrap(), "one"),
        answering(there.serve("t.ask", "g").await.unwrap(), "two"),
    ];
    let mut names = std::collections::BTreeSet::new();
    for i in 0..60 {
        let message = Message { trace: "00-trace-span-01".into(), ..text(&i.to_string()) };
        let answer = here.request("t.ask", message, SOON).await.unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.ends_with(&format!(" {i} 00-trace-span-01")), "{answer}");
        names.insert(answer.split(' ').next().unwrap().to_owned());
    }
    assert_eq!(names.len(), 2, "both members served");

    // A member that leaves loses no request; when all have left, requests fail at once again. The server may still send to the first
    // member when the second is asked to leave, so an unanswered request is repeated.
    let mut left = 0;
    for _ in 0..40 {
        left += usize::from(here.request("t.ask", text("stop"), Duration::from_millis(250)).await.is_ok());
        if left == members.len() {
            break;
        }
    }
    assert_eq!(left, 2, "both members were asked to leave");
    let mut served = 0;
    for member in members {
        served += member.await.unwrap();
    }
    assert_eq!(served, 60);
    // The server learns of it after a moment.
    let mut after = Ok(bytes::Bytes::new());
    for _ in 0..40 {
        after = here.request("t.ask", text("x"), Duration::from_millis(50)).await;
        if after == Err(BusError::NoResponder) {
            break;
        }
    }
    assert_eq!(after, Err(BusError::NoResponder));

    // An answer that does not come is a timeout.
    let _silent = there.serve("t.silent", "g").await.unwrap();
    assert_eq!(here.request("t.silent", text("x"), Duration::from_millis(80)).await, Err(BusError::Timeout));

    // A published message reaches every subscriber whose pattern matches.
    let (mut all, mut some, mut none) = (
        here.subscribe("t.>").await.unwrap(),
        there.subscribe("t.*.up").await.unwrap(),
        there.subscribe("u.>").await.unwrap(),
    );
    here.publish("t.edge.up", text("hello")).await.unwrap();
    for inbox in [&mut all, &mut some] {
        let heard = tokio::time::timeout(SOON, inbox.next()).await.unwrap().unwrap();
        assert_eq!(&heard.payload[..], b"hello");
    }
    assert!(tokio::time::timeout(Duration::from_millis(50), none.next()).await.is_err());

    // Sizes and queues are bounded.
    let large = Message { trace: String::new(), payload: vec![0; MAX_PAYLOAD + 1].into() };
    assert_eq!(here.publish("t.large", large).await, Err(BusError::TooLarge));
    let mut slow = there.subscribe("t.flood").await.unwrap();
    for _ in 0..3 * QUEUE {
        here.publish("t.flood", text("x")).await.unwrap();
    }
    // All messages arrive at the other handle before the first is read.
    here.flush().await.unwrap();
    there.flush().await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut kept = 0;
    while tokio::time::timeout(Duration::from_millis(200), slow.next()).await.is_ok() {
        kept += 1;
    }
    assert_eq!(kept, QUEUE);

    // A closed inbox returns what has arrived, then ends; it gets no further requests.
    let mut leaving = there.serve("v.leaving", "g").await.unwrap();
    let asking = ["a", "b"].map(|payload| {
        let here = here.clone();
        tokio::spawn(async move { here.request("v.leaving", text(payload), SOON).await })
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    leaving.close();
    let served = answering(leaving, "last");
    assert_eq!(tokio::time::timeout(SOON, served).await.unwrap().unwrap(), 2);
    for asked in asking {
        assert!(asked.await.unwrap().is_ok(), "what was asked in time is answered");
    }
    let mut after = Ok(bytes::Bytes::new());
    for _ in 0..40 {
        after = here.request("v.leaving", text("c"), Duration::from_millis(50)).await;
        if after == Err(BusError::NoResponder) {
            break;
        }
    }
    assert_eq!(after, Err(BusError::NoResponder));

    // Expired requests are dropped.
    let mut late = there.serve("v.late", "g").await.unwrap();
    let patience = Duration::from_millis(50);
    assert_eq!(here.request("v.late", text("stale"), patience).await, Err(BusError::Timeout));
    tokio::time::sleep(CLOCKS).await;
    let asking = tokio::spawn(async move { here.request("v.late", text("fresh"), SOON).await });
    let request = tokio::time::timeout(SOON, late.next()).await.unwrap().unwrap();
    assert_eq!(&request.message.payload[..], b"fresh");
    request.reply("yes").await.unwrap();
    assert!(asking.await.unwrap().is_ok());
}

/// Checks the directory: it lists announced instances, shows that they drain, and removes those that leave or fall silent.
async fn lists(here: Bus, there: Bus) {
    let relays = Directory::watch(&there, "rtp-relay").await.unwrap();
    let all = Directory::watch(&there, "*").await.unwrap();
    there.flush().await.unwrap();
    let info = |kind: &str, instance: &str| InstanceInfo {
        kind: kind.into(),
        instance: instance.into(),
        address: "127.0.0.1:9".into(),
        capacity: 10,
        ..InstanceInfo::default()
    };
    let first = announce(&here, info("rtp-relay", "one"));
    let second = announce(&here, info("rtp-relay", "two"));
    let _edge = announce(&here, info("sip-edge", "three"));
    eventually(|| relays.list().len() == 2 && all.list().len() == 3).await;
    assert_eq!(relays.find("one").unwrap(), info("rtp-relay", "one"));
    // Announcements that tell nothing new are no change.
    let changed = async |directory: &Directory| {
        tokio::time::timeout(Duration::from_millis(1_500), directory.changed()).await.is_ok()
    };
    assert!(changed(&relays).await, "two appeared");
    assert!(!changed(&relays).await, "they announced themselves again");
    first.update(|info| (info.load, info.draining) = (7, true));
    assert!(changed(&relays).await, "one drains");
    eventually(|| relays.find("one").is_some_and(|info| info.draining && info.load == 7)).await;
    first.leave().await;
    assert!(changed(&relays).await, "one left");
    eventually(|| relays.find("one").is_none()).await;
    drop(second);
    let began = now();
    eventually(|| relays.list().is_empty()).await;
    assert!(began.elapsed() < Duration::from_secs(2), "a good-bye is heard at once: {:?}", began.elapsed());
    // An instance that dies falls silent after its last announcement.
    let beat = serde_json::to_vec(&info("rtp-relay", "four")).unwrap();
    here.publish("tandem.here.rtp-relay", Message { payload: beat.into(), ..Message::default() })
        .await
        .unwrap();
    eventually(|| relays.find("four").is_some()).await;
    let began = now();
    eventually(|| relays.find("four").is_none()).await;
    assert!((2..5).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert!(all.find("three").is_some(), "others stay");

    let told = tokio::spawn(async move { asked_to_drain(&here, "edge.1").await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    ask_to_drain(&there, "edge.2").await.unwrap();
    ask_to_drain(&there, "edge.1").await.unwrap();
    assert_eq!(tokio::time::timeout(Duration::from_secs(5), told).await.unwrap().unwrap(), Ok(()));
}

async fn eventually(mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("it never came to be");
}

#[tokio::test]
async fn the_process_keeps_a_directory() {
    let bus = Bus::in_process();
    lists(bus.clone(), bus).await;
}

/// Checks that the last announcement is the one that says that the instance leaves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_beat_follows_a_good_bye() {
    let bus = Bus::in_process();
    for round in 0..2_000 {
        let mut heard = bus.subscribe("tandem.here.brief").await.unwrap();
        let info =
            InstanceInfo { kind: "brief".into(), instance: round.to_string(), ..InstanceInfo::default() };
        let here = announce(&bus, info);
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        here.leave().await;
        heard.close();
        let mut last = None;
        while let Some(message) = heard.next().await {
            last = Some(serde_json::from_slice::<InstanceInfo>(&message.payload).unwrap());
        }
        assert!(last.is_some_and(|info| info.leaving), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_keeps_a_directory() {
    let server = Server::start();
    lists(Bus::nats(&server.config()).await.unwrap(), Bus::nats(&server.config()).await.unwrap()).await;
}

#[tokio::test]
async fn the_process_keeps_the_contract() {
    let bus = Bus::in_process();
    holds(bus.clone(), bus).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_keeps_the_contract() {
    let server = Server::start();
    holds(Bus::nats(&server.config()).await.unwrap(), Bus::nats(&server.config()).await.unwrap()).await;
}

#[tokio::test]
async fn a_full_queue_refuses_within_the_process() {
    let bus = Bus::in_process();
    let _busy = bus.serve("t.busy", "g").await.unwrap();
    let mut waiting = vec![];
    for _ in 0..QUEUE {
        let bus = bus.clone();
        waiting.push(tokio::spawn(async move {
            bus.request("t.busy", text("x"), Duration::from_millis(300)).await
        }));
    }
    tokio::task::yield_now().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bus.request("t.busy", text("one more"), SOON).await, Err(BusError::Full));
    for asked in waiting {
        assert_eq!(asked.await.unwrap(), Err(BusError::Timeout));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_comes_back_after_its_server_did() {
    let server = Server::start();
    let (port, config) = (server.1, server.config());
    let bus = Bus::nats(&config).await.unwrap();
    let _serving = answering(bus.serve("t.back", "g").await.unwrap(), "me");
    drop(server);
    let _again = Server::on(port);
    let mut answer = Err(BusError::Timeout);
    for _ in 0..100 {
        answer = bus.request("t.back", text("x"), Duration::from_millis(300)).await;
        if answer.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(answer.is_ok(), "{answer:?}");
}

/// Without connection every request and message is refused at once, and none is sent after a reconnect.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_for_a_server_that_is_away() {
    let server = Server::start();
    let (port, config) = (server.1, server.config());
    let (bus, there) = (Bus::nats(&config).await.unwrap(), Bus::nats(&config).await.unwrap());
    let (mut served, mut heard) =
        (there.serve("t.away", "g").await.unwrap(), there.subscribe("t.told").await.unwrap());
    // A request that is sent while the server is there, and answered when it is away.
    let asking = tokio::spawn({
        let bus = bus.clone();
        async move { bus.request("t.away", text("before"), SOON).await }
    });
    let before = tokio::time::timeout(SOON, served.next()).await.unwrap().unwrap();
    drop(server);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = now();
    for _ in 0..QUEUE {
        assert!(matches!(bus.request("t.away", text("stale"), SOON).await, Err(BusError::Link(_))));
        assert!(matches!(bus.publish("t.told", text("stale")).await, Err(BusError::Link(_))));
    }
    assert!(matches!(before.reply("late").await, Err(BusError::Link(_))));
    assert!(matches!(bus.serve("t.more", "g").await, Err(BusError::Link(_))));
    assert!(matches!(bus.flush().await, Err(BusError::Link(_))));
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let _again = Server::on(port);
    assert!(asking.await.unwrap().is_err());
    let came = tokio::time::timeout(Duration::from_secs(3), served.next()).await;
    assert!(came.is_err(), "a stale request is served: {came:?}");
    let came = tokio::time::timeout(Duration::from_millis(100), heard.next()).await;
    assert!(came.is_err(), "something stale is told: {came:?}");
}

/// A server that stalls may hold a request: it has expired by the time it is delivered.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_stalled_server_held_back_is_not_served() {
    let server = Server::start();
    let (bus, there) =
        (Bus::nats(&server.config()).await.unwrap(), Bus::nats(&server.config()).await.unwrap());
    let mut served = there.serve("t.stalled", "g").await.unwrap();
    server.signal("-STOP");
    let patience = Duration::from_millis(100);
    assert_eq!(bus.request("t.stalled", text("stale"), patience).await, Err(BusError::Timeout));
    tokio::time::sleep(CLOCKS).await;
    server.signal("-CONT");
    let asking = tokio::spawn(async move { bus.request("t.stalled", text("fresh"), SOON).await });
    let request = tokio::time::timeout(SOON, served.next()).await.unwrap().unwrap();
    assert_eq!(&request.message.payload[..], b"fresh");
    request.reply("yes").await.unwrap();
    assert!(asking.await.unwrap().is_ok());
}

#[tokio::test]
async fn no_server_is_told() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let failed = Bus::nats(&config(port)).await.unwrap_err();
    assert_eq!((failed.servers, failed.cause), (format!("nats://127.0.0.1:{port}"), Cause::Refused));
}
