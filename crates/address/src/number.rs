//! Telephone numbers (RFC 3966, interworking §1.3).
//!
//! One rule: a number is read here, and apart from its parameters. What is known of a number (its routing, the kind of its
//! caller, what a signature says of it) is no part of whom it names.

use crate::escape::percent_decode;
use crate::parameter::{self, Parameter};
use crate::uri::Uri;

/// Number of a `tel:` URI, or of the user part of a SIP URI (telephone-subscriber of RFC 3966 §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number {
    /// Digits, as [`plain_number`] leaves them.
    pub digits: String,
    /// Extension behind the number (RFC 3966 §5.3): digits.
    pub extension: Option<String>,
    /// Context of a local number, a global prefix or a domain (RFC 3966 §5.1.5), as written.
    pub context: Option<String>,
}

impl Number {
    /// Reads a number with its parameters: those of RFC 3966, of number portability (`npdi`, `rn`; RFC 4694), trunk groups (`tgrp`;
    /// RFC 4904), or any other (`cpc`, `isup-oli`, `verstat`). `None` if it is no number, or has more parameters than are read.
    #[must_use]
    pub fn parse(text: &str) -> Option<Number> {
        let (digits, params) = text.split_once(';').unwrap_or((text, ""));
        Number::read(digits, &parameter::of_uri(params)?)
    }

    /// Reads the number of a URI, whether or not `user=phone` says that there is one (RFC 3261 §19.1.6): many a gateway does not.
    #[must_use]
    pub fn of(uri: &Uri) -> Option<Number> {
        let decoded = |text: &str| String::from_utf8(percent_decode(text)).ok();
        match uri {
            Uri::Sip(uri) => {
                // Split before decoding: an escaped `;` is no parameter (R-ADDR-16).
                let user = uri.user.as_deref()?;
                let (digits, params) = user.split_once(';').unwrap_or((user, ""));
                Number::read(&decoded(digits)?, &parameter::of_uri(params)?)
            }
            Uri::Tel(digits, params) => Number::read(&decoded(digits)?, params),
            Uri::Other(_) => None,
        }
    }

    fn read(digits: &str, params: &[Parameter]) -> Option<Number> {
        let value = |name: &str| params.iter().find(|(n, _)| n == name).and_then(|(_, value)| value.clone());
        let extension = value("ext").and_then(|ext| plain_number(&ext)).filter(|ext| !ext.starts_with('+'));
        Some(Number { digits: plain_number(digits)?, extension, context: value("phone-context") })
    }

    /// Returns true for a number in international form.
    #[must_use]
    pub fn is_global(&self) -> bool {
        self.digits.starts_with('+')
    }

    /// Returns a local number in international form, if its context is a global prefix: no more than a guess, since a plan may have
    /// another rule (RFC 3966 §5.1.5).
    #[must_use]
    pub fn globalized(&self) -> Option<String> {
        let prefix =
            self.context.as_deref().filter(|context| context.starts_with('+') && !self.is_global())?;
        plain_number(&format!("{prefix}{}", self.digits))
    }

    /// Returns the number with its extension and without any other parameter: as the localpart of a JID, or to be called.
    #[must_use]
    pub fn dialled(&self) -> String {
        match &self.extension {
            Some(extension) => format!("{};ext={extension}", self.digits),
            None => self.digits.clone(),
        }
    }
}

/// Reads a telephone number and removes its visual separators: digits, `*`, `#`, with a leading `+` for E.164 (R-ADDR-8).
#[must_use]
pub fn plain_number(text: &str) -> Option<String> {
    let number: String = text.chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')' | ' ')).collect();
    let digits = number.strip_prefix('+').unwrap_or(&number);
    let dialled = |c: char| c.is_ascii_digit() || matches!(c, '*' | '#');
    (!digits.is_empty() && digits.len() <= 32 && digits.chars().all(dialled)).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R-ADDR-8
    #[test]
    fn separators_go_and_names_are_no_numbers() {
        for (text, number) in [
            ("+49-30-123456", "+4930123456"),
            ("+49(30)123.456", "+4930123456"),
            ("2041", "2041"),
            ("*21#", "*21#"),
        ] {
            assert_eq!(plain_number(text).as_deref(), Some(number));
        }
        for text in ["rosa", "", "+", "20a1", "--", "+49+30"] {
            assert_eq!(plain_number(text), None, "{text}");
        }
    }

    #[test]
    fn b1_number_and_parameters_are_apart() {
        let read = |text: &str| {
            let number = Number::of(&Uri::parse(text)?)?;
            Some((number.dialled(), number.context.clone()))
        };
        let plain = |digits: &str| Some((digits.to_owned(), None));
        for text in [
            "sip:2700@gw",
            "sip:2700;npdi;rn=15550100@gw;user=phone",
            "sip:27-00;NPDI@gw:5070",
            "sip:2700;cpc=ordinary;isup-oli=0@gw",
            "sip:2700;tgrp=tg1;trunk-context=carrier.example@gw;user=phone",
            "sip:2700;verstat=TN-Validation-Passed@gw",
            "sip:%32700:pw@gw;user=ip?x=y",
            "tel:2700",
            "tel:27.00;npdi;rn=+1-555-0100;verstat=No-TN-Validation",
        ] {
            assert_eq!(read(text), plain("2700"), "{text}");
        }
        assert_eq!(read("sip:%2B49(30)123.456;cpc=payphone@gw"), plain("+4930123456"));
        assert_eq!(read("sip:*21%23@gw"), plain("*21#"));
        assert_eq!(read("sip:+4930123;EXT=2-2;cpc=test@gw;user=phone"), plain("+4930123;ext=22"));
        assert_eq!(read("sip:+4930123;ext=+1@gw"), plain("+4930123"));
        let local = |context: &str| Some(("2700".to_owned(), Some(context.to_owned())));
        assert_eq!(read("sip:2700;phone-context=+1@gw;user=phone"), local("+1"));
        assert_eq!(read("tel:2700;phone-context=pbx.example;cpc=x"), local("pbx.example"));
        for text in
            ["sip:rosa@gw;user=phone", "sip:u;par=2700@gw", "sip:2700%3Bnpdi@gw", "sip:gw", "mailto:2700"]
        {
            assert_eq!(read(text), None, "{text}");
        }
        let many = format!("2700{}", ";x".repeat(65));
        assert_eq!((Number::parse(&many), read(&format!("sip:{many}@gw"))), (None, None));
        // The localpart of a JID is not escaped as a URI is.
        assert_eq!(Number::parse("%32700"), None);
        assert_eq!(Number::parse("2700;rn=1").map(|number| number.dialled()).as_deref(), Some("2700"));
    }

    #[test]
    fn b1_a_context_may_make_a_local_number_global() {
        let global = |text: &str| Number::parse(text)?.globalized();
        assert_eq!(global("2700;phone-context=+1-555").as_deref(), Some("+15552700"));
        assert_eq!(global("2700;phone-context=pbx.example"), None);
        assert_eq!(global("+2700;phone-context=+1"), None);
        assert_eq!(global("2700"), None);
    }
}
