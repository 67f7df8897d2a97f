//! One stanza as a tree, read in a single pass over its octets.
//!
//! One rule: what is no namespace-well-formed XML is refused whole. The framer has cut the octets: no comment, declaration or second
//! root comes here, and the depth is bounded. Start at [`stanza`].

use minidom::Element;
use rxml::{Namespace, NcName, NcNameStr};
use std::borrow::Cow;

/// Octets that are no namespace-well-formed XML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Namespace declarations in scope, innermost last: prefix (empty: the default), namespace.
pub type Declared = Vec<(String, String)>;

/// Reads a stanza. `outer` are the declarations of the stream header.
///
/// # Errors
/// [`Malformed`]
pub fn stanza(octets: &[u8], outer: &Declared) -> Result<Element, Malformed> {
    let mut scanner = Scanner::new(octets)?;
    let mut scope = Scope { declared: outer.clone(), marks: vec![] };
    let mut open: Vec<(Element, &str)> = vec![];
    loop {
        match scanner.next()? {
            Piece::Text(text) => match open.last_mut() {
                Some(_) if text.is_empty() => {}
                Some((parent, _)) => parent.append_text(text),
                None => return Err(Malformed),
            },
            Piece::Open(name) => {
                let (element, empty) = scanner.head(name, &mut scope)?;
                if !empty {
                    open.push((element, name));
                } else if let Some(root) = close(&mut open, &mut scope, element) {
                    return Ok(root);
                }
            }
            Piece::Close(name) => {
                let Some((element, opened)) = open.pop() else { return Err(Malformed) };
                if opened != name {
                    return Err(Malformed);
                }
                if let Some(root) = close(&mut open, &mut scope, element) {
                    return Ok(root);
                }
            }
        }
    }
}

/// Appends a complete element to its parent; gives it back if it is the root.
fn close(open: &mut [(Element, &str)], scope: &mut Scope, element: Element) -> Option<Element> {
    scope.leave();
    match open.last_mut() {
        Some((parent, _)) => {
            parent.append_child(element);
            None
        }
        None => Some(element),
    }
}

/// Reads the stream header, whose element stays open: its attributes as an element, and what it declares.
///
/// # Errors
/// [`Malformed`]
pub fn header(octets: &[u8]) -> Result<(Element, Declared), Malformed> {
    let mut scanner = Scanner::new(octets)?;
    scanner.skip_declaration()?;
    let Piece::Open(name) = scanner.next()? else { return Err(Malformed) };
    let mut scope = Scope::default();
    let (element, _) = scanner.head(name, &mut scope)?;
    Ok((element, scope.declared))
}

/// First tag of a stanza.
#[derive(Debug, Default)]
pub struct Tag {
    /// Its name; `None` if it has a prefix.
    pub name: Option<String>,
    /// Names and values of the attributes without prefix.
    pub attributes: Vec<(String, String)>,
}

/// Reads as many attributes of the first tag as there are before the first fault. `None` if there is no name.
pub fn first_tag(octets: &[u8]) -> Option<Tag> {
    // Octets that are no text may follow.
    let valid = match std::str::from_utf8(octets) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(octets.get(..error.valid_up_to())?).ok()?,
    };
    let mut scanner = Scanner { text: valid, at: 0 };
    let Ok(Piece::Open(name)) = scanner.next() else { return None };
    let name = <&NcNameStr>::try_from(name).is_ok().then(|| name.to_owned());
    let mut attributes = vec![];
    while let Ok(Some((name, value))) = scanner.attribute() {
        if !name.contains(':') && name != "xmlns" {
            attributes.push((name.to_owned(), value.into_owned()));
        }
    }
    Some(Tag { name, attributes })
}

/// Declarations in scope, and how many there were at the start of each open element.
#[derive(Default)]
struct Scope {
    declared: Declared,
    marks: Vec<usize>,
}

impl Scope {
    fn enter(&mut self) {
        self.marks.push(self.declared.len());
    }

    fn leave(&mut self) {
        if let Some(mark) = self.marks.pop() {
            self.declared.truncate(mark);
        }
    }

    fn find(&self, prefix: &str) -> Result<&str, Malformed> {
        let found = self.declared.iter().rev().find(|(declared, _)| declared == prefix);
        found.map(|(_, namespace)| namespace.as_str()).ok_or(Malformed)
    }
}

enum Piece<'a> {
    /// Text, CDATA or white space.
    Text(Cow<'a, str>),
    /// The name of a start tag, whose attributes follow.
    Open(&'a str),
    /// An end tag.
    Close(&'a str),
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn new(octets: &'a [u8]) -> Result<Scanner<'a>, Malformed> {
        Ok(Scanner { text: std::str::from_utf8(octets).map_err(|_| Malformed)?, at: 0 })
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, what: &str) -> Result<(), Malformed> {
        if !self.rest().starts_with(what) {
            return Err(Malformed);
        }
        self.at += what.len();
        Ok(())
    }

    /// Everything before `end`, which is passed.
    fn until(&mut self, end: &str) -> Result<&'a str, Malformed> {
        let rest = self.rest();
        let length = rest.find(end).ok_or(Malformed)?;
        self.at += length + end.len();
        Ok(&rest[..length])
    }

    fn blanks(&mut self) -> bool {
        let start = self.at;
        while self.peek().is_some_and(|octet| matches!(octet, b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.at > start
    }

    fn skip_declaration(&mut self) -> Result<(), Malformed> {
        self.blanks();
        if self.rest().starts_with("<?xml") {
            self.until("?>")?;
        }
        self.blanks();
        Ok(())
    }

    fn next(&mut self) -> Result<Piece<'a>, Malformed> {
        if self.peek() != Some(b'<') {
            let rest = self.rest();
            let length = rest.bytes().position(|octet| octet == b'<').ok_or(Malformed)?;
            self.at += length;
            return content(&rest[..length], false).map(Piece::Text);
        }
        self.at += 1;
        match self.peek() {
            Some(b'!') => {
                self.take("![CDATA[")?;
                let words = self.until("]]>")?;
                characters(words)?;
                Ok(Piece::Text(lines(words)))
            }
            Some(b'/') => {
                self.at += 1;
                let name = self.name()?;
                self.blanks();
                self.take(">")?;
                Ok(Piece::Close(name))
            }
            _ => Ok(Piece::Open(self.name()?)),
        }
    }

    /// A name with or without prefix; checked when it is used.
    fn name(&mut self) -> Result<&'a str, Malformed> {
        let rest = self.rest();
        let ends = |octet: u8| matches!(octet, b' ' | b'\t' | b'\n' | b'\r' | b'/' | b'>' | b'=');
        let length = rest.bytes().position(ends).filter(|length| *length > 0).ok_or(Malformed)?;
        self.at += length;
        Ok(&rest[..length])
    }

    /// The next attribute of a start tag; `None` at the end of the tag.
    fn attribute(&mut self) -> Result<Option<(&'a str, Cow<'a, str>)>, Malformed> {
        let blank = self.blanks();
        if matches!(self.peek(), Some(b'/' | b'>')) {
            return Ok(None);
        }
        if !blank {
            return Err(Malformed);
        }
        let name = self.name()?;
        self.blanks();
        self.take("=")?;
        self.blanks();
        let quote = match self.peek() {
            Some(b'\'') => "'",
            Some(b'"') => "\"",
            _ => return Err(Malformed),
        };
        self.at += 1;
        let value = self.until(quote)?;
        if value.contains('<') {
            return Err(Malformed);
        }
        Ok(Some((name, content(value, true)?)))
    }

    /// The element of a start tag; true: it has no content. Its declarations are in `scope`.
    fn head(&mut self, name: &'a str, scope: &mut Scope) -> Result<(Element, bool), Malformed> {
        scope.enter();
        let mut attributes: Vec<(&str, Cow<'_, str>)> = vec![];
        while let Some((name, value)) = self.attribute()? {
            match name.split_once(':') {
                // It is bound already, and may be declared all the same (Namespaces in XML §3).
                Some(("xmlns", "xml")) => {}
                Some(("xmlns", prefix)) => {
                    local(prefix)?;
                    scope.declared.push((prefix.to_owned(), value.into_owned()));
                }
                None if name == "xmlns" => scope.declared.push((String::new(), value.into_owned())),
                _ => attributes.push((name, value)),
            }
        }
        let empty = self.peek() == Some(b'/');
        self.take(if empty { "/>" } else { ">" })?;
        let (prefix, named) = name.split_once(':').unwrap_or(("", name));
        if name.starts_with(':') {
            return Err(Malformed);
        }
        local(named)?;
        let mut element = Element::bare(named, scope.find(prefix)?);
        for (name, value) in attributes {
            let (namespace, name) = match name.split_once(':') {
                None => (Namespace::NONE, name),
                Some(("xml", name)) => (Namespace::xml().clone(), name),
                Some((prefix, name)) if !prefix.is_empty() => (scope.find(prefix)?.to_owned().into(), name),
                Some(_) => return Err(Malformed),
            };
            let name = NcName::try_from(name).map_err(|_| Malformed)?;
            element.set_attr(namespace, name, value.into_owned());
        }
        Ok((element, empty))
    }
}

/// Checks a name without prefix.
fn local(name: &str) -> Result<(), Malformed> {
    <&NcNameStr>::try_from(name).map(drop).map_err(|_| Malformed)
}

/// Resolves references and normalises line ends (XML 1.0 §2.11, §4.1), in an attribute white space too (§3.3.3).
fn content(raw: &str, attribute: bool) -> Result<Cow<'_, str>, Malformed> {
    characters(raw)?;
    if !attribute && raw.contains("]]>") {
        return Err(Malformed);
    }
    let special = |octet: u8| octet == b'&' || octet == b'\r' || attribute && matches!(octet, b'\t' | b'\n');
    if !raw.bytes().any(special) {
        return Ok(raw.into());
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.bytes().position(special) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(reference) = rest.strip_prefix('&') {
            let (name, after) = reference.split_once(';').ok_or(Malformed)?;
            text.push(referred(name)?);
            rest = after;
        } else {
            text.push(if attribute { ' ' } else { '\n' });
            rest = rest.strip_prefix("\r\n").unwrap_or(&rest[1..]);
        }
    }
    text.push_str(rest);
    Ok(text.into())
}

/// Returns the character that a reference stands for.
fn referred(name: &str) -> Result<char, Malformed> {
    let number = match name {
        "amp" => return Ok('&'),
        "lt" => return Ok('<'),
        "gt" => return Ok('>'),
        "apos" => return Ok('\''),
        "quot" => return Ok('"'),
        _ => name.strip_prefix('#').ok_or(Malformed)?,
    };
    let digits = |digits: &str, radix| {
        let fit = !digits.is_empty() && digits.bytes().all(|octet| (octet as char).is_digit(radix));
        if fit { u32::from_str_radix(digits, radix).map_err(|_| Malformed) } else { Err(Malformed) }
    };
    let number = match number.strip_prefix('x') {
        Some(hex) => digits(hex, 16)?,
        None => digits(number, 10)?,
    };
    char::from_u32(number).filter(|c| is_character(*c)).ok_or(Malformed)
}

/// Normalises line ends.
fn lines(words: &str) -> Cow<'_, str> {
    if words.contains('\r') { words.replace("\r\n", "\n").replace('\r', "\n").into() } else { words.into() }
}

/// Checks that XML can hold every character (XML 1.0 §2.2).
fn characters(words: &str) -> Result<(), Malformed> {
    let plain = |octet: u8| octet >= 0x20 && octet != 0xef || matches!(octet, b'\t' | b'\n' | b'\r');
    let fit = words.bytes().all(plain) || words.chars().all(is_character);
    if fit { Ok(()) } else { Err(Malformed) }
}

fn is_character(c: char) -> bool {
    !matches!(c, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use minidom::tree_builder::TreeBuilder;
    use rxml::error::EndOrError;
    use rxml::{Parse, RawEvent, RawParser};

    const OUTER: [(&str, &str); 2] =
        [("", "jabber:component:accept"), ("stream", "http://etherx.jabber.org/streams")];

    fn outer() -> Declared {
        OUTER.iter().map(|(prefix, namespace)| ((*prefix).into(), (*namespace).into())).collect()
    }

    /// The same octets read by another library, which knows more of XML and costs five times as much.
    fn reference(mut octets: &[u8]) -> Option<Element> {
        let prefixes: std::collections::BTreeMap<Option<String>, String> = OUTER
            .iter()
            .map(|(prefix, namespace)| {
                (Some((*prefix).to_owned()).filter(|p| !p.is_empty()), (*namespace).into())
            })
            .collect();
        let mut tree = TreeBuilder::new().with_prefixes_stack(vec![prefixes.into()]);
        let mut parser = RawParser::new();
        while tree.root.is_none() {
            match parser.parse(&mut octets, true) {
                Ok(Some(RawEvent::Attribute(_, (Some(prefix), name), _)))
                    if prefix == "xmlns" && name == "xml" => {}
                Ok(Some(event)) => tree.process_event(event).ok()?,
                Ok(None) | Err(EndOrError::NeedMoreData | EndOrError::Error(_)) => return None,
            }
        }
        tree.root
    }

    fn text(element: &Element) -> String {
        xmpp::writer::digest(element)
    }

    #[test]
    fn a_session_initiate_is_read_as_others_read_it() {
        let octets = br#"<iq to='b@c/d' from="a@b/c" type='set' id='1'><jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' sid='x'>
            <content creator='initiator' name='&quot;audio&quot;'><description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'>
            <payload-type id='0' name='PCMU' clockrate='8000'/><rtcp-fb xmlns='urn:xmpp:jingle:apps:rtp:rtcp-fb:0' type='nack'/></description>
            <transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='u' pwd='p'><x:y xmlns:x='z' x:w="1"/><![CDATA[a<b]]></transport></content></jingle></iq>"#;
        let read = stanza(octets, &outer()).unwrap();
        assert_eq!(text(&read), text(&reference(octets).unwrap()));
        assert_eq!(read.attr("from"), Some("a@b/c"));
    }

    /// Whatever the pieces make up, both readers refuse it, or both read the same.
    #[test]
    fn any_pieces_are_read_as_others_read_them() {
        let pieces = [
            "<a>",
            "</a>",
            "<b c='d'>",
            "</b>",
            "<a/>",
            "<p:a xmlns:p='q'>",
            "</p:a>",
            "<p:b p:c='d'/>",
            " ",
            "\n",
            "\r",
            "\r\n",
            "\t",
            "x",
            "&amp;",
            "&lt;",
            "&#65;",
            "&#x41;",
            "&#0;",
            "&#xfffe;",
            "&#;",
            "&#x;",
            "&#+1;",
            "&nobody;",
            "&",
            ";",
            "]]>",
            "]]",
            ">",
            "<![CDATA[",
            "<a b='",
            "'",
            "\"",
            "/>",
            " c=\"1\"",
            "\u{e9}",
            "\u{fffe}",
            "\u{1}",
            "\u{ef00}",
            "<a xmlns='r'>",
            "xml:lang='en'",
            "<xml:a/>",
            "<:a/>",
            "<a:/>",
            "<a:b:c/>",
            "<1/>",
            "<a 1='2'/>",
            "<a b='1'c='2'/>",
            "<a b = '1' />",
            "</a >",
            "< a/>",
            "<a b/>",
            "<a b=c/>",
            "<stream:a/>",
            "<n:a/>",
            "<a n:b='c'/>",
            "<a xmlns:xml='http://www.w3.org/XML/1998/namespace'/>",
        ];
        let mut seed = 7_u64;
        let mut draw = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        let mut read = 0;
        for _ in 0..200_000 {
            let mut octets = String::from("<iq from='m@e'>");
            for _ in 0..draw(7) {
                octets.push_str(pieces[draw(pieces.len())]);
            }
            octets.push_str("</iq>");
            let (ours, theirs) = (stanza(octets.as_bytes(), &outer()).ok(), reference(octets.as_bytes()));
            read += usize::from(ours.is_some());
            assert_eq!(ours.as_ref().map(text), theirs.as_ref().map(text), "{octets:?}");
        }
        assert!(read > 10_000, "{read}");
    }
}
