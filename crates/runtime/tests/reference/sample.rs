//! docs/tandem.toml: every key with its default or an example, and what its field says of it.

use serde_json::{Map, Value};
use tandem_runtime::Config;

const HEAD: &str = "# Every key that Tandem knows; generated from `Config` (crates/runtime) by `cargo xtask schema`. Each can be overridden by the
# environment: TANDEM_SIP__ADVERTISE=gw.example.net, TANDEM_TRUNK__0__URI=sip:… . Secrets may be given as files: secret_file
# instead of secret. A key that is commented out has no default, or the one that its comment names.
";
/// Keys without default that the sample shows filled in: without them `tandem check` would complain.
const SHOWN: &[&str] = &["xmpp.component.secret", "xmpp.component.users"];
/// Column of the comments, and the last one.
const COLUMNS: (usize, usize) = (40, 140);

/// The file.
pub fn toml(schema: &Value) -> String {
    let config: Config = serde_json::from_value(filled(schema)).unwrap();
    let (mut text, mut section, mut hidden) = (HEAD.to_owned(), String::new(), false);
    // The order of keys is that of the fields.
    for line in toml::to_string(&config).unwrap().lines().filter(|line| !line.is_empty()) {
        let header = line.trim_matches(['[', ']']);
        if line.starts_with('[') {
            header.clone_into(&mut section);
            let at = at(schema, &section);
            hidden = at["default"].is_null() && at["type"].as_array().is_some();
            text.push('\n');
            text.push_str(&commented(line, hidden, &described(at)));
        } else {
            let key = line.split(" = ").next().unwrap();
            let path = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
            if section.is_empty() {
                text.push('\n');
            }
            let at = at(schema, &path);
            let absent =
                at["default"].is_null() && at["type"].as_array().is_some() && !SHOWN.contains(&path.as_str());
            text.push_str(&commented(line, hidden || absent, &described(at)));
        }
    }
    text
}

/// A configuration in which every key is filled in: by its example, else its default.
pub fn filled(schema: &Value) -> Value {
    if let Some(properties) = schema["properties"].as_object() {
        return properties
            .iter()
            .map(|(name, key)| (name.clone(), filled(key)))
            .collect::<Map<_, _>>()
            .into();
    }
    if schema["items"]["properties"].is_object() {
        return vec![filled(&schema["items"])].into();
    }
    let example = &schema["examples"][0];
    if example.is_null() { schema["default"].clone() } else { example.clone() }
}

/// The schema of the key or section at a path.
fn at<'a>(schema: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(schema, |at, name| {
        let inner = if at["items"].is_object() { &at["items"] } else { at };
        &inner["properties"][name]
    })
}

/// Description, range and choice.
fn described(schema: &Value) -> String {
    let mut text = schema["description"].as_str().unwrap_or_default().replace('\n', " ");
    let (least, most) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
    match (least, most) {
        (Some(least), Some(most)) => text.push_str(&format!(" ({least} to {most})")),
        (Some(least), None) if least > 0.0 => text.push_str(&format!(" (at least {least})")),
        _ => {}
    }
    for one in schema["oneOf"].as_array().into_iter().flatten() {
        text.push_str(&format!("; {}: {}", one["const"], one["description"].as_str().unwrap_or_default()));
    }
    text
}

/// A line with its comment, which goes on below where it is long.
fn commented(line: &str, hidden: bool, comment: &str) -> String {
    let (column, last) = COLUMNS;
    let mut text = String::new();
    let mut current = if hidden { format!("# {line}") } else { line.to_owned() };
    let begin = |current: &mut String| {
        let used = current.chars().count();
        current.push_str(&" ".repeat(column.saturating_sub(used).max(1)));
        current.push('#');
    };
    begin(&mut current);
    for word in comment.split_whitespace() {
        if current.chars().count() + 1 + word.chars().count() > last {
            text.push_str(&current);
            text.push('\n');
            current.clear();
            begin(&mut current);
        }
        current.push(' ');
        current.push_str(word);
    }
    text + &current + "\n"
}
