//! Keys of the links to NATS and Redis, and their faults.

use super::files::{TlsFiles, pair};
use super::form;
use super::load::Fault;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// NATS.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BusConfig {
    /// Servers, separated by commas: `nats://host:port`, or `tls://` where nothing may go in the clear; `user:password@` or `token@`
    /// where needed, with `@`, `:` and `,` in a password as %40, %3A and %2C
    #[schemars(example = "nats://127.0.0.1:4222", regex(pattern = form::NATS))]
    pub url: String,
    /// User, if none stands in `url`
    #[schemars(example = &"tandem", length(min = 1))]
    pub username: Option<String>,
    /// Password that goes with `username`
    #[schemars(example = "…")]
    pub password: Option<String>,
    /// The password in a file
    #[schemars(example = "/run/secrets/nats-password")]
    pub password_file: Option<String>,
    /// Token, in place of user and password
    #[schemars(example = "…")]
    pub token: Option<String>,
    /// The token in a file
    #[schemars(example = "/run/secrets/nats-token")]
    pub token_file: Option<String>,
    /// File with the seed of an nkey, in place of user and password
    #[schemars(example = "/run/secrets/tandem.nk")]
    pub nkey_file: Option<String>,
    /// Credentials file (JWT and seed of a user), in place of user and password
    #[schemars(example = "/run/secrets/tandem.creds")]
    pub credentials_file: Option<String>,
    /// PEM file with the authorities that may sign the servers' certificates; TLS is demanded then; default: those of the system
    #[schemars(example = "/run/secrets/nats-ca.pem")]
    pub ca_file: Option<String>,
    /// PEM file with our certificate, where the servers want one
    #[schemars(example = "/run/secrets/nats.pem")]
    pub certificate_file: Option<String>,
    /// PEM file with its key
    #[schemars(example = "/run/secrets/nats.key")]
    pub key_file: Option<String>,
}

/// Redis.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// `redis://host:port/database`, `redis+sentinel://host:port,host:port/master/database` or `redis+cluster://host:port,host:port`,
    /// with `rediss` for `redis` where it is over TLS; `user:password@` or `:password@` where needed
    #[schemars(example = "redis://127.0.0.1:6379", regex(pattern = form::REDIS))]
    pub url: String,
    /// ACL user, if none stands in `url`
    #[schemars(example = &"tandem", length(min = 1))]
    pub username: Option<String>,
    /// Password, if none stands in `url`
    #[schemars(example = "…")]
    pub password: Option<String>,
    /// The password in a file
    #[schemars(example = "/run/secrets/redis-password")]
    pub password_file: Option<String>,
    /// ACL user at the Sentinels
    #[schemars(example = &"tandem", length(min = 1))]
    pub sentinel_username: Option<String>,
    /// Password at the Sentinels, if they want one
    #[schemars(example = "…")]
    pub sentinel_password: Option<String>,
    /// That password in a file
    #[schemars(example = "/run/secrets/sentinel-password")]
    pub sentinel_password_file: Option<String>,
    /// PEM file with the authorities that may sign the servers' certificates; default: those of the system
    #[schemars(example = "/run/secrets/redis-ca.pem")]
    pub ca_file: Option<String>,
    /// PEM file with our certificate, where the servers want one
    #[schemars(example = "/run/secrets/redis.pem")]
    pub certificate_file: Option<String>,
    /// PEM file with its key
    #[schemars(example = "/run/secrets/redis.key")]
    pub key_file: Option<String>,
    /// Milliseconds after which a store that has not answered counts as away
    #[serde(default = "store_timeout")]
    #[schemars(range(min = 1))]
    pub timeout_ms: u64,
}

fn store_timeout() -> u64 {
    2_000
}

impl Default for StoreConfig {
    fn default() -> StoreConfig {
        StoreConfig {
            url: String::new(),
            username: None,
            password: None,
            password_file: None,
            sentinel_username: None,
            sentinel_password: None,
            sentinel_password_file: None,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            timeout_ms: store_timeout(),
        }
    }
}

impl BusConfig {
    /// Files of TLS.
    #[must_use]
    pub fn tls_files(&self) -> TlsFiles {
        TlsFiles::new("[bus] ", &self.ca_file, &self.certificate_file, &self.key_file)
    }

    /// Faults of keys that do not go together.
    pub(super) fn check(&self) -> Vec<Fault> {
        let mut faults = vec![];
        let given = [
            ("username", self.username.is_some()),
            ("token", self.token.is_some()),
            ("nkey_file", self.nkey_file.is_some()),
            ("credentials_file", self.credentials_file.is_some()),
            ("url", self.url.contains('@')),
        ];
        let given: Vec<&str> = given.into_iter().filter(|(_, given)| *given).map(|(key, _)| key).collect();
        if let [first, second, ..] = given[..] {
            faults.push(Fault::new(
                &format!("[bus] {first}"),
                format!("credentials are in {second} too"),
                "keep one kind of credentials",
            ));
        }
        faults.extend(pair(
            "[bus] username",
            self.username.is_some(),
            "[bus] password",
            self.password.is_some(),
        ));
        let (certificate, key) = (self.certificate_file.is_some(), self.key_file.is_some());
        faults.extend(pair("[bus] certificate_file", certificate, "[bus] key_file", key));
        faults
    }
}

impl StoreConfig {
    /// Files of TLS.
    #[must_use]
    pub fn tls_files(&self) -> TlsFiles {
        TlsFiles::new("[store] ", &self.ca_file, &self.certificate_file, &self.key_file)
    }

    /// Faults of keys that do not go together.
    pub(super) fn check(&self) -> Vec<Fault> {
        let mut faults = vec![];
        let named = |user: &Option<String>, password: &Option<String>| user.is_some() && password.is_none();
        for (prefix, alone) in [
            ("", named(&self.username, &self.password)),
            ("sentinel_", named(&self.sentinel_username, &self.sentinel_password)),
        ] {
            if alone {
                faults.extend(pair(
                    &format!("[store] {prefix}username"),
                    true,
                    &format!("[store] {prefix}password"),
                    false,
                ));
            }
        }
        if self.password.is_some() && self.url.contains('@') {
            faults.push(Fault::new("[store] password", "credentials are in url too", "keep one of them"));
        }
        let (certificate, key) = (self.certificate_file.is_some(), self.key_file.is_some());
        faults.extend(pair("[store] certificate_file", certificate, "[store] key_file", key));
        if (self.ca_file.is_some() || certificate) && !self.url.starts_with("rediss") {
            faults.push(Fault::new(
                "[store] url",
                "it is not over TLS, while certificates are given",
                "write rediss for redis, or leave the certificates out",
            ));
        }
        faults
    }
}
