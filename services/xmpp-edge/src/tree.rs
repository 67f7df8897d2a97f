//! One stanza as a tree, read in a single pass over its octets.
//!
//! One rule: what is no namespace-well-formed XML is refused whole. quick-xml finds tags, text and references; the checks that it
//! leaves out are here and in `tag`. The framer has cut the octets: no comment, declaration or second root comes here, and the
//! depth is bounded. Start at [`stanza`].

use crate::tag;
use minidom::Element;
use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::Event;
use quick_xml::name::NamespaceResolver;
use rxml::strings::validate_cdata;
use std::mem::take;

/// Octets that are no namespace-well-formed XML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl<E: std::error::Error> From<E> for Malformed {
    fn from(_: E) -> Malformed {
        Malformed
    }
}

/// Reads a stanza. `outer` are the declarations of the stream header.
///
/// # Errors
/// [`Malformed`]
pub fn stanza(octets: &[u8], outer: &NamespaceResolver) -> Result<Element, Malformed> {
    let mut reader = Reader::from_reader(octets);
    let mut tree = Tree { scope: outer.clone(), open: vec![], text: String::new() };
    loop {
        let complete = match reader.read_event()? {
            Event::Start(tag) => {
                tree.append_text()?;
                tree.open.push(tag::element(&tag, &mut tree.scope)?);
                continue;
            }
            Event::Empty(tag) => {
                tree.append_text()?;
                tag::element(&tag, &mut tree.scope)?
            }
            // Its name is that of the start tag: the reader compares them.
            Event::End(_) => {
                tree.append_text()?;
                tree.open.pop().ok_or(Malformed)?
            }
            _ if tree.open.is_empty() => return Err(Malformed),
            // XML 1.0 §2.4
            Event::Text(text) if text.contains("]]>") => return Err(Malformed),
            Event::Text(text) => {
                tree.text.push_str(&text.xml10_content());
                continue;
            }
            Event::CData(text) => {
                tree.text.push_str(&text.xml10_content());
                continue;
            }
            Event::GeneralRef(reference) => {
                match reference.resolve_char_ref()? {
                    Some(character) => tree.text.push(character),
                    None => tree.text.push_str(resolve_xml_entity(&reference).ok_or(Malformed)?),
                }
                continue;
            }
            // RFC 6120 §11.1
            Event::Comment(_) | Event::PI(_) | Event::Decl(_) | Event::DocType(_) | Event::Eof => {
                return Err(Malformed);
            }
        };
        if let Some(root) = tree.append(complete) {
            return Ok(root);
        }
    }
}

/// Reads the stream header, whose element stays open: its attributes as an element, and what it declares.
///
/// # Errors
/// [`Malformed`]
pub fn header(octets: &[u8]) -> Result<(Element, NamespaceResolver), Malformed> {
    let mut reader = Reader::from_reader(octets);
    let tag = loop {
        match reader.read_event()? {
            Event::Decl(_) => {}
            Event::Text(text) if text.bytes().all(|octet| octet.is_ascii_whitespace()) => {}
            Event::Start(tag) => break tag,
            _ => return Err(Malformed),
        }
    };
    let mut scope = NamespaceResolver::default();
    let element = tag::element(&tag, &mut scope)?;
    // RFC 6120 §4.8.1: it is qualified by a namespace.
    if element.has_ns("") { Err(Malformed) } else { Ok((element, scope)) }
}

/// Part of a stanza that is read.
struct Tree {
    /// Declarations in scope.
    scope: NamespaceResolver,
    /// Elements without their end tag, innermost last.
    open: Vec<Element>,
    /// Text since the last tag.
    text: String,
}

impl Tree {
    fn append_text(&mut self) -> Result<(), Malformed> {
        if let Some(parent) = self.open.last_mut().filter(|_| !self.text.is_empty()) {
            // XML 1.0 §2.2; references may stand for no other characters (§4.1).
            validate_cdata(&self.text)?;
            parent.append_text(take(&mut self.text));
        }
        Ok(())
    }

    /// Appends a complete element to its parent; gives it back if it is the root.
    fn append(&mut self, element: Element) -> Option<Element> {
        self.scope.pop();
        match self.open.last_mut() {
            Some(parent) => {
                parent.append_child(element);
                None
            }
            None => Some(element),
        }
    }
}

#[cfg(test)]
mod tests;
