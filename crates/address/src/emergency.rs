//! Emergency numbers, by country (interworking §1.3).
//!
//! One rule: an emergency number is neither mapped to a JID nor dialled for one (R-ADDR-13). Which numbers are, depends on where a trunk
//! leads: 110 is the police in Germany and a desk in France.

/// Numbers of a trunk of which nobody says where it leads.
const ANYWHERE: &[&str] = &["000", "110", "112", "118", "911", "999"];

/// Form of a country that is in the table: ISO 3166-1 alpha-2.
pub const COUNTRY: &str = "^(AE|AL|AR|AT|AU|BA|BE|BG|BR|BY|CA|CH|CL|CN|CO|CY|CZ|DE|DK|EE|EG|ES|FI|FR|GB|GE|GR|HK|HR|HU|ID|IE|IL|IN|IS|IT|JP|KE|KR|KZ|LI|LT|LU|LV|MA|MD|ME|MK|MT|MX|MY|NG|NL|NO|NZ|PE|PH|PL|PT|RO|RS|RU|SA|SE|SG|SI|SK|TH|TR|TW|UA|US|UY|VN|ZA)$";

/// National numbers as libphonenumber 9.0.43 lists them (`ShortNumberMetadata.xml`), and 118 of Japan, 192 to 194 of Serbia, 998 of Saudi
/// Arabia.
const COUNTRIES: &[(&str, &[&str])] = &[
    ("AE", &["112", "997", "998", "999"]),
    ("AL", &["112", "127", "128", "129"]),
    ("AR", &["100", "101", "107", "911"]),
    ("AT", &["112", "122", "133", "144"]),
    ("AU", &["000", "106", "112"]),
    ("BA", &["122", "123", "124"]),
    ("BE", &["100", "101", "112"]),
    ("BG", &["112", "150", "160", "166"]),
    ("BR", &["112", "128", "190", "192", "193", "911"]),
    ("BY", &["101", "102", "103", "112"]),
    ("CA", &["112", "911"]),
    ("CH", &["112", "117", "118", "144"]),
    ("CL", &["131", "132", "133", "911"]),
    ("CN", &["110", "119", "120"]),
    ("CO", &["112", "119", "123", "132", "156"]),
    ("CY", &["112", "199"]),
    ("CZ", &["112", "150", "151", "152", "153", "154", "155", "156", "157", "158", "159"]),
    ("DE", &["110", "112"]),
    ("DK", &["112", "114"]),
    ("EE", &["110", "112"]),
    ("EG", &["122", "123", "180"]),
    ("ES", &["085", "088", "112"]),
    ("FI", &["112"]),
    ("FR", &["15", "17", "18", "112"]),
    ("GB", &["112", "999"]),
    ("GE", &["011", "022", "033", "111", "112", "113", "122"]),
    ("GR", &["100", "112", "166", "199"]),
    ("HK", &["112", "992", "999"]),
    ("HR", &["93", "94", "112", "192", "193", "194"]),
    ("HU", &["104", "105", "107", "112"]),
    ("ID", &["110", "112", "113", "118", "119"]),
    ("IE", &["112", "999"]),
    ("IL", &["100", "101", "102", "112"]),
    ("IN", &["100", "101", "102", "108", "112", "1298", "2611"]),
    ("IS", &["112"]),
    ("IT", &["112", "113", "115", "118"]),
    ("JP", &["110", "118", "119"]),
    ("KE", &["112", "114", "999"]),
    ("KR", &["112", "119"]),
    ("KZ", &["101", "102", "103", "112"]),
    ("LI", &["112", "117", "118", "144"]),
    ("LT", &["01", "02", "03", "011", "022", "033", "101", "102", "103", "112"]),
    ("LU", &["112", "113"]),
    ("LV", &["01", "02", "03", "110", "112", "113"]),
    ("MA", &["15", "19", "177"]),
    ("MD", &["112", "901", "902", "903"]),
    ("ME", &["112", "122", "123", "124"]),
    ("MK", &["112", "192", "193", "194"]),
    ("MT", &["112"]),
    ("MX", &["060", "065", "066", "068", "080", "911"]),
    ("MY", &["112", "999"]),
    ("NG", &["199"]),
    ("NL", &["112", "911"]),
    ("NO", &["110", "112", "113"]),
    ("NZ", &["111"]),
    ("PE", &["105", "116", "117"]),
    ("PH", &["112", "117", "911"]),
    ("PL", &["112", "997", "998", "999"]),
    ("PT", &["112", "115"]),
    ("RO", &["112"]),
    ("RS", &["92", "93", "94", "112", "192", "193", "194"]),
    ("RU", &["01", "02", "03", "101", "102", "103", "112"]),
    ("SA", &["112", "911", "997", "998", "999"]),
    ("SE", &["112", "90000"]),
    ("SG", &["993", "995", "999"]),
    ("SI", &["112", "113"]),
    ("SK", &["112", "150", "155", "158"]),
    ("TH", &["191", "199", "1669"]),
    ("TR", &["110", "112", "155"]),
    ("TW", &["110", "112", "119"]),
    ("UA", &["101", "102", "103", "112"]),
    ("US", &["112", "911"]),
    ("UY", &["128", "911"]),
    ("VN", &["113", "114", "115"]),
    ("ZA", &["112", "10111", "10177"]),
];

/// Emergency numbers of a trunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmergencyNumbers(Vec<String>);

impl Default for EmergencyNumbers {
    fn default() -> EmergencyNumbers {
        EmergencyNumbers::of(ANYWHERE)
    }
}

impl EmergencyNumbers {
    /// Makes them of a list, as the operator writes it.
    #[must_use]
    pub fn of<S: AsRef<str>>(numbers: &[S]) -> EmergencyNumbers {
        EmergencyNumbers(numbers.iter().map(|number| number.as_ref().to_owned()).collect())
    }

    /// Returns those of a country, by ISO 3166-1 alpha-2; `None` for one that is not in the table.
    #[must_use]
    pub fn of_country(country: &str) -> Option<EmergencyNumbers> {
        let found = COUNTRIES.iter().find(|(code, _)| *code == country);
        found.map(|(_, numbers)| EmergencyNumbers::of(numbers))
    }

    /// Returns true for an emergency number, in the form that [`plain_number`](crate::plain_number) gives it.
    #[must_use]
    pub fn contains(&self, number: &str) -> bool {
        self.0.iter().any(|emergency| emergency == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c13_each_country_has_its_own_emergency_numbers() {
        let numbers = |country: &str| EmergencyNumbers::of_country(country).unwrap();
        for (country, emergency, plain) in [
            ("DE", &["110", "112"][..], &["111", "118", "911", "999", "000"][..]),
            ("FR", &["15", "17", "18", "112"], &["110", "911"]),
            ("GB", &["999", "112"], &["110", "911"]),
            ("US", &["911"], &["110", "999"]),
            ("AU", &["000", "112"], &["999"]),
            ("JP", &["110", "118", "119"], &["112"]),
        ] {
            let numbers = numbers(country);
            assert!(emergency.iter().all(|number| numbers.contains(number)), "{country}");
            assert!(!plain.iter().any(|number| numbers.contains(number)), "{country}");
        }
        assert_eq!(EmergencyNumbers::of_country("XX"), None);
        let anywhere = EmergencyNumbers::default();
        assert!(["110", "112", "118", "911", "999", "000"].iter().all(|number| anywhere.contains(number)));
    }

    /// The form of the key is the table's own.
    #[test]
    fn c13_every_country_of_the_form_is_in_the_table_with_numbers() {
        let codes: Vec<&str> = COUNTRIES.iter().map(|(code, _)| *code).collect();
        assert_eq!(COUNTRY, format!("^({})$", codes.join("|")));
        assert!(codes.is_sorted());
        for (country, numbers) in COUNTRIES {
            assert!(!numbers.is_empty(), "{country}");
            let plain = |number: &&str| crate::plain_number(number).as_deref() == Some(*number);
            assert!(numbers.iter().all(plain), "{country}");
        }
    }
}
