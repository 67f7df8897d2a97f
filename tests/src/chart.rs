//! Facts of the chart that the tests of the configuration's schema and of the chart share.

/// Keys of which the chart mounts no file yet: credentials stand in the URLs, which are in Secrets.
pub const NOT_MOUNTED: &[&str] = &[
    "bus.username",
    "bus.password",
    "bus.password_file",
    "bus.token",
    "bus.token_file",
    "bus.nkey_file",
    "bus.credentials_file",
    "bus.ca_file",
    "bus.certificate_file",
    "bus.key_file",
    "store.username",
    "store.password",
    "store.password_file",
    "store.sentinel_username",
    "store.sentinel_password",
    "store.sentinel_password_file",
    "store.ca_file",
    "store.certificate_file",
    "store.key_file",
];
