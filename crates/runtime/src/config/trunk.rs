//! Callers of a trunk, and its emergency numbers.

use super::load::Fault;
use super::{Config, TrunkConfig};
use address::EmergencyNumbers;

impl Config {
    /// Returns the XMPP users and domains that may call through a trunk, with members in the place of their groups.
    #[must_use]
    pub fn callers(&self, trunk: &TrunkConfig) -> Option<Vec<String>> {
        let members = |caller: &String| match caller.strip_prefix('@') {
            Some(name) => {
                let groups = self.group.iter().filter(|group| group.name == name);
                groups.flat_map(|group| group.members.iter().cloned()).collect()
            }
            None => vec![caller.clone()],
        };
        trunk.callers.as_ref().map(|callers| callers.iter().flat_map(members).collect())
    }

    /// Returns the faults of callers that name a group that is not there.
    pub(super) fn check_groups(&self, trunk: &TrunkConfig) -> Vec<Fault> {
        let names = trunk.callers.iter().flatten().filter_map(|caller| caller.strip_prefix('@'));
        let missing = names.filter(|name| !self.group.iter().any(|group| group.name == **name));
        let fault = |name: &str| {
            Fault::new(
                "[[trunk]] callers",
                format!("\"@{name}\" of {}: there is no such group", trunk.name),
                format!(
                    "write a [[group]] with name = \"{name}\" and its members, or name one that is there"
                ),
            )
        };
        missing.map(fault).collect()
    }

    /// Returns true for a number that nobody may have: an emergency number of any trunk, or anywhere where there is no trunk.
    pub(super) fn dials_emergency(&self, number: &str) -> bool {
        let Some(number) = address::plain_number(number) else { return false };
        let of_trunk = |trunk: &TrunkConfig| trunk.emergency().is_ok_and(|numbers| numbers.contains(&number));
        self.trunk.iter().any(of_trunk)
            || (self.trunk.is_empty() && EmergencyNumbers::default().contains(&number))
    }
}

/// Session interval that calls ask for unless the trunk says another one, s (RFC 4028 §7.1).
const SESSION_INTERVAL: u32 = 1_800;
/// Least session interval, s (RFC 4028 §5).
const MIN_SESSION_INTERVAL: u32 = 90;

impl TrunkConfig {
    /// Returns the session interval that its calls ask for, s; 0 = none.
    ///
    /// # Errors
    /// A [`Fault`] naming an interval that no peer may take.
    pub fn session_interval(&self) -> Result<u32, Fault> {
        match self.session_expires_s.unwrap_or(SESSION_INTERVAL) {
            short @ 1..MIN_SESSION_INTERVAL => Err(Fault::new(
                "[[trunk]] session_expires_s",
                format!("{short} of {}: RFC 4028 allows no less than {MIN_SESSION_INTERVAL}", self.name),
                format!(
                    "write at least {MIN_SESSION_INTERVAL}, 0 for none, or leave it out for {SESSION_INTERVAL}"
                ),
            )),
            interval => Ok(interval),
        }
    }

    /// Returns its emergency numbers.
    ///
    /// # Errors
    /// A [`Fault`] naming a country whose numbers are not known.
    pub fn emergency(&self) -> Result<EmergencyNumbers, Fault> {
        match (&self.emergency, &self.country) {
            (Some(numbers), _) => Ok(EmergencyNumbers::of(numbers)),
            (None, None) => Ok(EmergencyNumbers::default()),
            (None, Some(country)) => EmergencyNumbers::of_country(country).ok_or_else(|| {
                Fault::new(
                    "[[trunk]] country",
                    format!("\"{country}\" of {}: its emergency numbers are not known", self.name),
                    "write two capital letters of ISO 3166, as \"DE\", or the numbers themselves in emergency, as [\"112\"]",
                )
            }),
        }
    }
}
