//! The configuration that a pod would find, read by the code that its service reads it with.

use crate::chart::{VALUES, kind, list, name, named, render, root, text};
use crate::pod::{NAME, Pod};
use runtime::Config;
use runtime::config::load::{Examined, examine_for};
use runtime::config::{Role, Service, Srtp};
use std::collections::BTreeSet;
use yaml::Value;

/// Tier of a deployment, as its binary is named.
fn tier(deployment: &Value) -> &str {
    text(deployment, "spec.template.spec.containers.0.name")
}

/// Loads a pod's configuration as the binary of its container would: files mounted, environment set.
fn load_as(objects: &[Value], deployment: &Value) -> Config {
    let pod = Pod::of(objects, deployment, "10.1.2.3", |name, key| match (name, key) {
        ("tandem-nats", _) => "nats://user:word@nats:4222".to_owned(),
        ("tandem-redis", _) => "redis://:word@redis:6379".to_owned(),
        ("tandem-admin", user) => format!("0123456789012-{user}\n"),
        (name, "secret") => format!("secret of {name}, as it is there\n"),
        (name, key) => format!("{key} of {name}\n"),
    });
    let service = Service::of(tier(deployment));
    assert_ne!(service, Service::All, "{}", name(deployment));
    let Examined { config, faults, .. } = examine_for(service, Some(&pod.config), pod.environment);
    assert!(faults.is_empty(), "{}: {faults:?}", name(deployment));
    config.unwrap()
}

fn loaded(values: &str, sets: &[&str], deployment: &str) -> Config {
    let objects = render(values, sets);
    load_as(&objects, named(&objects, "Deployment", deployment))
}

#[test]
fn every_pod_can_read_its_configuration() {
    for values in VALUES {
        let objects = render(values, &[]);
        for deployment in kind(&objects, "Deployment") {
            let config = load_as(&objects, deployment);
            assert_eq!(config.instance.as_deref(), Some(NAME));
            assert!(config.bus.is_some());
            assert_eq!(config.store.is_some(), tier(deployment) == "orchestrator");
            assert_eq!(config.cluster.secret.as_deref(), Some("secret of tandem-cluster, as it is there"));
        }
    }
}

#[test]
fn values_arrive_in_the_configuration() {
    let edge = loaded("full", &[], "voice-tandem-sip-edge");
    assert_eq!(edge.bus.as_ref().unwrap().url, "nats://user:word@nats:4222");
    assert_eq!(edge.telemetry.otlp.as_deref(), Some("https://collector.tracing.svc:4317"));
    let headers = edge.telemetry.otlp_header.as_ref().unwrap();
    assert_eq!((headers[1].name.as_str(), headers[1].value.as_deref()), ("x-tenant", Some("tenant of otlp")));
    assert_eq!(edge.telemetry.sample, Some(0.25));
    assert!(edge.telemetry.json);
    assert_eq!(edge.sip.listen, ["udp://0.0.0.0:5070", "tcp://0.0.0.0:5070", "tls://0.0.0.0:5071"]);
    assert_eq!(edge.sip.advertise.as_deref(), Some("gw.example.net"));
    assert_eq!(edge.sip.domains, ["im.example.net", "im.example.org"]);
    assert_eq!(edge.sip.max_legs, 20_000);
    let xmpp = loaded("full", &[], "voice-tandem-xmpp-edge");
    assert_eq!(xmpp.xmpp.component[1].secret.as_deref(), Some("sip.example.org of tandem-xmpp"));
    assert_eq!(xmpp.xmpp.component[1].users, None);
    assert_eq!(xmpp.xmpp.component[1].tls_name(), ("[[xmpp.component]] tls_name", "example.org"));
    assert!(xmpp.xmpp.component[1].ca_file.is_some());
    assert_eq!(edge.trunk[0].networks().unwrap().len(), 2);
    assert_eq!(edge.trunk[1].uri, "sip:carrier.example.org;transport=tcp");
    assert_eq!(edge.trunk[0].callers, None);
    let callers = edge.callers(&edge.trunk[1]).unwrap();
    assert_eq!(callers, ["example.org", "ann@example.com", "rosa@example.net", "partner.example", "*"]);
    assert!(edge.trunk[1].emergency().unwrap().contains("110") && edge.trunk[0].country.is_none());
    assert_eq!((edge.trunk[0].roaming, edge.trunk[1].roaming), (false, true));
    assert_eq!((edge.trunk[0].srtp, edge.trunk[1].srtp), (Srtp::Off, Srtp::Required));
    assert_eq!((&edge.trunk[0].username, &edge.trunk[0].password), (&None, &None));
    assert_eq!(edge.trunk[1].username.as_deref(), Some("2000"));
    assert_eq!(edge.trunk[1].password.as_deref(), Some("carrier of tandem-trunks"));
    assert_eq!(edge.trunk[1].inbound_username.as_deref(), Some("carrier"));
    assert_eq!(edge.trunk[1].inbound_password.as_deref(), Some("carrier-inbound of tandem-trunks"));
    assert_eq!(edge.alias[1].jid, "\"odd <name>\"@example.net");
    assert_eq!((edge.call.ring_s, edge.call.drain_s), (45, 35));
    assert_eq!(edge.admin.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(edge.admin.health.unwrap().to_string(), "10.1.2.3:8081", "it is on the node's network");
    assert!(edge.admin.user.is_none());
    assert_eq!(edge.call.hold_music.as_deref(), Some("hold.wav"));
    assert_eq!(edge.cluster.tls_name(), "relay.voice.example.net");

    let relay = loaded("full", &[], "voice-tandem-rtp-relay-a");
    assert_eq!(relay.relay.listen.to_string(), "10.1.2.3");
    assert_eq!(relay.relay.advertise.unwrap().to_string(), "203.0.113.7");
    assert_eq!(relay.relay.control.unwrap().to_string(), "10.1.2.3:7070");
    assert_eq!(relay.relay.port_range().unwrap(), (40_000, 40_999));
    assert_eq!(relay.call.drain_s, 3_595, "calls may end by themselves");
    assert_eq!((relay.relay.threads, relay.relay.media_timeout_s), (4, 30));
    assert_eq!((relay.relay.pin, relay.relay.batch_us, relay.relay.max_load), (true, 500, 70));
    assert_eq!(
        (relay.relay.region.as_str(), relay.relay.labels.as_slice()),
        ("north", &["video".to_owned()][..])
    );
    assert!(relay.cluster.dtls_certificate_file.is_some());
    let orchestrator = loaded("full", &[], "voice-tandem-orchestrator");
    let store = orchestrator.store.unwrap();
    assert_eq!((store.url.as_str(), store.timeout_ms), ("redis://:word@redis:6379", 1_500));
    let admin = orchestrator.admin;
    assert_eq!(
        (admin.listen.to_string(), admin.health.unwrap().to_string()),
        ("0.0.0.0:8080".into(), "0.0.0.0:8081".into())
    );
    let users = admin.user.unwrap();
    assert_eq!((users[0].name.as_str(), users[0].role), ("eye", Role::View));
    assert_eq!((users[1].name.as_str(), users[1].role), ("hand", Role::Operate));
    assert_eq!(users[1].token.as_deref(), Some("0123456789012-hand"));
    assert_eq!((&users[2].token, users[2].certificate_name.as_deref()), (&None, Some("desk.example.net")));
    assert!(admin.certificate_file.is_some_and(|file| file.ends_with("/admin-tls-certificate")));
    assert!(admin.hosts.contains(&"voice-tandem-orchestrator.calls.svc".to_owned()));
    assert!(admin.hosts.contains(&"gw-admin.example.net".to_owned()));
    let south = loaded("full", &[], "voice-tandem-rtp-relay-south").relay;
    assert_eq!((south.region.as_str(), south.labels.len(), south.threads), ("south", 2, 2));
    let orchestrator = loaded("full", &[], "voice-tandem-orchestrator").orchestrator;
    assert_eq!(
        (orchestrator.region.as_str(), orchestrator.labels.as_slice()),
        ("north", &["video".to_owned()][..])
    );
    assert!(relay.xmpp.component.is_empty() && relay.trunk.is_empty());

    let relay = loaded("full", &[], "voice-tandem-rtp-relay-b");
    assert_eq!(
        (relay.relay.listen.to_string().as_str(), relay.relay.advertise6),
        ("::", "2001:db8::8".parse().ok())
    );
    assert_eq!(relay.relay.advertise.unwrap().to_string(), "203.0.113.8");

    let relay = loaded("pods", &[], "voice-tandem-rtp-relay");
    assert_eq!(relay.relay.advertise, None, "the pod's own address is what callers reach");
}

/// Every file that a pod's configuration names is there, but for those of TLS that the pod has no use for: of SIP, and between
/// orchestrators and relays.
#[test]
fn files_from_secrets_are_mounted() {
    let objects = render("full", &[]);
    let all = ["bus-ca", "bus-certificate", "bus-key", "telemetry-otlp_ca", "otlp-header-0", "otlp-header-1"];
    for (tier, more) in [
        ("sip-edge", &["sip-tls_certificate", "sip-tls_key", "trunk-1-inbound_password"][..]),
        ("xmpp-edge", &["component-1-ca"]),
        (
            "orchestrator",
            &[
                "cluster-ca",
                "cluster-certificate",
                "cluster-key",
                "admin-tls-certificate",
                "admin-tls-key",
                "admin-tls-client_ca",
            ],
        ),
        ("rtp-relay-a", &["cluster-ca", "cluster-certificate", "cluster-key"]),
    ] {
        let deployment = named(&objects, "Deployment", &format!("voice-tandem-{tier}"));
        let sources =
            list(deployment, "spec.template.spec.volumes").iter().flat_map(|v| list(v, "projected.sources"));
        let files: Vec<&str> =
            sources.flat_map(|source| list(source, "secret.items")).map(|item| text(item, "path")).collect();
        for file in [
            "sip-",
            "trunk-1-inbound",
            "bus-",
            "cluster-",
            "telemetry-",
            "otlp-",
            "component-1-",
            "admin-tls-",
        ] {
            let seen = files.iter().filter(|path| path.starts_with(file)).count();
            let wanted = all.iter().chain(more).filter(|path| path.starts_with(file)).count();
            assert_eq!(seen, wanted, "{tier}: {file} of {files:?}");
        }
        assert!(all.iter().chain(more).all(|file| files.contains(file)), "{tier}: {files:?}");
        let bus = load_as(&objects, deployment).bus.unwrap();
        assert!(bus.ca_file.is_some_and(|file| file.ends_with("/bus-ca")) && bus.key_file.is_some());
    }
    let sets = [
        r#"config.store.username="tandem""#,
        r#"config.store.secretFiles.password_file={"name": "links", "key": "word"}"#,
    ];
    let store = loaded("minimal", &sets, "voice-tandem-orchestrator").store.unwrap();
    assert_eq!(
        (store.username.as_deref(), store.password.as_deref()),
        (Some("tandem"), Some("word of links"))
    );
}

/// A tier that is taken gives away its own secrets alone: what is mounted is what its configuration names and its binary reads.
#[test]
fn f11_each_tier_has_its_own_secrets_alone() {
    const SHARED: &[&str] = &[
        "bus-ca",
        "bus-certificate",
        "bus-key",
        "cluster",
        "telemetry-otlp_ca",
        "otlp-header-0",
        "otlp-header-1",
    ];
    const CLUSTER: &[&str] = &["cluster-ca", "cluster-certificate", "cluster-key"];
    const ADMIN: &[&str] = &["admin-tls-certificate", "admin-tls-key", "admin-tls-client_ca"];
    let files =
        [r#"config.store.secretFiles.sentinel_password_file={"name": "tandem-redis", "key": "sentinels"}"#];
    let objects = render("full", &files);
    for deployment in kind(&objects, "Deployment") {
        let own: &[&[&str]] = match tier(deployment) {
            "sip-edge" => &[&["sip-tls_certificate", "sip-tls_key", "trunk-1", "trunk-1-inbound_password"]],
            "xmpp-edge" => &[&["component-0", "component-1", "component-1-ca"]],
            "orchestrator" => &[CLUSTER, ADMIN, &["admin-0", "admin-1", "store-sentinel_password"]],
            "rtp-relay" => &[CLUSTER, &["dtls"]],
            other => panic!("{other} is no tier"),
        };
        let wanted: BTreeSet<&str> = SHARED.iter().chain(own.iter().copied().flatten()).copied().collect();
        let volumes = list(deployment, "spec.template.spec.volumes");
        let sources = volumes.iter().flat_map(|volume| list(volume, "projected.sources"));
        let mounted: BTreeSet<&str> =
            sources.flat_map(|source| list(source, "secret.items")).map(|item| text(item, "path")).collect();
        assert_eq!(mounted, wanted, "{}", name(deployment));
        let map =
            volumes.iter().map(|volume| text(volume, "configMap.name")).find(|map| !map.is_empty()).unwrap();
        let file = named(&objects, "ConfigMap", map)["data"]["tandem.toml"].as_str().unwrap();
        let named: BTreeSet<&str> =
            file.split("/run/secrets/tandem/").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        assert_eq!(named, wanted, "{}", name(deployment));
        // URLs with credentials come by the environment.
        let variables = list(deployment, "spec.template.spec.containers.0.env").iter();
        let secret: Vec<&str> = variables
            .filter(|one| !text(one, "valueFrom.secretKeyRef.name").is_empty())
            .map(|one| text(one, "name"))
            .collect();
        let store = tier(deployment) == "orchestrator";
        assert_eq!(secret.contains(&"TANDEM_STORE__URL"), store, "{}", name(deployment));
        assert!(secret.contains(&"TANDEM_BUS__URL"), "{}", name(deployment));

        let config = load_as(&objects, deployment);
        let trunk =
            config.trunk.iter().any(|trunk| trunk.password.is_some() || trunk.inbound_password.is_some());
        assert_eq!(trunk, tier(deployment) == "sip-edge");
        let component = config.xmpp.component.iter().any(|component| component.secret.is_some());
        assert_eq!(component, tier(deployment) == "xmpp-edge");
        assert_eq!(config.store.is_some(), store);
        assert_eq!(config.admin.user.is_some(), store, "tokens are the orchestrators'");
        assert_eq!(config.cluster.dtls_certificate_file.is_some(), tier(deployment) == "rtp-relay");
        assert_eq!(config.sip.tls_key_file.is_some(), tier(deployment) == "sip-edge");
    }
}

/// Keys that values may not set: the chart does, or they are of the one process alone.
const SET: &[&str] = &[
    "records.file",
    "instance",
    "cluster.secret",
    "cluster.secret_file",
    "cluster.dtls_certificate_file",
    "telemetry.otlp_header.value",
    "telemetry.otlp_header.value_file",
    "admin.listen",
    "admin.health",
    "admin.hosts",
    "admin.certificate_file",
    "admin.key_file",
    "admin.client_ca_file",
    "admin.user.name",
    "admin.user.role",
    "admin.user.token",
    "admin.user.token_file",
    "admin.user.certificate_name",
    "sip.listen",
    "xmpp.component.secret",
    "xmpp.component.secret_file",
    "trunk.password",
    "trunk.password_file",
    "trunk.inbound_password",
    "bus.password",
    "bus.token",
    "store.password",
    "store.sentinel_password",
    "relay.listen",
    "relay.advertise",
    "relay.advertise6",
    "relay.control",
    "call.drain_s",
];

/// A key that is documented and can be set neither by values nor by the chart would be lost to users of the chart.
#[test]
fn every_documented_key_can_be_set() {
    let text = std::fs::read_to_string(root().join("docs/tandem.toml")).unwrap();
    let schema = std::fs::read_to_string(root().join("helm/tandem/values.schema.json")).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    let (mut section, mut seen, mut lost) = (String::new(), 0, vec![]);
    for line in text.lines() {
        // Keys that are commented out are documented too.
        let line = line.strip_prefix("# ").unwrap_or(line);
        let header = line.trim_start_matches('[').split(']').next().unwrap_or_default();
        let plain = |word: &str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.'))
        };
        if line.starts_with('[') && plain(header) {
            header.clone_into(&mut section);
        } else if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| plain(key)) {
            let path = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
            seen += 1;
            let mut at = &schema["properties"]["config"];
            for part in path.split('.') {
                at = if at["items"].is_object() { &at["items"] } else { at };
                let table = &at["properties"];
                at = if table[part].is_null() {
                    &table["secretFiles"]["properties"][part]
                } else {
                    &table[part]
                };
            }
            if at.is_null() != SET.contains(&path.as_str()) {
                lost.push(path);
            }
        }
    }
    assert!(seen >= 25, "only {seen} keys found in docs/tandem.toml");
    assert!(lost.is_empty(), "neither in the schema's config nor set by the chart, or both: {lost:?}");
}
