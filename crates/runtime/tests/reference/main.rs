//! Files generated from `Config`: docs/tandem.toml, and the `config` part of the chart's schema.
//!
//! `cargo xtask schema` (or `BLESS=1`) writes both anew; without it they must be as they would be written.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod chart;
mod sample;

use serde_json::Value;
use std::path::Path;
use tandem_runtime::Config;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

fn current(path: &str, read: impl Fn(&str) -> String, wanted: &str) {
    let file = root().join(path);
    let there = std::fs::read_to_string(&file).unwrap();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(file, wanted).unwrap();
    } else {
        assert!(read(&there) == read(wanted), "{path} is old: run `cargo xtask schema`");
    }
}

#[test]
fn the_sample_shows_every_key() {
    current("docs/tandem.toml", str::to_owned, &sample::toml(&Config::schema()));
}

#[test]
fn the_schema_of_the_chart_has_every_key() {
    const PATH: &str = "helm/tandem/values.schema.json";
    let values = std::fs::read_to_string(root().join(PATH)).unwrap();
    let mut values: Value = serde_json::from_str(&values).unwrap();
    values["properties"]["config"] = chart::schema(Config::schema());
    // The order of keys is the writer's; what they say counts.
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap().to_string();
    current(PATH, read, &format!("{values:#}\n"));
}

/// A key without a description, or one that shows neither example nor default, would be a riddle to its reader.
#[test]
fn every_key_is_described() {
    fn walk(path: &str, schema: &Value, riddles: &mut Vec<String>) {
        for (name, key) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            let described =
                key["description"].as_str().is_some_and(|text| !text.is_empty() && !text.ends_with('.'));
            let shown =
                !key["examples"].is_null() || !key["default"].is_null() || key["properties"].is_object();
            if !described || !shown {
                riddles.push(path.clone());
            }
            walk(&path, key, riddles);
            walk(&path, &key["items"], riddles);
        }
    }
    let mut riddles = vec![];
    walk("", &Config::schema(), &mut riddles);
    assert!(riddles.is_empty(), "no description, one that ends in a point, or no example: {riddles:?}");
}

/// The attributes of a field are what `tandem check` holds a value to: every form takes its own example and default.
#[test]
fn examples_have_the_form_of_their_keys() {
    let config: Config = serde_json::from_value(sample::filled(&Config::schema())).unwrap();
    assert_eq!(
        config.check().iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "[bus] username: credentials are in token too; keep one kind of credentials",
            "[store] url: it is not over TLS, while certificates are given; write rediss for redis, or leave the certificates out",
            "[telemetry] otlp: it is not over TLS, while certificates are given; write https://host:4317, or leave the certificates out",
            "[[telemetry.otlp_header]] value: with other signs than ASCII has for authorization; write what the collector wants to see, or name \
         a value_file that holds it",
            "[cluster] secret: too short; write at least 32 random characters, as `openssl rand -hex 32` gives them, the same on every instance",
            "[[trunk]] tls_client_name: \"sbc.carrier.example\" of pbx, while [sip] listen has no tls://: it could not call in; add \
         tls://address:5061 to [sip] listen, or leave it out",
            "[[xmpp.component]] server: \"127.0.0.1:5347\" is not over TLS, while certificates or tls_name are given; write tls://host:port, where \
         the server takes TLS, or leave them out",
            "[[trunk]] inbound_password: too short for pbx; write at least 12 random characters: whoever guesses them calls through the trunk",
            "[relay] advertise6: \"2001:db8::7\" beside listen \"127.0.0.1\"; write listen = \"::\" and an IPv4 address in advertise, or, for \
         IPv6 alone, that address in advertise",
            "[[admin.user]] token: too short, or with other signs, for ops; write at least 16 random letters and digits, or name a token_file \
         that holds them",
            "[records] file: \"/var/lib/tandem/calls.jsonl\", while [bus] is there: each orchestrator would write a part; name a stream in its \
         place",
        ]
    );
}
