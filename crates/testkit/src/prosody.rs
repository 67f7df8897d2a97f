//! An XMPP server: Prosody with its own configuration and data, users on one domain, components beside it.

use crate::{Program, ports};
use anyhow::{Context, Result, ensure};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// The domain of its users.
pub const DOMAIN: &str = "example.net";
/// The first component domain.
pub const COMPONENT: &str = "sip.example.net";
/// The components' secret.
pub const SECRET: &str = "component-secret";

/// A running server. Users log in without TLS: it listens on loopback alone.
pub struct Prosody {
    program: Program,
    directory: TempDir,
    /// Where clients connect.
    pub port: u16,
    /// Where components connect (XEP-0114).
    pub component_port: u16,
}

impl Prosody {
    /// Starts it with these users of [`DOMAIN`]; a user's password is [`Prosody::password`]. Serves the component
    /// [`COMPONENT`].
    ///
    /// # Errors
    /// It is not installed or does not come up.
    pub fn start(users: &[&str]) -> Result<Prosody> {
        Prosody::with_components(users, &[COMPONENT], 0)
    }

    /// The same with other component domains, and clients on a given port (0 = a free one).
    ///
    /// # Errors
    /// As [`Prosody::start`].
    pub fn with_components(users: &[&str], components: &[&str], port: u16) -> Result<Prosody> {
        let directory = TempDir::with_prefix("tandem-prosody-")?;
        let (port, component_port) = (if port == 0 { ports::one() } else { port }, ports::one());
        let accounts = directory.path().join("data").join(DOMAIN.replace('.', "%2e")).join("accounts");
        std::fs::create_dir_all(&accounts)?;
        for user in users {
            ensure!(
                user.bytes().all(|b| b.is_ascii_alphanumeric()),
                "a test user's name is letters and digits"
            );
            let record = format!("return {{ [\"password\"] = \"{}\" }};\n", Prosody::password(user));
            std::fs::write(accounts.join(format!("{user}.dat")), record)?;
        }
        let config = configuration(directory.path(), port, component_port, components)?;
        std::fs::write(directory.path().join("prosody.cfg.lua"), config)?;
        let program = run(directory.path())?;
        let server = Prosody { program, directory, port, component_port };
        server.ready(0)?;
        Ok(server)
    }

    /// The password of a user.
    #[must_use]
    pub fn password(user: &str) -> String {
        format!("{user}-secret")
    }

    /// The program.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    /// Kills it as a crash would and starts it again on the same ports and data.
    ///
    /// # Errors
    /// It does not come up again.
    pub fn restart(&mut self) -> Result<()> {
        self.program.kill();
        self.program = run(self.directory.path())?;
        self.ready(0)
    }

    fn ready(&self, from: usize) -> Result<()> {
        for port in [self.port, self.component_port] {
            let text = format!(":{port}");
            self.program.expect(from, &text, Duration::from_secs(20)).context("Prosody does not come up")?;
        }
        Ok(())
    }
}

fn run(directory: &Path) -> Result<Program> {
    // Debian puts it into /usr/bin, other systems into sbin; both are looked at by the shell's rules of PATH.
    let mut command = Command::new("prosody");
    command.arg("--config").arg(directory.join("prosody.cfg.lua")).arg("-F").current_dir(directory);
    Program::start("Prosody", command)
}

fn configuration(directory: &Path, port: u16, component_port: u16, components: &[&str]) -> Result<String> {
    let at = directory.display();
    let mut out = format!(
        r#"run_as_root = true -- harmless where it is not root; needed in containers
pidfile = "{at}/prosody.pid"
data_path = "{at}/data"
certificates = "{at}"
interfaces = {{ "127.0.0.1" }}
component_interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}
component_ports = {{ {component_port} }}
modules_enabled = {{ "roster", "saslauth", "disco", "carbons", "ping", "offline", "smacks", "posix" }}
modules_disabled = {{ "s2s", "tls" }}
-- Loopback only: no certificate, no TLS, and many calls at once from one user.
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "internal_plain"
storage = "internal"
limits = {{ }}
log = {{ info = "*console" }}
component_conflict_resolve = "kick_old"
VirtualHost "{DOMAIN}"
"#
    );
    for component in components {
        writeln!(out, "Component \"{component}\"\n  component_secret = \"{SECRET}\"")?;
    }
    Ok(out)
}
