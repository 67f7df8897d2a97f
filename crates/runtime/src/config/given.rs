//! Values as they were given: written in the file, or said by the environment, whose text takes the form that its key wants.

use serde::de::value::MapDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt::Display;
use toml::{Table, Value};

/// A value with where it comes from.
#[derive(Clone, Debug)]
pub(super) enum Given {
    /// A scalar of the file.
    Written(Value),
    /// Text of a variable.
    Said(String),
    /// A section.
    Section(BTreeMap<String, Given>),
    /// A list, or sections that repeat.
    List(Vec<Given>),
    /// A member of a list that did not fit and is passed over.
    Gone,
}

/// Why a value does not fit, and at which key.
#[derive(Debug)]
pub(super) struct Misfit {
    /// Keys and places from the innermost outwards.
    pub path: Vec<String>,
    pub why: Why,
}

#[derive(Debug)]
pub(super) enum Why {
    Unknown { key: String, known: &'static [&'static str] },
    Missing(&'static str),
    Other(String),
}

impl From<Value> for Given {
    fn from(value: Value) -> Given {
        match value {
            Value::Table(table) => Given::from(table),
            Value::Array(list) => Given::List(list.into_iter().map(Given::from).collect()),
            scalar => Given::Written(scalar),
        }
    }
}

impl From<Table> for Given {
    fn from(table: Table) -> Given {
        Given::Section(table.into_iter().map(|(key, value)| (key, Given::from(value))).collect())
    }
}

impl Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.why)
    }
}

impl std::error::Error for Misfit {}

impl de::Error for Misfit {
    fn custom<T: Display>(text: T) -> Misfit {
        Misfit { path: vec![], why: Why::Other(text.to_string()) }
    }
    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Misfit {
        Misfit { path: vec![], why: Why::Unknown { key: field.to_owned(), known: expected } }
    }
    fn missing_field(field: &'static str) -> Misfit {
        Misfit { path: vec![], why: Why::Missing(field) }
    }
}

impl Misfit {
    fn at(mut self, key: &str) -> Misfit {
        self.path.push(key.to_owned());
        self
    }
}

/// A list in TOML's form, or parts between commas.
fn list(text: &str) -> Given {
    if text.trim_start().starts_with('[')
        && let Ok(mut table) = toml::from_str::<Table>(&format!("v = {text}"))
        && let Some(value) = table.remove("v")
    {
        return Given::from(value);
    }
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    Given::List(parts.map(|part| Given::Said(part.to_owned())).collect())
}

impl Given {
    fn number<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let Given::Said(text) = &self else { return self.deserialize_any(visitor) };
        let text = text.trim();
        if let Ok(number) = text.parse::<u64>() {
            visitor.visit_u64(number)
        } else if let Ok(number) = text.parse::<i64>() {
            visitor.visit_i64(number)
        } else if let Ok(number) = text.parse::<f64>() {
            visitor.visit_f64(number)
        } else {
            Err(de::Error::custom(format_args!("\"{text}\" is no number")))
        }
    }
}

impl<'de> Deserializer<'de> for Given {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self {
            Given::Said(text) | Given::Written(Value::String(text)) => visitor.visit_string(text),
            Given::Written(Value::Integer(number)) => visitor.visit_i64(number),
            Given::Written(Value::Float(number)) => visitor.visit_f64(number),
            Given::Written(Value::Boolean(truth)) => visitor.visit_bool(truth),
            Given::Written(Value::Datetime(date)) => visitor.visit_string(date.to_string()),
            Given::Written(Value::Array(_) | Value::Table(_)) => {
                Err(de::Error::custom("a scalar is expected here"))
            }
            Given::Section(table) => visitor.visit_map(Keys(MapDeserializer::new(table.into_iter()), None)),
            Given::List(list) => {
                let members = list.into_iter().enumerate();
                visitor.visit_seq(Members(members.filter(|(_, member)| !matches!(member, Given::Gone))))
            }
            Given::Gone => Err(de::Error::custom("nothing stands here")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match &self {
            Given::Said(text) => match text.trim() {
                "true" => visitor.visit_bool(true),
                "false" => visitor.visit_bool(false),
                other => Err(de::Error::custom(format_args!("\"{other}\" is neither true nor false"))),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self {
            Given::Said(text) => list(&text).deserialize_any(visitor),
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match self {
            Given::Said(text) | Given::Written(Value::String(text)) => {
                visitor.visit_enum(text.into_deserializer())
            }
            _ => Err(de::Error::custom("a word is expected here")),
        }
    }

    serde::forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier ignored_any
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.number(visitor)
    }
    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.number(visitor)
    }
    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.number(visitor)
    }
    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.number(visitor)
    }
    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.number(visitor)
    }
    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.number(visitor)
    }
    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.number(visitor)
    }
    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.number(visitor)
    }
    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.number(visitor)
    }
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.number(visitor)
    }
}

impl IntoDeserializer<'_, Misfit> for Given {
    type Deserializer = Given;
    fn into_deserializer(self) -> Given {
        self
    }
}

/// Remembers the key for the error.
struct Keys<'de, I: Iterator<Item = (String, Given)>>(MapDeserializer<'de, I, Misfit>, Option<String>);

impl<'de, I: Iterator<Item = (String, Given)>> MapAccess<'de> for Keys<'de, I> {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Misfit> {
        let mut name = None;
        let key = self.0.next_key_seed(Noting(seed, &mut name));
        self.1 = name;
        key
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Misfit> {
        self.0.next_value_seed(seed).map_err(|misfit| misfit.at(self.1.as_deref().unwrap_or_default()))
    }
}

/// Notes the key while it is read.
struct Noting<'a, K>(K, &'a mut Option<String>);

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for Noting<'_, K> {
    type Value = K::Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<K::Value, D::Error> {
        let name = <String as serde::Deserialize>::deserialize(deserializer)?;
        *self.1 = Some(name.clone());
        self.0.deserialize(name.into_deserializer())
    }
}

/// Members of a list with their numbers, for the error.
struct Members<I: Iterator<Item = (usize, Given)>>(I);

impl<'de, I: Iterator<Item = (usize, Given)>> SeqAccess<'de> for Members<I> {
    type Error = Misfit;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Misfit> {
        let Some((place, member)) = self.0.next() else { return Ok(None) };
        seed.deserialize(member).map(Some).map_err(|misfit| misfit.at(&place.to_string()))
    }
}
