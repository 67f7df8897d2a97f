//! The files of `tests/flows`, and what is played of them.

use super::flow::Flow;
use super::world::{Played, World};
use crate::Fault;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Returns the folder of the flows.
#[must_use]
pub fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/flows"))
}

/// Returns a file of the flows; parts may also be descriptions captured from real clients, without the element around the contents.
#[must_use]
pub fn file(name: &str) -> Option<String> {
    std::fs::read_to_string(folder().join(name)).ok().or_else(|| {
        let captured = folder().join("../../crates/xmpp/tests/fixtures").join(name.strip_prefix("parts/")?);
        let text = std::fs::read_to_string(captured).ok()?;
        let (_, contents) = text.split_once('>')?;
        // An accept names the content as our offer did.
        let named = if name.contains("-accept") {
            contents.replace("name=\"audio\"", "name=\"0\"")
        } else {
            contents.into()
        };
        Some(named.trim().strip_suffix("</jingle>")?.to_owned())
    })
}

/// Returns names and texts of the flows of a folder.
fn flows(folder: &Path) -> Result<BTreeMap<String, String>, Fault> {
    let unreadable = |error: std::io::Error| Fault(format!("{}: {error}", folder.display()));
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if let Some(stem) = path.file_stem().filter(|_| path.extension().is_some_and(|e| e == "flow")) {
            let text = std::fs::read_to_string(&path).map_err(unreadable)?;
            found.insert(stem.to_string_lossy().into_owned(), text);
        }
    }
    Ok(found)
}

/// Returns all flows by name.
///
/// # Errors
/// A file that cannot be read.
pub fn files() -> Result<BTreeMap<String, String>, Fault> {
    flows(&folder())
}

/// Returns all starting points by name, `from/…`.
///
/// # Errors
/// A file that cannot be read.
pub fn starting_points() -> Result<BTreeMap<String, String>, Fault> {
    let found = flows(&folder().join("from"))?;
    Ok(found.into_iter().map(|(name, text)| (format!("from/{name}"), text)).collect())
}

/// Plays a flow, or a starting point.
///
/// # Errors
/// The file and what is wrong with it.
pub fn played(name: &str, text: &str) -> Result<(Flow, Played), Fault> {
    let named = |fault: Fault| Fault(format!("tests/flows/{name}.flow: {fault}"));
    let flow = Flow::parse(text).map_err(named)?;
    let start = name.starts_with("from/");
    let played = if start { World::play_start(&flow, file) } else { World::play(&flow, file) };
    Ok((flow, played.map_err(named)?))
}
