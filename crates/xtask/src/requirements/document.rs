//! Documents with numbered headings, and the requirements that docs/interworking.md ends its sections with.

use std::collections::BTreeSet;

/// A line `- R-SIP-1 Title.`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// `R-SIP-1`.
    pub id: String,
    /// The sentence that says it.
    pub title: String,
    /// Heading of the chapter that it stands in.
    pub chapter: String,
}

/// Requirements in the order of chapters, and by number within an area.
pub fn requirements(text: &str) -> Vec<Requirement> {
    let (mut chapter, mut areas, mut found) = (String::new(), vec![], vec![]);
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            heading.clone_into(&mut chapter);
        }
        let Some((id, title)) = line.strip_prefix("- ").and_then(|line| line.split_once(' ')) else {
            continue;
        };
        let Some((area, number)) = id.strip_prefix("R-").and_then(|id| id.split_once('-')) else { continue };
        let Ok(number) = number.parse::<u32>() else { continue };
        if !areas.contains(&area) {
            areas.push(area);
        }
        let place = areas.iter().position(|known| *known == area);
        let requirement =
            Requirement { id: id.to_owned(), title: title.to_owned(), chapter: chapter.clone() };
        found.push((place, number, requirement));
    }
    found.sort_by_key(|(place, number, _)| (*place, *number));
    found.into_iter().map(|(_, _, requirement)| requirement).collect()
}

/// Numbers of the headings: `4`, `4.4`, and `A` of an appendix.
pub fn headings(text: &str) -> BTreeSet<String> {
    let titles =
        text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches(['#', ' ']));
    let number = |title: &str| {
        let title = title.strip_prefix("Appendix ").unwrap_or(title);
        title.split_whitespace().next().map(|word| word.trim_end_matches('.').to_owned())
    };
    titles.filter_map(number).collect()
}

/// Anchors that GitHub gives the headings: lower case, blanks as hyphens, no other punctuation.
pub fn anchors(text: &str) -> BTreeSet<String> {
    let titles =
        text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches(['#', ' ']));
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    titles
        .map(|title| title.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-"))
        .collect()
}
