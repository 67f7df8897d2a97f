//! Change from one configuration to the next: what takes effect while a service runs, and what needs a restart.
//!
//! One rule: a key that does not stand here needs a restart, and is told. Start at [`Change::between`].

use super::Config;
use serde_json::Value;
use std::path::PathBuf;

/// Keys that take effect at run time.
pub const AT_RUN_TIME: &[&str] = &[
    "admin.hosts",
    "admin.user",
    "alias",
    "bus.password_file",
    "bus.token_file",
    "call.drain_s",
    "call.hold_music",
    "call.ring_s",
    "call.unheard_s",
    "call.voicemail",
    // The secret itself is another matter.
    "cluster.secret_file",
    "group",
    "relay.hold_timeout_s",
    "relay.max_load",
    "relay.media_timeout_s",
    "rewrite",
    "sip.domains",
    "sip.max_legs",
    "sip.tls_ca_file",
    "sip.tls_certificate_file",
    "sip.tls_key_file",
    "store.password",
    "store.password_file",
    "store.sentinel_password",
    "store.sentinel_password_file",
    "store.sentinel_username",
    "store.username",
    "telemetry.log",
    "trunk",
    COMPONENTS,
];
/// Keys that do so unless there is something else in their place: another kind of credentials needs a restart.
const IF_ON_BOTH_SIDES: &[&str] = &["bus.password", "bus.token", "bus.username"];
/// Files that are read at the start alone.
const FILES_AT_START: &[&str] = &["bus.credentials_file", "bus.nkey_file", "cluster.dtls_certificate_file"];
/// Links to XMPP servers.
const COMPONENTS: &str = "xmpp.component";
/// Most members of a list that are named.
const MOST: usize = 20;

/// Change of a configuration.
pub struct Change {
    /// Configuration to run with: the next one, with what is in force where that needs a restart.
    pub config: Config,
    /// Keys, trunks and domains that take effect.
    pub effective: Vec<String>,
    /// Keys that differ and need a restart.
    pub restart: Vec<String>,
}

impl Change {
    /// Compares the configuration in force with the next one; `None`: they cannot be compared.
    #[must_use]
    pub fn between(running: &Config, next: &Config) -> Option<Change> {
        let (old, new) = (serde_json::to_value(running).ok()?, serde_json::to_value(next).ok()?);
        let (mut settled, mut effective, mut restart) = (new.clone(), vec![], vec![]);
        for (section, old) in old.as_object()? {
            let Some(keys) = old.as_object().filter(|_| new[section].is_object()) else {
                if *old != new[section] {
                    if AT_RUN_TIME.contains(&section.as_str()) {
                        effective.extend(members(section, old, &new[section]));
                    } else {
                        settled[section] = old.clone();
                        restart.push(section.clone());
                    }
                }
                continue;
            };
            for (key, old) in keys {
                let (path, new) = (format!("{section}.{key}"), &new[section][key]);
                if old == new {
                    continue;
                }
                if is_at_run_time(&path, old, new) {
                    effective.extend(members(&path, old, new));
                } else {
                    settled[section][key] = old.clone();
                    restart.push(path);
                }
            }
        }
        let mut config: Config = serde_json::from_value(settled).ok()?;
        for kept in keep_components(running, &mut config) {
            effective.retain(|path| *path != kept && !(kept == COMPONENTS && path.starts_with(COMPONENTS)));
            restart.push(kept);
        }
        effective.sort();
        restart.sort();
        Some(Change { config, effective, restart })
    }
}

fn is_at_run_time(path: &str, old: &Value, new: &Value) -> bool {
    let both = !old.is_null() && !new.is_null();
    AT_RUN_TIME.contains(&path) || both && IF_ON_BOTH_SIDES.contains(&path)
}

/// Returns the path of a key, or for each member of a list that differs its name behind that.
fn members(path: &str, old: &Value, new: &Value) -> Vec<String> {
    let name = |member: &Value| {
        let name = member.get("name").or_else(|| member.get("domain"))?;
        Some(name.as_str()?.to_owned())
    };
    let (Some(old), Some(new)) = (old.as_array(), new.as_array()) else { return vec![path.to_owned()] };
    let differ = |(here, there): (&Vec<Value>, &Vec<Value>)| -> Vec<String> {
        here.iter().filter(|member| !there.contains(member)).filter_map(name).collect()
    };
    let mut names = [differ((old, new)), differ((new, old))].concat();
    names.sort();
    names.dedup();
    if names.is_empty() {
        return vec![path.to_owned()];
    }
    let more = names.len().saturating_sub(MOST);
    let mut told: Vec<String> = names.iter().take(MOST).map(|name| format!("{path} {name}")).collect();
    if more > 0 {
        told.push(format!("{path} and {more} more"));
    }
    told
}

/// Keeps components that are gone: calls may go on by their links. Returns what needs a restart.
fn keep_components(running: &Config, next: &mut Config) -> Vec<String> {
    let (old, new) = (&running.xmpp.component, &mut next.xmpp.component);
    if old.is_empty() && !new.is_empty() {
        // Nobody serves XMPP here.
        new.clear();
        return vec![COMPONENTS.to_owned()];
    }
    let mut restart = vec![];
    for known in old {
        match new.iter_mut().find(|component| component.domain.eq_ignore_ascii_case(&known.domain)) {
            Some(component) => component.domain.clone_from(&known.domain),
            None => {
                restart.push(format!("{COMPONENTS} {}", known.domain));
                new.push(known.clone());
            }
        }
    }
    restart
}

impl Config {
    /// Returns the files that it names, each with its key.
    #[must_use]
    pub fn files(&self) -> Vec<(String, PathBuf)> {
        let mut files = vec![];
        if let Ok(config) = serde_json::to_value(self) {
            collect("", &config, &mut files);
        }
        files
    }
}

fn collect(path: &str, value: &Value, files: &mut Vec<(String, PathBuf)>) {
    match value {
        Value::Object(section) => {
            for (key, value) in section {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                collect(&path, value, files);
            }
        }
        Value::Array(members) => members.iter().for_each(|member| collect(path, member, files)),
        Value::String(file) if path.ends_with("_file") => files.push((path.to_owned(), file.into())),
        _ => {}
    }
}

/// Returns true for a file that is read at the start alone.
#[must_use]
pub fn is_read_at_start(key: &str) -> bool {
    FILES_AT_START.contains(&key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::read;

    const OLD: &str = r#"
        [bus]
        url = "nats://a"
        username = "tandem"
        password = "one"
        [store]
        url = "redis://a"
        [[xmpp.component]]
        domain = "sip.example.net"
        server = "a:5347"
        secret_file = "/component"
        [[trunk]]
        name = "pbx"
        uri = "sip:a"
        domain = "sip.example.net"
        password_file = "/trunk"
    "#;

    fn config(text: &str) -> Config {
        read(text, []).unwrap()
    }

    #[test]
    fn a_key_that_nobody_listed_needs_a_restart() {
        let text =
            OLD.replace("nats://a", "nats://b").replace("\"one\"", "\"two\"").replace("sip:a", "sip:b");
        let text = format!(
            "{text}\n[sip]\nmax_legs = 7\nreuse_port = true\n[telemetry]\nlog = \"debug\"\njson = true"
        );
        let change = Change::between(&config(OLD), &config(&text)).unwrap();
        assert_eq!(change.restart, ["bus.url", "sip.reuse_port", "telemetry.json"]);
        assert_eq!(change.effective, ["bus.password", "sip.max_legs", "telemetry.log", "trunk pbx"]);
        let (now, bus) = (&change.config, change.config.bus.as_ref().unwrap());
        assert_eq!((bus.url.as_str(), bus.password.as_deref()), ("nats://a", Some("two")));
        assert_eq!((now.sip.max_legs, now.sip.reuse_port, now.telemetry.json), (7, false, false));
        assert_eq!(now.trunk[0].uri, "sip:b");
        let same = Change::between(now, now).unwrap();
        assert!(same.effective.is_empty() && same.restart.is_empty());
        // Told again as long as it differs.
        let again = Change::between(now, &config(&text)).unwrap();
        assert_eq!((again.restart, again.effective), (change.restart, vec![]));
    }

    #[test]
    fn another_kind_of_credentials_needs_a_restart() {
        let text = OLD.replace("username = \"tandem\"\n", "").replace("password = \"one\"", "token = \"t\"");
        let change = Change::between(&config(OLD), &config(&text)).unwrap();
        assert_eq!(change.restart, ["bus.password", "bus.token", "bus.username"]);
        assert_eq!(change.config.bus.unwrap().token, None);
        let text = OLD.split("[store]").next().unwrap();
        assert_eq!(Change::between(&config(OLD), &config(text)).unwrap().restart[0], "store");
    }

    #[test]
    fn a_component_is_added_and_stays_until_a_restart() {
        let more = "[[xmpp.component]]\ndomain = \"b.example.net\"\nserver = \"b:1\"\nsecret = \"s\"\n";
        let both = config(&format!("{OLD}{more}"));
        let change = Change::between(&config(OLD), &both).unwrap();
        assert_eq!(change.effective, ["xmpp.component b.example.net"]);
        assert_eq!((change.config.xmpp.component.len(), change.restart.len()), (2, 0));
        let back = Change::between(&both, &config(OLD)).unwrap();
        assert_eq!((back.restart, back.effective), (change.effective, vec![]));
        assert_eq!(back.config.xmpp.component.len(), 2);
        let none = Change::between(&Config::default(), &config(OLD)).unwrap();
        assert!(none.restart.contains(&COMPONENTS.to_owned()) && none.config.xmpp.component.is_empty());
        assert!(!none.effective.iter().any(|path| path.starts_with(COMPONENTS)), "{:?}", none.effective);
    }

    /// A key that is new to the list must be one of the configuration.
    #[test]
    fn all_keys_of_the_lists_exist() {
        let known = serde_json::to_value(Config {
            bus: Some(Default::default()),
            store: Some(Default::default()),
            ..Config::default()
        });
        let known = known.unwrap();
        for key in [AT_RUN_TIME, IF_ON_BOTH_SIDES, FILES_AT_START].concat() {
            let pointer = format!("/{}", key.replace('.', "/"));
            assert!(known.pointer(&pointer).is_some(), "{key}");
        }
    }

    #[test]
    fn every_file_is_known_with_its_key() {
        let files = config(OLD).files();
        let files: Vec<_> = files.iter().map(|(key, file)| (key.as_str(), file.to_str().unwrap())).collect();
        assert_eq!(files, [("trunk.password_file", "/trunk"), ("xmpp.component.secret_file", "/component")]);
    }
}
