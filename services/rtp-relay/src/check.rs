//! Faults that a relay of a configuration would refuse to start with, on this host.

use crate::{advertised, certificate, cores, library, ports};
use anyhow::{Context, Result, ensure};
use runtime::Config;
use signal::Secret;
use std::path::Path;

/// Returns the operator's faults in one line each: the key, the value, the remedy. Binds the ports of the range for a moment.
#[must_use]
pub fn check(config: &Config) -> Vec<String> {
    let secret = Secret::new(&config.secret());
    let outcomes = [
        advertised(&config.relay).map(drop),
        certificate(config.cluster.dtls_certificate_file.as_deref(), &secret).map(drop),
        cores(&config.relay).map(drop),
        library::Library::new(config.relay.sounds.as_deref()).map(drop),
        ports::divide(&config.relay).map(drop),
        music(config),
    ];
    outcomes.into_iter().filter_map(|outcome| outcome.err().map(|error| format!("{error:#}"))).collect()
}

/// The music of held calls is a file of `[relay] sounds`.
fn music(config: &Config) -> Result<()> {
    let (Some(folder), Some(file)) = (&config.relay.sounds, &config.call.hold_music) else { return Ok(()) };
    let path = Path::new(folder).join(file);
    let fault = || {
        format!(
            "[call] hold_music: \"{file}\" is not in [relay] sounds \"{folder}\"; put it there, or name another"
        )
    };
    ensure!(std::fs::metadata(path).with_context(fault)?.is_file(), fault());
    Ok(())
}
