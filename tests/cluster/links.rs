//! NATS and Redis that are absent, go and come back; and somebody at NATS who is none of us.

use crate::rig::Rig;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;
use testkit::clock::poll;
use testkit::{Authority, Cluster, Nats, Prosody, Redis, gateway, http};

const SOON: Duration = Duration::from_secs(20);

/// One of every service; nobody calls.
fn cluster() -> (Cluster, Prosody) {
    let server = Prosody::start(&["rosa"]).unwrap();
    let trunk = Some(SocketAddr::from(([127, 0, 0, 1], 9)));
    let options = gateway::Options { trunk, ..Default::default() };
    (Cluster::start(&server, &options, 1).unwrap(), server)
}

/// Waits until `/readyz` of these kinds says that this part is missing, for this cause.
pub fn missing(cluster: &mut Cluster, kinds: &[&str], part: &str, cause: &str) {
    for instance in cluster.instances().iter().filter(|instance| kinds.contains(&instance.kind)) {
        let seen = poll(SOON, || {
            let (status, body) = http::get(instance.admin, "/readyz").ok()?;
            let shown: serde_json::Value = serde_json::from_str(&body).ok()?;
            let missing = shown["missing"].as_object()?;
            let word = missing.iter().find(|(name, _)| name.starts_with(part))?.1.as_str()?;
            (status == 503 && word.contains(cause)).then_some(())
        });
        let last = http::get(instance.admin, "/readyz");
        assert!(seen.is_some(), "{}: {part}: {last:?}", instance.name);
    }
}

fn said(cluster: &mut Cluster, kind: &str) -> String {
    let mut instances = cluster.instances().iter_mut().filter(|instance| instance.kind == kind);
    let lines = instances.next().unwrap().program().log().since(0);
    lines.iter().map(|line| format!("{}\n", line.text)).collect()
}

const ALL: [&str; 4] = ["sip-edge", "xmpp-edge", "orchestrator", "rtp-relay"];

#[test]
fn a7_readiness_is_by_dependency_and_comes_back() {
    let (mut cluster, _server) = cluster();
    let (nats, redis) = cluster.servers();
    nats.program().kill();
    let port = (nats.port, redis.port);
    missing(&mut cluster, &ALL, "bus", "NATS");
    missing(&mut cluster, &["xmpp-edge"], "xmpp ", "nobody decides which edge holds the link");
    for kind in ALL {
        let text = said(&mut cluster, kind);
        assert!(text.contains("WARN") && text.contains("[bus] url: the connection to NATS at"), "{text}");
    }
    // An operator is told of the bus, not of instances that are not there.
    let instances = cluster.ask("/instances").unwrap_err().to_string();
    assert!(instances.contains("503") && instances.contains("[bus] url"), "{instances}");
    *cluster.servers().0 = Nats::with(port.0, "").unwrap();
    cluster.ready(SOON).unwrap();
    assert!(said(&mut cluster, "sip-edge").contains("NATS is there again"));

    cluster.servers().1.program().kill();
    missing(&mut cluster, &["orchestrator"], "store", "refused");
    missing(&mut cluster, &["xmpp-edge"], "xmpp ", "the store is unavailable");
    // A10: nobody else holds the lease, and nobody says so.
    let text = said(&mut cluster, "xmpp-edge");
    let given_up = "the link is given up: nobody decides which edge holds the link: the store is unavailable";
    assert!(text.contains(given_up) && !text.contains("another edge holds the lease"), "{text}");
    *cluster.servers().1 = Redis::with(port.1, &["--port", &port.1.to_string()]).unwrap();
    cluster.ready(SOON).unwrap();
    let text = said(&mut cluster, "orchestrator");
    assert!(
        text.contains("[store] url: the store is unavailable") && text.contains("store is there again"),
        "{text}"
    );
    assert!(
        text.matches("[store] url: the store is unavailable").count() < 5,
        "one line, not four a second: {text}"
    );
}

#[test]
fn a8_services_wait_for_nats_and_redis() {
    let (mut cluster, _server) = cluster();
    let (nats, redis) = cluster.servers();
    let port = (nats.port, redis.port);
    nats.program().kill();
    redis.program().kill();
    let names: Vec<String> = cluster.instances().iter().map(|instance| instance.name.clone()).collect();
    for name in &names {
        cluster.restart(name).unwrap();
    }
    missing(&mut cluster, &ALL, "bus", "connection refused; is NATS running there?");
    // They try again within this time, and say so once.
    let line = format!("[bus] url: nats://127.0.0.1:{}: connection refused; is NATS running there?", port.0);
    let mut lines = |kind| said(&mut cluster, kind).matches(&line).count();
    let more = poll(Duration::from_secs(2), || ALL.into_iter().find(|kind| lines(kind) > 1));
    assert_eq!(more, None, "each says it once");
    assert!(ALL.into_iter().all(|kind| lines(kind) == 1));
    *cluster.servers().0 = Nats::with(port.0, "").unwrap();
    missing(&mut cluster, &["orchestrator"], "store", "is Redis running there?");
    *cluster.servers().1 = Redis::with(port.1, &["--port", &port.1.to_string()]).unwrap();
    cluster.ready(SOON).unwrap();
    assert!(said(&mut cluster, "orchestrator").contains("the store is there again"));
    // One that waits still ends at once when it is told to.
    let (nats, _) = cluster.servers();
    nats.program().kill();
    cluster.restart(&names[0]).unwrap();
    let kind = cluster.instances().iter().find(|one| one.name == names[0]).unwrap().kind;
    missing(&mut cluster, &[kind], "bus", "is NATS running there?");
    cluster.drain(&names[0]).unwrap();
    cluster.ended(&names[0], Duration::from_secs(5)).unwrap();
}

/// A call by relays that speak TLS alone; the one that carries it dies, and it goes on at the other.
#[test]
fn f6_with_certificates_relays_are_commanded_over_tls_alone() {
    let authority = Authority::new().unwrap();
    let mut rig = Rig::certified(&authority, 2);
    let call = rig.desk_calls();
    let relay = rig.relay(&call);
    let instances = rig.cluster.instances().iter_mut();
    for instance in instances.filter(|instance| instance.kind == "rtp-relay") {
        let lines = instance.program().log().since(0);
        let up = lines.iter().find(|line| line.text.contains("relay is up")).unwrap();
        let control = up.text.split("control=").nth(1).unwrap().split(' ').next().unwrap();
        // Who speaks HTTP/2 in the clear is cut off, without a frame in answer.
        let mut stream = std::net::TcpStream::connect(control.trim_matches('"')).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
        let mut answer = vec![];
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer[0] == 21, "an alert of TLS at most: {answer:?}");
    }
    rig.cluster.kill(&relay).unwrap();
    rig.see("moved", |rig| rig.moved(&call, &relay));
    rig.see("heard again", |rig| rig.heard_within(Duration::from_secs(3)));
}

#[test]
fn f6_a_stranger_at_nats_drains_nobody_and_announces_nobody() {
    let (mut cluster, _server) = cluster();
    // Each announces itself within a beat.
    let all =
        || cluster.ask("/instances").ok()?["instances"].as_array().filter(|all| all.len() == 4).map(drop);
    assert!(poll(SOON, all).is_some(), "{:?}", cluster.ask("/instances"));
    let card = r#"{"kind":"rtp-relay","instance":"forged","address":"127.0.0.1:9","capacity":9}"#;
    let ask = "an ask of nobody";
    let mut stranger = std::net::TcpStream::connect(("127.0.0.1", cluster.servers().0.port)).unwrap();
    let mut text = "CONNECT {\"verbose\":false}\r\n".to_owned();
    for (subject, payload) in [
        ("tandem.here.rtp-relay", card),
        ("tandem.drain.orchestrator-1", ""),
        ("tandem.drain.sip-edge-1", ""),
        ("tandem.ask", ask),
    ] {
        text.push_str(&format!("PUB {subject} {}\r\n{payload}\r\n", payload.len()));
    }
    stranger.write_all((text + "PING\r\n").as_bytes()).unwrap();
    stranger.set_read_timeout(Some(SOON)).unwrap();
    let mut heard = String::new();
    while !heard.contains("PONG") {
        let mut buffer = [0; 4_096];
        let length = stranger.read(&mut buffer).unwrap();
        assert!(length > 0, "{heard}");
        heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    // The card, the drain and the ask reach the orchestrator, and are counted there.
    let admin = cluster.instances().iter().find(|instance| instance.kind == "orchestrator").unwrap().admin;
    let refused = || {
        let (_, page) = http::get(admin, "/metrics").ok()?;
        let line = page
            .lines()
            .find(|line| line.starts_with("tandem_bus_messages_refused_total{reason=\"unsigned\"}"))?;
        line.rsplit(' ').next()?.parse::<u64>().ok().filter(|count| *count >= 3)
    };
    assert!(poll(SOON, refused).is_some(), "{:?}", http::get(admin, "/metrics"));
    // What they might have done shows within a beat.
    let wrong = poll(Duration::from_secs(1), || {
        let shown = cluster.ask("/instances").unwrap();
        let instances = shown["instances"].as_array().unwrap();
        let right = instances.len() == 4 && instances.iter().all(|card| card["draining"] == false);
        (!right).then(|| shown.to_string())
    });
    assert_eq!(wrong, None);
    cluster.ready(Duration::from_secs(1)).unwrap();
}
