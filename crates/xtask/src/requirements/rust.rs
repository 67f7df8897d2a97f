//! Test functions of a Rust source, with the words that belong to each.
//!
//! One rule: a token's nature is all that is looked at (comment, text, name, mark); no macro is expanded, so tests inside
//! `proptest!` are found as they stand.

/// Tests and opening comment of a source.
#[derive(Debug, Default)]
pub struct Read {
    /// Functions with an attribute that ends in `test`.
    pub tests: Vec<Test>,
    /// The comment `//!` of the file.
    pub opening: String,
}

/// A test function.
#[derive(Debug)]
pub struct Test {
    /// Its name.
    pub name: String,
    /// Its name, the comments above and inside it, and the texts inside it.
    pub words: String,
}

/// Reads a source.
pub fn read(text: &str) -> Read {
    let mut tokens = Tokens(text);
    let mut read = Read::default();
    let (mut above, mut is_test) = (vec![], false);
    while let Some((token, begins_line)) = tokens.next_of_line() {
        match token {
            Token::Opening(words) => {
                read.opening.push_str(words);
                read.opening.push('\n');
            }
            // A comment behind code is about that code.
            Token::Words(words) if begins_line => above.push(words),
            Token::Mark('#') => is_test |= tokens.attribute(),
            Token::Name("fn") => {
                if let (true, Some(Token::Name(name))) = (is_test, tokens.next()) {
                    let words = [&[name], above.as_slice(), &tokens.body()].concat().join("\n");
                    read.tests.push(Test { name: name.to_owned(), words });
                }
                (above, is_test) = (vec![], false);
            }
            Token::Mark('{' | '}' | ';') => (above, is_test) = (vec![], false),
            Token::Words(_) | Token::Name(_) | Token::Mark(_) => {}
        }
    }
    read
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// A comment `//!`.
    Opening(&'a str),
    /// Another comment, or a text between quotes.
    Words(&'a str),
    /// A name, a keyword or a number.
    Name(&'a str),
    Mark(char),
}

/// The tokens of the rest of a source.
struct Tokens<'a>(&'a str);

impl<'a> Tokens<'a> {
    /// Consumes an attribute whose `#` was read; true for `#[test]`, `#[tokio::test(…)]` and their like.
    fn attribute(&mut self) -> bool {
        if !self.0.starts_with('[') {
            return false;
        }
        let (mut depth, mut path, mut last) = (0, true, "");
        for token in self.by_ref() {
            match token {
                Token::Mark('[') => depth += 1,
                Token::Mark(']') => depth -= 1,
                Token::Mark('(' | '=') => path = false,
                Token::Name(name) if path => last = name,
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
        last == "test"
    }

    /// Consumes what follows a function's name up to the end of its body; gives comments and texts.
    fn body(&mut self) -> Vec<&'a str> {
        let (mut depth, mut words) = (0, vec![]);
        for token in self.by_ref() {
            match token {
                Token::Opening(text) | Token::Words(text) => words.push(text),
                Token::Mark('{') => depth += 1,
                Token::Mark('}') if depth <= 1 => break,
                Token::Mark('}') => depth -= 1,
                _ => {}
            }
        }
        words
    }

    /// Takes so many octets.
    fn take(&mut self, octets: usize) -> &'a str {
        let (taken, rest) = self.0.split_at_checked(octets).unwrap_or((self.0, ""));
        self.0 = rest;
        taken
    }

    /// The next token, and whether it is the first of its line.
    fn next_of_line(&mut self) -> Option<(Token<'a>, bool)> {
        let blank = self.0.len() - self.0.trim_start().len();
        let begins_line = self.0.get(..blank).is_some_and(|blank| blank.contains('\n'));
        self.next().map(|token| (token, begins_line))
    }

    /// Takes the rest of the line.
    fn take_line(&mut self) -> &'a str {
        self.take(self.0.find('\n').unwrap_or(self.0.len()))
    }

    /// Takes up to the end of `end`, or all.
    fn take_to(&mut self, from: usize, end: &str) -> &'a str {
        let place = self.0.get(from..).and_then(|rest| rest.find(end));
        self.take(place.map_or(self.0.len(), |place| from + place + end.len()))
    }

    /// Length of the raw text that begins here: `r"…"`, `br#"…"#`.
    fn raw(&self) -> Option<(usize, String)> {
        let bare = self.0.strip_prefix(['b', 'c']).unwrap_or(self.0).strip_prefix('r')?;
        let hashes = bare.len() - bare.trim_start_matches('#').len();
        let rest = bare.trim_start_matches('#').strip_prefix('"')?;
        Some((self.0.len() - rest.len(), format!("\"{}", "#".repeat(hashes))))
    }

    /// Takes a text or character between these quotes, `opening` octets of which were seen.
    fn quoted(&mut self, quote: char, opening: usize) -> &'a str {
        let mut escaped = false;
        let body = self.0.get(opening..).unwrap_or("");
        let end = body.char_indices().find(|(_, c)| {
            let found = *c == quote && !escaped;
            escaped = *c == '\\' && !escaped;
            found
        });
        self.take(end.map_or(self.0.len(), |(place, _)| opening + place + quote.len_utf8()))
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.0 = self.0.trim_start();
        let first = self.0.chars().next()?;
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        if self.0.starts_with("//!") {
            return Some(Token::Opening(self.take_line()));
        }
        if self.0.starts_with("//") {
            return Some(Token::Words(self.take_line()));
        }
        if self.0.starts_with("/*") {
            return Some(Token::Words(self.take_to(2, "*/")));
        }
        if let Some((opening, end)) = self.raw() {
            return Some(Token::Words(self.take_to(opening, &end)));
        }
        if let Some(text) = self.0.strip_prefix(['b', 'c']).unwrap_or(self.0).strip_prefix('"') {
            return Some(Token::Words(self.quoted('"', self.0.len() - text.len())));
        }
        if first == '\'' {
            let mut after = self.0.chars().skip(1);
            // 'a' is a character, 'a a lifetime.
            let character = after.next() == Some('\\') || after.next() == Some('\'');
            return Some(if character {
                Token::Words(self.quoted('\'', 1))
            } else {
                Token::Mark(self.mark())
            });
        }
        if is_name(first) {
            let end = self.0.find(|c| !is_name(c)).unwrap_or(self.0.len());
            return Some(Token::Name(self.take(end)));
        }
        Some(Token::Mark(self.mark()))
    }
}

impl Tokens<'_> {
    fn mark(&mut self) -> char {
        let first = self.0.chars().next().unwrap_or(' ');
        self.take(first.len_utf8());
        first
    }
}
