//! `cargo xtask requirements`: each requirement of docs/interworking.md with the tests that cite it.
//!
//! One rule: only a test counts. A citation is a test's when it stands in its comments, its texts or its name, in the opening
//! comment of a file of tests, or in the comment of a flow; one beside the code that obeys a requirement shows nothing. Start at
//! [`Requirements`], then [`rust`] (tests of a source) and [`citations`].

mod citations;
mod document;
pub mod faults;
mod resolve;
mod rust;
mod sources;
#[cfg(test)]
mod tests;

pub use resolve::check;

use anyhow::{Context, Result};
use document::Requirement;
use serde_json::json;
use sources::Source;
use std::fmt::Write;
use std::path::Path;

/// The generated page.
const PAGE: &str = "docs/requirements.md";
const INTERWORKING: &str = "docs/interworking.md";

/// Prints each requirement with its tests.
#[derive(clap::Args, Clone, Debug)]
pub struct Requirements {
    /// As JSON, for scripts
    #[arg(long, conflicts_with = "write")]
    json: bool,
    /// Write docs/requirements.md, and the tests of docs/faults.md
    #[arg(long)]
    write: bool,
}

/// A requirement and its tests.
struct Traced {
    requirement: Requirement,
    tests: Vec<Evidence>,
}

/// A test that cites a requirement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Evidence {
    file: String,
    /// Absent: a flow, or every test of the file.
    test: Option<String>,
}

impl Requirements {
    /// Prints or writes.
    ///
    /// # Errors
    /// One line: what cannot be read or written.
    pub fn run(&self) -> Result<()> {
        let root = testkit::root();
        let traced = trace(&root)?;
        if self.write {
            let faults = std::fs::read_to_string(root.join(faults::PAGE)).context(faults::PAGE)?;
            let faults = faults::page(&faults, &sources::all(&root)?);
            for (page, text) in [(PAGE, page(&traced)), (faults::PAGE, faults)] {
                std::fs::write(root.join(page), text).with_context(|| format!("cannot write {page}"))?;
            }
            return Ok(());
        }
        if self.json {
            println!("{:#}", as_json(&traced));
        } else {
            print!("{}", list(&traced));
        }
        Ok(())
    }
}

/// Reads the requirements and finds the tests of each.
fn trace(root: &Path) -> Result<Vec<Traced>> {
    let text = std::fs::read_to_string(root.join(INTERWORKING))
        .with_context(|| format!("{INTERWORKING} is missing"))?;
    let cited: Vec<(String, Evidence)> = sources::all(root)?.iter().flat_map(evidence).collect();
    let traced = document::requirements(&text).into_iter().map(|requirement| {
        let mut tests: Vec<Evidence> =
            cited.iter().filter(|(id, _)| *id == requirement.id).map(|(_, test)| test.clone()).collect();
        tests.sort();
        tests.dedup();
        Traced { requirement, tests }
    });
    Ok(traced.collect())
}

/// Requirements that the tests of a source cite.
fn evidence(source: &Source) -> Vec<(String, Evidence)> {
    let of = |test: Option<&str>, words: &str| {
        let evidence = Evidence { file: source.path.clone(), test: test.map(str::to_owned) };
        citations::requirements(words).into_iter().map(move |id| (id, evidence.clone())).collect::<Vec<_>>()
    };
    if source.path.ends_with(".flow") {
        let comments: Vec<&str> = source.text.lines().filter(|line| line.starts_with('#')).collect();
        return of(None, &comments.join("\n"));
    }
    if !source.path.ends_with(".rs") {
        return vec![];
    }
    let read = rust::read(&source.text);
    let mut found: Vec<_> = read.tests.iter().flat_map(|test| of(Some(&test.name), &test.words)).collect();
    if source.holds_tests_alone() && !read.tests.is_empty() {
        found.extend(of(None, &read.opening));
    }
    found
}

fn list(traced: &[Traced]) -> String {
    let mut text = String::new();
    for Traced { requirement: Requirement { id, title, .. }, tests } in traced {
        let _ = writeln!(text, "{id} {title}");
        if tests.is_empty() {
            let _ = writeln!(text, "    no test");
        }
        for Evidence { file, test } in tests {
            let _ = writeln!(text, "    {file} {}", test.as_deref().unwrap_or("(whole file)"));
        }
    }
    let tested = traced.iter().filter(|traced| !traced.tests.is_empty()).count();
    let _ = writeln!(
        text,
        "{} requirements: {tested} with tests, {} with none",
        traced.len(),
        traced.len() - tested
    );
    text
}

fn as_json(traced: &[Traced]) -> serde_json::Value {
    let one = |Traced { requirement, tests }: &Traced| {
        let tests: Vec<_> =
            tests.iter().map(|test| json!({ "file": test.file, "test": test.test })).collect();
        json!({ "id": requirement.id, "title": requirement.title, "section": requirement.chapter, "tests": tests })
    };
    traced.iter().map(one).collect()
}

/// The page as Markdown: one line a test, so that a change shows as such.
fn page(traced: &[Traced]) -> String {
    let mut text = String::from(
        "# Requirements and their tests\n\nGenerated by `cargo xtask requirements --write` from [interworking.md](interworking.md) and \
         the tests that cite it.\nA requirement without a test is not built yet, or not shown to work.\n",
    );
    let mut chapter = "";
    for Traced { requirement, tests } in traced {
        if requirement.chapter != chapter {
            chapter = &requirement.chapter;
            let _ = write!(text, "\n## {chapter}\n\n");
        }
        let Requirement { id, title, .. } = requirement;
        let none = if tests.is_empty() { " *No test.*" } else { "" };
        let _ = writeln!(text, "- **{id}** {title}{none}");
        for Evidence { file, test } in tests {
            let _ = match test {
                Some(test) => writeln!(text, "  - `{file}` {test}"),
                None => writeln!(text, "  - `{file}`"),
            };
        }
    }
    text
}
