//! The rendered chart at work: the real services with the files and environment of their pods, among a real NATS, Redis and
//! Prosody. What Kubernetes would add (scheduling, Services) is not here.

use crate::chart::{TIERS, at, kind, list, name, named, render, text};
use crate::pod::Pod;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;
use testkit::clock::poll;
use testkit::prosody::{COMPONENT, DOMAIN, SECRET};
use testkit::{Nats, Program, Prosody, Redis, http, ports};
use yaml::Value;

/// Where a pod's probe of this kind would look.
fn probe(container: &Value, kind: &str) -> (SocketAddr, String) {
    let port = text(container, &format!("{kind}.httpGet.port"));
    let found = list(container, "ports").iter().find(|p| text(p, "name") == port).unwrap();
    let port = u16::try_from(at(found, "containerPort").as_u64().unwrap()).unwrap();
    (
        SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        text(container, &format!("{kind}.httpGet.path")).to_owned(),
    )
}

#[test]
fn the_services_of_the_chart_come_up_and_go() {
    let (prosody, nats, redis) =
        (Prosody::start(&["rosa"]).unwrap(), Nats::start().unwrap(), Redis::start().unwrap());
    // Not where Kubernetes has the ports of Services.
    let media = std::iter::repeat_with(|| ports::block(200)).find(|first| *first < 29_800).unwrap();
    let phone = ports::one();
    let mut sets = vec![
        format!("config.bus.url=\"{}\"", nats.url()),
        format!(
            "config.xmpp.component=[{{\"domain\":\"{COMPONENT}\",\"server\":\"127.0.0.1:{}\",\"users\":\"{DOMAIN}\",\
             \"existingSecret\":{{\"name\":\"tandem-xmpp\",\"key\":\"word\"}}}}]",
            prosody.component_port
        ),
        format!(
            "config.trunk=[{{\"name\":\"probe\",\"uri\":\"sip:127.0.0.1:{phone}\",\"domain\":\"{COMPONENT}\",\
             \"sources\":[\"127.0.0.1/32\"]}}]"
        ),
        format!(
            "probe={{\"enabled\":true,\"port\":{phone},\"jid\":\"rosa@{DOMAIN}\",\"server\":\"127.0.0.1:{}\",\
             \"existingSecret\":{{\"name\":\"tandem-probe\",\"key\":\"password\"}},\
             \"callUri\":\"sip:rosa@im.example.net\",\"callJid\":\"2041@{COMPONENT}\"}}",
            prosody.port
        ),
        format!("config.relay.ports=\"{media}-{}\"", media + 199),
        format!("config.store.url=\"{}\"", redis.url()),
        format!("rtpRelay.controlPort={}", ports::one()),
        format!("sipEdge.port={}", ports::one()),
    ];
    for port in ["adminPort", "healthPort"] {
        sets.extend(TIERS.iter().map(|(_, values)| format!("{values}.{port}={}", ports::one())));
    }
    let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    let objects = render("minimal", &sets);

    let mut pods: Vec<(String, Program, Value, Pod)> = vec![];
    for (tier, _) in TIERS {
        let deployment = named(&objects, "Deployment", &format!("voice-tandem-{tier}"));
        let container = at(deployment, "spec.template.spec.containers.0").clone();
        let pod = Pod::of(&objects, deployment, "127.0.0.1", |secret, _| match secret {
            "tandem-xmpp" => format!("{SECRET}\n"),
            other => format!("what Secret {other} holds"),
        });
        // The image's name is the binary's.
        let image =
            text(&container, "image").rsplit('/').next().unwrap().split(':').next().unwrap().to_owned();
        let mut command = Command::new(testkit::gateway::binary_of(&image).unwrap());
        for argument in list(&container, "args") {
            let argument = argument.as_str().unwrap();
            command.arg(argument.replace("/etc/tandem/tandem.toml", pod.config.to_str().unwrap()));
        }
        command.envs(&pod.environment);
        pods.push((name(deployment).to_owned(), Program::start(&image, command).unwrap(), container, pod));
    }
    for (name, program, container, _) in &mut pods {
        for kind in ["livenessProbe", "readinessProbe"] {
            let (address, path) = probe(container, kind);
            let passed = poll(Duration::from_secs(20), || {
                matches!(http::get(address, &path), Ok((200, _)))
                    .then_some(true)
                    .or((!program.running()).then_some(false))
            });
            let answer = http::get(address, &path);
            assert_eq!(passed, Some(true), "{name} {kind}: {answer:?} {:#}", program.failure("is not ready"));
        }
    }
    // `helm test`, which passes if calls do.
    let test = kind(&objects, "Pod").into_iter().find(|pod| name(pod) == "voice-tandem-probe").unwrap();
    assert_eq!(at(test, "metadata.annotations").get("helm.sh/hook").and_then(Value::as_str), Some("test"));
    let mut probe = Command::new(testkit::gateway::binary_of("tandem-probe").unwrap());
    for argument in list(test, "spec.containers.0.args") {
        let argument = argument.as_str().unwrap().replace("$(POD_IP)", "127.0.0.1");
        probe.arg(argument.replace("=voice-tandem-sip-edge:", "=localhost:"));
    }
    // The server of the test has no certificate.
    let called =
        probe.arg("--plain").env("TANDEM_PROBE_PASSWORD", Prosody::password("rosa")).output().unwrap();
    let said = String::from_utf8_lossy(&called.stdout);
    assert!(called.status.success(), "{said}{}", String::from_utf8_lossy(&called.stderr));
    assert!(said.ends_with("worked\n"), "{said}");
    // Told to go, each goes by itself, well, and within what the chart gives it.
    for (name, program, _, pod) in pods.iter_mut().rev() {
        let given: u64 = pod.environment["TANDEM_CALL__DRAIN_S"].parse().unwrap();
        program.signal(15);
        let ended = program.finish(Duration::from_secs(given.min(20) + 5)).unwrap();
        assert!(ended.success(), "{name}: {:#}", program.failure(&ended.to_string()));
    }
}
