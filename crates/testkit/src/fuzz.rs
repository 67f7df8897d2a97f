//! Fuzz targets on stable Rust: plain functions of octets over a corpus and some thousand changes of it, so that they neither rot nor
//! rest where libFuzzer is not at hand.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// Target that is run with any octets; it panics where something is wrong.
pub type Target = fn(&[u8]);

/// File of a corpus, and its octets.
type File = (PathBuf, Vec<u8>);

/// Changes of the corpus that a test makes; `ROUNDS=n` in the environment for more.
const ROUNDS: u64 = 3_000;
/// Octets of the longest input.
const LONGEST: usize = 8_192;
/// Files that a corpus has at least.
const FEWEST: usize = 4;

/// Source of changes that a seed repeats.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Begins with a seed, which is not 0.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(seed.max(1))
    }

    /// Returns a number below the bound; 0 where there is none.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound.max(1)
    }

    /// Returns one of the corpus, changed in a few places, cut, or with a piece of another in it.
    pub fn change(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut octets = corpus.get(self.below(corpus.len())).cloned().unwrap_or_default();
        for _ in 0..1 + self.below(6) {
            let at = self.below(octets.len() + 1);
            match self.below(6) {
                0 => octets.truncate(at),
                1 => octets.insert(at, self.below(256) as u8),
                2 => {
                    let other = corpus.get(self.below(corpus.len())).map(Vec::as_slice).unwrap_or_default();
                    let (from, length) = (self.below(other.len()), self.below(64));
                    let piece: Vec<u8> = other.iter().skip(from).take(length).copied().collect();
                    octets.splice(at..at, piece);
                }
                3 if at < octets.len() => octets[at] = [0, 1, 0x7f, 0x80, 0xff, 200][self.below(6)],
                4 if at < octets.len() => octets[at] ^= 1 << self.below(8),
                _ if at < octets.len() => octets[at] = self.below(256) as u8,
                _ => {}
            }
        }
        octets.truncate(LONGEST);
        octets
    }
}

/// Runs all targets side by side, each over the files of its folders and changes of them.
///
/// # Errors
/// A folder cannot be read, or a corpus is too small; what a target finds is a panic, and its octets are printed: they belong into the corpus.
pub fn run(targets: &[(&str, Target)], folders: impl Fn(&str) -> Vec<PathBuf>) -> Result<()> {
    let rounds = std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    let corpora: Vec<(&str, Target, Vec<File>)> = targets
        .iter()
        .map(|(name, target)| Ok((*name, *target, corpus(name, &folders(name))?)))
        .collect::<Result<_>>()?;
    std::thread::scope(|scope| {
        for (name, target, corpus) in &corpora {
            scope.spawn(move || over(name, *target, corpus, rounds));
        }
    });
    Ok(())
}

fn corpus(name: &str, folders: &[PathBuf]) -> Result<Vec<File>> {
    let mut corpus = vec![];
    for folder in folders {
        let mut files = files(folder)?;
        files.sort();
        for file in files {
            let octets = std::fs::read(&file).with_context(|| file.display().to_string())?;
            corpus.push((file, octets));
        }
    }
    ensure!(corpus.len() >= FEWEST, "{name} has a corpus of {} files in {folders:?}", corpus.len());
    Ok(corpus)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

fn over(name: &str, target: Target, corpus: &[File], rounds: u64) {
    for (file, octets) in corpus {
        guarded(&file.display().to_string(), octets, target);
    }
    let corpus: Vec<Vec<u8>> = corpus.iter().map(|(_, octets)| octets.clone()).collect();
    let mut random = Random::new(0x9e37_79b9_7f4a_7c15);
    for round in 0..rounds {
        let octets = random.change(&corpus);
        guarded(&format!("{name}, round {round}"), &octets, target);
    }
    println!("{name}: {} files, {rounds} changes", corpus.len());
}

/// Runs a target; a failure tells its octets.
fn guarded(what: &str, octets: &[u8], target: Target) {
    struct Tell<'a>(&'a str, &'a [u8]);
    impl Drop for Tell<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                let hex: String = self.1.iter().map(|octet| format!("{octet:02x}")).collect();
                eprintln!("{}: {hex}", self.0);
            }
        }
    }
    let tell = Tell(what, octets);
    target(octets);
    drop(tell);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_is_wrong_is_found_and_a_corpus_that_is_none_refused() {
        let folder = tempfile::TempDir::with_prefix("tandem-fuzz-").unwrap();
        let folders = |_: &str| vec![folder.path().to_owned()];
        assert!(run(&[("empty", |_| {})], folders).is_err());
        for name in ["a", "b", "c", "d"] {
            std::fs::write(folder.path().join(name), name.repeat(20)).unwrap();
        }
        run(&[("any", |octets| assert!(octets.len() <= LONGEST))], folders).unwrap();
        let found = std::panic::catch_unwind(|| {
            let folders = |_: &str| vec![folder.path().to_owned()];
            run(&[("none above", |octets| assert!(octets.iter().all(|octet| *octet < 0x80)))], folders)
        });
        assert!(found.is_err(), "changes leave ASCII");
    }
}
