//! Rendering the chart, and finding one's way in what comes out.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use yaml::Value;

/// Values that the chart must render: the least, everything, pods with addresses of their own.
pub const VALUES: &[&str] = &["minimal", "full", "pods"];
/// Tier as objects and images are named, and its key in the values.
pub const TIERS: &[(&str, &str)] = &[
    ("sip-edge", "sipEdge"),
    ("xmpp-edge", "xmppEdge"),
    ("orchestrator", "orchestrator"),
    ("rtp-relay", "rtpRelay"),
];

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// `.tools/helm` where setup made it, else a helm on the path.
pub fn helm(arguments: &[&str]) -> Output {
    let ours = root().join(".tools/helm/bin/helm");
    let helm = if ours.exists() { ours } else { "helm".into() };
    Command::new(helm)
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("there is no helm: run `cargo xtask setup`")
}

pub fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Output of `helm template` for these values with these changes.
pub fn template(values: &str, sets: &[&str]) -> Output {
    let file = format!("helm/tandem/ci/{values}.yaml");
    let mut arguments = vec!["template", "voice", "helm/tandem", "--namespace", "calls", "--values", &file];
    for set in sets {
        arguments.extend(["--set-json", set]);
    }
    helm(&arguments)
}

/// The objects rendered.
pub fn render(values: &str, sets: &[&str]) -> Vec<Value> {
    let output = template(values, sets);
    assert!(output.status.success(), "{values} {sets:?}: {}", words(&output));
    objects(std::str::from_utf8(&output.stdout).unwrap())
}

pub fn objects(text: &str) -> Vec<Value> {
    use serde::Deserialize;
    let all = yaml::Deserializer::from_str(text).map(|document| Value::deserialize(document).unwrap());
    all.filter(|object| !object.is_null()).collect()
}

/// The value at a path of keys and indices, as `spec.template.spec.containers.0.name`; null where there is none.
pub fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    const NULL: &Value = &Value::Null;
    path.split('.').fold(value, |value, key| match key.parse::<usize>() {
        Ok(index) => value.get(index).unwrap_or(NULL),
        Err(_) => value.get(key).unwrap_or(NULL),
    })
}

pub fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    at(value, path).as_str().unwrap_or_default()
}

pub fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    at(value, path).as_sequence().map_or(&[], Vec::as_slice)
}

pub fn kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| text(object, "kind") == kind).collect()
}

pub fn name(object: &Value) -> &str {
    text(object, "metadata.name")
}

/// The only object of a kind with this name.
pub fn named<'a>(objects: &'a [Value], wanted: &str, called: &str) -> &'a Value {
    let found: Vec<_> = kind(objects, wanted).into_iter().filter(|object| name(object) == called).collect();
    assert_eq!(found.len(), 1, "{wanted} {called}");
    found[0]
}
