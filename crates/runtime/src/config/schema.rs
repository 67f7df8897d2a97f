//! The JSON Schema of the configuration, and the faults of single values: ranges and forms that stand at the fields of [`Config`].

use super::Config;
use super::load::{Fault, SECRET};
use regex::Regex;
use schemars::generate::SchemaSettings;
use serde_json::{Number, Value};

impl Config {
    /// JSON Schema (2020-12) of the file, every section in its place.
    #[must_use]
    pub fn schema() -> Value {
        let mut settings = SchemaSettings::draft2020_12();
        settings.inline_subschemas = true;
        settings.into_generator().into_root_schema_for::<Config>().to_value()
    }

    /// Values that are outside their range or have not their form.
    pub(super) fn check_values(&self) -> Vec<Fault> {
        let mut faults = vec![];
        if let Ok(value) = serde_json::to_value(self) {
            walk(&Config::schema(), &value, &Key::default(), &mut faults);
        }
        faults
    }
}

/// Where a value stands.
#[derive(Clone, Default)]
struct Key {
    path: Vec<String>,
    /// Its section may stand several times.
    repeats: bool,
}

impl Key {
    fn child(&self, name: &str) -> Key {
        Key { path: [self.path.as_slice(), &[name.to_owned()]].concat(), repeats: self.repeats }
    }

    /// As it is written: `[sip] listen`, `[[trunk]] uri`.
    fn written(&self) -> String {
        match self.path.split_last() {
            Some((name, [])) => name.clone(),
            Some((name, section)) if self.repeats => format!("[[{}]] {name}", section.join(".")),
            Some((name, section)) => format!("[{}] {name}", section.join(".")),
            None => String::new(),
        }
    }
}

fn walk(schema: &Value, value: &Value, key: &Key, faults: &mut Vec<Fault>) {
    match value {
        Value::Object(values) => {
            for (name, value) in values {
                walk(&schema["properties"][name], value, &key.child(name), faults);
            }
        }
        Value::Array(values) => {
            let sections = schema["items"]["type"] == "object";
            let key = Key { path: key.path.clone(), repeats: key.repeats || sections };
            if schema["minItems"].as_u64().is_some_and(|least| (values.len() as u64) < least) {
                faults.push(fault(&key, schema, "empty".to_owned()));
            }
            for value in values {
                // The list's own words are those of its members.
                let mut members = schema["items"].clone();
                for word in ["description", "examples"] {
                    if let (true, Some(members)) = (members[word].is_null(), members.as_object_mut()) {
                        members.insert(word.to_owned(), schema[word].clone());
                    }
                }
                walk(&members, value, &key, faults);
            }
        }
        Value::Number(number) if !within(schema, number) => {
            faults.push(fault(key, schema, number.to_string()))
        }
        Value::String(text) if !has_form(schema, text) => {
            faults.push(fault(key, schema, shown(key, text)));
        }
        _ => {}
    }
}

fn within(schema: &Value, number: &Number) -> bool {
    let number = number.as_f64().unwrap_or(f64::NAN);
    let least = schema["minimum"].as_f64().unwrap_or(f64::MIN);
    let most = schema["maximum"].as_f64().unwrap_or(f64::MAX);
    (least..=most).contains(&number)
}

fn has_form(schema: &Value, text: &str) -> bool {
    let form = schema["pattern"].as_str().and_then(|pattern| Regex::new(pattern).ok());
    let long_enough = schema["minLength"].as_u64().is_none_or(|least| text.chars().count() as u64 >= least);
    long_enough && form.is_none_or(|form| form.is_match(text))
}

/// A text as it may be shown: URLs hold passwords.
fn shown(key: &Key, text: &str) -> String {
    let name = key.path.last().map_or("", String::as_str);
    match (SECRET.contains(&name), name) {
        (true, "url") => format!("\"{}\"", text.rsplit_once('@').map_or(text, |(_, host)| host)),
        (true, _) => "what stands there (it is not shown)".to_owned(),
        (false, _) => format!("\"{text}\""),
    }
}

fn fault(key: &Key, schema: &Value, trouble: String) -> Fault {
    let description = schema["description"].as_str().unwrap_or_default().replace('\n', " ");
    let number = |bound: &str| schema[bound].as_f64();
    let form = match (number("minimum"), number("maximum"), example(schema)) {
        (Some(least), Some(most), _) => format!("a number from {least} to {most}"),
        (Some(least), None, _) => format!("a number not below {least}"),
        (None, Some(most), _) => format!("a number not above {most}"),
        (None, None, Some(example)) => format!("it as {example}"),
        (None, None, None) => "it as docs/tandem.toml shows".to_owned(),
    };
    Fault::new(&key.written(), trouble, format!("write {form}: {description}"))
}

/// The first example, or the default.
fn example(schema: &Value) -> Option<String> {
    let example = match &schema["examples"][0] {
        Value::Null => &schema["default"],
        given => given,
    };
    match example {
        Value::Null => None,
        Value::Array(members) => members.first().map(Value::to_string),
        other => Some(other.to_string()),
    }
}
