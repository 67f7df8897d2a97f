//! `tandem check`: what would go wrong, found before anybody calls. One line per fault: key, value, remedy, place.
//!
//! One rule: everything is told at once. First the configuration, then this host, then whoever is to be reached; and what cannot be
//! seen from here is named, too.

mod certificate;
mod host;
mod links;
mod options;
mod redis_clock;

use crate::exit;
use runtime::Config;
use runtime::config::Fault;
use runtime::config::load::{Places, examine};
use serde_json::json;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// Everything that was found.
#[derive(Default)]
struct Report {
    places: Places,
    /// Faults of the configuration and of this host.
    faults: Vec<Fault>,
    /// Faults of those who do not answer.
    unreachable: Vec<Fault>,
    /// Faults of what works, and may not for long.
    warnings: Vec<Fault>,
    /// Things that cannot be seen from here.
    untested: Vec<String>,
}

impl Report {
    /// Notes a fault, unless one of its key and value is told of already.
    fn fault(&mut self, fault: Fault) {
        let fault = self.places.locate(fault);
        let told = |other: &Fault| other.key == fault.key && other.trouble == fault.trouble;
        if !self.faults.iter().any(told) {
            self.faults.push(fault);
        }
    }

    /// Notes a fault that a service would end with: `[relay] pin: true, and …; lower threads`.
    fn start_fault(&mut self, line: &str) {
        let (key, rest) = line.split_once(": ").unwrap_or(("configuration", line));
        let (trouble, remedy) = rest.rsplit_once("; ").unwrap_or((rest, "see docs/tandem.toml"));
        if !self.faults.iter().any(|fault| fault.key == key) {
            self.fault(Fault::new(key, trouble, remedy));
        }
    }

    fn unreachable(&mut self, fault: Fault) {
        self.unreachable.push(self.places.locate(fault));
    }

    fn warning(&mut self, fault: Fault) {
        self.warnings.push(self.places.locate(fault));
    }

    fn untested(&mut self, what: impl Into<String>) {
        self.untested.push(what.into());
    }

    fn code(&self) -> u8 {
        match (self.faults.is_empty(), self.unreachable.is_empty()) {
            (false, _) => exit::FAULT,
            (true, false) => exit::UNREACHABLE,
            (true, true) => 0,
        }
    }
}

/// Checks the file, then the host, then who is to be reached.
pub fn main(path: Option<&Path>, json: bool) -> ExitCode {
    let examined = examine(path, std::env::vars());
    let mut report = Report { places: examined.places, faults: examined.faults, ..Report::default() };
    if let Some(config) = &examined.config {
        surroundings(config, &mut report);
    }
    // Nobody may read on, as in `tandem check | head -1`.
    let say = |line: &str| drop(writeln!(std::io::stdout(), "{line}"));
    if json {
        say(&as_json(&report).to_string());
        return ExitCode::from(report.code());
    }
    report.faults.iter().chain(&report.unreachable).for_each(|fault| say(&fault.line()));
    report.warnings.iter().for_each(|fault| say(&format!("warning: {}", fault.line())));
    report.untested.iter().for_each(|what| say(&format!("not tested: {what}")));
    if report.code() == 0 {
        say("nothing would go wrong");
    }
    ExitCode::from(report.code())
}

fn surroundings(config: &Config, report: &mut Report) {
    config.warnings().into_iter().for_each(|warning| report.warning(warning));
    host::check(config, report);
    links::check(config, report);
    let media = config.relay.advertise.unwrap_or(config.relay.listen);
    report.untested(format!(
        "media: UDP {} of {media} must be reached by phones and clients (firewall, NAT)",
        config.relay.ports
    ));
    if let Some(host) = &config.sip.advertise {
        report.untested(format!("[sip] advertise: SIP peers must reach \"{host}\""));
    }
    for trunk in config.trunk.iter().filter(|trunk| trunk.username.is_some()) {
        report.untested(format!(
            "[[trunk]] password: the digest of {} is asked for by a call alone",
            trunk.name
        ));
    }
}

fn as_json(report: &Report) -> serde_json::Value {
    let list = |faults: &[Fault]| -> serde_json::Value {
        let one = |fault: &Fault| json!({ "key": fault.key, "trouble": fault.trouble, "remedy": fault.remedy, "place": fault.place });
        faults.iter().map(one).collect()
    };
    json!({
        "code": report.code(),
        "faults": list(&report.faults),
        "unreachable": list(&report.unreachable),
        "warnings": list(&report.warnings),
        "untested": report.untested,
    })
}
