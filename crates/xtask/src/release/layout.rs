//! Order of the code within the binaries: what runs one after another lies side by side (BOLT, decision 103).
//!
//! One rule: the code is that of the compiler, and only its place changes. Start at [`arrange`].

use super::{BINARIES, LOAD, PROBE, is_newer};
use crate::bench;
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Flags of the compiler by which BOLT may move functions.
pub const FLAGS: &str = "-Clink-arg=-Wl,--emit-relocs";
/// True where BOLT can count branches (BOLT 16: on x86-64 alone).
pub const SERVES: bool = cfg!(target_arch = "x86_64");

/// Arranges the code of these binaries by the calls and packets that are played at them, and returns the directory of the new ones.
///
/// # Errors
/// One line: what is missing or went wrong.
pub fn arrange(built: &Path, target: &Path) -> Result<PathBuf> {
    let arranged = target.join("arranged");
    if BINARIES.iter().chain([&LOAD, &PROBE]).all(|name| is_newer(&arranged.join(name), built)) {
        return Ok(arranged);
    }
    let bolt = Bolt::find(Path::new("/usr/lib"))?;
    let (counting, counts) = (target.join("arranging"), target.join("arranging").join("counts"));
    for directory in [&counting, &counts, &arranged] {
        if directory.exists() {
            std::fs::remove_dir_all(directory).with_context(|| directory.display().to_string())?;
        }
        std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    eprintln!("==> release 4/4, calls and packets by which code is arranged: about four minutes");
    for name in BINARIES {
        let file = format!("-instrumentation-file={}", counts.join(name).display());
        let arguments = ["-instrument", "-instrumentation-file-append-pid", &file];
        bolt.rewrite(&built.join(name), &counting.join(name), &arguments)?;
    }
    std::fs::copy(built.join(LOAD), counting.join(LOAD)).context(LOAD)?;
    bench::train(&counting)?;
    for name in BINARIES {
        let merged = bolt.merge(&counts, name)?;
        let data = format!("-data={}", merged.display());
        let order =
            ["-reorder-blocks=ext-tsp", "-reorder-functions=hfsort+", "-split-functions", "-split-all-cold"];
        let arguments: Vec<&str> = order.into_iter().chain(["-split-eh", "-use-gnu-stack", &data]).collect();
        bolt.rewrite(&built.join(name), &arranged.join(name), &arguments)?;
    }
    for name in [LOAD, PROBE] {
        std::fs::copy(built.join(name), arranged.join(name)).context(name)?;
    }
    Ok(arranged)
}

/// Finds what [`arrange`] needs.
///
/// # Errors
/// BOLT is not installed; names the package that has it.
pub fn find() -> Result<()> {
    Bolt::find(Path::new("/usr/lib")).map(drop)
}

/// BOLT's programs.
struct Bolt(PathBuf);

impl Bolt {
    /// Finds the newest version below this directory. Debian's link in /usr/bin does not find its own library.
    fn find(libraries: &Path) -> Result<Bolt> {
        let version = |path: &Path| path.file_name()?.to_str()?.strip_prefix("llvm-")?.parse::<u32>().ok();
        let entries = std::fs::read_dir(libraries).with_context(|| libraries.display().to_string())?;
        let found = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.join("bin/llvm-bolt").exists() && path.join("bin/merge-fdata").exists())
            .filter_map(|path| Some((version(&path)?, path.join("bin"))));
        let (_, newest) = found.max().context("llvm-bolt is missing: apt-get install bolt-16")?;
        Ok(Bolt(newest))
    }

    fn rewrite(&self, from: &Path, to: &Path, arguments: &[&str]) -> Result<()> {
        let mut bolt = Command::new(self.0.join("llvm-bolt"));
        bolt.arg(from).arg("-o").arg(to).args(arguments);
        let out = bolt.output().context("cannot start llvm-bolt")?;
        let last = || String::from_utf8_lossy(&out.stderr).lines().last().unwrap_or_default().to_owned();
        ensure!(out.status.success(), "llvm-bolt cannot rewrite {}: {}", from.display(), last());
        Ok(())
    }

    /// Merges what all processes of a program have counted.
    fn merge(&self, counts: &Path, name: &str) -> Result<PathBuf> {
        let files = of_program(counts, name)?;
        ensure!(!files.is_empty(), "{name} has counted nothing: it was killed before it could");
        let merged = counts.join(format!("merged-{name}"));
        let mut merge = Command::new(self.0.join("merge-fdata"));
        merge.args(files).stdout(File::create(&merged).with_context(|| merged.display().to_string())?);
        let status = merge.stderr(Stdio::null()).status().context("cannot start merge-fdata")?;
        ensure!(status.success(), "merge-fdata cannot merge the counts of {name}");
        Ok(merged)
    }
}

/// Returns the files that processes of a program have written: `<program>.<process>.fdata`.
fn of_program(counts: &Path, name: &str) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(counts).with_context(|| counts.display().to_string())?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>()?;
    let is_of = |path: &PathBuf| {
        let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
        file.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
    };
    Ok(paths.into_iter().filter(is_of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_taken() {
        let libraries = tempfile::tempdir().unwrap();
        let fault = |path: &Path| Bolt::find(path).err().map(|error| error.to_string());
        assert_eq!(fault(libraries.path()).as_deref(), Some("llvm-bolt is missing: apt-get install bolt-16"));
        for version in ["llvm-9", "llvm-16", "llvm-14", "llvm"] {
            let programs = libraries.path().join(version).join("bin");
            std::fs::create_dir_all(&programs).unwrap();
            File::create(programs.join("llvm-bolt")).unwrap();
            File::create(programs.join("merge-fdata")).unwrap();
        }
        assert_eq!(Bolt::find(libraries.path()).unwrap().0, libraries.path().join("llvm-16/bin"));
    }

    #[test]
    fn counts_belong_to_one_program() {
        let counts = tempfile::tempdir().unwrap();
        for name in ["tandem.7.fdata", "tandem-sip-edge.8.fdata", "tandem-sip-edge.9.fdata", "merged-tandem"]
        {
            File::create(counts.path().join(name)).unwrap();
        }
        let number = |name| of_program(counts.path(), name).unwrap().len();
        assert_eq!((number("tandem"), number("tandem-sip-edge"), number("tandem-rtp-relay")), (1, 2, 0));
    }
}
