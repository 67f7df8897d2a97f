//! Descriptors of the process (RLIMIT_NOFILE): every socket for media and every connection takes one.

use crate::Config;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors beside the ports for media: connections of SIP, links, files.
const BESIDE: u64 = 3_000;

/// Raises the limit of this process as far as the system allows, and returns it.
pub fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // No number stands for no limit.
    if current.is_some() && current != maximum {
        // A system that does not allow it leaves the lower one.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Returns the number of descriptors that all services of this configuration may take in one process.
#[must_use]
pub fn needed(config: &Config) -> u64 {
    let ports = config.relay.port_range().map_or(0, |(first, last)| u64::from(last - first) + 1);
    ports + BESIDE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f4_the_limit_of_descriptors_is_raised() {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(256), maximum }).unwrap();
        assert_eq!(raise(), maximum.unwrap_or(u64::MAX));
        let mut config = Config::default();
        config.relay.ports = "40000-40099".into();
        assert_eq!(needed(&config), 3_100);
    }
}
