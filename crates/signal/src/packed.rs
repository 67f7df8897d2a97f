//! Values that are looked at seldom and kept long: octets in memory, as in the record.

use minicbor::decode::Error;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};
use std::fmt::{Debug, Formatter};
use std::ops::Deref;
use std::sync::OnceLock;

/// Value that [`Packed::pack`] keeps as its encoded form, which takes a fraction of the memory; it is decoded when it is looked at.
/// Encoded it is the value itself.
pub struct Packed<T> {
    /// Encoded form; empty after a change.
    octets: Box<[u8]>,
    /// Decoded form, unless nobody has looked at it.
    value: OnceLock<Box<T>>,
}

impl<T: Encode<()>> Packed<T> {
    /// Keeps the encoded form alone.
    pub fn pack(&mut self) {
        let Some(value) = self.value.take() else { return };
        if self.octets.is_empty() {
            let mut encoder = Encoder::new(vec![]);
            // Writing to a vector does not fail.
            let _ = encoder.encode(&*value).map(drop);
            self.octets = encoder.into_writer().into();
        }
    }
}

impl<T> From<T> for Packed<T> {
    fn from(value: T) -> Packed<T> {
        Packed { octets: Box::default(), value: OnceLock::from(Box::new(value)) }
    }
}

impl<T: Default> Default for Packed<T> {
    fn default() -> Packed<T> {
        T::default().into()
    }
}

impl<T: for<'b> Decode<'b, ()> + Default> Deref for Packed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // The octets were written by `pack`, or read once before they were kept.
        self.value.get_or_init(|| minicbor::decode(&self.octets).unwrap_or_default())
    }
}

impl<T: for<'b> Decode<'b, ()> + Default> Packed<T> {
    /// Changes the value.
    pub fn edit<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> R {
        let decode = || Box::new(minicbor::decode(&self.octets).unwrap_or_default());
        let mut value = self.value.take().unwrap_or_else(decode);
        let result = change(&mut value);
        *self = Packed { octets: Box::default(), value: OnceLock::from(value) };
        result
    }
}

impl<T: Clone> Clone for Packed<T> {
    fn clone(&self) -> Packed<T> {
        let value = if self.octets.is_empty() { self.value.clone() } else { OnceLock::new() };
        Packed { octets: self.octets.clone(), value }
    }
}

impl<T: for<'b> Decode<'b, ()> + Default + PartialEq> PartialEq for Packed<T> {
    fn eq(&self, other: &Packed<T>) -> bool {
        let packed = !self.octets.is_empty() && self.octets == other.octets;
        packed || **self == **other
    }
}

impl<T: for<'b> Decode<'b, ()> + Default + Debug> Debug for Packed<T> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        Debug::fmt(&**self, formatter)
    }
}

impl<T: Encode<()>, C> Encode<C> for Packed<T> {
    fn encode<W: Write>(&self, encoder: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        match self.value.get() {
            Some(value) if self.octets.is_empty() => value.encode(encoder, &mut ()),
            _ => encoder.writer_mut().write_all(&self.octets).map_err(EncodeError::write),
        }
    }
}

impl<'b, T: Decode<'b, ()>, C> Decode<'b, C> for Packed<T> {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Packed<T>, Error> {
        let start = decoder.position();
        T::decode(decoder, &mut ())?;
        let octets = decoder.input().get(start..decoder.position()).unwrap_or_default();
        Ok(Packed { octets: octets.into(), value: OnceLock::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Media;
    use crate::media::{Codec, Kind};

    fn described() -> Media {
        let mut media = Media::undescribed(&[Kind::Audio]);
        media.contents[0].codecs = vec![Codec::new(111, "opus", 48_000, 2), Codec::new(8, "PCMA", 8_000, 1)];
        media
    }

    fn octets<T: Encode<()>>(value: &T) -> Vec<u8> {
        minicbor::to_vec(value).unwrap()
    }

    #[test]
    fn packed_or_not_it_is_the_value_and_is_written_as_the_value() {
        let media = described();
        let mut packed = Packed::from(media.clone());
        assert_eq!(octets(&packed), octets(&media));
        packed.pack();
        assert!(packed.value.get().is_none() && packed.octets.len() < 200, "{}", packed.octets.len());
        assert_eq!(octets(&packed), octets(&media));
        assert_eq!(*packed.clone(), media);
        let read: Packed<Media> = minicbor::decode(&octets(&packed)).unwrap();
        assert!(read.value.get().is_none() && read == packed && *read == media);
        assert!(minicbor::decode::<Packed<Media>>(b"\x63abc").is_err(), "it is read before it is kept");
    }

    #[test]
    fn a_change_is_kept() {
        let mut packed = Packed::from(described());
        packed.pack();
        packed.edit(|media| media.contents[0].codecs.pop());
        assert_eq!(packed.contents[0].codecs.len(), 1);
        assert_eq!(packed.clone().contents[0].codecs.len(), 1);
        packed.pack();
        assert_eq!(packed.contents[0].codecs.len(), 1);
        assert_ne!(packed, Packed::from(described()));
        assert_eq!(Packed::<Media>::default(), Media::default().into());
    }
}
