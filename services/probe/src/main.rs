//! `tandem-probe`: a real call through a running gateway, and a verdict on each of its steps.
//!
//! One rule: nothing of the gateway's own is used where the gateway could be wrong: XMPP is spoken by tokio-xmpp and xmpp-parsers, SIP is
//! read and written by rsip; what sound is made of, ICE, DTLS, SRTP and codecs, is the relay's own. Start at [`call`]; [`phone`] and [`client`] are the
//! two sides, [`media`] is the sound of each, [`report`] the verdict.

mod call;
mod client;
mod codec;
mod jingle;
mod media;
mod phone;
mod random;
mod reception;
mod report;
mod sdp;
mod sip;
mod tone;

use call::{From, Plan, Stage};
use clap::{Parser, ValueEnum};
use client::{Account, Client};
use codec::Codec;
use phone::{Heard, Phone};
use report::{Failed, Fault, Report};
use serde_json::json;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Exit codes: of a call that did not work, of wrong usage (as clap's own), and of nobody who answers.
const DID_NOT_WORK: u8 = 1;
const USAGE: u8 = 2;
const UNREACHABLE: u8 = 4;
/// Deadline of reaching the gateway, and of logging in.
const REACH: Duration = Duration::from_secs(8);
const LOG_IN: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Caller {
    /// The phone calls the account
    Sip,
    /// The account calls the phone
    Xmpp,
    /// One call after the other
    Both,
}

/// Calls through a running gateway, from a phone of its own to an XMPP account and back, and says whether they worked.
///
/// Exit code: 0 they worked, 1 one did not, 2 wrong usage, 4 nobody answers.
#[derive(Parser)]
#[command(name = "tandem-probe", version)]
struct Arguments {
    /// Address or name where the gateway takes SIP over UDP
    #[arg(long, value_name = "HOST:PORT")]
    gateway: String,
    /// Address of the probe's phone: that of a trunk of the gateway (its `uri` for calls to it, one of its `sources` for calls from it)
    #[arg(long, value_name = "IP:PORT")]
    listen: SocketAddr,
    /// XMPP account that the probe logs in to
    #[arg(long)]
    jid: String,
    /// File with its password; else the environment's TANDEM_PROBE_PASSWORD
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// XMPP server, host:port; else found by DNS (SRV of the account's domain)
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<String>,
    /// Log in without TLS: for a server on this machine
    #[arg(long)]
    plain: bool,
    /// Side that calls
    #[arg(long, value_enum, default_value = "both")]
    from: Caller,
    /// SIP URI of the account, called from SIP
    #[arg(long, value_name = "URI", required_if_eq_any = [("from", "sip"), ("from", "both")])]
    call_uri: Option<String>,
    /// JID of the phone, called from XMPP
    #[arg(long, value_name = "JID", required_if_eq_any = [("from", "xmpp"), ("from", "both")])]
    call_jid: Option<String>,
    /// Call from XMPP by session-initiate at once, without Message Initiation (XEP-0353)
    #[arg(long)]
    direct: bool,
    /// Address for the probe's media; else that of --listen
    #[arg(long, value_name = "IP")]
    media: Option<IpAddr>,
    /// Codecs of the phone, in order: PCMU, PCMA, G722
    #[arg(long, value_delimiter = ',', default_value = "PCMU,PCMA")]
    sip_codecs: Vec<String>,
    /// Codecs of the account's client, in order: opus, PCMU, PCMA, G722
    #[arg(long, value_delimiter = ',', default_value = "opus,PCMU,PCMA")]
    xmpp_codecs: Vec<String>,
    /// Seconds that both sides talk
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    talk: u64,
    /// Lowest mean opinion score (ITU-T G.107) of a call that worked
    #[arg(long, default_value_t = 3.5)]
    min_mos: f64,
    /// One JSON document in place of text
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (plan, account) = match (arguments.plan(), arguments.account()) {
        (Ok(plan), Ok(account)) => (plan, account),
        (Err(fault), _) | (_, Err(fault)) => {
            eprintln!("tandem-probe: {fault}");
            return ExitCode::from(USAGE);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("tandem-probe: no runtime: {error}");
            return ExitCode::from(DID_NOT_WORK);
        }
    };
    let reports = runtime.block_on(run(&arguments, &plan, &account));
    let faults: Vec<&Fault> = reports.iter().filter_map(Report::fault).collect();
    let code = match faults.as_slice() {
        [] => 0,
        faults if faults.iter().any(|fault| fault.unreachable) => UNREACHABLE,
        _ => DID_NOT_WORK,
    };
    if arguments.json {
        let calls: Vec<_> = reports.iter().map(Report::json).collect();
        println!("{:#}", json!({ "worked": code == 0, "exit_code": code, "reports": calls }));
    } else {
        reports.iter().for_each(|report| print!("{}", report.text()));
        println!("{}", if code == 0 { "worked" } else { "did NOT work" });
    }
    // What a library still resolves in the background shall not hold the verdict up.
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// Reaches both sides, then makes the calls.
async fn run(arguments: &Arguments, plan: &Plan, account: &Account) -> Vec<Report> {
    let mut before = Report::new("before any call");
    let ready = ready(arguments, account, &mut before).await;
    let mut reports = vec![before];
    if let Ok((mut phone, mut client)) = ready {
        let calls: &[From] = match arguments.from {
            Caller::Sip => &[From::Sip],
            Caller::Xmpp => &[From::Xmpp],
            Caller::Both => &[From::Sip, From::Xmpp],
        };
        for from in calls {
            phone.forget().await;
            client.forget();
            reports.push(Stage::new(plan, &mut phone, &mut client).call(*from).await);
        }
        client.log_out().await;
    }
    reports
}

async fn ready(
    arguments: &Arguments,
    account: &Account,
    report: &mut Report,
) -> Result<(Phone, Client), Failed> {
    let gateway = &arguments.gateway;
    let late = Fault::unreachable(
        format!("nobody answers OPTIONS at {gateway} over UDP"),
        "look at --gateway, [sip] listen, and at firewalls between",
    );
    let phone = report
        .step("gateway", REACH, late, async {
            let mut phone = Phone::open(arguments.listen, address(gateway).await?, &arguments.number()).await?;
            phone.options(&format!("sip:{gateway}")).await?;
            loop {
                match phone.next().await? {
                    Heard::Response { method, code: 200..=299, .. } if method == "OPTIONS" => return Ok(phone),
                    Heard::Response { method, why, .. } if method == "OPTIONS" => {
                        let remedy = "look whether --listen is of a [[trunk]] (`uri`, `sources`), and at /readyz of the gateway";
                        return Err(Fault::new(format!("the gateway answers OPTIONS with {why}"), remedy));
                    }
                    Heard::Unreadable(error) => {
                        return Err(Fault::new(format!("rsip cannot read the answer to OPTIONS: {error}"), "report this"));
                    }
                    _ => {}
                }
            }
        })
        .await?;
    let late = Fault::new(
        "the server did not let the account in in time",
        "look at --jid, the password, --plain and the server's log",
    );
    let client = report.step("registered", LOG_IN, late, Client::log_in(account)).await?;
    report.fact("as", client.jid().to_owned());
    Ok((phone, client))
}

/// Looks the gateway up: its first address of IPv4, which is all that rsip reads.
async fn address(gateway: &str) -> Result<SocketAddr, Fault> {
    let remedy = "write --gateway as address:port or name:port, of IPv4";
    let found = tokio::net::lookup_host(gateway).await;
    let found =
        found.map_err(|error| Fault::unreachable(format!("{gateway} is not found: {error}"), remedy))?;
    let mut found = found.filter(SocketAddr::is_ipv4);
    found.next().ok_or_else(|| Fault::unreachable(format!("{gateway} has no address of IPv4"), remedy))
}

impl Arguments {
    /// Returns the number of the phone: that by which the account calls it, so that it can call back.
    fn number(&self) -> String {
        let local = self.call_jid.as_deref().and_then(|jid| jid.split_once('@')).map(|(local, _)| local);
        local.unwrap_or("probe").to_owned()
    }

    fn plan(&self) -> Result<Plan, String> {
        if !self.listen.is_ipv4() {
            return Err(format!(
                "--listen {}: the probe speaks SIP over IPv4; rsip reads no IPv6",
                self.listen
            ));
        }
        if self.gateway.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
            return Err(format!("--gateway {}: no port; write address:port or name:port", self.gateway));
        }
        let codecs = |key: &str, names: &[String], allowed: &dyn Fn(Codec) -> bool| {
            let codec = |name: &String| {
                let codec = Codec::named(name).filter(|codec| allowed(*codec));
                codec.ok_or_else(|| format!("{key} {name}: not a codec of this side; see --help"))
            };
            names.iter().map(codec).collect::<Result<Vec<Codec>, String>>()
        };
        Ok(Plan {
            uri: self.call_uri.clone().unwrap_or_default(),
            jid: self.call_jid.clone().unwrap_or_default(),
            direct: self.direct,
            media: self.media.unwrap_or_else(|| self.listen.ip()),
            phone_codecs: codecs("--sip-codecs", &self.sip_codecs, &|codec| {
                Codec::of_number(codec.pt).is_some()
            })?,
            client_codecs: codecs("--xmpp-codecs", &self.xmpp_codecs, &|_| true)?,
            talk: Duration::from_secs(self.talk),
            min_mos: self.min_mos,
        })
    }

    fn account(&self) -> Result<Account, String> {
        let password = match &self.password_file {
            Some(file) => std::fs::read_to_string(file)
                .map_err(|error| format!("--password-file {}: {error}", file.display()))?
                .trim_end_matches(['\r', '\n'])
                .to_owned(),
            None => std::env::var("TANDEM_PROBE_PASSWORD").map_err(|_| {
                "no password: give --password-file, or TANDEM_PROBE_PASSWORD in the environment".to_owned()
            })?,
        };
        Account::new(&self.jid, password, self.server.clone(), self.plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
