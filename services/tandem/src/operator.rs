//! Commands to a running system, over the admin API of any of its orchestrators (or of `tandem serve`).

mod user;

use crate::exit;
use clap::{Args, Subcommand};
use serde_json::Value;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use ureq::http::{Method, Request};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, TlsProvider};

const DEADLINE: Duration = Duration::from_secs(5);

#[derive(Subcommand)]
pub enum Task {
    /// Calls that live, or ended in the last minute
    Calls(Asked),
    /// One call
    Call {
        /// As `tandem calls` shows it
        id: String,
        /// End it
        #[arg(long)]
        hang_up: bool,
        #[command(flatten)]
        asked: Asked,
    },
    /// Give a leg of a call another peer: that one is called, and takes the place of the present one once it answers
    Transfer {
        /// As `tandem calls` shows it
        id: String,
        /// Number of the leg, as `tandem call` shows it
        leg: u8,
        /// Address of the new peer, in the words of the leg's protocol: sip:2702@gw.example, 2042@sip.example.net
        to: String,
        #[command(flatten)]
        asked: Asked,
    },
    /// Settings of XMPP users: forwards, do-not-disturb, blocked callers, voicemail
    #[command(subcommand)]
    User(user::UserTask),
    /// Trunks as configured
    Trunks(Asked),
    /// Instances that live
    Instances(Asked),
    /// Let an instance finish what it has and take nothing new
    Drain {
        /// As `tandem instances` shows it
        instance: String,
        #[command(flatten)]
        asked: Asked,
    },
}

#[derive(Args)]
pub struct Asked {
    /// Address of the admin port
    #[arg(long, env = "TANDEM_ADMIN", default_value = "http://127.0.0.1:8080")]
    admin: String,
    /// File with the bearer token of an [[admin.user]]
    #[arg(long, env = "TANDEM_ADMIN_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// PEM file with the authority of the admin port's certificate, for https; default: those of the system
    #[arg(long, env = "TANDEM_ADMIN_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// PEM file with the certificate of an [[admin.user]], for https
    #[arg(long, env = "TANDEM_ADMIN_CERTIFICATE_FILE", value_name = "FILE", requires = "key_file")]
    certificate_file: Option<PathBuf>,
    /// PEM file with its key
    #[arg(long, env = "TANDEM_ADMIN_KEY_FILE", value_name = "FILE", requires = "certificate_file")]
    key_file: Option<PathBuf>,
    /// As JSON, for scripts
    #[arg(long)]
    json: bool,
}

/// Why there is no answer, and the exit code that tells it.
#[derive(Debug)]
struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    fn unreachable(text: String) -> Failure {
        Failure { code: exit::UNREACHABLE, text }
    }
}

/// Asks and shows.
pub fn main(task: Task) -> ExitCode {
    let outcome = match &task {
        Task::Calls(asked) => get(asked, "/calls").map(|answer| show(asked, &answer, calls)),
        Task::Call { id, hang_up: false, asked } => {
            get(asked, &format!("/calls/{id}")).map(|answer| show(asked, &answer, call))
        }
        Task::Call { id, hang_up: true, asked } => {
            let path = format!("/calls/{id}");
            ask(asked, Method::DELETE, &path, None).map(|_| format!("{id} is ended"))
        }
        Task::Transfer { id, leg, to, asked } => {
            let (path, wish) = (format!("/calls/{id}/transfer"), serde_json::json!({ "leg": leg, "to": to }));
            ask(asked, Method::POST, &path, Some(wish)).map(|_| format!("{to} is called"))
        }
        Task::User(task) => user::run(task),
        Task::Trunks(asked) => get(asked, "/trunks").map(|answer| show(asked, &answer, trunks)),
        Task::Instances(asked) => get(asked, "/instances").map(|answer| show(asked, &answer, instances)),
        Task::Drain { instance, asked } => {
            let path = format!("/instances/{instance}/drain");
            ask(asked, Method::POST, &path, None).map(|_| format!("{instance} takes nothing new"))
        }
    };
    match outcome {
        Ok(text) => {
            // Nobody may read on, as in `tandem calls | head -1`.
            let _ = writeln!(std::io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("tandem: {}", failure.text);
            ExitCode::from(failure.code)
        }
    }
}

fn agent(asked: &Asked) -> Result<ureq::Agent, Failure> {
    let mut config = ureq::Agent::config_builder().timeout_global(Some(DEADLINE)).http_status_as_error(false);
    if asked.admin.starts_with("https://") {
        config = config.tls_config(tls(asked)?);
    }
    Ok(config.build().into())
}

/// Reads whom to trust, and the certificate to show.
fn tls(asked: &Asked) -> Result<TlsConfig, Failure> {
    let usage = |text: String| Failure { code: exit::USAGE, text };
    let file = asked.ca_file.as_ref().map(|file| file.display().to_string());
    let authorities = runtime::tls::authorities("--ca-file", file.as_deref());
    let authorities = authorities.map_err(|fault| usage(fault.to_string()))?;
    let authorities: Vec<Certificate<'static>> =
        authorities.iter().map(|authority| Certificate::from_der(authority).to_owned()).collect();
    let mut own = None;
    if let (Some(certificate), Some(key)) = (&asked.certificate_file, &asked.key_file) {
        let file = certificate.display().to_string();
        let chain = runtime::tls::authorities("--certificate-file", Some(&file));
        let chain = chain.map_err(|fault| usage(fault.to_string()))?;
        let chain: Vec<Certificate<'static>> =
            chain.iter().map(|one| Certificate::from_der(one).to_owned()).collect();
        let unusable = |why: &str| {
            usage(format!("--key-file: {} {why}; name a readable file with a key in PEM", key.display()))
        };
        let pem = std::fs::read(key).map_err(|error| unusable(&format!("cannot be read: {error}")))?;
        let key = PrivateKey::from_pem(&pem).map_err(|_| unusable("holds no key"))?;
        own = Some(ClientCert::new_with_certs(&chain, key));
    }
    let config = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::new_with_certs(&authorities));
    Ok(config.client_cert(own).unversioned_rustls_crypto_provider(runtime::tls::provider()).build())
}

fn get(asked: &Asked, path: &str) -> Result<Value, Failure> {
    ask(asked, Method::GET, path, None)
}

/// Asks the admin API, with the token if there is one.
fn ask(asked: &Asked, method: Method, path: &str, body: Option<Value>) -> Result<Value, Failure> {
    let mut request = Request::builder().method(method).uri(format!("{}{path}", asked.admin));
    if let Some(file) = &asked.token_file {
        let token = std::fs::read_to_string(file).map_err(|error| Failure {
            code: exit::USAGE,
            text: format!("--token-file: {} cannot be read: {error}; name a readable file", file.display()),
        })?;
        request = request.header("authorization", format!("Bearer {}", token.trim()));
    }
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let agent = agent(asked)?;
    let sent = match body {
        Some(body) => request.body(body.to_string()).map(|request| agent.run(request)),
        None => request.body(()).map(|request| agent.run(request)),
    };
    let sent = sent.map_err(|error| Failure {
        code: exit::USAGE,
        text: format!("--admin: \"{}\": {error}; write it as http://127.0.0.1:8080", asked.admin),
    })?;
    answer(asked, sent)
}

fn answer(
    asked: &Asked,
    response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<Value, Failure> {
    let mut response = response.map_err(|error| {
        let remedy = match is_of_tls(&error) {
            true => {
                "name the authority of its certificate with --ca-file, and the host as it stands in there"
            }
            false => "name the admin port of an orchestrator with --admin",
        };
        Failure::unreachable(format!("no answer from {}: {error}; {remedy}", asked.admin))
    })?;
    let status = response.status().as_u16();
    let text =
        response.body_mut().read_to_string().map_err(|error| Failure::unreachable(error.to_string()))?;
    let json: Value = serde_json::from_str(&text).map_err(|_| {
        Failure::unreachable(format!(
            "{} is no admin port of an orchestrator; name one with --admin",
            asked.admin
        ))
    })?;
    match json.get("error").and_then(Value::as_str) {
        Some(error) => {
            let code = if status == 404 { exit::NOT_FOUND } else { exit::FAULT };
            Err(Failure { code, text: error.to_owned() })
        }
        None => Ok(json),
    }
}

/// Returns true if the other side speaks no TLS, or its certificate is not taken.
fn is_of_tls(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(error) => error.kind() == std::io::ErrorKind::InvalidData,
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => true,
        _ => false,
    }
}

fn show(asked: &Asked, answer: &Value, table: fn(&Value) -> String) -> String {
    if asked.json { answer.to_string() } else { table(answer) }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("")
}

fn rows(list: &Value, head: &str, row: impl Fn(&Value) -> String) -> String {
    let lines: Vec<String> = list.as_array().into_iter().flatten().map(row).collect();
    if lines.is_empty() { "none".to_owned() } else { format!("{head}\n{}", lines.join("\n")) }
}

fn calls(answer: &Value) -> String {
    rows(&answer["calls"], "CALL              STATE     FROM -> TO", |call| {
        format!(
            "{:<17} {:<9} {} -> {}",
            text(call, "id"),
            text(call, "state"),
            text(call, "from"),
            text(call, "to")
        )
    })
}

fn call(call: &Value) -> String {
    let mut lines = vec![format!(
        "{} {}: {} -> {}",
        text(call, "id"),
        text(call, "state"),
        text(call, "from"),
        text(call, "to")
    )];
    if let Some(reason) = call["reason"].as_str() {
        lines.push(format!("  ended: {reason}"));
    }
    for leg in call["legs"].as_array().into_iter().flatten() {
        let codecs: Vec<&str> =
            leg["codecs"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        lines.push(format!(
            "  leg {} {:<4} {:<8} {} by {} ({}, {})",
            leg["id"],
            text(leg, "protocol"),
            text(leg, "state"),
            text(leg, "party"),
            text(leg, "link"),
            text(leg, "profile"),
            codecs.join(" "),
        ));
    }
    for end in call["media"].as_array().into_iter().flatten() {
        lines.extend(media(end));
    }
    lines.push(format!("  relay {}  trace {}", text(call, "relay"), text(call, "trace")));
    lines.join("\n")
}

/// Two lines of an end: what is heard of the peer, and what it says that it hears.
fn media(end: &Value) -> Vec<String> {
    let number = |value: &Value| value.as_f64();
    let milli = |value: &Value| number(value).map_or("-".into(), |us| format!("{:.1} ms", us / 1e3));
    let percent = |value: &Value| number(value).map_or("-".into(), |ppm| format!("{:.1} %", ppm / 1e4));
    let score = |value: &Value| number(value).map_or("-".into(), |score| format!("{:.2}", score / 1e2));
    let heard = &end["heard"];
    let mut lines = vec![format!(
        "  media {}.{} {} from {}: {} packets, {} lost (now {}), jitter {}, MOS {} (mean {}), round trip {}",
        end["leg"],
        end["content"],
        text(end, "codec"),
        Some(text(end, "peer")).filter(|peer| !peer.is_empty()).unwrap_or("nowhere yet"),
        heard["packets"],
        heard["lost"],
        percent(&heard["loss_ppm"]),
        milli(&heard["jitter_us"]),
        score(&heard["mos"]),
        score(&heard["mos_mean"]),
        milli(&end["round_trip_us"]),
    )];
    let seen = &end["seen"];
    if seen.is_object() {
        lines.push(format!(
            "        to it: {} packets; it tells of {} lost (now {}), jitter {}, MOS {}",
            end["packets_out"],
            seen["lost"],
            percent(&seen["loss_ppm"]),
            milli(&seen["jitter_us"]),
            score(&seen["mos"]),
        ));
    }
    lines
}

fn trunks(answer: &Value) -> String {
    rows(&answer["trunks"], "TRUNK        DOMAIN                   URI", |trunk| {
        format!("{:<12} {:<24} {}", text(trunk, "name"), text(trunk, "domain"), text(trunk, "uri"))
    })
}

fn instances(answer: &Value) -> String {
    rows(&answer["instances"], "KIND          LOAD/CAPACITY  INSTANCE", |card| {
        let load = format!("{}/{}", card["load"], card["capacity"]);
        let draining = if card["draining"] == Value::Bool(true) { " (draining)" } else { "" };
        let carries = match card["max_busy"].as_u64() {
            Some(1..) => {
                let region = text(card, "region");
                let busy = card["busy"].as_u64().unwrap_or(0) / 10;
                let place = if region.is_empty() { String::new() } else { format!(" in {region}") };
                format!("  {busy} % of a core, {} packets/s{place}", card["packets"])
            }
            _ => String::new(),
        };
        format!("{:<13} {:<14} {}{draining}{carries}", text(card, "kind"), load, text(card, "instance"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_shown_with_what_is_heard_and_what_the_peer_tells() {
        let answer = serde_json::json!({
            "id": "abc", "state": "active", "from": "2041", "to": "rosa", "relay": "relay-1", "trace": "t", "legs": [],
            "media": [
                { "leg": 0, "content": 0, "codec": "PCMU", "peer": "192.0.2.30:4000", "packets_out": 480,
                  "round_trip_us": 30_400,
                  "heard": { "packets": 500, "lost": 5, "loss_ppm": 20_000, "jitter_us": 1_300, "mos": 429, "mos_mean": 431 },
                  "seen": { "lost": 1, "loss_ppm": 0, "jitter_us": 400, "mos": 440 } },
                { "leg": 1, "content": 0, "codec": "", "peer": "", "packets_out": 0, "round_trip_us": null,
                  "heard": { "packets": 0, "lost": 0, "loss_ppm": 0, "jitter_us": 0, "mos": null, "mos_mean": null },
                  "seen": null },
            ],
        });
        let text = call(&answer);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "abc active: 2041 -> rosa");
        assert_eq!(
            lines[1],
            "  media 0.0 PCMU from 192.0.2.30:4000: 500 packets, 5 lost (now 2.0 %), jitter 1.3 ms, MOS 4.29 (mean 4.31), round trip 30.4 ms"
        );
        assert_eq!(
            lines[2],
            "        to it: 480 packets; it tells of 1 lost (now 0.0 %), jitter 0.4 ms, MOS 4.40"
        );
        assert!(lines[3].contains("from nowhere yet: 0 packets") && lines[3].ends_with("round trip -"));
        assert_eq!(lines.len(), 5);
    }
}
