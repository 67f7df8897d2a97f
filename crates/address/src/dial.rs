//! Dial rules of a trunk: the numbers that may be called through it.

/// Prefixes that are denied unless the operator writes other ones: premium rates and networks that fraud calls.
const DENIED: [&str; 9] = ["+1900", "001900", "1900", "0900", "+979", "00979", "+882", "+883", "+881"];

/// Prefixes of numbers, of which the longest that fits decides; the same one in both lists denies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialRules {
    /// Prefixes that may be called; empty = every number that is not denied.
    pub allow: Vec<String>,
    /// Prefixes that may not.
    pub deny: Vec<String>,
}

impl Default for DialRules {
    fn default() -> DialRules {
        DialRules { allow: vec![], deny: DENIED.map(str::to_owned).to_vec() }
    }
}

impl DialRules {
    /// Returns true if these digits may be dialled. A number with `*` or `#` is a code of the exchange, as that which forwards
    /// somebody's calls: it needs a prefix in `allow` that has such a sign itself.
    #[must_use]
    pub fn permit(&self, digits: &str) -> bool {
        let (allowed, denied) = (longest(&self.allow, digits), longest(&self.deny, digits));
        let is_code = |text: &str| text.contains(['*', '#']);
        if is_code(digits) && !allowed.is_some_and(is_code) {
            return false;
        }
        match (allowed, denied) {
            (Some(allowed), Some(denied)) => allowed.len() > denied.len(),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => self.allow.is_empty(),
        }
    }
}

impl DialRules {
    /// Returns true if these digits, into which the rules of a trunk have made a number that may be dialled, may not be dialled themselves.
    #[must_use]
    pub fn forbid(&self, digits: &str) -> bool {
        let (allowed, denied) = (longest(&self.allow, digits), longest(&self.deny, digits));
        let is_code = |text: &str| text.contains(['*', '#']);
        let denied = denied.is_some_and(|denied| allowed.is_none_or(|allowed| allowed.len() <= denied.len()));
        denied || is_code(digits) && !allowed.is_some_and(is_code)
    }
}

/// Returns the longest of these prefixes that the digits begin with.
fn longest<'a>(prefixes: &'a [String], digits: &str) -> Option<&'a str> {
    let fitting = prefixes.iter().map(String::as_str).filter(|prefix| digits.starts_with(prefix));
    fitting.max_by_key(|prefix| prefix.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allow: &[&str], deny: &[&str]) -> DialRules {
        let owned = |list: &[&str]| list.iter().map(|prefix| (*prefix).to_owned()).collect();
        DialRules { allow: owned(allow), deny: owned(deny) }
    }

    #[test]
    fn f8_the_longest_prefix_decides() {
        let rules = rules(&["+49", "+1900555", "2"], &["+49900", "+1900", "27"]);
        for (digits, permitted) in [
            ("+4930123456", true),
            ("+499001234", false),
            ("+19001234567", false),
            ("+19005551234", true),
            ("2041", true),
            ("2700", false),
            ("3000", false),
            ("", false),
        ] {
            assert_eq!(rules.permit(digits), permitted, "{digits}");
        }
        assert!(!DialRules { allow: vec!["27".into()], deny: vec!["27".into()] }.permit("2700"));
    }

    #[test]
    fn f8_codes_and_premium_rates_are_denied_by_default() {
        let default = DialRules::default();
        for denied in
            ["*21*0123456#", "#31#2041", "2041*1", "*", "+19005551234", "09001234", "+8821600", "00979123"]
        {
            assert!(!default.permit(denied), "{denied}");
        }
        for permitted in ["2041", "+4930123456", "0301234", "110", "+18005551234"] {
            assert!(default.permit(permitted), "{permitted}");
        }
        let voicemail = rules(&["*97", "2"], &[]);
        assert!(voicemail.permit("*97") && voicemail.permit("2041") && !voicemail.permit("*21*1#"));
        assert!(!voicemail.permit("2041#"), "a prefix without the sign does not permit it");
    }
}
