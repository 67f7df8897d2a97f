//! docs/faults.md: kinds of faults that were seen once, each with the tests that show it mended.
//!
//! One rule: the name of such a test begins with the id of its fault, in lower case: `c1_a_name_without_quotes_is_no_fault`. A golden
//! flow names it in the comment at its head: `(fault G1)`.

use super::sources::Source;
use super::{Evidence, rust};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The page; its lines of tests are generated.
pub const PAGE: &str = "docs/faults.md";
/// End of a line without tests.
const NONE: &str = " *No test.*";

/// Returns the page with the tests of each fault below its line.
pub fn page(text: &str, sources: &[Source]) -> String {
    let named = tests(sources);
    let mut page = String::new();
    for line in text.lines().filter(|line| !line.starts_with("  - ")) {
        let line = line.strip_suffix(NONE).unwrap_or(line);
        let of = named.iter().filter(|(fault, _)| id(line) == Some(fault.as_str()));
        let tests: Vec<&Evidence> = of.map(|(_, evidence)| evidence).collect();
        let none = if id(line).is_some() && tests.is_empty() { NONE } else { "" };
        let _ = writeln!(page, "{line}{none}");
        for Evidence { file, test } in tests {
            let test = test.as_ref().map_or_else(String::new, |test| format!(" {test}"));
            let _ = writeln!(page, "  - `{file}`{test}");
        }
    }
    page
}

/// Returns the tests that are named after a fault which the page does not have.
pub fn strays(text: &str, sources: &[Source]) -> Vec<String> {
    let known: BTreeSet<&str> = text.lines().filter_map(id).collect();
    let named = tests(sources).into_iter().filter(|(id, _)| !known.contains(id.as_str()));
    named
        .map(|(id, test)| {
            format!("{}: {:?} names a fault {id}, which {PAGE} does not have", test.file, test.test)
        })
        .collect()
}

/// Returns the id that a line is about: `C1` of `- **C1** …`.
pub fn id(line: &str) -> Option<&str> {
    line.strip_prefix("- **")?.split_once("**").map(|(id, _)| id)
}

/// Returns the tests that are named after a fault, with its id, in order.
fn tests(sources: &[Source]) -> BTreeSet<(String, Evidence)> {
    let of = |source: &Source| {
        let named = rust::read(&source.text)
            .tests
            .into_iter()
            .filter_map(|test| Some((of_name(&test.name)?, test.name)));
        let evidence = |name| Evidence { file: source.path.clone(), test: Some(name) };
        named.map(|(id, name)| (id, evidence(name))).collect::<Vec<_>>()
    };
    let rust = sources.iter().filter(|source| source.path.ends_with(".rs")).flat_map(of);
    rust.chain(sources.iter().filter(|source| source.path.ends_with(".flow")).flat_map(of_flow)).collect()
}

/// Returns a flow with the faults that its head names.
fn of_flow(source: &Source) -> Vec<(String, Evidence)> {
    let head = source.text.lines().take_while(|line| line.starts_with('#'));
    let ids = head.flat_map(|line| line.split("(fault ").skip(1).filter_map(|rest| rest.split_once(')')));
    ids.map(|(id, _)| (id.to_owned(), Evidence { file: source.path.clone(), test: None })).collect()
}

/// Returns the id of the fault that a test is named after: `G6B` of `g6b_a_client_adds_video`.
pub fn of_name(name: &str) -> Option<String> {
    let (id, _) = name.split_once('_')?;
    let digits = id.strip_prefix(|group| ('a'..='g').contains(&group))?;
    let digits = digits.strip_suffix('b').unwrap_or(digits);
    let is_number = matches!(digits.len(), 1..=2) && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| id.to_uppercase())
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn tests_stand_below_the_fault_that_they_are_named_after() {
        let source = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
        let sources = [
            source(
                "b.rs",
                "#[test]\nfn c1_a_name() {}\n#[test]\nfn g722_is_a_codec() {}\nfn c1_no_test() {}\n",
            ),
            source("c.flow", "# A name that is none (fault C1).\nfrom: x\n# (fault C2)\n"),
            source("a.rs", "#[tokio::test]\nasync fn c1_another() {}\n#[test]\nfn c12_an_update() {}\n"),
        ];
        let text = "# Faults\n\n- **C1** Names.\n  - `gone.rs` c1_gone\n- **C2** Connections.\n";
        let wanted = "# Faults\n\n- **C1** Names.\n  - `a.rs` c1_another\n  - `b.rs` c1_a_name\n  - `c.flow`\n- **C2** Connections. *No test.*\n";
        assert_eq!(page(text, &sources), wanted);
        assert_eq!(page(wanted, &sources), wanted);
        assert_eq!(strays(text, &sources).len(), 1, "C12 is not there");
        assert_eq!(of_name("g6b_video"), Some("G6B".into()));
    }
}
