//! Check that every citation and link of this repository leads somewhere.

use super::citations::{self, Cited};
use super::{INTERWORKING, PAGE, document, faults, page, sources, trace};
use anyhow::{Context, Result, ensure};
use std::path::Path;

/// Refuses citations and links that lead nowhere, and an old page of requirements.
///
/// # Errors
/// One line each.
pub fn check() -> Result<()> {
    let root = testkit::root();
    let lost = [unresolved(&root)?, broken_links(&root)?].concat();
    ensure!(lost.is_empty(), "these lead nowhere:\n{}", lost.join("\n"));
    let written = std::fs::read_to_string(root.join(PAGE)).unwrap_or_default();
    ensure!(written == page(&trace(&root)?), "{PAGE} is old: run `cargo xtask requirements --write`");
    let faults = std::fs::read_to_string(root.join(faults::PAGE)).unwrap_or_default();
    let sources = sources::all(&root)?;
    let strays = faults::strays(&faults, &sources);
    ensure!(strays.is_empty(), "{}", strays.join("\n"));
    ensure!(
        faults == faults::page(&faults, &sources),
        "{} is old: run `cargo xtask requirements --write`",
        faults::PAGE
    );
    Ok(())
}

/// Citations of requirements, sections and decisions that do not exist, as `file:line: what`.
pub fn unresolved(root: &Path) -> Result<Vec<String>> {
    let read =
        |path: &str| std::fs::read_to_string(root.join(path)).with_context(|| format!("{path} is missing"));
    let (interworking, architecture) = (read(INTERWORKING)?, read("docs/architecture.md")?);
    let known = document::requirements(&interworking);
    let (interworking, architecture) = (document::headings(&interworking), document::headings(&architecture));
    let decisions: Vec<u32> = std::fs::read_dir(root.join("docs/decisions"))?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.get(..4)?.parse().ok())
        .collect();
    let resolves = |cited: &Cited| match cited {
        Cited::Requirement(id) => known.iter().any(|known| known.id == *id),
        Cited::Interworking(section) => interworking.contains(section),
        Cited::Architecture(section) => architecture.contains(section),
        Cited::Decision(number) => decisions.contains(number),
    };
    let mut lost = vec![];
    // Tests of the reader cite what does not exist.
    for source in sources::all(root)?.iter().filter(|source| !source.path.ends_with("requirements/tests.rs"))
    {
        let nowhere = citations::all(&source.text).into_iter().filter(|(_, cited)| !resolves(cited));
        lost.extend(nowhere.map(|(line, cited)| format!("{}:{line}: {cited:?}", source.path)));
    }
    Ok(lost)
}

/// Directories that a path between backticks may begin with.
const TREE: &[&str] = &["crates/", "docker/", "docs/", "helm/", "proto/", "services/", "tests/"];

/// Links and paths of pages to files or headings that do not exist, as `file: link`.
pub fn broken_links(root: &Path) -> Result<Vec<String>> {
    let mut lost = vec![];
    for source in sources::all(root)?.iter().filter(|source| source.path.ends_with(".md")) {
        let page = root.join(&source.path);
        for target in source.text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (path, anchor) =
                target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
            if path.contains("://") || path.contains(' ') {
                continue;
            }
            let file = match page.parent() {
                Some(directory) if !path.is_empty() => directory.join(path),
                _ => page.clone(),
            };
            let found = anchor.map_or(file.exists(), |anchor| {
                std::fs::read_to_string(&file).is_ok_and(|text| document::anchors(&text).contains(anchor))
            });
            if !found {
                lost.push(format!("{}: {target}", source.path));
            }
        }
        let paths = source.text.split('`').filter(|word| TREE.iter().any(|tree| word.starts_with(tree)));
        // Patterns and sentences are no paths.
        let plain = |path: &&str| !path.contains(['*', '{', ' ', ':', '\n']);
        let gone = paths.filter(plain).filter(|path| !root.join(path).exists());
        lost.extend(gone.map(|path| format!("{}: {path}", source.path)));
    }
    Ok(lost)
}
