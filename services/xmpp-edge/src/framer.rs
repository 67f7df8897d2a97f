//! Framing of a component stream: octets are cut into stanzas before any of them is parsed.
//!
//! One rule: the content of one stanza can end that stanza, never the stream. The framer sees only tags and quotes, which the
//! server writes and no stranger can unbalance; the reader parses the content, stanza by stanza.

use crate::reader::Unreadable;
use std::mem::take;

/// Largest stanza that is read, octets. Servers take at most 256 KiB from a client, and may write more than they read.
const MAX_STANZA: usize = 512 * 1024;
/// Largest stanza that is skipped, octets; a larger one ends the stream. A server makes at most six octets of one of a client's.
const MAX_SKIPPED: usize = 8 * 1024 * 1024;
/// Deepest nesting of elements within a stanza.
const MAX_DEPTH: usize = 64;
/// Octets of an element's name that are compared with its end tag.
const MAX_NAME: usize = 256;

/// Part of the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// The stream header, its root element still open.
    Header(Vec<u8>),
    /// A stanza from `<` to `>`.
    Stanza(Vec<u8>),
    /// First tag of a stanza that is too large or too deep to be read; empty if the tag itself is.
    Truncated(Vec<u8>),
    /// The end of the root element.
    Footer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Text,
    /// After `<`.
    Open,
    /// After `<!` and so many octets of `[CDATA[`.
    Markup(usize),
    /// In a CDATA section, after so many octets of `]]>`.
    Cdata(usize),
    /// In `<?…?>`; true if the last octet was a `?`.
    Declaration(bool),
    Tag,
    /// After the root element.
    End,
}

/// Framer of one stream.
#[derive(Debug)]
pub struct Framer {
    state: State,
    /// Names of the open elements; deeper ones are only counted, in `unnamed`.
    names: Vec<Vec<u8>>,
    unnamed: usize,
    tag: Tag,
    /// Octets of the stanza so far, and their true number.
    buffer: Vec<u8>,
    length: usize,
    /// Length of its first tag, once that is complete.
    head: usize,
    truncated: bool,
}

/// Tag that is being read.
#[derive(Debug, Default)]
struct Tag {
    name: Vec<u8>,
    named: bool,
    quote: Option<u8>,
    ends: bool,
    last: u8,
}

impl Framer {
    /// Creates the framer of a new stream.
    pub fn new() -> Framer {
        Framer {
            state: State::Text,
            names: vec![],
            unnamed: 0,
            tag: Tag::default(),
            buffer: vec![],
            length: 0,
            head: 0,
            truncated: false,
        }
    }

    /// Capacity of the buffer.
    #[cfg(test)]
    pub fn buffered(&self) -> usize {
        self.buffer.capacity()
    }

    fn depth(&self) -> usize {
        self.names.len() + self.unnamed
    }

    /// Takes one octet and returns the frame that it completes.
    ///
    /// # Errors
    /// [`Unreadable`]: no server writes that.
    pub fn push(&mut self, octet: u8) -> Result<Option<Frame>, Unreadable> {
        if self.state == State::Text && self.depth() < 2 && octet != b'<' {
            // White space between stanzas is a keep-alive.
            return match self.depth() == 0 && !octet.is_ascii_whitespace() {
                true => Err(Unreadable("text instead of a stream header".into())),
                false => Ok(None),
            };
        }
        if self.state == State::End {
            return Ok(None);
        }
        self.append(octet)?;
        self.state = match (self.state, octet) {
            (State::Text, b'<') => State::Open,
            (State::Text, _) | (State::End, _) => self.state,
            (State::Open, b'?') if self.depth() == 0 => State::Declaration(false),
            (State::Open, b'!') if self.depth() > 1 => State::Markup(0),
            // RFC 6120 §11.1
            (State::Open, b'?' | b'!') => return Err(Unreadable("a comment or declaration".into())),
            (State::Open, b'/') => {
                self.tag = Tag { ends: true, ..Tag::default() };
                State::Tag
            }
            (State::Open, _) => {
                self.tag = Tag::default();
                return self.push_tag(octet);
            }
            (State::Markup(seen), _) => match b"[CDATA[".get(seen) == Some(&octet) {
                true if seen == 6 => State::Cdata(0),
                true => State::Markup(seen + 1),
                false => return Err(Unreadable("a comment or declaration".into())),
            },
            (State::Cdata(2), b'>') => State::Text,
            (State::Cdata(seen), b']') => State::Cdata((seen + 1).min(2)),
            (State::Cdata(_), _) => State::Cdata(0),
            (State::Declaration(true), b'>') => State::Text,
            (State::Declaration(_), _) => State::Declaration(octet == b'?'),
            (State::Tag, _) => return self.push_tag(octet),
        };
        Ok(None)
    }

    fn append(&mut self, octet: u8) -> Result<(), Unreadable> {
        self.length += 1;
        if self.truncated {
            if self.length > MAX_SKIPPED {
                return Err(Unreadable(format!("a stanza of over {MAX_SKIPPED} octets")));
            }
        } else if self.buffer.len() < MAX_STANZA {
            self.buffer.push(octet);
        } else if self.names.is_empty() {
            return Err(Unreadable(format!("a stream header of over {MAX_STANZA} octets")));
        } else {
            self.truncate();
        }
        Ok(())
    }

    /// Drops all but the first tag of the stanza; its further octets are only counted.
    fn truncate(&mut self) {
        self.truncated = true;
        self.buffer.truncate(self.head);
        self.buffer.shrink_to_fit();
    }

    fn push_tag(&mut self, octet: u8) -> Result<Option<Frame>, Unreadable> {
        self.state = State::Tag;
        let tag = &mut self.tag;
        let last = std::mem::replace(&mut tag.last, octet);
        match (tag.quote, octet) {
            (Some(quote), _) if quote == octet => tag.quote = None,
            (Some(_), _) => {}
            (None, b'>') => {
                self.state = State::Text;
                return if self.tag.ends { self.close_tag() } else { self.open_tag(last == b'/') };
            }
            (None, b'\'' | b'"') => tag.quote = Some(octet),
            (None, b'/') => tag.named = true,
            (None, _) if octet.is_ascii_whitespace() => tag.named = true,
            (None, _) if !tag.named && tag.name.len() < MAX_NAME => tag.name.push(octet),
            (None, _) => {}
        }
        Ok(None)
    }

    fn open_tag(&mut self, empty: bool) -> Result<Option<Frame>, Unreadable> {
        let depth = self.depth();
        if depth == 1 && !self.truncated {
            self.head = self.buffer.len();
        }
        if !empty {
            // The root of the stream is not part of a stanza.
            if depth > MAX_DEPTH {
                self.unnamed += 1;
                if !self.truncated {
                    self.truncate();
                }
            } else {
                self.names.push(take(&mut self.tag.name));
            }
        }
        Ok(match depth {
            0 if empty => return Err(Unreadable("a stream without end or beginning".into())),
            0 => {
                self.length = 0;
                Some(Frame::Header(take(&mut self.buffer)))
            }
            1 if empty => Some(self.stanza()),
            _ => None,
        })
    }

    fn close_tag(&mut self) -> Result<Option<Frame>, Unreadable> {
        if self.unnamed > 0 {
            self.unnamed -= 1;
            return Ok(None);
        }
        if self.names.pop().is_none_or(|name| name != self.tag.name) {
            return Err(Unreadable("an element ends that was not open".into()));
        }
        Ok(match self.names.len() {
            0 => {
                self.state = State::End;
                Some(Frame::Footer)
            }
            1 => Some(self.stanza()),
            _ => None,
        })
    }

    fn stanza(&mut self) -> Frame {
        (self.length, self.head) = (0, 0);
        let octets = take(&mut self.buffer);
        if take(&mut self.truncated) { Frame::Truncated(octets) } else { Frame::Stanza(octets) }
    }
}
