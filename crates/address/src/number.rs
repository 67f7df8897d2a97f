//! Telephone numbers (RFC 3966, interworking §1.3).

/// Reads a telephone number and removes its visual separators: digits, `*`, `#`, with a leading `+` for E.164 (R-ADDR-8).
#[must_use]
pub fn plain_number(text: &str) -> Option<String> {
    let number: String = text.chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')' | ' ')).collect();
    let digits = number.strip_prefix('+').unwrap_or(&number);
    let dialled = |c: char| c.is_ascii_digit() || matches!(c, '*' | '#');
    (!digits.is_empty() && digits.len() <= 32 && digits.chars().all(dialled)).then_some(number)
}

/// Returns true for emergency numbers. They are neither mapped to a JID nor dialled for one (R-ADDR-13).
#[must_use]
pub fn is_emergency(number: &str) -> bool {
    matches!(number, "110" | "112" | "911" | "999" | "000" | "118")
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
}
