//! One tag: its name, attributes and declarations.
//!
//! One rule: what quick-xml does not check of a tag is checked here (XML 1.0 §3.1, Namespaces in XML 1.0). Start at [`element`].

use crate::tree::Malformed;
use minidom::Element;
use quick_xml::XmlVersion;
use quick_xml::events::BytesStart;
use quick_xml::events::attributes::{Attribute, Attributes};
use quick_xml::name::{self, NamespaceResolver, PrefixDeclaration, QName, ResolveResult};
use rxml::strings::validate_cdata;
use rxml::{AttrMap, NameStr, Namespace, NcName, NcNameStr};
use std::borrow::Cow;

/// Reads the element of a start tag, without content. Its declarations are then in `scope`, on a level of their own. The scope holds at
/// most 128, which bounds what finding one costs.
///
/// # Errors
/// [`Malformed`]
pub fn element(tag: &BytesStart<'_>, scope: &mut NamespaceResolver) -> Result<Element, Malformed> {
    scope.set_level(scope.level().checked_add(1).ok_or(Malformed)?);
    let mut attributes = AttrMap::new();
    let mut prefixed: Vec<(QName<'_>, Cow<'_, str>)> = vec![];
    for attribute in tag.attributes() {
        let attribute = attribute?;
        let (name, value) = (attribute.key, value(tag, &attribute)?);
        match name.as_namespace_binding() {
            Some(declaration) => declare(scope, declaration, &value)?,
            None if name.prefix().is_some() => prefixed.push((name, value)),
            None => insert(&mut attributes, Namespace::NONE, name.0, value)?,
        }
    }
    for (name, value) in prefixed {
        let (ResolveResult::Bound(namespace), local) = scope.resolve_attribute(name) else {
            return Err(Malformed);
        };
        insert(&mut attributes, Namespace::from_str(namespace.0).into_static(), local.into_inner(), value)?;
    }
    let name = tag.name();
    let namespace = match scope.resolve_element(name).0 {
        // `xmlns` is before no element's name (Namespaces in XML 1.0 §3), and XML defines no element in `xml`.
        ResolveResult::Bound(_)
            if name.prefix().is_some_and(|prefix| prefix.is_xml() || prefix.is_xmlns()) =>
        {
            return Err(Malformed);
        }
        ResolveResult::Bound(namespace) => namespace.0,
        ResolveResult::Unbound => "",
        ResolveResult::Unknown(_) => return Err(Malformed),
    };
    let local = <&NcNameStr>::try_from(name.local_name().into_inner())?;
    let mut element = Element::bare(local.as_str(), namespace);
    *element.attrs_mut() = attributes;
    Ok(element)
}

/// Adds an attribute, of which there may be one with its namespace and name (Namespaces in XML 1.0 §6.3).
fn insert(
    to: &mut AttrMap,
    namespace: Namespace<'static>,
    name: &str,
    value: Cow<'_, str>,
) -> Result<(), Malformed> {
    match to.insert(namespace, NcName::try_from(name)?, value.into_owned()) {
        Some(_) => Err(Malformed),
        None => Ok(()),
    }
}

/// Adds a declaration to the scope, which itself checks those of and with the prefixes `xml` and `xmlns`.
fn declare(
    scope: &mut NamespaceResolver,
    declaration: PrefixDeclaration<'_>,
    namespace: &str,
) -> Result<(), Malformed> {
    let permitted = match declaration {
        // Namespaces in XML 1.0 §3
        PrefixDeclaration::Default => {
            ![Namespace::XML.as_str(), Namespace::XMLNS.as_str()].contains(&namespace)
        }
        // §5: only the default is undeclared.
        PrefixDeclaration::Named(prefix) => !namespace.is_empty() && <&NcNameStr>::try_from(prefix).is_ok(),
    };
    if !permitted {
        return Err(Malformed);
    }
    Ok(scope.add(declaration, name::Namespace(namespace))?)
}

/// Returns the value of an attribute within `tag`, its references resolved and its white space normalised (XML 1.0 §3.3.3).
fn value<'a>(tag: &str, attribute: &Attribute<'a>) -> Result<Cow<'a, str>, Malformed> {
    let before = attribute.key.0.as_ptr().addr().wrapping_sub(tag.as_ptr().addr()).wrapping_sub(1);
    // White space is before each attribute, and no `<` in its value (XML 1.0 §3.1).
    if !tag.as_bytes().get(before).is_some_and(u8::is_ascii_whitespace) || attribute.value.contains('<') {
        return Err(Malformed);
    }
    let value = attribute.normalized_value(XmlVersion::Implicit1_0)?;
    // XML 1.0 §2.2; references may stand for no other characters (§4.1).
    validate_cdata(&value)?;
    Ok(value)
}

/// First tag of a stanza that is not read.
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
    let text = octets.utf8_chunks().next()?.valid();
    let tag = text.strip_prefix('<')?;
    let length = tag.find([' ', '\t', '\n', '\r', '/', '>']).filter(|length| *length > 0)?;
    let (name, _) = tag.split_at_checked(length)?;
    let readable = |attribute: Result<Attribute<'_>, _>| {
        let attribute = attribute.ok()?;
        let name = <&NameStr>::try_from(attribute.key.0).ok()?;
        Some((name.as_str().to_owned(), value(tag, &attribute).ok()?.into_owned()))
    };
    let attributes = Attributes::new(tag, length).map_while(readable);
    Some(Tag {
        name: <&NcNameStr>::try_from(name).is_ok().then(|| name.to_owned()),
        attributes: attributes.filter(|(name, _)| !name.contains(':') && name != "xmlns").collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name and attributes of a first tag, in one line.
    fn read(octets: &[u8]) -> Option<String> {
        let tag = first_tag(octets)?;
        let attributes = tag.attributes.iter().map(|(name, value)| format!(" {name}={value}"));
        Some(format!("{}{}", tag.name.as_deref().unwrap_or("-"), attributes.collect::<String>()))
    }

    #[test]
    fn a_first_tag_is_read_up_to_its_first_fault() {
        let tags: [(&[u8], Option<&str>); 14] = [
            (b"<iq id = '1' xmlns='q' a:b='c' from=\"m@e\"><b c='d'/></iq>", Some("iq id=1 from=m@e")),
            (b"<iq id='1'/>", Some("iq id=1")),
            (b"<iq id='1' ><b='2'/>", Some("iq id=1")),
            (b"<iq id='&lt;\r\n1' from='&nobody;' to='d'/>", Some("iq id=< 1")),
            (b"<iq id='1' from='<' to='d'/>", Some("iq id=1")),
            (b"<iq id='1'from='m@e'/>", Some("iq id=1")),
            (b"<iq id='1' id='2'/>", Some("iq id=1")),
            (b"<iq id='1' from='&#1;' to='d'/>", Some("iq id=1")),
            (b"<iq id='1' from='\xff' to='d'/>", Some("iq id=1")),
            (b"<iq id='1' from='m@e", Some("iq id=1")),
            (b"<a:iq id='1'>", Some("- id=1")),
            (b"<iq", None),
            (b"</iq>", None),
            (b"", None),
        ];
        for (octets, expected) in tags {
            assert_eq!(read(octets).as_deref(), expected, "{}", octets.escape_ascii());
        }
    }
}
