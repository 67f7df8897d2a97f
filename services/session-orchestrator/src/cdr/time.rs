//! Times of call detail records, as RFC 3339 writes them, in UTC.

/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;
/// Days from 1 March of the year 0 to 1970.
const EPOCH: u64 = 719_468;
/// Days of 400 years.
const ERA: u64 = 146_097;

/// Writes a time, ms since the Unix epoch, with milliseconds.
#[must_use]
pub fn rfc3339(ms: u64) -> String {
    let (year, month, day) = civil(ms / DAY_MS);
    let (seconds, rest) = (ms % DAY_MS / 1_000, ms % 1_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{rest:03}Z")
}

/// Reads a time: `2026-11-30T16:05:00.250Z` with any offset or none (UTC), `2026-11-30`, or a span before now such as `90s`, `15m`,
/// `1h`, `7d`.
#[must_use]
pub fn parse(text: &str, now_ms: u64) -> Option<u64> {
    let text = text.trim();
    let span = text.char_indices().last().and_then(|(at, unit)| {
        let number: u64 = text.get(..at)?.parse().ok()?;
        let unit = match unit {
            's' => 1_000,
            'm' => 60_000,
            'h' => 3_600_000,
            'd' => DAY_MS,
            _ => return None,
        };
        now_ms.checked_sub(number.checked_mul(unit)?)
    });
    span.or_else(|| absolute(text))
}

fn absolute(text: &str) -> Option<u64> {
    let (date, rest) = match text.split_once(['T', 't', ' ']) {
        Some((date, rest)) => (date, rest),
        None => (text, "00:00:00"),
    };
    let mut parts = date.split('-').map(number);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let valid = (1..=12).contains(&month) && (1..=31).contains(&day) && (1970..=9999).contains(&year);
    if parts.next().is_some() || !valid {
        return None;
    }
    let (clock, minus, offset) = match rest.rfind(['+', '-', 'Z', 'z']) {
        Some(at) => (rest.get(..at)?, rest[at..].starts_with('-'), rest.get(at + 1..)?),
        None => (rest, false, ""),
    };
    let offset_ms = match offset.split_once(':') {
        Some((hours, minutes)) => (number(hours)? * 60 + number(minutes)?) * 60_000,
        None if offset.is_empty() => 0,
        None => return None,
    };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut parts = clock.split(':').map(number);
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    let ms = number(&digits)?;
    let days = days(year, month, day)?;
    let local = days * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1_000 + ms;
    if minus { Some(local + offset_ms) } else { local.checked_sub(offset_ms) }
}

fn number(text: &str) -> Option<u64> {
    let digits = (1..=4).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Returns year, month and day of a day since 1970 (proleptic Gregorian calendar, years that begin in March).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + EPOCH;
    let (era, of_era) = (days / ERA, days % ERA);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

/// Returns the day since 1970 of a date.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = year - u64::from(month <= 2);
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * if month > 2 { month - 3 } else { month + 9 } + 2) / 5 + day - 1;
    (era * ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year).checked_sub(EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read_back() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_796_000_000_123, "2026-11-30T00:53:20.123Z"),
            (4_102_444_799_999, "2099-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(ms), text);
            assert_eq!(parse(text, 0), Some(ms));
        }
        for day in (0..60_000).step_by(37) {
            let (year, month, date) = civil(day);
            assert_eq!(days(year, month, date), Some(day));
        }
    }

    #[test]
    fn a_time_is_read_in_several_forms() {
        let now = 1_796_000_000_123;
        assert_eq!(parse("1h", now), Some(now - 3_600_000));
        assert_eq!(parse("7d", now), Some(now - 7 * DAY_MS));
        assert_eq!(parse("2026-11-30", now), Some(now - now % DAY_MS));
        assert_eq!(parse("2026-11-30T01:53:20.123+01:00", now), Some(now));
        assert_eq!(parse("2026-11-29T23:53:20-01:00", now), Some(now - 123));
        assert_eq!(parse("2026-11-30 00:53", now), Some(now - 20_123));
        for wrong in ["", "h", "yesterday", "2026-13-01", "2026-11-30T25:00", "99999999999999d", "-1h", "1é"]
        {
            assert_eq!(parse(wrong, now), None, "{wrong}");
        }
    }
}
