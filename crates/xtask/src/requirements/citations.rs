//! References in a text: to requirements, sections of docs/interworking.md and docs/architecture.md, decisions.

/// Something that is referred to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cited {
    /// `R-SIP-1`
    Requirement(String),
    /// "interworking §4.4"
    Interworking(String),
    /// "architecture §4"
    Architecture(String),
    /// "decision 31"
    Decision(u32),
}

/// Everything that a text refers to, with the line in which each reference begins.
pub fn all(text: &str) -> Vec<(usize, Cited)> {
    let (joined, lines) = joined(text);
    let line = |place: usize| lines.partition_point(|start| *start <= place);
    let mut found = vec![];
    for (place, _) in joined.match_indices("R-") {
        found.extend(requirement(&joined, place).map(|id| (line(place), Cited::Requirement(id))));
    }
    let lower = joined.to_ascii_lowercase();
    let mut named = |name: &str, cited: fn(String) -> Cited| {
        for (place, _) in lower.match_indices(name) {
            let rest = joined.get(place + name.len()..).unwrap_or("");
            found.extend(sections(rest).into_iter().map(|section| (line(place), cited(section))));
        }
    };
    named("interworking", Cited::Interworking);
    named("architecture", Cited::Architecture);
    for (place, word) in lower.match_indices("decision ") {
        let rest = joined.get(place + word.len()..).unwrap_or("");
        let digits = rest.find(|c: char| !c.is_ascii_digit()).map_or(rest, |end| &rest[..end]);
        found.extend(digits.parse().map(|number| (line(place), Cited::Decision(number))));
    }
    found
}

/// Requirements that a text names, `r_area_1` in the name of a function among them.
pub fn requirements(text: &str) -> Vec<String> {
    let mut found: Vec<String> =
        text.match_indices("R-").filter_map(|(place, _)| requirement(text, place)).collect();
    let names = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    for name in names {
        let words: Vec<&str> = name.split('_').collect();
        found.extend(words.windows(3).filter_map(|words| match words {
            ["r", area, number] if number.parse::<u32>().is_ok() => {
                Some(format!("R-{}-{number}", area.to_uppercase()))
            }
            _ => None,
        }));
    }
    found
}

/// The requirement that is named at this place of a text.
fn requirement(text: &str, place: usize) -> Option<String> {
    let (before, rest) = text.split_at_checked(place)?;
    if before.ends_with(|c: char| c.is_alphanumeric() || c == '-') {
        return None;
    }
    let (area, rest) = rest.strip_prefix("R-")?.split_once('-')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let known = !area.is_empty() && area.chars().all(|c| c.is_ascii_uppercase()) && digits > 0;
    known.then(|| format!("R-{area}-{}", rest.get(..digits).unwrap_or("")))
}

/// The lines of a text as one, without the marks of comments; and where each line begins in it.
fn joined(text: &str) -> (String, Vec<usize>) {
    let (mut joined, mut starts) = (String::new(), vec![]);
    for line in text.lines() {
        starts.push(joined.len());
        joined.push_str(line.trim_start().trim_start_matches(['/', '!', '#', '*']).trim());
        joined.push(' ');
    }
    (joined, starts)
}

/// The sections that a list names: "§3.3 rules 7 and 13, §12.5", "§4.3–4.5", "appendix B".
fn sections(text: &str) -> Vec<String> {
    let mut rest = text.strip_prefix(".md").unwrap_or(text).trim_start_matches(['`', ')', ',', ' ']);
    let mut found = vec![];
    if let Some(letter) = rest.strip_prefix("appendix ").or_else(|| rest.strip_prefix("Appendix ")) {
        return letter.chars().next().map(String::from).into_iter().collect();
    }
    while let Some(after) = rest.strip_prefix('§') {
        let (section, tail) = number(after);
        found.push(section);
        rest = tail;
        if let Some(after) =
            rest.strip_prefix('–').filter(|after| after.starts_with(|c: char| c.is_ascii_digit()))
        {
            let (section, tail) = number(after);
            found.push(section);
            rest = tail;
        }
        for word in [" rules ", " rule "] {
            rest = rest.strip_prefix(word).map_or(rest, after_rules);
        }
        rest = [", ", "; ", " and "].iter().find_map(|word| rest.strip_prefix(word)).unwrap_or("");
    }
    found
}

/// A number with points, and the rest; a point at the end is the sentence's.
fn number(text: &str) -> (String, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let digits = text.get(..end).unwrap_or("").trim_end_matches('.');
    (digits.to_owned(), text.get(digits.len()..).unwrap_or(""))
}

/// Skips the numbers of rules.
fn after_rules(text: &str) -> &str {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    match rest.strip_prefix(" and ") {
        Some(more) if more.starts_with(|c: char| c.is_ascii_digit()) => after_rules(more),
        _ => rest,
    }
}
