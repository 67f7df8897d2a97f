//! Kamailio with one worker over UDP: a stateful proxy, or an exchange of its own rules.

use crate::clock::poll;
use crate::{Program, ports};
use anyhow::{Context, Result, ensure};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A running Kamailio.
pub struct Kamailio {
    program: Program,
    _directory: TempDir,
    /// Where it takes SIP.
    pub address: SocketAddr,
}

impl Kamailio {
    /// Starts one that sends every call to `callee`.
    ///
    /// # Errors
    /// Kamailio is not installed or does not come up.
    pub fn proxy(callee: SocketAddr) -> Result<Kamailio> {
        let route = format!("if (!loose_route()) {{ record_route(); $du = \"sip:{callee}\"; }} t_relay();");
        Kamailio::start(ports::one(), &route)
    }

    /// Starts one on this port of 127.0.0.1 with these lines of `request_route`.
    ///
    /// # Errors
    /// Kamailio is not installed, does not take the lines or does not come up.
    pub fn start(port: u16, route: &str) -> Result<Kamailio> {
        let directory = TempDir::with_prefix("tandem-kamailio-")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let config = format!(
            r#"#!KAMAILIO
debug=0
log_stderror=yes
fork=yes
children=1
disable_tcp=yes
listen=udp:{address}
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "textops.so"
request_route {{
{route}
}}
"#
        );
        let file = directory.path().join("kamailio.cfg");
        std::fs::write(&file, config)?;
        // Debian puts it into sbin, which is not on everybody's path.
        let known = "/usr/sbin/kamailio";
        let mut command = Command::new(if Path::new(known).exists() { known } else { "kamailio" });
        command.args(["-DD", "-E", "-m", "64", "-M", "16", "-f"]).arg(&file);
        command.args(["-Y", &directory.path().to_string_lossy(), "-P"]).arg(directory.path().join("pid"));
        let mut program = Program::start("Kamailio", command)
            .context("Kamailio, a SIP proxy, cannot be started: apt-get install kamailio")?;
        let up = poll(Duration::from_secs(10), || {
            let up = !ports::is_free(address.port());
            (up || !program.running()).then_some(up)
        });
        ensure!(up == Some(true), "{:#}", program.failure("does not come up"));
        Ok(Kamailio { program, _directory: directory, address })
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }
}
