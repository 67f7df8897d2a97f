//! Reading the configuration: file, then environment, then secrets from files; every fault is one line.

use super::Config;
use super::given::{Given, Misfit, Why};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use toml::Table;

/// A fault of the configuration: the key, what stands there, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {trouble}; {remedy}")]
pub struct Fault {
    /// As written in the file: `[sip] listen`, `[[trunk]] uri`.
    pub key: String,
    /// Trouble with the value, which is shown unless it is a secret.
    pub trouble: String,
    /// Instruction that mends it.
    pub remedy: String,
}

impl Fault {
    pub(crate) fn new(key: &str, trouble: impl Into<String>, remedy: impl Into<String>) -> Fault {
        Fault { key: key.into(), trouble: trouble.into(), remedy: remedy.into() }
    }
}

/// Reads the file (none: defaults) and lets variables `TANDEM_SECTION__KEY=value` override it.
///
/// # Errors
/// The first [`Fault`] met.
pub fn load(
    path: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, Fault> {
    let text = match path {
        None => String::new(),
        Some(path) => std::fs::read_to_string(path).map_err(|error| {
            Fault::new(
                "--config",
                format!("{} cannot be read: {error}", path.display()),
                "name a readable TOML file; docs/tandem.toml shows every key",
            )
        })?,
    };
    let mut config = read(&text, environment)?;
    config.read_secrets()?;
    Ok(config)
}

/// [`load`] from text, secrets in files left alone.
///
/// # Errors
/// The first [`Fault`] met.
pub fn read(text: &str, environment: impl IntoIterator<Item = (String, String)>) -> Result<Config, Fault> {
    let table: Table = toml::from_str(text).map_err(|error| {
        let line =
            error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        Fault::new(&format!("line {line}"), error.message().to_owned(), "write it as TOML")
    })?;
    let mut given = Given::from(table);
    let mut variables: Vec<(String, String)> =
        environment.into_iter().filter(|(name, _)| concerns_us(name)).collect();
    // TRUNK__2 comes before TRUNK__10.
    variables.sort_by(|a, b| (a.0.len(), &a.0).cmp(&(b.0.len(), &b.0)));
    for (name, text) in variables {
        let path = name.trim_start_matches(PREFIX).to_lowercase();
        set(&mut given, &path.split("__").collect::<Vec<_>>(), text).ok_or_else(|| {
            Fault::new(
                &name,
                "it names no place in the configuration",
                "write TANDEM_SECTION__KEY, as TANDEM_SIP__LISTEN, and number lists from 0, as TANDEM_TRUNK__0__URI",
            )
        })?;
    }
    Config::deserialize(given).map_err(refused)
}

const PREFIX: &str = "TANDEM_";

/// Kubernetes sets variables for every Service that it knows (`TANDEM_SIP_EDGE_SERVICE_HOST`, `TANDEM_ADMIN_PORT_8080_TCP`):
/// those are nobody's configuration.
fn concerns_us(name: &str) -> bool {
    let Some(path) = name.strip_prefix(PREFIX).filter(|path| !path.is_empty()) else { return false };
    let ends = ["_PORT", "_TCP", "_UDP", "_PROTO", "_ADDR", "_HOST"];
    let of_a_service = path == "PORT"
        || path.starts_with("SERVICE_")
        || path.starts_with("PORT_")
        || path.contains("_SERVICE_PORT_")
        || ends.iter().any(|end| path.ends_with(end));
    // TANDEM_CONFIG and TANDEM_ADMIN are read by the command line.
    path != "CONFIG" && path != "ADMIN" && (path.contains("__") || !of_a_service)
}

/// Sets the place that `path` names: sections by name, members of lists by number; the next free number adds one.
fn set(at: &mut Given, path: &[&str], text: String) -> Option<()> {
    let Some((step, rest)) = path.split_first() else {
        *at = Given::Said(text);
        return Some(());
    };
    let lists = rest.first().is_some_and(|next| next.parse::<usize>().is_ok());
    let fresh = || if lists { Given::List(vec![]) } else { Given::Section(BTreeMap::new()) };
    let next = match at {
        Given::Section(section) => section.entry((*step).to_owned()).or_insert_with(fresh),
        Given::List(list) => {
            let place: usize = step.parse().ok()?;
            if place == list.len() {
                list.push(fresh());
            }
            list.get_mut(place)?
        }
        Given::Written(_) | Given::Said(_) => return None,
    };
    set(next, rest, text)
}

/// Keys whose values are shown to nobody: URLs hold passwords.
pub(super) const SECRET: &[&str] = &["secret", "password", "sentinel_password", "token", "url"];

/// A value that does not fit, in our words: an unknown key gets the nearest known name.
fn refused(misfit: Misfit) -> Fault {
    let place = misfit.path.iter().rev().cloned().collect::<Vec<_>>().join(".");
    let place = if place.is_empty() { "configuration" } else { &place };
    match misfit.why {
        Why::Unknown { key, known } => {
            let remedy = match nearest(&key, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", known.join(", ")),
            };
            Fault::new(place, format!("unknown key `{key}`"), remedy)
        }
        Why::Missing(key) => {
            Fault::new(place, format!("`{key}` is absent"), "docs/tandem.toml shows every key with its form")
        }
        // The reader's own words repeat the value.
        Why::Other(_) if misfit.path.iter().any(|key| SECRET.contains(&key.as_str())) => Fault::new(
            place,
            "what stands there has not the form of this key (it is not shown)",
            "write text between quotes; docs/tandem.toml shows every key with its form",
        ),
        Why::Other(why) => Fault::new(place, why, "docs/tandem.toml shows every key with its form"),
    }
}

/// The known name with the fewest edits, if they are few.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|name| (distance(word, name), *name))
        .min()
        .filter(|(edits, name)| *edits <= (name.len() / 3).max(2) && *edits < name.len())
        .map(|(_, name)| name)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (above + 1).min(row[j] + 1).min(diagonal + usize::from(x != *y));
            diagonal = above;
        }
    }
    row[b.len()]
}

impl Config {
    /// Secrets given as files take their place.
    fn read_secrets(&mut self) -> Result<(), Fault> {
        take("[cluster] secret", &mut self.cluster.secret, self.cluster.secret_file.as_deref())?;
        if let Some(bus) = &mut self.bus {
            take("[bus] password", &mut bus.password, bus.password_file.as_deref())?;
            take("[bus] token", &mut bus.token, bus.token_file.as_deref())?;
        }
        if let Some(store) = &mut self.store {
            take("[store] password", &mut store.password, store.password_file.as_deref())?;
            let file = store.sentinel_password_file.as_deref();
            take("[store] sentinel_password", &mut store.sentinel_password, file)?;
        }
        for component in &mut self.xmpp.component {
            take("[[xmpp.component]] secret", &mut component.secret, component.secret_file.as_deref())?;
        }
        for trunk in &mut self.trunk {
            take("[[trunk]] password", &mut trunk.password, trunk.password_file.as_deref())?;
        }
        Ok(())
    }
}

fn take(key: &str, secret: &mut Option<String>, file: Option<&str>) -> Result<(), Fault> {
    let Some(file) = file else { return Ok(()) };
    if secret.is_some() {
        return Err(Fault::new(key, "it is given twice", format!("keep either {key} or {key}_file")));
    }
    let text = std::fs::read_to_string(file).map_err(|error| {
        Fault::new(&format!("{key}_file"), format!("{file} cannot be read: {error}"), "name a readable file")
    })?;
    let text = text.trim();
    if text.is_empty() {
        return Err(Fault::new(
            &format!("{key}_file"),
            format!("{file} is empty"),
            "write the secret into it",
        ));
    }
    *secret = Some(text.to_owned());
    Ok(())
}
