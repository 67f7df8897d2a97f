//! Number rules of trunks, `[[rewrite]]`.

use super::load::Fault;
use super::{Config, form};
use address::{Change, Rewrite, RewriteError, Rewrites, Role, Way};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A rule for numbers between here and a trunk.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RewriteConfig {
    /// Trunk, by name
    #[schemars(example = &"pbx", length(min = 1))]
    pub trunk: String,
    /// Way of the number
    #[schemars(example = &"to")]
    pub way: RewriteWay,
    /// Party whose number it is
    #[schemars(example = &"called")]
    pub party: RewriteParty,
    /// Regular expression that is looked for in the number; default: every number
    #[schemars(example = &"^\\+49([0-9]+)$")]
    pub r#match: Option<String>,
    /// Text in place of what it finds, where `$1` or `${1}` is its first group; in place of `strip` and `prefix`
    #[schemars(example = &"0$1")]
    pub replace: Option<String>,
    /// Signs taken from the front of the number
    #[serde(default)]
    #[schemars(range(max = 32))]
    pub strip: u8,
    /// Digits put in front of the number after that; without any of these a number that fits stays as it is, whatever other rules say
    #[serde(default)]
    #[schemars(regex(pattern = form::FRONT))]
    pub prefix: String,
}

/// Way of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RewriteWay {
    /// From the trunk
    From,
    /// To the trunk
    To,
}

/// Party whose number is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RewriteParty {
    /// The one who is called
    Called,
    /// The one who calls, or has sent the call on
    Calling,
}

impl Config {
    /// Returns the number rules of a trunk.
    ///
    /// # Errors
    /// A [`Fault`] naming the rule that makes no sense.
    pub fn rewrites(&self, trunk: &str) -> Result<Rewrites, Fault> {
        let own = self.rewrite.iter().filter(|rule| rule.trunk == trunk);
        own.map(RewriteConfig::rule).collect::<Result<Vec<_>, _>>().map(Rewrites)
    }

    /// Returns the faults of all number rules.
    pub(super) fn check_rewrites(&self) -> Vec<Fault> {
        let known = |rule: &RewriteConfig| self.trunk.iter().any(|trunk| trunk.name == rule.trunk);
        let check = |rule: &RewriteConfig| {
            if known(rule) {
                return rule.rule().err();
            }
            let trouble = format!("\"{}\": there is no such trunk", rule.trunk);
            Some(Fault::new("[[rewrite]] trunk", trouble, "write the name of a [[trunk]]"))
        };
        self.rewrite.iter().filter_map(check).collect()
    }
}

impl RewriteConfig {
    fn rule(&self) -> Result<Rewrite, Fault> {
        let front = self.strip > 0 || !self.prefix.is_empty();
        let change = match &self.replace {
            Some(template) if front => {
                return Err(Fault::new(
                    "[[rewrite]] replace",
                    format!(
                        "\"{template}\" of {}, beside strip or prefix: it is one or the other",
                        self.trunk
                    ),
                    "write replace alone, or strip and prefix",
                ));
            }
            Some(template) => Change::Template(template.clone()),
            None => Change::Front { strip: self.strip.into(), prefix: self.prefix.clone() },
        };
        let way = match self.way {
            RewriteWay::From => Way::From,
            RewriteWay::To => Way::To,
        };
        let role = match self.party {
            RewriteParty::Called => Role::Called,
            RewriteParty::Calling => Role::Calling,
        };
        let pattern = self.r#match.as_deref().unwrap_or_default();
        Rewrite::new(way, role, pattern, change).map_err(|error| match error {
            RewriteError::Pattern(why) => Fault::new(
                "[[rewrite]] match",
                format!("'{pattern}' of {} is no regular expression: {why}", self.trunk),
                "write it as '^\\+49([0-9]+)$'",
            ),
            RewriteError::Group(_) => Fault::new(
                "[[rewrite]] replace",
                format!("\"{}\" of {}: {error}", self.replace.as_deref().unwrap_or_default(), self.trunk),
                "write $1 for the first group of match, ${1}0 if a digit follows",
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::read;

    fn config(lines: &str) -> Config {
        let text = format!(
            "[[xmpp.component]]\ndomain = \"d\"\nserver = \"x:1\"\nsecret = \"s\"\nusers = \"example.net\"\n\
             [[trunk]]\nname = \"pbx\"\nuri = \"sip:x\"\ndomain = \"d\"\n\
             [[rewrite]]\ntrunk = \"pbx\"\nway = \"to\"\nparty = \"called\"\n{lines}"
        );
        read(&text, []).unwrap()
    }

    fn told(lines: &str) -> Vec<String> {
        config(lines).check().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rules_are_of_their_trunk_and_in_order() {
        let config = config(
            "match = '^\\+49([0-9]+)$'\nreplace = \"0$1\"\n\
             [[rewrite]]\ntrunk = \"pbx\"\nway = \"to\"\nparty = \"called\"\nmatch = '^\\+'\nstrip = 1\nprefix = \"00\"\n",
        );
        assert_eq!(config.check().iter().map(ToString::to_string).collect::<Vec<_>>(), [""; 0]);
        let rules = config.rewrites("pbx").unwrap();
        let number = |number: &str| rules.number(Way::To, Role::Called, number);
        assert_eq!(
            [number("+4930123"), number("+15550100"), number("2041")],
            ["030123", "0015550100", "2041"]
        );
        assert_eq!(config.rewrites("other").unwrap(), Rewrites::default());
    }

    #[test]
    fn a_rule_that_makes_no_sense_is_named_with_its_remedy() {
        assert_eq!(told(""), [""; 0], "a number that fits may stay as it is");
        for (lines, fault) in [
            ("match = \"(\"", "[[rewrite]] match: '(' of pbx is no regular expression: "),
            (
                "match = \"^(1)\"\nreplace = \"$2\"",
                "[[rewrite]] replace: \"$2\" of pbx: the pattern has no group 2; write",
            ),
            ("replace = \"1\"\nstrip = 1", "[[rewrite]] replace: \"1\" of pbx, beside strip or prefix"),
            ("strip = 33", "[[rewrite]] strip: 33; write a number from 0 to 32"),
            ("prefix = \"0 1\"", "[[rewrite]] prefix: \"0 1\"; write it as"),
            (
                "[[rewrite]]\ntrunk = \"carrier\"\nway = \"from\"\nparty = \"calling\"",
                "[[rewrite]] trunk: \"carrier\": there is no such trunk; write the name of a [[trunk]]",
            ),
        ] {
            let found = told(lines);
            assert!(matches!(&found[..], [one] if one.starts_with(fault)), "{lines}: {found:?}");
        }
    }
}
