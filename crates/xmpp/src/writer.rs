//! Elements as text: for the stream, and as the identity of a stanza.
//!
//! One rule: for every element nothing here panics and the output is XML. minidom's own writer asserts about declared
//! prefixes and about characters; it is for tests.

use minidom::rxml::NcName;
use minidom::{Element, Node};
use std::fmt::Write;

/// Writes a stanza for the stream; `None` if a name in it is no XML name. Namespaces are declared without prefixes.
/// Attributes in a namespace (we send none) and characters that XML cannot hold are left out.
#[must_use]
pub fn write(stanza: &Element) -> Option<String> {
    let mut text = String::new();
    element(stanza, "", &mut text)?;
    Some(text)
}

fn element(element: &Element, around: &str, text: &mut String) -> Option<()> {
    let (name, namespace) = (element.name(), element.ns());
    NcName::try_from(name).ok()?;
    text.push('<');
    text.push_str(name);
    if namespace != around {
        text.push_str(" xmlns='");
        escape(&namespace, text);
        text.push('\'');
    }
    for ((_, name), value) in element.attrs().iter().filter(|((namespace, _), _)| namespace.is_none()) {
        text.push(' ');
        text.push_str(name.as_str());
        text.push_str("='");
        escape(value, text);
        text.push('\'');
    }
    if element.nodes().next().is_none() {
        text.push_str("/>");
        return Some(());
    }
    text.push('>');
    for node in element.nodes() {
        match node {
            Node::Element(child) => self::element(child, &namespace, text)?,
            Node::Text(words) => escape(words, text),
        }
    }
    text.push_str("</");
    text.push_str(name);
    text.push('>');
    Some(())
}

/// Leaves out the characters that XML cannot hold and writes references for those with another meaning (XML 1.0 §2.2, §2.4).
fn escape(words: &str, text: &mut String) {
    for c in words.chars() {
        match c {
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '&' => text.push_str("&amp;"),
            '\'' => text.push_str("&apos;"),
            '"' => text.push_str("&quot;"),
            // Readers would normalise them in attributes (§3.3.3), and the carriage return in text (§2.11).
            '\t' | '\n' | '\r' => {
                let _ = write!(text, "&#{};", u32::from(c));
            }
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => {}
            c => text.push(c),
        }
    }
}

/// Returns the content of an element in one canonical form, to be hashed: names, namespaces, attributes and text, independent
/// of prefixes and the order of attributes. Different elements have different digests.
#[must_use]
pub fn digest(element: &Element) -> String {
    let mut text = String::new();
    walk(element, &mut text);
    text
}

fn walk(element: &Element, text: &mut String) {
    let mut piece = |kind: char, words: &str| {
        // The length delimits a piece of any content.
        let _ = write!(text, "{kind}{}:{words}", words.len());
    };
    piece('e', &element.ns());
    piece('n', element.name());
    let mut attributes: Vec<_> = element
        .attrs()
        .iter()
        .map(|((namespace, name), value)| (namespace.as_str(), name.as_str(), value.as_str()))
        .collect();
    attributes.sort_unstable();
    for (namespace, name, value) in attributes {
        piece('s', namespace);
        piece('a', name);
        piece('v', value);
    }
    for node in element.nodes() {
        match node {
            Node::Element(child) => walk(child, text),
            Node::Text(words) => {
                let _ = write!(text, "t{}:{words}", words.len());
            }
        }
    }
    text.push('/');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stanza::{COMPONENT, with};
    use minidom::rxml::Namespace;
    use proptest::prelude::*;

    fn set(element: &mut Element, namespace: Namespace<'static>, name: &str, value: &str) {
        element.set_attr(namespace, NcName::try_from(name).unwrap(), value.to_owned());
    }

    #[test]
    fn stanzas_are_written_with_their_namespaces() {
        let mut body = Element::bare("body", COMPONENT);
        body.append_text("a < b & 'c'\r\n");
        let mut iq = with(with(Element::bare("iq", COMPONENT), body), Element::bare("ping", "urn:xmpp:ping"));
        set(&mut iq, Namespace::NONE, "id", "\"1\"\t");
        let text = write(&iq).unwrap();
        assert_eq!(
            text,
            "<iq xmlns='jabber:component:accept' id='&quot;1&quot;&#9;'><body>a &lt; b &amp; &apos;c&apos;&#13;&#10;</body>\
             <ping xmlns='urn:xmpp:ping'/></iq>"
        );
        assert_eq!(text.parse::<Element>().unwrap(), iq);
        assert_eq!(write(&with(iq, Element::bare("no name", COMPONENT))), None);
    }

    /// minidom's own writer asserts about these.
    #[test]
    fn declarations_of_the_xml_prefix_harm_nobody() {
        let foreign: Element =
            "<a xmlns='b' xmlns:xml='http://www.w3.org/XML/1998/namespace' xml:lang='en' c='d'><e/></a>"
                .parse()
                .unwrap();
        assert_eq!(write(&foreign).unwrap(), "<a xmlns='b' c='d'><e/></a>");
        assert!(digest(&foreign).contains("v2:en"));
    }

    #[test]
    fn a_digest_tells_apart_what_differs() {
        let digests: Vec<String> = [
            "<a xmlns='b'/>",
            "<a xmlns='c'/>",
            "<a xmlns='b' d='e'/>",
            "<a xmlns='b' d='f'/>",
            "<a xmlns='b' xmlns:x='y' x:d='f'/>",
            "<a xmlns='b'>t</a>",
            "<a xmlns='b'>t<a/></a>",
            "<a xmlns='b'><a>t</a></a>",
            "<a xmlns='b'><a/><a/></a>",
            "<a xmlns='b'><a><a/></a></a>",
        ]
        .map(|text| digest(&text.parse().unwrap()))
        .to_vec();
        for (at, one) in digests.iter().enumerate() {
            assert!(!digests[at + 1..].contains(one), "{one}");
        }
        let prefixed: Element = "<x:a xmlns:x='b' e='2' d='1'/>".parse().unwrap();
        assert_eq!(digest(&prefixed), digest(&"<a xmlns='b' d='1' e='2'/>".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn whatever_it_holds_it_is_xml(text in "(.|[\u{0}-\u{1f}\u{7f}-\u{9f}\u{fffd}-\u{ffff}]){0,12}") {
            let mut inner = Element::bare("b", format!("urn:{text}"));
            inner.append_text(text.clone());
            set(&mut inner, Namespace::NONE, "c", &text);
            let written = write(&with(Element::bare("a", COMPONENT), inner)).unwrap();
            let again: Element = written.parse().unwrap();
            let kept: String = text.chars().filter(|c| !matches!(c, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}')).collect();
            let child = again.children().next().unwrap();
            prop_assert_eq!((child.text(), child.attr("c")), (kept.clone(), Some(kept.as_str())));
        }
    }
}
