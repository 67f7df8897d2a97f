//! The gateway itself: the `tandem` binary with a configuration made for the peers beside it.

use crate::clock::poll;
use crate::prosody::{COMPONENT, DOMAIN, Prosody, SECRET};
use crate::{Program, http, ports, root};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// The SIP domain whose users are the XMPP server's users.
pub const SIP_DOMAIN: &str = "im.example.net";
/// Ports of a test gateway's relay.
const MEDIA_PORTS: u16 = 600;

/// Settings of a gateway.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where calls to SIP go: a phone, a PABX or SIPp. It may call in, too.
    pub trunk: Option<SocketAddr>,
    /// `udp` (default), `tcp` or `tls`.
    pub transport: String,
    /// SIP over TLS.
    pub tls: Option<Tls>,
    /// `off`, `optional`, `required`: whether the trunk's media is encrypted; empty = the default.
    pub srtp: String,
    /// Further lines of the trunk.
    pub trunk_lines: String,
    /// Address for media; none = 127.0.0.1.
    pub media: Option<IpAddr>,
    /// Numbers of XMPP users: number and user name.
    pub aliases: Vec<(String, String)>,
    /// Seconds that a call may ring; 0 = the default.
    pub ring_s: u32,
    /// Port for SIP; 0 = a free one.
    pub sip_port: u16,
    /// Port for the admin API; 0 = a free one.
    pub admin_port: u16,
    /// A sound file that a held party hears.
    pub music: Option<PathBuf>,
    /// Lines for the end of the file: whole sections.
    pub more: String,
    /// Lines of `[cluster]`, for the gateway as services of their own.
    pub cluster: String,
}

/// Port and PEM files of SIP over TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Port.
    pub port: u16,
    /// Certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Authorities that vouch for the trunk.
    pub authorities: PathBuf,
}

/// A running gateway, all four services in one process.
pub struct Gateway {
    program: Program,
    directory: TempDir,
    /// Where it takes SIP, UDP and TCP.
    pub sip: SocketAddr,
    /// Health, metrics and the admin API.
    pub admin: SocketAddr,
}

impl Gateway {
    /// Starts the gateway between an XMPP server and a trunk, and waits until it is ready.
    ///
    /// # Errors
    /// The gateway cannot be built or does not become ready.
    pub fn start(server: &Prosody, options: &Options) -> Result<Gateway> {
        Gateway::start_binary(&binary()?, server, options)
    }

    /// The same with a given binary.
    ///
    /// # Errors
    /// The gateway does not become ready.
    pub fn start_binary(binary: &Path, server: &Prosody, options: &Options) -> Result<Gateway> {
        let directory = TempDir::with_prefix("tandem-gateway-")?;
        let here =
            |port| SocketAddr::from((Ipv4Addr::LOCALHOST, if port == 0 { ports::one() } else { port }));
        let (sip, admin) = (here(options.sip_port), here(options.admin_port));
        let media = ports::block(MEDIA_PORTS);
        ensure!(media != 0, "no {MEDIA_PORTS} free ports in a row on 127.0.0.1");
        let config = configuration(server, options, sip, admin, media)?;
        std::fs::write(directory.path().join("tandem.toml"), config)?;
        let mut command = Command::new(binary);
        command.arg("serve").arg("--config").arg(directory.path().join("tandem.toml"));
        let mut program = Program::start("tandem", command)?;
        let ready = poll(Duration::from_secs(20), || {
            if !program.running() {
                return Some(false);
            }
            matches!(http::get(admin, "/readyz"), Ok((200, _))).then_some(true)
        });
        match ready {
            Some(true) => Ok(Gateway { program, directory, sip, admin }),
            Some(false) => Err(program.failure("ended by itself")),
            None => {
                let missing = http::get(admin, "/readyz").map_or_else(|e| e.to_string(), |(_, body)| body);
                Err(program.failure(&format!("is not ready after 20 s ({missing})")))
            }
        }
    }

    /// The SIP address of an XMPP user.
    #[must_use]
    pub fn uri_of(user: &str) -> String {
        format!("sip:{user}@{SIP_DOMAIN}")
    }

    /// The JID of somebody behind the trunk.
    #[must_use]
    pub fn jid_of(number: &str) -> String {
        format!("{number}@{COMPONENT}")
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.directory.path().join("tandem.toml")
    }

    /// The program.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    /// A page of its admin API, parsed.
    ///
    /// # Errors
    /// The admin port does not answer, or not with JSON.
    pub fn ask(&self, path: &str) -> Result<serde_json::Value> {
        let (status, body) = http::get(self.admin, path)?;
        ensure!(status == 200, "GET {path}: {status} {body}");
        serde_json::from_str(&body).with_context(|| format!("GET {path} is not JSON: {body}"))
    }

    /// An error that shows the end of its output.
    #[must_use]
    pub fn failure(&self, what: &str) -> anyhow::Error {
        self.program.failure(what)
    }
}

pub(crate) fn configuration(
    server: &Prosody,
    options: &Options,
    sip: SocketAddr,
    admin: SocketAddr,
    media: u16,
) -> Result<String> {
    let mut out = format!(
        r#"[admin]
listen = "{admin}"

[sip]
listen = ["udp://{sip}", "tcp://{sip}"{}]
domains = ["{SIP_DOMAIN}"]
{}
[[xmpp.component]]
domain = "{COMPONENT}"
server = "127.0.0.1:{}"
secret = "{SECRET}"
users = "{DOMAIN}"
max_calls_per_caller = 1000

[relay]
listen = "{}"
ports = "{media}-{}"
"#,
        options.tls.as_ref().map_or_else(String::new, |tls| format!(", \"tls://127.0.0.1:{}\"", tls.port)),
        options.tls.as_ref().map_or_else(String::new, |tls| format!(
            "tls_certificate_file = {:?}\ntls_key_file = {:?}\ntls_ca_file = {:?}\n",
            tls.certificate, tls.key, tls.authorities
        )),
        server.component_port,
        options.media.unwrap_or(Ipv4Addr::LOCALHOST.into()),
        media + MEDIA_PORTS - 1
    );
    let music = options.music.as_deref().and_then(|file| Some((file.parent()?, file.file_name()?)));
    if let Some((folder, _)) = music {
        writeln!(out, "sounds = {:?}", folder.display().to_string())?;
    }
    if let Some(trunk) = options.trunk {
        let transport = if options.transport.is_empty() { "udp" } else { options.transport.as_str() };
        write!(
            out,
            "\n[[trunk]]\nname = \"desk\"\nuri = \"sip:{trunk};transport={transport}\"\ndomain = \"{COMPONENT}\"\n\
             sources = [\"127.0.0.1/32\"]\n"
        )?;
        if !options.srtp.is_empty() {
            writeln!(out, "srtp = \"{}\"", options.srtp)?;
        }
        writeln!(out, "{}", options.trunk_lines)?;
    }
    for (number, user) in &options.aliases {
        write!(out, "\n[[alias]]\nnumber = \"{number}\"\njid = \"{user}@{DOMAIN}\"\n")?;
    }
    if options.ring_s > 0 || music.is_some() {
        writeln!(out, "\n[call]")?;
    }
    if options.ring_s > 0 {
        writeln!(out, "ring_s = {}", options.ring_s)?;
    }
    if let Some((_, name)) = music {
        writeln!(out, "hold_music = {:?}", name.to_string_lossy())?;
    }
    Ok(out + &options.more)
}

/// The `tandem` binary of this build: the one beside the running test, built first where it is missing or older than
/// the sources, so that nobody tests yesterday's gateway.
///
/// # Errors
/// The binary cannot be built.
pub fn binary() -> Result<PathBuf> {
    binary_of("tandem")
}

/// The binary of a package of this build, as [`binary`] gives it.
///
/// # Errors
/// The binary cannot be built.
pub fn binary_of(package: &str) -> Result<PathBuf> {
    static FOUND: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = found.get(package) {
        return Ok(path.clone());
    }
    let path = find_or_build(package)?;
    found.insert(package.to_owned(), path.clone());
    Ok(path)
}

fn find_or_build(package: &str) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    // target/debug/deps/test-hash or target/debug/program.
    let Some(directory) = here.ancestors().skip(1).find(|dir| !dir.ends_with("deps")) else {
        bail!("{} does not lie in a build directory", here.display())
    };
    let binary = directory.join(package);
    let built = std::fs::metadata(&binary).and_then(|m| m.modified()).ok();
    let sources = ["crates", "services", "proto"].iter().filter_map(|dir| newest(&root().join(dir)));
    if built.is_none() || sources.max() > built {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(root()).args(["build", "--quiet", "--package", package, "--bins"]);
        if directory.ends_with("release") {
            cargo.arg("--release");
        }
        let out = cargo.output().context("cannot start cargo")?;
        ensure!(out.status.success(), "{package} cannot be built:\n{}", String::from_utf8_lossy(&out.stderr));
    }
    ensure!(binary.exists(), "the build gives no {}", binary.display());
    Ok(binary)
}

/// When the youngest file below `directory` was changed.
fn newest(directory: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(directory).ok()?;
    let times = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let kind = entry.file_type().ok()?;
        if kind.is_dir() { newest(&entry.path()) } else { entry.metadata().ok()?.modified().ok() }
    });
    times.max()
}
