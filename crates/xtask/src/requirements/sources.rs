//! The text files of the repository.

use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::Command;

/// Endings of files that people write.
const TEXT: &[&str] = &[
    "rs", "md", "flow", "toml", "proto", "yaml", "yml", "tpl", "txt", "py", "js", "html", "sh", "lua", "json",
];

/// A file with its text.
pub struct Source {
    /// From the root of the repository.
    pub path: String,
    /// All of it.
    pub text: String,
}

impl Source {
    /// True for a Rust file that holds nothing but tests and what they use.
    pub fn holds_tests_alone(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        self.path.starts_with("tests/")
            || self.path.contains("/tests/")
            || name == "tests.rs"
            || name.ends_with("_tests.rs")
    }
}

/// Every text file that is in the repository or about to be.
///
/// # Errors
/// Git cannot list them.
pub fn all(root: &Path) -> Result<Vec<Source>> {
    let listed = Command::new("git")
        .current_dir(root)
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .output()
        .context("cannot start git: is it installed?")?;
    ensure!(listed.status.success(), "git cannot list the files of {}", root.display());
    let paths = String::from_utf8(listed.stdout).context("a file's name is no text")?;
    let wanted = |path: &&str| path.rsplit_once('.').is_some_and(|(_, ending)| TEXT.contains(&ending));
    // A file that is listed and gone is about to be removed.
    let read = |path: &str| {
        let text = std::fs::read_to_string(root.join(path)).ok()?;
        Some(Source { path: path.to_owned(), text })
    };
    Ok(paths.lines().filter(wanted).filter_map(read).collect())
}
