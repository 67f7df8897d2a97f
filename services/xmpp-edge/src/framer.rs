//! Octets of a component stream, cut into stanzas before any of them is parsed.
//!
//! One rule: what a stranger puts into one stanza ends that stanza, never the stream. Here only tags and quotes are seen, which
//! the server writes and no stranger can unbalance; what is inside is for the reader, stanza by stanza.

use crate::reader::Unreadable;
use std::mem::take;

/// Largest stanza that is kept, octets. Servers take 256 KiB at most from a client; written again it may have grown.
pub const MAX_STANZA: usize = 512 * 1024;
/// A stanza that goes on beyond this ends the stream. Six octets for one is the worst that a server makes of a client's text.
const MAX_ENDLESS: usize = 8 * 1024 * 1024;
/// Deepest nesting of elements within a stanza.
pub const MAX_DEPTH: usize = 64;
/// So much of an element's name is compared with that of its end.
const MAX_NAME: usize = 256;

/// A piece of the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// The stream header, its root element still open.
    Header(Vec<u8>),
    /// A stanza from `<` to `>`.
    Stanza(Vec<u8>),
    /// The first tag of a stanza that was too large or too deep to be kept; empty if it was the tag itself.
    Head(Vec<u8>),
    /// The end of the root element.
    Footer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Text,
    /// After `<`.
    Open,
    /// After `<!`; so many octets of `[CDATA[` have come.
    Bang(usize),
    /// In a CDATA section; so many octets of `]]>` have come.
    Data(usize),
    /// In `<?…?>`; a `?` was the last octet.
    Declaration(bool),
    Tag,
    /// Behind the root element.
    Over,
}

/// Cuts one stream.
#[derive(Debug)]
pub struct Frames {
    state: State,
    /// Names of the open elements; those too deep to be kept are counted in `deeper`.
    names: Vec<Vec<u8>>,
    deeper: usize,
    tag: Tag,
    /// What is kept of the stanza, and how long it is so far.
    kept: Vec<u8>,
    length: usize,
    /// Length of its first tag, once that is over.
    head: usize,
    spoiled: bool,
}

/// The tag that is being read.
#[derive(Debug, Default)]
struct Tag {
    name: Vec<u8>,
    named: bool,
    quote: Option<u8>,
    ends: bool,
    last: u8,
}

impl Frames {
    /// For a new stream.
    pub fn new() -> Frames {
        Frames {
            state: State::Text,
            names: vec![],
            deeper: 0,
            tag: Tag::default(),
            kept: vec![],
            length: 0,
            head: 0,
            spoiled: false,
        }
    }

    /// Octets that are kept of a stanza that is not over.
    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.kept.capacity()
    }

    fn depth(&self) -> usize {
        self.names.len() + self.deeper
    }

    /// Takes one octet, and gives what it completes.
    ///
    /// # Errors
    /// [`Unreadable`]: what no server writes.
    pub fn push(&mut self, octet: u8) -> Result<Option<Frame>, Unreadable> {
        if self.state == State::Text && self.depth() < 2 && octet != b'<' {
            // White space between stanzas keeps connections alive and means nothing.
            return match self.depth() == 0 && !octet.is_ascii_whitespace() {
                true => Err(Unreadable("text instead of a stream header".into())),
                false => Ok(None),
            };
        }
        if self.state == State::Over {
            return Ok(None);
        }
        self.keep(octet)?;
        self.state = match (self.state, octet) {
            (State::Text, b'<') => State::Open,
            (State::Text, _) | (State::Over, _) => self.state,
            (State::Open, b'?') if self.depth() == 0 => State::Declaration(false),
            (State::Open, b'!') if self.depth() > 1 => State::Bang(0),
            // RFC 6120 §11.1
            (State::Open, b'?' | b'!') => return Err(Unreadable("a comment or declaration".into())),
            (State::Open, b'/') => {
                self.tag = Tag { ends: true, ..Tag::default() };
                State::Tag
            }
            (State::Open, _) => {
                self.tag = Tag::default();
                return self.tag(octet);
            }
            (State::Bang(seen), _) => match b"[CDATA[".get(seen) == Some(&octet) {
                true if seen == 6 => State::Data(0),
                true => State::Bang(seen + 1),
                false => return Err(Unreadable("a comment or declaration".into())),
            },
            (State::Data(2), b'>') => State::Text,
            (State::Data(seen), b']') => State::Data((seen + 1).min(2)),
            (State::Data(_), _) => State::Data(0),
            (State::Declaration(true), b'>') => State::Text,
            (State::Declaration(_), _) => State::Declaration(octet == b'?'),
            (State::Tag, _) => return self.tag(octet),
        };
        Ok(None)
    }

    fn keep(&mut self, octet: u8) -> Result<(), Unreadable> {
        self.length += 1;
        if self.spoiled {
            if self.length > MAX_ENDLESS {
                return Err(Unreadable(format!("a stanza of over {MAX_ENDLESS} octets")));
            }
        } else if self.kept.len() < MAX_STANZA {
            self.kept.push(octet);
        } else if self.names.is_empty() {
            return Err(Unreadable(format!("a stream header of over {MAX_STANZA} octets")));
        } else {
            self.spoil();
        }
        Ok(())
    }

    /// From here on the stanza is only counted.
    fn spoil(&mut self) {
        self.spoiled = true;
        self.kept.truncate(self.head);
        self.kept.shrink_to_fit();
    }

    fn tag(&mut self, octet: u8) -> Result<Option<Frame>, Unreadable> {
        self.state = State::Tag;
        let tag = &mut self.tag;
        let last = std::mem::replace(&mut tag.last, octet);
        match (tag.quote, octet) {
            (Some(quote), _) if quote == octet => tag.quote = None,
            (Some(_), _) => {}
            (None, b'>') => {
                self.state = State::Text;
                return if self.tag.ends { self.close() } else { self.open(last == b'/') };
            }
            (None, b'\'' | b'"') => tag.quote = Some(octet),
            (None, b'/') => tag.named = true,
            (None, _) if octet.is_ascii_whitespace() => tag.named = true,
            (None, _) if !tag.named && tag.name.len() < MAX_NAME => tag.name.push(octet),
            (None, _) => {}
        }
        Ok(None)
    }

    fn open(&mut self, empty: bool) -> Result<Option<Frame>, Unreadable> {
        let depth = self.depth();
        if depth == 1 && !self.spoiled {
            self.head = self.kept.len();
        }
        if !empty {
            // The stream's root is not part of a stanza.
            if depth > MAX_DEPTH {
                self.deeper += 1;
                if !self.spoiled {
                    self.spoil();
                }
            } else {
                self.names.push(take(&mut self.tag.name));
            }
        }
        Ok(match depth {
            0 if empty => return Err(Unreadable("a stream without end or beginning".into())),
            0 => {
                self.length = 0;
                Some(Frame::Header(take(&mut self.kept)))
            }
            1 if empty => Some(self.stanza()),
            _ => None,
        })
    }

    fn close(&mut self) -> Result<Option<Frame>, Unreadable> {
        if self.deeper > 0 {
            self.deeper -= 1;
            return Ok(None);
        }
        if self.names.pop().is_none_or(|name| name != self.tag.name) {
            return Err(Unreadable("an element ends that was not open".into()));
        }
        Ok(match self.names.len() {
            0 => {
                self.state = State::Over;
                Some(Frame::Footer)
            }
            1 => Some(self.stanza()),
            _ => None,
        })
    }

    fn stanza(&mut self) -> Frame {
        (self.length, self.head) = (0, 0);
        let octets = take(&mut self.kept);
        if take(&mut self.spoiled) { Frame::Head(octets) } else { Frame::Stanza(octets) }
    }
}
