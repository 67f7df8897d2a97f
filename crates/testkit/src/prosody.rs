//! An XMPP server: Prosody with its own configuration and data, users on one domain, components beside it.

use crate::authority::Identity;
use crate::{Program, ports};
use anyhow::{Context, Result, ensure};
use std::fmt::Write;
use std::path::{Path, PathBuf};
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

/// Settings of a server.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Users of [`DOMAIN`]; a user's password is [`Prosody::password`].
    pub users: Vec<String>,
    /// Component domains; at least one, else there is no component port to wait for.
    pub components: Vec<String>,
    /// Port for clients; 0 = a free one.
    pub port: u16,
    /// Offers STARTTLS with a certificate that it makes itself: other people's clients insist on that.
    pub tls: bool,
    /// Takes components over TLS, too.
    pub component_tls: Option<ComponentTls>,
}

/// TLS for components, from the first octet (mod_net_multiplex).
#[derive(Clone, Debug)]
pub struct ComponentTls {
    /// Port.
    pub port: u16,
    /// Certificate of the server, and its key.
    pub own: Identity,
    /// Authority of which components must show a certificate.
    pub clients: Option<PathBuf>,
}

impl Prosody {
    /// Starts it with these users and the component [`COMPONENT`].
    ///
    /// # Errors
    /// Prosody is not installed or does not come up.
    pub fn start(users: &[&str]) -> Result<Prosody> {
        let users = users.iter().map(|user| (*user).to_owned()).collect();
        Prosody::with(&Options { users, components: vec![COMPONENT.to_owned()], ..Options::default() })
    }

    /// Starts it as told.
    ///
    /// # Errors
    /// As [`Prosody::start`].
    pub fn with(options: &Options) -> Result<Prosody> {
        let directory = TempDir::with_prefix("tandem-prosody-")?;
        let port = if options.port == 0 { ports::one() } else { options.port };
        let component_port = ports::one();
        let accounts = directory.path().join("data").join(DOMAIN.replace('.', "%2e")).join("accounts");
        std::fs::create_dir_all(&accounts)?;
        for user in &options.users {
            ensure!(
                user.bytes().all(|b| b.is_ascii_alphanumeric()),
                "a test user's name is letters and digits"
            );
            let record = format!("return {{ [\"password\"] = \"{}\" }};\n", Prosody::password(user));
            std::fs::write(accounts.join(format!("{user}.dat")), record)?;
        }
        if options.tls {
            certificate(directory.path())?;
        }
        let config = configuration(directory.path(), port, component_port, options)?;
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
    /// Prosody does not come up again.
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

/// A certificate of its own making for [`DOMAIN`].
fn certificate(directory: &Path) -> Result<()> {
    let (name, other) = (format!("/CN={DOMAIN}"), format!("subjectAltName=DNS:{DOMAIN}"));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "30",
    ]);
    openssl.args(["-subj", &name, "-addext", &other, "-keyout", "key.pem", "-out", "certificate.pem"]);
    let out = openssl.current_dir(directory).output().context("cannot start openssl; install openssl")?;
    ensure!(out.status.success(), "openssl makes no certificate: {}", String::from_utf8_lossy(&out.stderr));
    Ok(())
}

fn component_tls(tls: &ComponentTls) -> String {
    let clients = tls.clients.as_ref().map_or_else(String::new, |authority| {
        let demands = "verify = { \"peer\", \"fail_if_no_peer_cert\" }";
        format!(", cafile = \"{}\", {demands}", authority.display())
    });
    format!(
        "ssl_ports = {{ {} }}\nssl_interfaces = {{ \"127.0.0.1\" }}\n\
         ssl_ssl = {{ certificate = \"{}\", key = \"{}\"{clients} }}",
        tls.port,
        tls.own.certificate.display(),
        tls.own.key.display()
    )
}

fn configuration(directory: &Path, port: u16, component_port: u16, options: &Options) -> Result<String> {
    let at = directory.display();
    let tls = if options.tls {
        format!(
            "modules_disabled = {{ \"s2s\" }}\nssl = {{ key = \"{at}/key.pem\", certificate = \"{at}/certificate.pem\" }}"
        )
    } else {
        "modules_disabled = { \"s2s\", \"tls\" }".to_owned()
    };
    let multiplex = if options.component_tls.is_some() { ", \"net_multiplex\"" } else { "" };
    let components = options.component_tls.as_ref().map(component_tls).unwrap_or_default();
    let mut out = format!(
        r#"run_as_root = true -- harmless where it is not root; needed in containers
pidfile = "{at}/prosody.pid"
data_path = "{at}/data"
certificates = "{at}"
interfaces = {{ "127.0.0.1" }}
component_interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}
component_ports = {{ {component_port} }}
modules_enabled = {{ "roster", "saslauth", "disco", "carbons", "ping", "offline", "smacks", "posix", "tls"{multiplex} }}
{tls}
{components}
-- Loopback only: a client may come without TLS, and with many calls at once.
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "internal_plain"
storage = "internal"
limits = {{ }}
-- By default a stanza may wait 40 ms for the acknowledgement of the one before it.
network_settings = {{ nagle = false }}
log = {{ info = "*console" }}
component_conflict_resolve = "kick_old"
VirtualHost "{DOMAIN}"
"#
    );
    for component in &options.components {
        writeln!(out, "Component \"{component}\"\n  component_secret = \"{SECRET}\"")?;
    }
    Ok(out)
}
