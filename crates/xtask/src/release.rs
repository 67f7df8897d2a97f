//! `cargo xtask release`: the gateway's binaries as they are shipped, compiled and arranged with a profile of calls and packets
//! (decisions 86 and 103).
//!
//! Four steps: a build that counts which branches are taken; calls and packets through it; the build that uses the counts; and the
//! order of its code by further calls (`layout.rs`). A step whose result is newer than its sources is passed over. Start at [`build`].

mod layout;

use crate::bench;
use crate::steps::{self, succeeds};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// The binaries that are shipped.
pub const BINARIES: [&str; 5] =
    ["tandem", "tandem-sip-edge", "tandem-xmpp-edge", "tandem-orchestrator", "tandem-rtp-relay"];
/// Program that plays packets at the relay, while they are counted and by `bench relay`.
pub const LOAD: &str = "tandem-load";

/// Program that calls through a running gateway: shipped as it is compiled.
pub const PROBE: &str = "tandem-probe";

/// The gateway's binaries as they are shipped: a profile-guided build, about half an hour on two cores
#[derive(clap::Args, Clone, Debug)]
pub struct Release {
    /// Directory that the binaries are copied to, without symbols; docker/Dockerfile takes them from this one
    #[arg(long, default_value = "target/image")]
    out: PathBuf,
}

impl Release {
    /// Builds and copies.
    ///
    /// # Errors
    /// One line: what is missing or went wrong.
    pub fn run(&self) -> Result<()> {
        let built = build()?;
        std::fs::create_dir_all(&self.out).with_context(|| format!("--out {}", self.out.display()))?;
        let shipped: Vec<&str> = BINARIES.into_iter().chain([PROBE]).collect();
        for name in &shipped {
            let copy = self.out.join(name);
            let stripped = Command::new("strip").arg("-o").arg(&copy).arg(built.join(name)).status();
            let stripped = stripped.context("cannot start strip: apt-get install binutils")?;
            ensure!(stripped.success(), "{} cannot be written", copy.display());
        }
        println!("{}: {}", self.out.display(), shipped.join(" "));
        Ok(())
    }
}

/// Builds what is shipped, and the load generator, and returns the directory of the binaries.
///
/// # Errors
/// One line: what is missing or went wrong.
pub fn build() -> Result<PathBuf> {
    let rust = Rust::find()?;
    // What the last step needs is asked for before the first, half an hour earlier.
    if layout::SERVES {
        layout::find()?;
    }
    let target = testkit::root().join("target").join("guided");
    let (counts, profile) = (target.join("counts"), target.join("calls.profdata"));
    // Of the same profile in Cargo.toml, although it is linked for nothing: symbols are named after that, and counts after symbols.
    let counting = rust.cargo(
        "release 1/4, a build that counts",
        &target.join("counting"),
        &format!("-Cprofile-generate={}", counts.display()),
        &[LOAD],
    )?;
    if !is_newer(&profile, &counting) {
        eprintln!("==> release 2/4, calls and packets that are counted: about two minutes");
        count(&rust, &counting, &counts, &profile)?;
    }
    // Code that was never run has no counts, and is compiled as it would be without.
    let flags = format!("-Cprofile-use={} -Cllvm-args=-pgo-warn-missing-function=0", profile.display());
    let flags = if layout::SERVES { [&flags, layout::FLAGS].join(" ") } else { flags };
    let built = rust.cargo("release 3/4, the build that uses the counts", &target, &flags, &[LOAD, PROBE])?;
    if layout::SERVES {
        return layout::arrange(&built, &target);
    }
    eprintln!("==> release 4/4 is passed over: code is arranged on x86-64 alone");
    Ok(built)
}

/// Plays calls and packets at binaries that count, and merges what they counted.
fn count(rust: &Rust, counting: &Path, counts: &Path, profile: &Path) -> Result<()> {
    if counts.exists() {
        std::fs::remove_dir_all(counts).with_context(|| format!("{}", counts.display()))?;
    }
    bench::train(counting)?;
    let written: Vec<PathBuf> = std::fs::read_dir(counts)
        .with_context(|| format!("no binary has written its counts to {}", counts.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()?;
    // default_<binary>_<process>.profraw, written at the end of the process.
    let of = |path: &PathBuf| path.file_name()?.to_str()?.split('_').nth(1).map(str::to_owned);
    let programs: BTreeSet<String> = written.iter().filter_map(of).collect();
    ensure!(
        programs.len() > BINARIES.len(),
        "only {} of {} programs have written their counts: one was killed before it could",
        programs.len(),
        BINARIES.len() + 1
    );
    let mut merge = Command::new(&rust.profdata);
    // Sparse: functions that never ran are left out, in place of being compiled as if they never would.
    merge.args(["merge", "--sparse", "-o"]).arg(profile).args(written);
    let merged = merge.status().with_context(|| format!("cannot start {}", rust.profdata.display()))?;
    ensure!(merged.success(), "llvm-profdata cannot merge the counts");
    Ok(())
}

/// True if a file is newer than each of the programs.
fn is_newer(file: &Path, programs: &Path) -> bool {
    let changed = |path: &Path| path.metadata().and_then(|meta| meta.modified()).ok();
    let newest: Option<SystemTime> =
        BINARIES.iter().chain([&LOAD]).filter_map(|name| changed(&programs.join(name))).max();
    changed(file).zip(newest).is_some_and(|(file, newest)| file > newest)
}

/// The compiler that builds, and the tool for its profiles.
struct Rust {
    host: String,
    profdata: PathBuf,
}

impl Rust {
    fn find() -> Result<Rust> {
        let ask = |arguments: &[&str]| {
            let out = Command::new("rustc").args(arguments).output().context("cannot start rustc")?;
            ensure!(out.status.success(), "rustc {} fails", arguments.join(" "));
            Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
        };
        let version = ask(&["-vV"])?;
        let host =
            version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc has no host")?;
        let profdata = Path::new(&ask(&["--print", "sysroot"])?)
            .join("lib/rustlib")
            .join(host)
            .join("bin/llvm-profdata");
        ensure!(
            profdata.exists() || succeeds("rustup", &["component", "add", "llvm-tools"]) && profdata.exists(),
            "{} is missing: rustup component add llvm-tools",
            profdata.display()
        );
        Ok(Rust { host: host.to_owned(), profdata })
    }

    /// Builds the gateway's binaries and other programs with these flags, and returns their directory. Build scripts and macros are built
    /// without.
    fn cargo(&self, name: &str, target: &Path, flags: &str, others: &[&str]) -> Result<PathBuf> {
        let flags = [std::env::var("RUSTFLAGS").unwrap_or_default(), flags.to_owned()].join(" ");
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--release", "--locked", "--target", &self.host, "--target-dir"]).arg(target);
        BINARIES.iter().chain(others).for_each(|package| {
            cargo.args(["--package", package]);
        });
        cargo.env("RUSTFLAGS", flags.trim());
        steps::run(name, cargo.current_dir(testkit::root()), "mend what rustc names above")?;
        Ok(target.join(&self.host).join("release"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_take_what_is_built() {
        let file = std::fs::read_to_string(testkit::root().join("docker/Dockerfile")).unwrap();
        assert!(file.contains("COPY target/image/ /out/"), "the default of --out");
        for name in BINARIES.iter().chain([&PROBE]) {
            assert!(file.contains(&format!("COPY --from=binaries /out/{name} ")), "{name}");
        }
    }

    /// A profile is made anew after any of the binaries that count.
    #[test]
    fn counts_are_as_new_as_the_binaries() {
        let directory = tempfile::tempdir().unwrap();
        let profile = directory.path().join("profile");
        std::fs::write(&profile, "").unwrap();
        assert!(!is_newer(&profile, directory.path()), "nothing is built");
        let write = |name: &str, age: u64| {
            let file = std::fs::File::create(directory.path().join(name)).unwrap();
            let at = profile.metadata().unwrap().modified().unwrap() - std::time::Duration::from_secs(age);
            file.set_modified(at).unwrap();
        };
        BINARIES.iter().chain([&LOAD]).for_each(|name| write(name, 5));
        assert!(is_newer(&profile, directory.path()));
        write(BINARIES[2], 0);
        assert!(!is_newer(&profile, directory.path()));
    }
}
