//! Reading the configuration: file, then environment, then secrets from files; every fault is one line.

use super::given::{Given, Misfit, Why};
pub use super::place::Places;
use super::place::line;
use super::{Config, Service};
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
    /// File and line, or variable, that gave the value.
    pub place: Option<String>,
}

impl Fault {
    /// Makes a fault of a key.
    pub fn new(key: &str, trouble: impl Into<String>, remedy: impl Into<String>) -> Fault {
        Fault { key: key.into(), trouble: trouble.into(), remedy: remedy.into(), place: None }
    }

    /// Returns the fault in one line, with its place.
    #[must_use]
    pub fn line(&self) -> String {
        match &self.place {
            Some(place) => format!("{self} ({place})"),
            None => self.to_string(),
        }
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
    let text = text_of(path)?;
    let mut reading = Reading::new(&text, "");
    reading.variables(environment);
    let (mut config, _) = reading.config();
    reading.faults.extend(config.iter_mut().flat_map(Config::read_secrets));
    reading.first(config)
}

/// [`load`] from text, secrets in files left alone.
///
/// # Errors
/// The first [`Fault`] met.
pub fn read(text: &str, environment: impl IntoIterator<Item = (String, String)>) -> Result<Config, Fault> {
    let mut reading = Reading::new(text, "");
    reading.variables(environment);
    let (config, _) = reading.config();
    reading.first(config)
}

/// Everything that can be said of a configuration.
#[derive(Debug, Default)]
pub struct Examined {
    /// The configuration; what could not be read is as if it were absent.
    pub config: Option<Config>,
    /// Every fault that a start would refuse, with its place.
    pub faults: Vec<Fault>,
    /// Places of all values.
    pub places: Places,
}

/// Reads as [`load`] does, and tells every fault.
pub fn examine(path: Option<&Path>, environment: impl IntoIterator<Item = (String, String)>) -> Examined {
    examine_for(Service::All, path, environment)
}

/// Reads for one service: secrets of others are neither read nor missed, and stay out of what is returned.
pub fn examine_for(
    service: Service,
    path: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Examined {
    let text = match text_of(path) {
        Ok(text) => text,
        Err(fault) => return Examined { faults: vec![fault], ..Examined::default() },
    };
    let file = path.map(|path| path.display().to_string()).unwrap_or_default();
    let mut reading = Reading::new(&text, &file);
    let said = reading.variables(environment);
    if path.is_none() && said == 0 {
        let remedy = "name a file, or set TANDEM_SECTION__KEY; docs/tandem.toml shows every key";
        let fault = Fault::new("--config", "absent, and no variable sets a key: nobody is served", remedy);
        return Examined { faults: vec![fault], ..Examined::default() };
    }
    let (config, lost) = reading.config();
    let config = config.map(|mut config| {
        config.keep_to(service);
        reading.faults.extend(config.read_secrets());
        // A member that could not be read is missed by others that name it.
        let follows =
            |fault: &Fault| lost && matches!(&fault.key[..], "[[trunk]] domain" | "[[trunk]] callers");
        reading.faults.extend(config.check_for(service).into_iter().filter(|fault| !follows(fault)));
        config
    });
    let places = reading.places;
    let faults = reading.faults.into_iter().map(|fault| places.locate(fault)).collect();
    Examined { config, faults, places }
}

fn text_of(path: Option<&Path>) -> Result<String, Fault> {
    let Some(path) = path else { return Ok(String::new()) };
    std::fs::read_to_string(path).map_err(|error| {
        Fault::new(
            "--config",
            format!("{} cannot be read: {error}", path.display()),
            "name a readable TOML file; docs/tandem.toml shows every key",
        )
    })
}

/// Most faults of single values that are told at once.
const MOST: usize = 100;

/// Configuration that is being read.
struct Reading {
    given: Given,
    places: Places,
    faults: Vec<Fault>,
    /// True if the text is no TOML: nothing else can be said of it.
    spoiled: bool,
}

impl Reading {
    fn new(text: &str, file: &str) -> Reading {
        let (table, faults) = match toml::from_str::<Table>(text) {
            Ok(table) => (table, vec![]),
            Err(error) => {
                let line = error.span().map_or(0, |span| line(text, span.start));
                let mut fault =
                    Fault::new(&format!("line {line}"), error.message().to_owned(), "write it as TOML");
                fault.place = Some(format!("{file}:{line}"));
                (Table::new(), vec![fault])
            }
        };
        let spoiled = !faults.is_empty();
        Reading { given: Given::from(table), places: Places::of(text, file), faults, spoiled }
    }

    /// Lets variables override what is written; returns their number.
    fn variables(&mut self, environment: impl IntoIterator<Item = (String, String)>) -> usize {
        let mut variables: Vec<(String, String)> =
            environment.into_iter().filter(|(name, _)| concerns_us(name)).collect();
        // TRUNK__2 comes before TRUNK__10.
        variables.sort_by(|a, b| (a.0.len(), &a.0).cmp(&(b.0.len(), &b.0)));
        let number = variables.len();
        for (name, text) in variables {
            let path = name.trim_start_matches(PREFIX).to_lowercase();
            let steps: Vec<&str> = path.split("__").collect();
            self.places.said(&steps.join("."), &name, &text);
            if set(&mut self.given, &steps, text).is_none() {
                self.faults.push(Fault::new(
                    &name,
                    "it names no place in the configuration",
                    "write TANDEM_SECTION__KEY, as TANDEM_SIP__LISTEN, and number lists from 0, as TANDEM_TRUNK__0__URI",
                ));
            }
        }
        number
    }

    /// Returns the configuration without the values that do not fit, and true if a member of a list is missing for that.
    fn config(&mut self) -> (Option<Config>, bool) {
        let mut lost = false;
        for _ in 0..MOST {
            if self.spoiled {
                break;
            }
            match Config::deserialize(self.given.clone()) {
                Ok(config) => return (Some(config), lost),
                Err(misfit) => {
                    let mut path: Vec<String> = misfit.path.iter().rev().cloned().collect();
                    if let Why::Unknown { key, .. } = &misfit.why {
                        path.push(key.clone());
                    }
                    let place = self.places.at(&path.join("."));
                    self.faults.push(Fault { place, ..refused(misfit) });
                    match remove(&mut self.given, &path) {
                        Some(member) => lost |= member,
                        None => break,
                    }
                }
            }
        }
        (None, lost)
    }

    fn first(&mut self, config: Option<Config>) -> Result<Config, Fault> {
        let fault = (!self.faults.is_empty()).then(|| self.faults.swap_remove(0));
        let unread = || Fault::new("configuration", "it cannot be read", "docs/tandem.toml shows every key");
        match (fault, config) {
            (None, Some(config)) => Ok(config),
            (fault, _) => Err(fault.unwrap_or_else(unread)),
        }
    }
}

/// Takes the value at a path away; true: it was a member of a list. `None`: there is no such value.
fn remove(at: &mut Given, path: &[String]) -> Option<bool> {
    let (step, rest) = path.split_first()?;
    match (at, rest) {
        (Given::Section(section), []) => section.remove(step).map(|_| false),
        (Given::Section(section), rest) => remove(section.get_mut(step)?, rest),
        (Given::List(list), rest) => {
            let place = step.parse::<usize>().ok().filter(|place| *place < list.len())?;
            if rest.is_empty() {
                // Others keep their numbers, by which they are found in the file.
                list[place] = Given::Gone;
                return Some(true);
            }
            remove(&mut list[place], rest)
        }
        _ => None,
    }
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
    // These are read by the command line.
    !COMMAND_LINE.contains(&path) && (path.contains("__") || !of_a_service)
}

/// Variables of the command line, without their prefix.
const COMMAND_LINE: &[&str] =
    &["CONFIG", "ADMIN", "ADMIN_TOKEN_FILE", "ADMIN_CA_FILE", "ADMIN_CERTIFICATE_FILE", "ADMIN_KEY_FILE"];

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
        Given::Written(_) | Given::Said(_) | Given::Gone => return None,
    };
    set(next, rest, text)
}

/// Keys whose values are shown to nobody: URLs hold passwords.
pub(super) const SECRET: &[&str] =
    &["secret", "password", "inbound_password", "sentinel_password", "token", "url", "value"];

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
    /// Puts secrets that are given as files in their place; returns what is wrong with them.
    fn read_secrets(&mut self) -> Vec<Fault> {
        let mut faults = vec![];
        let mut note = |outcome: Result<(), Fault>| faults.extend(outcome.err());
        note(take("[cluster] secret", &mut self.cluster.secret, self.cluster.secret_file.as_deref()));
        if let Some(bus) = &mut self.bus {
            note(take("[bus] password", &mut bus.password, bus.password_file.as_deref()));
            note(take("[bus] token", &mut bus.token, bus.token_file.as_deref()));
        }
        if let Some(store) = &mut self.store {
            note(take("[store] password", &mut store.password, store.password_file.as_deref()));
            let file = store.sentinel_password_file.as_deref();
            note(take("[store] sentinel_password", &mut store.sentinel_password, file));
        }
        for component in &mut self.xmpp.component {
            let file = component.secret_file.as_deref();
            note(take("[[xmpp.component]] secret", &mut component.secret, file));
        }
        for trunk in &mut self.trunk {
            note(take("[[trunk]] password", &mut trunk.password, trunk.password_file.as_deref()));
            let file = trunk.inbound_password_file.as_deref();
            note(take("[[trunk]] inbound_password", &mut trunk.inbound_password, file));
        }
        for header in self.telemetry.otlp_header.iter_mut().flatten() {
            let file = header.value_file.as_deref();
            note(take("[[telemetry.otlp_header]] value", &mut header.value, file));
        }
        for user in self.admin.user.iter_mut().flatten() {
            note(take("[[admin.user]] token", &mut user.token, user.token_file.as_deref()));
        }
        faults
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
