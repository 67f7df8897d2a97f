//! SIPp as caller and callee.

use super::system::SIP_DOMAIN;
use anyhow::{Context, Result, ensure};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use testkit::{Program, ports, root};

/// A running SIPp.
pub struct Sipp {
    program: Program,
    directory: TempDir,
}

impl Sipp {
    /// Makes `calls` calls to `target`, `rate` a second, each held for `hold`.
    ///
    /// # Errors
    /// SIPp is not installed.
    pub fn caller(target: SocketAddr, calls: u32, rate: u32, hold: Duration) -> Result<Sipp> {
        Sipp::caller_over(false, target, calls, rate, hold)
    }

    /// The same over one TCP connection, or over UDP.
    ///
    /// # Errors
    /// SIPp is not installed.
    pub fn caller_over(tcp: bool, target: SocketAddr, calls: u32, rate: u32, hold: Duration) -> Result<Sipp> {
        let directory = TempDir::with_prefix("tandem-sipp-")?;
        std::fs::write(directory.path().join("domain.csv"), format!("SEQUENTIAL\n{SIP_DOMAIN}\n"))?;
        let mut command = sipp("uac.xml", ports::block(2), directory.path());
        command.args(["-s", "rosa", "-inf", "domain.csv", "-r", &rate.to_string(), "-m", &calls.to_string()]);
        command.args(["-d", &hold.as_millis().to_string(), "-l", "20000", "-trace_rtt", "-rtt_freq", "1"]);
        command.args(tcp.then_some(["-t", "t1"]).into_iter().flatten()).arg(target.to_string());
        Ok(Sipp { program: Program::start("sipp, caller", command)?, directory })
    }

    /// Answers `calls` calls on this port.
    ///
    /// # Errors
    /// SIPp is not installed.
    pub fn callee(port: u16, calls: u32) -> Result<Sipp> {
        let directory = TempDir::with_prefix("tandem-sipp-")?;
        let mut command = sipp("uas.xml", port, directory.path());
        command.args(["-m", &calls.to_string()]);
        Ok(Sipp { program: Program::start("sipp, callee", command)?, directory })
    }

    /// Waits until all calls are over. Gives the times from INVITE to 200, ms.
    ///
    /// # Errors
    /// A call failed, or they take longer than `within`.
    pub fn finish(mut self, within: Duration) -> Result<Vec<u64>> {
        let status = self.program.finish(within);
        let errors = std::fs::read_to_string(self.directory.path().join("errors.log")).unwrap_or_default();
        let errors: String = errors.chars().take(2_000).collect();
        let status = status.with_context(|| format!("its errors: {errors}"))?;
        ensure!(
            status.success(),
            "a call failed ({status}); no figures are given then. SIPp's errors:\n{errors}"
        );
        self.answered()
    }

    /// Waits until all calls are over, however they went, and ends those that are not by then. Gives the times of those that were answered.
    ///
    /// # Errors
    /// The files that SIPp wrote cannot be read.
    pub fn times(mut self, within: Duration) -> Result<Vec<u64>> {
        if self.program.finish(within).is_err() {
            self.program.stop(Duration::from_secs(5));
        }
        self.answered()
    }

    /// Times from INVITE to 200, ms.
    fn answered(&self) -> Result<Vec<u64>> {
        let mut times = vec![];
        for entry in std::fs::read_dir(self.directory.path())?.flatten() {
            if entry.file_name().to_string_lossy().ends_with("_rtt.csv") {
                let text = std::fs::read_to_string(entry.path())?;
                // Date_ms;response_time_ms;rtd_no
                let time = |line: &str| line.split(';').nth(1)?.parse::<f64>().ok();
                times.extend(text.lines().filter_map(time).map(|ms| ms.round() as u64));
            }
        }
        Ok(times)
    }
}

fn sipp(scenario: &str, port: u16, directory: &Path) -> Command {
    let mut command = Command::new("sipp");
    command.arg("-sf").arg(root().join("tests/load").join(scenario));
    command.args(["-i", "127.0.0.1", "-p", &port.to_string(), "-nostdin"]);
    command.args(["-mp", &ports::block(8).to_string(), "-trace_err", "-error_file"]);
    command.arg(directory.join("errors.log")).current_dir(directory);
    command
}
