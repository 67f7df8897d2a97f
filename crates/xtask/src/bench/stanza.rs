//! Stanzas cut out of an XML stream, for the load tool's own side of it.
//!
//! The reader trusts its XMPP server: the stream is well-formed, without CDATA, comments or `>` within attributes.

/// Cuts a stream into stanzas.
#[derive(Default)]
pub struct Splitter {
    buffer: Vec<u8>,
    /// Octets already looked at.
    at: usize,
    /// Where the stanza begins.
    begin: usize,
    depth: u32,
}

impl Splitter {
    /// Takes octets of the stream and gives every stanza that they complete; the stream's own start tag is one of them.
    pub fn feed(&mut self, octets: &[u8]) -> Vec<String> {
        self.buffer.extend_from_slice(octets);
        let mut whole = vec![];
        while let Some(open) = self.find(b'<', self.at) {
            let Some(close) = self.find(b'>', open) else { break };
            let tag = &self.buffer[open..=close];
            let (ends, empty) = (tag.starts_with(b"</"), tag.ends_with(b"/>"));
            self.at = close + 1;
            if tag.starts_with(b"<?") {
                continue;
            }
            if self.depth == 1 && !ends {
                self.begin = open;
            }
            self.depth = if ends { self.depth.saturating_sub(1) } else { self.depth + u32::from(!empty) };
            let header = self.depth == 1 && tag.starts_with(b"<stream:stream");
            if header {
                self.begin = open;
            }
            if self.depth == 1 {
                whole.push(String::from_utf8_lossy(&self.buffer[self.begin..self.at]).into_owned());
                self.buffer.drain(..self.at);
                (self.at, self.begin) = (0, 0);
            }
        }
        whole
    }

    fn find(&self, octet: u8, from: usize) -> Option<usize> {
        self.buffer.get(from..)?.iter().position(|o| *o == octet).map(|place| from + place)
    }
}

/// The value of an attribute in the first tag of a stanza, as it stands there.
pub fn attribute<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    let tag = &stanza[..=stanza.find('>')?];
    within(tag, name)
}

/// The value of an attribute in the first tag of this name.
pub fn of_tag<'a>(stanza: &'a str, tag: &str, name: &str) -> Option<&'a str> {
    let rest = &stanza[find_tag(stanza, tag)?..];
    within(&rest[..=rest.find('>')?], name)
}

/// True if there is a tag of this name.
pub fn has_tag(stanza: &str, tag: &str) -> bool {
    find_tag(stanza, tag).is_some()
}

fn find_tag(stanza: &str, tag: &str) -> Option<usize> {
    let is_tag = |place: &usize| {
        let rest = &stanza[place + 1..];
        rest.starts_with(tag) && rest[tag.len()..].starts_with([' ', '>', '/'])
    };
    stanza.match_indices('<').map(|(place, _)| place).find(is_tag)
}

fn within<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    [('\'', format!(" {name}='")), ('"', format!(" {name}=\""))].into_iter().find_map(|(quote, start)| {
        let rest = &tag[tag.find(&start)? + start.len()..];
        rest.split(quote).next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_wherever_it_is_broken() {
        let stream = "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' id='1'><handshake/>\
                      <iq to='a' id=\"2\"><jingle sid='3'><content/></jingle></iq> <message from='b'/>";
        for size in 1..stream.len() {
            let mut splitter = Splitter::default();
            let cut: Vec<String> =
                stream.as_bytes().chunks(size).flat_map(|part| splitter.feed(part)).collect();
            assert_eq!(cut.len(), 4, "{size}: {cut:?}");
            assert_eq!(attribute(&cut[0], "id"), Some("1"));
            assert_eq!(cut[1], "<handshake/>");
            assert_eq!((attribute(&cut[2], "id"), of_tag(&cut[2], "jingle", "sid")), (Some("2"), Some("3")));
            assert!(has_tag(&cut[2], "content") && !has_tag(&cut[2], "con"));
            assert_eq!(cut[3].trim(), "<message from='b'/>");
        }
    }
}
