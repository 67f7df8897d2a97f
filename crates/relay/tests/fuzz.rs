//! The fuzz targets of `crates/relay/fuzz` over their corpus and some thousand changes of it, so that they neither rot nor rest
//! where libFuzzer is not at hand. `ROUNDS=n` for more.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::path::Path;

const ROUNDS: u64 = 3_000;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound.max(1)
    }

    /// One of the corpus, changed in a few places, cut, or with a piece of another in it.
    fn change(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut octets = corpus[self.below(corpus.len())].clone();
        for _ in 0..1 + self.below(6) {
            let at = self.below(octets.len() + 1);
            match self.below(6) {
                0 => octets.truncate(at),
                1 => octets.insert(at, self.below(256) as u8),
                2 => {
                    let other = &corpus[self.below(corpus.len())];
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
        octets.truncate(8_192);
        octets
    }
}

#[test]
fn every_target_stands_its_corpus_and_changes_of_it() {
    let rounds = std::env::var("ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(ROUNDS);
    std::thread::scope(|scope| {
        for (name, target) in targets::TARGETS {
            scope.spawn(move || run(name, *target, rounds));
        }
    });
}

fn run(name: &str, target: fn(&[u8]), rounds: u64) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let corpus: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    assert!(corpus.len() >= 4, "{name} has a corpus");
    for (file, octets) in files.iter().zip(&corpus) {
        guarded(&file.display().to_string(), octets, target);
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..rounds {
        let octets = random.change(&corpus);
        guarded(&format!("{name}, round {round}"), &octets, target);
    }
    println!("{name}: {} files, {rounds} changes", corpus.len());
}

/// A failure tells its octets: they belong into the corpus.
fn guarded(what: &str, octets: &[u8], target: fn(&[u8])) {
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
