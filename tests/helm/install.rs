//! docs/install.md, followed by a machine as far as that goes without a cluster.

use crate::chart::{at, helm, kind, list, objects, root, text, words};
use std::collections::BTreeSet;
use std::process::Command;

/// Fenced blocks of the page that carry this word.
fn blocks(word: &str) -> Vec<String> {
    let page = std::fs::read_to_string(root().join("docs/install.md")).unwrap();
    let mut parts = page.split("\n```").collect::<Vec<_>>().into_iter().skip(1).step_by(2);
    let found: Vec<String> = parts
        .by_ref()
        .filter_map(|block| block.strip_prefix(&format!("{word}\n")).map(str::to_owned))
        .collect();
    assert!(!found.is_empty(), "docs/install.md has no block of `{word}`");
    found
}

/// The page's install command with its values, rendered instead of installed.
fn followed(more: &str) -> Vec<yaml::Value> {
    let place = tempfile::tempdir().unwrap();
    let (values, extra) = (place.path().join("values.yaml"), place.path().join("more.yaml"));
    std::fs::write(&values, &blocks("yaml")[0]).unwrap();
    std::fs::write(&extra, more).unwrap();
    let commands = blocks("helm");
    let mut arguments: Vec<&str> = commands[0].split_whitespace().skip(1).collect();
    assert_eq!(arguments[..2], ["upgrade", "--install"]);
    arguments.splice(..2, ["template"]);
    for argument in &mut arguments {
        if *argument == "values.yaml" {
            *argument = values.to_str().unwrap();
        }
    }
    arguments.extend(["--values", extra.to_str().unwrap()]);
    let output = helm(&arguments);
    assert!(output.status.success(), "{}", words(&output));
    objects(std::str::from_utf8(&output.stdout).unwrap())
}

#[test]
fn the_page_installs_all_four_tiers() {
    let objects = followed("{}");
    assert_eq!(kind(&objects, "Deployment").len(), 4);
    for deployment in kind(&objects, "Deployment") {
        assert_eq!(text(deployment, "metadata.namespace"), "", "the namespace is the release's");
        let image = text(deployment, "spec.template.spec.containers.0.image");
        assert!(
            image.starts_with("registry.example.net/voice/tandem-") && image.ends_with(":0.1.0"),
            "{image}"
        );
    }
}

#[test]
fn the_page_says_how_calls_are_tried() {
    let objects = followed(&blocks("yaml probe")[0]);
    let test = kind(&objects, "Pod");
    assert_eq!(test.len(), 1);
    let arguments: Vec<_> =
        list(test[0], "spec.containers.0.args").iter().filter_map(yaml::Value::as_str).collect();
    assert_eq!(arguments[0], "--gateway=tandem-sip-edge:5060");
    // The trunk leads to the Service of the probe.
    let service = kind(&objects, "Service").into_iter().find(|s| text(s, "metadata.name") == "tandem-probe");
    assert!(service.is_some() && blocks("yaml probe")[0].contains("uri: sip:tandem-probe.voice.svc:5080"));
}

#[test]
fn the_page_makes_the_secrets_that_the_pods_want() {
    let page = std::fs::read_to_string(root().join("docs/install.md")).unwrap();
    let mut made = BTreeSet::new();
    for line in page.lines().filter(|line| line.contains("create secret generic")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = words[words.iter().position(|word| *word == "generic").unwrap() + 1];
        let source = words.iter().find_map(|word| word.strip_prefix("--from-")).unwrap();
        made.insert((name.to_owned(), source.split('=').nth(1).unwrap().to_owned()));
    }
    let mut wanted = BTreeSet::new();
    let objects = followed("{}");
    for deployment in kind(&objects, "Deployment") {
        for volume in list(deployment, "spec.template.spec.volumes") {
            for source in list(volume, "projected.sources") {
                let items = list(source, "secret.items").iter();
                wanted.extend(
                    items.map(|i| (text(source, "secret.name").to_owned(), text(i, "key").to_owned())),
                );
            }
        }
        for variable in list(deployment, "spec.template.spec.containers.0.env") {
            let secret = at(variable, "valueFrom.secretKeyRef");
            if !secret.is_null() {
                wanted.insert((text(secret, "name").to_owned(), text(secret, "key").to_owned()));
            }
        }
    }
    assert_eq!(made, wanted);
}

#[test]
fn the_page_makes_a_certificate_of_the_right_kind() {
    let place = tempfile::tempdir().unwrap();
    for block in blocks("sh") {
        let made = Command::new("sh").args(["-ec", &block]).current_dir(place.path()).output().unwrap();
        assert!(made.status.success(), "{}", words(&made));
    }
    let pem = place.path().join("dtls.pem");
    let shown = Command::new("openssl").args(["x509", "-noout", "-text", "-in"]).arg(&pem).output().unwrap();
    assert!(words(&shown).contains("prime256v1"), "{}", words(&shown));
    let key = Command::new("openssl").args(["pkey", "-noout", "-in"]).arg(&pem).output().unwrap();
    assert!(key.status.success(), "no key in it: {}", words(&key));
}

/// Certificates of orchestrators and relays: made as the page says they have the name of a relay, and reach both.
#[test]
fn the_certificates_of_the_cluster_are_mounted_where_they_are_used() {
    let place = tempfile::tempdir().unwrap();
    for block in blocks("sh") {
        let made = Command::new("sh").args(["-ec", &block]).current_dir(place.path()).output().unwrap();
        assert!(made.status.success(), "{}", words(&made));
    }
    let mut verify = Command::new("openssl");
    verify.args(["verify", "-CAfile", "ca.crt", "-verify_hostname", "rtp-relay", "tls.crt"]);
    let verified = verify.current_dir(place.path()).output().unwrap();
    assert!(verified.status.success(), "{}", words(&verified));
    let at = |name: &str| Some(place.path().join(name).to_str().unwrap().to_owned());
    let mut config = runtime::Config::default();
    (config.cluster.ca_file, config.cluster.certificate_file) = (at("ca.crt"), at("tls.crt"));
    config.cluster.key_file = at("tls.key");
    assert!(runtime::tls::control_listener(&config).unwrap().is_some());
    assert!(runtime::tls::control_link(&config).unwrap().is_some());

    let objects = followed(&blocks("yaml cluster")[0]);
    for deployment in kind(&objects, "Deployment") {
        let sources =
            list(deployment, "spec.template.spec.volumes").iter().flat_map(|v| list(v, "projected.sources"));
        let mounted = sources.filter(|source| text(source, "secret.name") == "tandem-tls").count();
        let uses = ["orchestrator", "rtp-relay"]
            .iter()
            .any(|tier| text(deployment, "metadata.name").ends_with(tier));
        assert_eq!(mounted, if uses { 3 } else { 0 }, "{}", text(deployment, "metadata.name"));
    }
}

#[test]
fn the_certificate_of_the_page_opens_a_port() {
    let ports = |values: &str| {
        let objects = followed(values);
        let service =
            kind(&objects, "Service").into_iter().find(|s| text(s, "metadata.name").ends_with("sip-edge"));
        list(service.unwrap(), "spec.ports")
            .iter()
            .filter_map(|port| at(port, "port").as_u64())
            .collect::<Vec<_>>()
    };
    assert_eq!(ports("{}"), [5060, 5060]);
    assert_eq!(ports(&blocks("yaml tls")[0]), [5060, 5060, 5061]);
}

#[test]
fn the_pools_of_the_page_are_rendered() {
    let objects = followed(&blocks("yaml pools")[0]);
    let relays =
        kind(&objects, "Deployment").into_iter().filter(|d| text(d, "metadata.name").contains("rtp-relay"));
    assert_eq!(relays.count(), 2);
}
