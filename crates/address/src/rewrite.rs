//! Number rules of a trunk: its numbers in its own form, ours in ours (interworking §1.3).
//!
//! One rule: of the rules for a way and a party the first that fits is applied, once. What comes of it is a number again, or the rule does
//! not fit.

use crate::uri::Uri;
use crate::{Number, plain_number, sip_user};
use regex::bytes::{Regex, RegexBuilder};

/// Most octets of a compiled pattern.
const MAX_PATTERN: usize = 1 << 18;

/// Way of a call past the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the trunk.
    From,
    /// To the trunk.
    To,
}

/// Party whose number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one who is called.
    Called,
    /// The one who calls, or has sent the call on.
    Calling,
}

/// Change of a number that fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// So many digits are taken from its front, `+` among them, and these put there.
    Front {
        /// Number of signs.
        strip: usize,
        /// Digits.
        prefix: String,
    },
    /// Text in place of what the pattern found: `$1` or `${1}` is its first group.
    Template(String),
}

/// Number rule.
#[derive(Clone, Debug)]
pub struct Rewrite {
    way: Way,
    role: Role,
    pattern: Regex,
    change: Change,
}

/// Fault of a number rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    /// The pattern is no regular expression.
    #[error("{0}")]
    Pattern(String),
    /// The template names a group that the pattern has not.
    #[error("the pattern has no group {0}")]
    Group(String),
}

impl PartialEq for Rewrite {
    fn eq(&self, other: &Rewrite) -> bool {
        (self.way, self.role, self.pattern.as_str(), &self.change)
            == (other.way, other.role, other.pattern.as_str(), &other.change)
    }
}

impl Eq for Rewrite {}

impl Rewrite {
    /// Makes a rule for numbers in which the pattern is found.
    ///
    /// # Errors
    /// A pattern or template that makes no sense.
    pub fn new(way: Way, role: Role, pattern: &str, change: Change) -> Result<Rewrite, RewriteError> {
        // Numbers are of ASCII.
        let built = RegexBuilder::new(pattern).unicode(false).size_limit(MAX_PATTERN).build();
        let pattern = built.map_err(|error| RewriteError::Pattern(error.to_string()))?;
        if let Change::Template(template) = &change {
            let unknown = groups(template).find(|group| match group.parse::<usize>() {
                Ok(number) => number >= pattern.captures_len(),
                Err(_) => !pattern.capture_names().flatten().any(|name| name == *group),
            });
            unknown.map_or(Ok(()), |group| Err(RewriteError::Group(group.to_owned())))?;
        }
        Ok(Rewrite { way, role, pattern, change })
    }

    fn apply(&self, number: &str) -> Option<String> {
        let found = self.pattern.captures(number.as_bytes())?;
        let rewritten = match &self.change {
            Change::Front { strip, prefix } => format!("{prefix}{}", number.get(*strip..)?),
            Change::Template(template) => {
                let (whole, mut new) = (found.get(0)?, vec![]);
                found.expand(template.as_bytes(), &mut new);
                let new = String::from_utf8(new).ok()?;
                format!("{}{new}{}", number.get(..whole.start())?, number.get(whole.end()..)?)
            }
        };
        plain_number(&rewritten)
    }
}

/// Iterates over the groups that a template names.
fn groups(template: &str) -> impl Iterator<Item = &str> {
    let of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    // `$$` is a dollar.
    let parts = template.split("$$").flat_map(|part| part.split('$').skip(1));
    parts.map(move |part| match part.strip_prefix('{') {
        Some(braced) => braced.split('}').next().unwrap_or(braced),
        None => &part[..part.find(|c| !of_name(c)).unwrap_or(part.len())],
    })
}

/// Number rules of a trunk, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrites(pub Vec<Rewrite>);

impl Rewrites {
    /// Returns a number in the form that it has on the other side.
    #[must_use]
    pub fn number(&self, way: Way, role: Role, number: &str) -> String {
        let mut rules = self.0.iter().filter(|rule| (rule.way, rule.role) == (way, role));
        rules.find_map(|rule| rule.apply(number)).unwrap_or_else(|| number.to_owned())
    }

    /// Returns an address with its number in that form; one without a number as it is.
    #[must_use]
    pub fn address(&self, way: Way, role: Role, address: &str) -> String {
        if self.0.is_empty() {
            return address.to_owned();
        }
        let rewritten = || {
            let uri = Uri::parse(address)?;
            let number = Number::of(&uri)?;
            let digits = self.number(way, role, &number.digits);
            if digits == number.digits {
                return None;
            }
            let dialled = Number { digits, ..number }.dialled();
            match uri {
                Uri::Sip(mut uri) => {
                    uri.user = Some(sip_user(&dialled));
                    Some(Uri::Sip(uri).to_string())
                }
                Uri::Tel(..) => Some(format!("tel:{dialled}")),
                Uri::Other(_) => None,
            }
        };
        rewritten().unwrap_or_else(|| address.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(way: Way, role: Role, pattern: &str, change: Change) -> Rewrite {
        Rewrite::new(way, role, pattern, change).unwrap()
    }

    fn template(text: &str) -> Change {
        Change::Template(text.to_owned())
    }

    fn front(strip: usize, prefix: &str) -> Change {
        Change::Front { strip, prefix: prefix.to_owned() }
    }

    #[test]
    fn the_first_rule_that_fits_is_applied_once() {
        let rules = Rewrites(vec![
            rule(Way::From, Role::Called, "^00", front(2, "+")),
            rule(Way::From, Role::Called, "^0[1-9]", front(1, "+49")),
            rule(Way::From, Role::Called, r"^\d{3,4}$", template("+4930555$0")),
            rule(Way::To, Role::Called, r"^\+49(\d+)$", template("0$1")),
            rule(Way::To, Role::Called, r"^\+(?<rest>\d+)$", template("00${rest}")),
            rule(Way::To, Role::Calling, r"^\+4930555", template("")),
        ]);
        for (way, role, number, expected) in [
            (Way::From, Role::Called, "004930123456", "+4930123456"),
            (Way::From, Role::Called, "030123456", "+4930123456"),
            (Way::From, Role::Called, "2700", "+49305552700"),
            (Way::From, Role::Called, "+15550100", "+15550100"),
            (Way::From, Role::Calling, "030123456", "030123456"),
            (Way::To, Role::Called, "+4930123456", "030123456"),
            (Way::To, Role::Called, "+15550100", "0015550100"),
            (Way::To, Role::Calling, "+49305552700", "2700"),
            // What is no number any more stays.
            (Way::To, Role::Calling, "+4930555", "+4930555"),
        ] {
            assert_eq!(rules.number(way, role, number), expected, "{way:?} {role:?} {number}");
        }
        let address = |text: &str| rules.address(Way::From, Role::Called, text);
        assert_eq!(address("sip:0049-30-123@gw:5070;user=phone"), "sip:+4930123@gw:5070;user=phone");
        assert_eq!(address("tel:030123;phone-context=pbx.example"), "tel:+4930123");
        assert_eq!(address("sip:030123;ext=7@gw"), "sip:+4930123;ext=7@gw");
        for same in ["sip:rosa@gw", "sip:anonymous@anonymous.invalid", "xmpp:rosa@x", "sip:+4930;npdi@gw"] {
            assert_eq!(address(same), same);
        }
    }

    #[test]
    fn rules_that_make_no_sense_are_refused() {
        let new = |pattern: &str, change| Rewrite::new(Way::To, Role::Called, pattern, change).map(drop);
        assert!(matches!(new("(", front(0, "")), Err(RewriteError::Pattern(_))));
        assert!(matches!(new("(a{500}){500}{500}", front(0, "")), Err(RewriteError::Pattern(_))));
        assert_eq!(new("^(1)", template("0$10")), Err(RewriteError::Group("10".into())));
        assert_eq!(new("^(1)", template("0${1}0$$2")), Ok(()));
        assert_eq!(new("^(?<a>1)", template("$b")), Err(RewriteError::Group("b".into())));
        let all = rule(Way::To, Role::Called, "", front(9, ""));
        assert_eq!(Rewrites(vec![all]).number(Way::To, Role::Called, "2700"), "2700");
    }
}
