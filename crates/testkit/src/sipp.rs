//! SIPp: scenarios of single messages, and many calls at once.

use crate::clock::poll;
use crate::{Program, ports, root};
use anyhow::{Context, Result, ensure};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A running SIPp.
pub struct Sipp {
    program: Program,
    directory: TempDir,
    /// Where it sends from and listens.
    pub address: SocketAddr,
}

impl Sipp {
    /// Plays `tests/peers/sipp/<scenario>.xml` towards `target`, with further switches such as `-m 100 -r 20`.
    /// `words` fill the scenario's places: `("code", "486")` goes where it says `{code}`.
    ///
    /// # Errors
    /// SIPp is not installed, or there is no such scenario.
    pub fn start(
        scenario: &str,
        words: &[(&str, &str)],
        target: SocketAddr,
        switches: &[&str],
    ) -> Result<Sipp> {
        Sipp::listening(ports::block(2), scenario, words, Some(target), switches)
    }

    /// Plays a scenario that waits for calls on a port of 127.0.0.1, and waits until it does: a call to a closed port is over at once.
    ///
    /// # Errors
    /// SIPp is not installed, or there is no such scenario, or it does not listen.
    pub fn server(port: u16, scenario: &str, words: &[(&str, &str)], switches: &[&str]) -> Result<Sipp> {
        let sipp = Sipp::listening(port, scenario, words, None, switches)?;
        let bound = format!(" 0100007F:{port:04X} ");
        // Not by binding it too, which might come first.
        let listens = || std::fs::read_to_string("/proc/net/udp").ok()?.contains(&bound).then_some(());
        poll(Duration::from_secs(5), listens).with_context(|| sipp.program.failure("does not listen"))?;
        Ok(sipp)
    }

    fn listening(
        port: u16,
        scenario: &str,
        words: &[(&str, &str)],
        target: Option<SocketAddr>,
        switches: &[&str],
    ) -> Result<Sipp> {
        let file = root().join("tests/peers/sipp").join(format!("{scenario}.xml"));
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("no scenario {}", file.display()))?;
        let text = words.iter().fold(text, |text, (place, word)| text.replace(&format!("{{{place}}}"), word));
        let directory = TempDir::with_prefix("tandem-sipp-")?;
        let file = directory.path().join("scenario.xml");
        std::fs::write(&file, text)?;
        let mut command = Command::new("sipp");
        command.arg("-sf").arg(file).args(["-i", "127.0.0.1", "-p", &port.to_string(), "-nostdin"]);
        command.args(["-mp", &ports::block(8).to_string(), "-trace_err", "-error_file"]);
        command.arg(directory.path().join("errors.log")).args(switches);
        command.args(target.map(|t| t.to_string())).current_dir(directory.path());
        let program = Program::start(&format!("sipp {scenario}"), command)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Sipp { program, directory, address })
    }

    /// The program.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    /// Waits until all its calls are over.
    ///
    /// # Errors
    /// A call went another way than the scenario says (the error shows which message), or it takes too long.
    pub fn finish(mut self, within: Duration) -> Result<()> {
        let status = self.program.finish(within);
        let errors = std::fs::read_to_string(self.directory.path().join("errors.log")).unwrap_or_default();
        let errors: String = errors.chars().take(4000).collect();
        let status = status.map_err(|error| error.context(format!("errors so far:\n{errors}")))?;
        ensure!(status.success(), "{:#}\nits errors:\n{errors}", self.program.failure(&format!("{status}")));
        Ok(())
    }
}
