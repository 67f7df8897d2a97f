//! Short names for what is derived from keys: tags, branches, session ids. Files show `{tag}` and stay readable.

/// Values and their names, in the order in which they were seen.
#[derive(Clone, Debug, Default)]
pub struct Names(Vec<(String, String)>);

impl Names {
    /// Gives a value a name of this kind: `{kind}`, then `{kind2}`, … Values too short to be told apart are left alone.
    pub fn learn(&mut self, kind: &str, value: &str) {
        if value.len() < 6 || self.0.iter().any(|(known, _)| known == value) {
            return;
        }
        let prefix = format!("{{{kind}");
        let count = self.0.iter().filter(|(_, name)| {
            name.strip_prefix(&prefix)
                .is_some_and(|rest| rest.trim_end_matches('}').chars().all(|c| c.is_ascii_digit()))
        });
        let number = count.count() + 1;
        let name = if number == 1 { format!("{{{kind}}}") } else { format!("{{{kind}{number}}}") };
        self.0.push((value.to_owned(), name));
        // What contains another is replaced first.
        self.0.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
    }

    /// Values become names.
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (value, name)| text.replace(value, name))
    }

    /// Names become values.
    #[must_use]
    pub fn reveal(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (value, name)| text.replace(name, value))
    }
}
