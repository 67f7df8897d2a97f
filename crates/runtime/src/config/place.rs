//! Where a value was given: the line of the file, or the variable.

use super::load::Fault;
use std::collections::BTreeMap;
use toml::de::{DeTable, DeValue};

/// Places of all values, by path: `trunk.0.uri`.
#[derive(Debug, Default)]
pub struct Places(BTreeMap<String, Place>);

#[derive(Debug)]
struct Place {
    /// `tandem.toml:12`, or the name of a variable.
    at: String,
    /// Text of a scalar.
    value: Option<String>,
}

impl Places {
    /// Returns the places of a file's values; none if it cannot be read.
    pub(super) fn of(text: &str, file: &str) -> Places {
        let mut places = Places::default();
        let (table, _) = DeTable::parse_recoverable(text);
        places.walk(text, file, "", table.get_ref());
        places
    }

    fn walk(&mut self, text: &str, file: &str, path: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path =
                if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
            self.add(text, file, &path, key.span().start, value.get_ref());
        }
    }

    fn add(&mut self, text: &str, file: &str, path: &str, offset: usize, value: &DeValue<'_>) {
        let at = format!("{file}:{}", line(text, offset));
        let scalar = match value {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Integer(number) => Some(number.to_string()),
            DeValue::Float(number) => Some(number.to_string()),
            _ => None,
        };
        self.0.insert(path.to_owned(), Place { at, value: scalar });
        match value {
            DeValue::Table(table) => self.walk(text, file, path, table),
            DeValue::Array(members) => {
                for (number, member) in members.iter().enumerate() {
                    let path = format!("{path}.{number}");
                    self.add(text, file, &path, member.span().start, member.get_ref());
                }
            }
            _ => {}
        }
    }

    /// Notes that a variable has set a value.
    pub(super) fn said(&mut self, path: &str, variable: &str, value: &str) {
        let within = format!("{path}.");
        self.0.retain(|other, _| !other.starts_with(&within));
        self.0.insert(path.to_owned(), Place { at: variable.to_owned(), value: Some(value.to_owned()) });
    }

    /// Gives a fault its place, if it can be told which value is meant.
    #[must_use]
    pub fn locate(&self, mut fault: Fault) -> Fault {
        if fault.place.is_none() {
            fault.place = self.find(&fault).map(|place| place.at.clone());
        }
        fault
    }

    /// Returns the place of the value at a path, or of the section that it would stand in.
    pub(super) fn at(&self, path: &str) -> Option<String> {
        let above = || self.0.get(path.rsplit_once('.')?.0);
        self.0.get(path).or_else(above).map(|place| place.at.clone())
    }

    fn find(&self, fault: &Fault) -> Option<&Place> {
        let key = fault.key.replace("[[", "").replace("]] ", ".").replace('[', "").replace("] ", ".");
        let shown = |value: &Option<String>| {
            value.as_ref().is_some_and(|value| {
                let begins = !value.is_empty() && fault.trouble.starts_with(value.as_str());
                begins || fault.trouble.contains(&format!("\"{value}\""))
            })
        };
        let of = |key: &str| {
            let key = key.to_owned();
            self.0.iter().filter(move |(path, _)| without_numbers(path) == key)
        };
        // The value that is shown, else the only one, else the section that the words name.
        if fault.trouble.starts_with("absent") {
            return self.owner(&key, fault);
        }
        let mut named = of(&key).filter(|(_, place)| shown(&place.value));
        if let Some((_, place)) = named.next() {
            return Some(place);
        }
        if let Some(place) = self.0.get(&key) {
            return Some(place);
        }
        let mut scalars = of(&key).filter(|(_, place)| place.value.is_some());
        if let (Some((_, place)), None) = (scalars.next(), scalars.next()) {
            return Some(place);
        }
        self.owner(&key, fault)
    }

    /// Returns the section that a key stands in: of several, the one that the fault names.
    fn owner(&self, key: &str, fault: &Fault) -> Option<&Place> {
        let (section, _) = key.rsplit_once('.')?;
        let of = |key: &str| {
            let key = key.to_owned();
            self.0.iter().filter(move |(path, _)| without_numbers(path) == key)
        };
        let mut members = of(section).filter(|(path, _)| path.ends_with(|c: char| c.is_ascii_digit()));
        let owner = members.find(|(path, _)| {
            let word = |key| self.0.get(&format!("{path}.{key}")).and_then(|place| place.value.as_deref());
            [word("name"), word("domain"), word("number")].into_iter().flatten().any(|word| {
                !word.is_empty() && fault.trouble.split([' ', '"', ',', ':', ';']).any(|said| said == word)
            })
        });
        let first = of(section).next();
        owner.or(first).map(|(_, place)| place)
    }
}

/// Returns a path without the numbers of list members: `trunk.0.uri` is `trunk.uri`.
fn without_numbers(path: &str) -> String {
    let parts = path.split('.').filter(|part| part.parse::<usize>().is_err());
    parts.collect::<Vec<_>>().join(".")
}

/// Returns the number of the line that an octet stands in.
pub(super) fn line(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|octet| *octet == b'\n').count() + 1
}
