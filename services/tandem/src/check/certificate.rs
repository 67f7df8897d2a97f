//! Dates of a certificate (RFC 5280 §4.1.2.5), read from its DER.

use super::Report;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use runtime::clock;
use runtime::config::Fault;

/// Time before the end at which it is told.
const SOON_MS: i64 = 30 * 86_400_000;

/// Tells of a certificate of a key that is not valid now, or not for long. One that cannot be read is told of elsewhere.
pub(super) fn check(key: &str, file: &str, report: &mut Report) {
    let Some((begins, ends)) = std::fs::read_to_string(file).ok().and_then(|pem| validity(&pem)) else {
        return;
    };
    let now = i64::try_from(clock::now_ms()).unwrap_or(i64::MAX);
    let (begins, ends) = (begins.saturating_mul(1_000), ends.saturating_mul(1_000));
    let days = |ms: i64| ms / 86_400_000;
    let remedy = "make a new one, as docs/install.md shows";
    if now < begins {
        let trouble = format!("\"{file}\" is valid in {} days first", days(begins - now) + 1);
        report.fault(Fault::new(key, trouble, "look at the clock of this host, or make a new one"));
    } else if now >= ends {
        let trouble = format!("\"{file}\" has expired {} days ago", days(now - ends));
        report.fault(Fault::new(key, trouble, remedy));
    } else if ends - now < SOON_MS {
        let trouble = format!("\"{file}\" expires in {} days", days(ends - now));
        report.warning(Fault::new(key, trouble, remedy));
    }
}

/// Returns notBefore and notAfter of the first certificate of a PEM file, seconds since the Unix epoch.
fn validity(pem: &str) -> Option<(i64, i64)> {
    let body = pem.split("-----BEGIN CERTIFICATE-----").nth(1)?.split("-----END").next()?;
    let der = STANDARD.decode(body.split_whitespace().collect::<String>()).ok()?;
    let (certificate, _) = element(&der)?;
    let (mut fields, _) = element(certificate.1)?;
    // version (explicit tag 0, may be absent), serialNumber, signature, issuer, validity
    let mut rest = fields.1;
    if rest.first() == Some(&0xa0) {
        rest = element(rest)?.1;
    }
    for _ in 0..4 {
        (fields, rest) = element(rest)?;
    }
    let (begins, after) = element(fields.1)?;
    let (ends, _) = element(after)?;
    Some((time(begins)?, time(ends)?))
}

/// Element of DER: its tag and its content.
type Element<'a> = (u8, &'a [u8]);

/// Splits off the first element (X.690 §8.1).
fn element(der: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (tag, length) = (*der.first()?, *der.get(1)?);
    let (length, start) = if length < 0x80 {
        (usize::from(length), 2)
    } else {
        let octets = usize::from(length & 0x7f);
        let number = der.get(2..2 + octets).filter(|_| octets <= 4)?;
        (number.iter().fold(0, |all, octet| (all << 8) | usize::from(*octet)), 2 + octets)
    };
    let end = start.checked_add(length)?;
    Some(((tag, der.get(start..end)?), der.get(end..)?))
}

/// Reads a UTCTime or GeneralizedTime.
fn time((tag, text): Element<'_>) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, at) = match tag {
        // Two digits: 1950 to 2049.
        0x17 => (number(0..2).map(|year| if year < 50 { 2_000 + year } else { 1_900 + year })?, 2),
        0x18 => (number(0..4)?, 4),
        _ => return None,
    };
    let part = |place: usize| number(at + 2 * place..at + 2 * place + 2);
    let (month, day, hour, minute, second) = (part(0)?, part(1)?, part(2)?, part(3)?, part(4)?);
    Some(days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Returns the days from the Unix epoch to a date, counting years from March so that a leap day comes last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_counted() {
        for (text, seconds) in [
            ("19700101000000Z", 0),
            ("20000229120000Z", 951_825_600),
            ("20240301000000Z", 1_709_251_200),
            ("21000301000000Z", 4_107_542_400),
        ] {
            assert_eq!(time((0x18, text.as_bytes())), Some(seconds), "{text}");
        }
        assert_eq!(time((0x17, b"491231235959Z")), Some(2_524_607_999));
        assert_eq!(time((0x17, b"500101000000Z")), Some(-631_152_000));
        assert_eq!(time((0x17, b"notadate")), None);
        assert_eq!(element(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(validity("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----"), None);
    }
}
