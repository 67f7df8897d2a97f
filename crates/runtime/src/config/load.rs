//! Reading the configuration: file, then environment, then secrets from files; every fault is one line.

use super::Config;
use serde::Deserialize;
use std::path::Path;
use toml::{Table, Value};

/// A fault of the configuration: the key, what stands there, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {trouble}; {remedy}")]
pub struct Fault {
    /// As written in the file: `[sip] listen`, `[[trunk]] uri`.
    pub key: String,
    /// What is wrong, with the value where it is no secret.
    pub trouble: String,
    /// What to do.
    pub remedy: String,
}

impl Fault {
    pub(super) fn new(key: &str, trouble: impl Into<String>, remedy: impl Into<String>) -> Fault {
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
    let mut table: Table = toml::from_str(text).map_err(|error| {
        let line =
            error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        Fault::new(&format!("line {line}"), error.message().to_owned(), "write it as TOML")
    })?;
    let mut variables: Vec<(String, String)> = environment.into_iter().collect();
    variables.sort();
    for (name, value) in variables {
        if let Some(path) = name.strip_prefix("TANDEM_").filter(|path| !path.is_empty()) {
            set(&mut table, &name, &path.to_lowercase(), &value)?;
        }
    }
    Config::deserialize(Value::Table(table)).map_err(|error| refused(&error.to_string()))
}

/// Sets `sip__listen` or `trunk__0__uri` to what the variable says.
fn set(table: &mut Table, variable: &str, path: &str, text: &str) -> Result<(), Fault> {
    let wrong = || {
        Fault::new(
            variable,
            "it names no place in the configuration",
            "write TANDEM_SECTION__KEY, as TANDEM_SIP__LISTEN",
        )
    };
    let parts: Vec<&str> = path.split("__").collect();
    let Some((last, sections)) = parts.split_last() else { return Err(wrong()) };
    let mut at = table;
    let mut index = 0;
    while let Some(section) = sections.get(index) {
        let next = sections.get(index + 1).and_then(|n| n.parse::<usize>().ok());
        let entry = at.entry((*section).to_owned()).or_insert_with(|| {
            if next.is_some() { Value::Array(vec![]) } else { Value::Table(Table::new()) }
        });
        at = match (entry, next) {
            (Value::Table(table), None) => table,
            (Value::Array(array), Some(place)) if place <= array.len() => {
                if place == array.len() {
                    array.push(Value::Table(Table::new()));
                }
                index += 1;
                array.get_mut(place).and_then(Value::as_table_mut).ok_or_else(wrong)?
            }
            _ => return Err(wrong()),
        };
        index += 1;
    }
    at.insert((*last).to_owned(), value(path, text));
    Ok(())
}

/// What a variable means: a list where the key holds one, a number or a truth value where it holds that, else text.
fn value(path: &str, text: &str) -> Value {
    const LISTS: &[&str] = &["sip__listen", "sip__domains", "__sources"];
    const TYPED: &[&str] = &["_ms", "_s", "__sample", "__json", "__reuse_port", "__max_legs", "__threads"];
    let is = |ends: &[&str]| ends.iter().any(|end| path.ends_with(end));
    let typed =
        is(TYPED).then(|| toml::from_str::<Table>(&format!("v = {text}")).ok()?.remove("v")).flatten();
    match typed {
        Some(value) => value,
        None if is(LISTS) => {
            Value::Array(text.split(',').map(|part| Value::String(part.trim().into())).collect())
        }
        None => Value::String(text.to_owned()),
    }
}

/// serde's words in ours: an unknown key gets the nearest known name.
fn refused(error: &str) -> Fault {
    let first = error.lines().next().unwrap_or(error).trim();
    let place = error
        .lines()
        .find_map(|line| line.trim().strip_prefix("in `").and_then(|rest| rest.strip_suffix('`')))
        .unwrap_or("configuration");
    if let Some(rest) = first.strip_prefix("unknown field `")
        && let Some((unknown, expected)) = rest.split_once('`')
    {
        let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        let remedy = match nearest(unknown, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", known.join(", ")),
        };
        return Fault::new(place, format!("unknown key `{unknown}`"), remedy);
    }
    Fault::new(place, first.to_owned(), "docs/tandem.toml shows every key with its form")
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
        for component in &mut self.xmpp.component {
            take("[[xmpp.component]] secret", &mut component.secret, component.secret_file.as_deref())?;
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
