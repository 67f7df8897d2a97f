//! Reading requirements, tests and citations; and that every citation of this repository resolves.

use super::citations::{self, Cited};
use super::{
    INTERWORKING, PAGE, Requirement, Source, document, evidence, faults, page, resolve, rust, sources, trace,
};
use std::collections::BTreeSet;

#[test]
fn requirements_are_read_with_chapter_and_in_order() {
    let text = "## 1. One\n- R-B-10 Ten.\n- R-B-2 Two: a | b.\n- R-A-1 First.\n## 2. Two\n- R-C-1 Last\n- no requirement\n- R-C Not";
    let found = document::requirements(text);
    let ids: Vec<&str> = found.iter().map(|found| found.id.as_str()).collect();
    assert_eq!(ids, ["R-B-2", "R-B-10", "R-A-1", "R-C-1"]);
    let (id, title, chapter) = ("R-B-2".into(), "Two: a | b.".into(), "1. One".into());
    assert_eq!(found[0], Requirement { id, title, chapter });
    assert_eq!(found[3].chapter, "2. Two");
}

#[test]
fn only_a_tests_own_words_are_its_citations() {
    let text = r####"//! R-A-1 of the file.
/// R-A-2: the code obeys, and shows nothing.
fn code() { let brace = '{'; let life: &'static str = "}"; } // R-A-3
/// R-A-4 above.
#[tokio::test(flavor = "current_thread")]
async fn first() {
    // R-A-5 inside.
    assert!(true, "R-A-6 in a text: {{");
    let raw = r#"R-A-7 "}" "#;
}
/// R-A-8: a helper.
fn helper() { inner(); }
proptest! {
    /// R-A-9
    #[test]
    fn second(x in 0..9) { if x > 1 { let c = '\''; } }
}
#[cfg(test)]
fn not_a_test() { /* R-A-10 */ }
#[test]
fn r_a_11_is_in_its_name() {}
"####;
    let source = |path: &str| Source { path: path.into(), text: text.into() };
    let cited = |path: &str| -> Vec<(String, Option<String>)> {
        evidence(&source(path)).into_iter().map(|(id, evidence)| (id, evidence.test)).collect()
    };
    let own: Vec<(String, Option<String>)> = [
        ("R-A-4", "first"),
        ("R-A-5", "first"),
        ("R-A-6", "first"),
        ("R-A-7", "first"),
        ("R-A-9", "second"),
        ("R-A-11", "r_a_11_is_in_its_name"),
    ]
    .map(|(id, test)| (id.to_owned(), Some(test.to_owned())))
    .to_vec();
    assert_eq!(cited("crates/x/src/code.rs"), own);
    let whole = [own.as_slice(), &[("R-A-1".to_owned(), None)]].concat();
    for path in ["crates/x/src/code/tests.rs", "crates/x/tests/code.rs", "tests/code.rs"] {
        assert_eq!(cited(path), whole, "{path}");
    }
    assert_eq!(rust::read(text).tests.len(), 3);
}

#[test]
fn comments_of_flows_are_citations_and_nothing_else_is() {
    let text = "# Title (R-A-1, R-A-2).\n> INVITE R-A-3\n# R-A-4\n";
    let flow = Source { path: "tests/flows/a.flow".into(), text: text.into() };
    let ids: Vec<String> = evidence(&flow).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["R-A-1", "R-A-2", "R-A-4"]);
    let page = Source { path: "docs/a.md".into(), text: text.into() };
    assert!(evidence(&page).is_empty());
}

#[test]
fn every_form_of_a_citation_is_read() {
    let text = "//! (interworking §3.3 rules 7 and 13, §12.5; RFC 3261 §8)\n/// Interworking\n/// §2.9, and R-CALL-4.\n// architecture §4, \
                \"x\"; decision 31; interworking §4.3–4.5. interworking appendix B, docs/interworking.md §1; XR-A-1, R-9";
    let found: Vec<(usize, Cited)> = citations::all(text);
    let section = |line, name: &str| (line, Cited::Interworking(name.into()));
    let expected = [
        (3, Cited::Requirement("R-CALL-4".into())),
        section(1, "3.3"),
        section(1, "12.5"),
        section(2, "2.9"),
        section(4, "4.3"),
        section(4, "4.5"),
        section(4, "B"),
        section(4, "1"),
        (4, Cited::Architecture("4".into())),
        (4, Cited::Decision(31)),
    ];
    assert_eq!(found, expected);
}

#[test]
fn every_citation_of_this_repository_resolves() {
    let lost = resolve::unresolved(&testkit::root()).unwrap();
    assert!(lost.is_empty(), "{}", lost.join("\n"));
}

#[test]
fn a_requirement_has_its_number_alone() {
    let text = std::fs::read_to_string(testkit::root().join(INTERWORKING)).unwrap();
    let known: Vec<String> = document::requirements(&text).into_iter().map(|known| known.id).collect();
    assert!(known.len() > 150, "{known:?}");
    assert_eq!(known.iter().collect::<BTreeSet<_>>().len(), known.len());
}

#[test]
fn a_decision_has_its_number_alone() {
    let pages = std::fs::read_dir(testkit::root().join("docs/decisions")).unwrap();
    let mut numbers: Vec<String> =
        pages.map(|page| page.unwrap().file_name().to_str().unwrap()[..4].to_owned()).collect();
    numbers.sort();
    let twice: Vec<_> = numbers.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(twice.is_empty() && numbers.len() > 10, "{twice:?}");
}

#[test]
fn every_link_of_the_pages_resolves() {
    let lost = resolve::broken_links(&testkit::root()).unwrap();
    assert!(lost.is_empty(), "{}", lost.join("\n"));
}

#[test]
fn the_page_of_requirements_is_current() {
    let root = testkit::root();
    let traced = trace(&root).unwrap();
    assert!(traced.iter().filter(|traced| !traced.tests.is_empty()).count() > 50, "tests are found");
    let written = std::fs::read_to_string(root.join(PAGE)).unwrap_or_default();
    assert!(written == page(&traced), "{PAGE} is old: run `cargo xtask requirements --write`");
}

#[test]
fn the_page_of_faults_is_current() {
    let sources = sources::all(&testkit::root()).unwrap();
    let written = std::fs::read_to_string(testkit::root().join(faults::PAGE)).unwrap();
    assert_eq!(faults::strays(&written, &sources), Vec::<String>::new());
    let current = faults::page(&written, &sources);
    assert!(written == current, "{} is old: run `cargo xtask requirements --write`", faults::PAGE);
}
