//! `docker/`: what can be said of it without an engine. The configurations are read by the programs that will read them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use runtime::config::load::load;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use yaml::Value;

const SERVICES: &[&str] = &["sip-edge", "xmpp-edge", "orchestrator", "rtp-relay"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// compose.yaml with `<<` resolved.
fn compose() -> Value {
    let mut compose: Value = yaml::from_str(&read("docker/compose.yaml")).unwrap();
    compose.apply_merge().unwrap();
    compose
}

/// Stages of the Dockerfile: name, and what they come from.
fn stages() -> BTreeMap<String, String> {
    let text = read("docker/Dockerfile");
    let stages = text.lines().filter_map(|line| line.strip_prefix("FROM ")?.split_once(" AS "));
    stages.map(|(from, name)| (name.to_owned(), from.to_owned())).collect()
}

#[test]
fn every_service_is_a_target_with_its_binary() {
    let (text, stages) = (read("docker/Dockerfile"), stages());
    for service in SERVICES.iter().chain(&["tandem", "probe"]) {
        assert_eq!(stages.get(*service).map(String::as_str), Some("runtime"), "{service}");
        let binary = if *service == "tandem" { "tandem".to_owned() } else { format!("tandem-{service}") };
        let stage = text.split(&format!(" AS {service}\n")).nth(1).unwrap().split("\nFROM").next().unwrap();
        assert!(stage.contains(&format!("/out/{binary} ")), "{stage}");
        assert!(stage.contains(&format!("[\"/usr/local/bin/{binary}\"]")), "{stage}");
        // The build makes it, from a package of this workspace.
        assert!(text.contains(&format!("--package {binary} ")), "{binary} is not built");
    }
    let runtime = text.split(" AS runtime\n").nth(1).unwrap().split("\nFROM").next().unwrap();
    assert!(runtime.contains("USER 65532:65532"), "not as root, and as the chart's pods");
    for base in text.lines().filter_map(|line| line.strip_prefix("ARG ")?.split_once("=docker.io/")) {
        assert!(base.1.contains(':') && !base.1.ends_with("latest"), "{base:?} is not pinned");
    }
}

#[test]
fn compose_uses_targets_that_are_there() {
    let (compose, stages) = (compose(), stages());
    let services = compose["services"].as_mapping().unwrap();
    for (name, service) in services {
        let name = name.as_str().unwrap();
        if let Some(build) = service.get("build") {
            assert_eq!(build["target"].as_str(), Some(name));
            assert!(stages.contains_key(name), "{name} is no target");
            assert_eq!(build["dockerfile"].as_str(), Some("docker/Dockerfile"));
        } else {
            let image = service["image"].as_str().unwrap();
            assert!(image.contains(':') && !image.ends_with(":latest"), "{image}");
        }
        for volume in service.get("volumes").and_then(Value::as_sequence).into_iter().flatten() {
            let file = volume.as_str().unwrap().split(':').next().unwrap();
            assert!(root().join("docker").join(file).exists(), "{name}: no {file}");
        }
    }
    let names: BTreeSet<&str> = services.keys().filter_map(Value::as_str).collect();
    for service in SERVICES {
        assert!(names.contains(service));
        assert_eq!(compose["services"][*service]["read_only"].as_bool(), Some(true));
    }
}

#[test]
fn the_services_can_read_their_configuration_and_find_each_other() {
    let compose = compose();
    for service in SERVICES {
        let service = &compose["services"][*service];
        let variables = service.get("environment").and_then(Value::as_mapping);
        let variables = variables.into_iter().flatten().map(|(name, value)| {
            (
                name.as_str().unwrap().to_owned(),
                value.as_str().unwrap().replace("${HOST_ADDRESS:-127.0.0.1}", "192.0.2.1"),
            )
        });
        let config = load(Some(&root().join("docker/tandem.toml")), variables.collect::<Vec<_>>()).unwrap();
        assert_eq!(config.check(), vec![]);
    }
    let config = load(Some(&root().join("docker/tandem.toml")), []).unwrap();
    let host = |address: &str| address.split("//").last().unwrap().split(':').next().unwrap().to_owned();
    for named in [
        host(&config.bus.unwrap().url),
        host(&config.store.unwrap().url),
        host(&config.xmpp.component[0].server),
    ] {
        assert!(compose["services"].get(&named).is_some(), "no service {named}");
    }
    let relay = &compose["services"]["rtp-relay"];
    let address = config.relay.listen.to_string();
    assert_eq!(relay["networks"]["tandem"]["ipv4_address"].as_str(), Some(address.as_str()));
    assert_eq!(config.relay.control.unwrap().ip().to_string(), address);
    let ports = &config.relay.ports;
    assert_eq!(relay["ports"][0].as_str(), Some(format!("{ports}:{ports}/udp").as_str()));
    let gateway = compose["networks"]["tandem"]["ipam"]["config"][0]["gateway"].as_str().unwrap();
    assert!(config.trunk[0].uri.contains(gateway) && config.trunk[0].sources[0].contains(gateway));
}

/// The XMPP server's side agrees with ours, and Prosody itself finds no fault.
#[test]
fn prosody_knows_the_component() {
    let (text, config) =
        (read("docker/prosody.cfg.lua"), load(Some(&root().join("docker/tandem.toml")), []).unwrap());
    let component = &config.xmpp.component[0];
    assert!(text.contains(&format!("Component \"{}\"", component.domain)));
    assert!(text.contains(&format!("component_secret = \"{}\"", component.secret.as_deref().unwrap())));
    assert!(text.contains(&format!("VirtualHost \"{}\"", component.users.as_deref().unwrap())));
    let checked = Command::new("prosodyctl")
        .args(["--root", "--config"])
        .arg(root().join("docker/prosody.cfg.lua"))
        .args(["check", "config"])
        .output()
        .expect("there is no Prosody: run `cargo xtask setup`");
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{said}{}", String::from_utf8_lossy(&checked.stderr));
}

/// The build copies exactly what a build needs.
#[test]
fn the_build_context_holds_every_member() {
    let ignored = read(".dockerignore");
    let kept: BTreeSet<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let manifest = read("Cargo.toml");
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = ")).unwrap();
    for member in members.split('"').skip(1).step_by(2) {
        let folder = member.trim_end_matches("/*");
        let held = kept.contains(folder) || folder.split('/').next().is_some_and(|top| kept.contains(top));
        let left_out = ignored.lines().any(|line| line == folder);
        assert!(held && !left_out, "{member} is not in the build context");
    }
    for file in ["Cargo.toml", "Cargo.lock"] {
        assert!(kept.contains(file), "{file}");
    }
    assert!(ignored.lines().any(|line| line == "*"), "everything else stays out");
}
