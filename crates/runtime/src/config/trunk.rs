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

impl TrunkConfig {
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
