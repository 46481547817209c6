//! Trees to typed structs.

use std::collections::HashSet;

use serde::de::{self, DeserializeOwned, DeserializeSeed, Visitor, value::StrDeserializer};
use sexp::{Atom, Sexp};

use crate::{SerdeError, raw::RAW};

/// A typed value out of a tree.
///
/// # Errors
/// [`SerdeError`] with the path to what does not fit.
pub fn from_sexp<T: DeserializeOwned>(value: &Sexp) -> Result<T, SerdeError> {
    T::deserialize(Elements::One(value))
}

/// What a value is read from.
#[derive(Clone, Copy)]
enum Elements<'a> {
    /// One element: the top, or an item of a sequence.
    One(&'a Sexp),
    /// What follows a name.
    After(&'a [Sexp]),
}

impl<'a> Elements<'a> {
    /// The one element.
    fn one(self) -> Result<&'a Sexp, SerdeError> {
        match self {
            Elements::One(one) | Elements::After([one]) => Ok(one),
            Elements::After(several) => Err(SerdeError::new(format!(
                "expected one element, found {}",
                several.len()
            ))),
        }
    }

    /// All elements.
    fn all(self) -> Result<&'a [Sexp], SerdeError> {
        match self {
            Elements::After(all) => Ok(all),
            Elements::One(Sexp::List(all)) => Ok(all),
            Elements::One(one) => Err(SerdeError::new(format!("expected a list, found {}", show(one)))),
        }
    }

    /// A word or string. xend up to 4.0 prints an empty one as nothing at all.
    fn text(self) -> Result<String, SerdeError> {
        if let Elements::After([]) = self {
            return Ok(String::new());
        }
        let one = self.one()?;
        crate::text(one).ok_or_else(|| SerdeError::new(format!("expected a word, found {}", show(one))))
    }

    fn number<T: std::str::FromStr>(self, what: &str) -> Result<T, SerdeError> {
        let text = self.text()?;
        text.trim()
            .parse()
            .map_err(|_| SerdeError::new(format!("expected {what}, found '{}'", cut(&text))))
    }
}

fn cut(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_default).collect()
}

fn show(value: &Sexp) -> String {
    match value {
        Sexp::List(list) => format!("a list of {}", list.len()),
        Sexp::Atom(_) => format!("'{}'", cut(&crate::text(value).unwrap_or_default())),
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident: $what:literal),*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
            visitor.$visit(self.number($what)?)
        })*
    };
}

impl<'de> de::Deserializer<'de> for Elements<'_> {
    type Error = SerdeError;

    numbers!(
        deserialize_i8 visit_i8: "a number", deserialize_i16 visit_i16: "a number", deserialize_i32 visit_i32: "a number",
        deserialize_i64 visit_i64: "a number", deserialize_i128 visit_i128: "a number",
        deserialize_u8 visit_u8: "a number of 0 to 255", deserialize_u16 visit_u16: "a number of 0 to 65535",
        deserialize_u32 visit_u32: "a number from 0 on", deserialize_u64 visit_u64: "a number from 0 on",
        deserialize_u128 visit_u128: "a number from 0 on",
        deserialize_f32 visit_f32: "a number", deserialize_f64 visit_f64: "a number",
        deserialize_char visit_char: "a character"
    );

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self {
            Elements::One(Sexp::Atom(_)) | Elements::After([Sexp::Atom(_)]) => self.deserialize_string(visitor),
            _ => self.deserialize_seq(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        let text = self.text()?;
        match text.to_ascii_lowercase().as_str() {
            "yes" | "y" | "1" | "on" | "true" | "t" => visitor.visit_bool(true),
            "no" | "n" | "0" | "off" | "false" | "f" => visitor.visit_bool(false),
            _ => Err(SerdeError::new(format!("expected yes or no, found '{}'", cut(&text)))),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        visitor.visit_string(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        visitor.visit_string(self.text()?)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        visitor.visit_string(self.text()?)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        visitor.visit_byte_buf(crate::bytes_of_text(&self.text()?))
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.all()? {
            [] => visitor.visit_unit(),
            some => Err(SerdeError::new(format!(
                "expected nothing, found {} elements",
                some.len()
            ))),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, SerdeError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        if name != RAW {
            return visitor.visit_newtype_struct(self);
        }
        match self.one()? {
            Sexp::List(list) => visitor.visit_seq(Items(list.iter())),
            Sexp::Atom(Atom::S(text)) => visitor.visit_str(text),
            other => visitor.visit_str(&crate::text(other).unwrap_or_default()),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        visitor.visit_seq(Items(self.all()?.iter()))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, SerdeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        visitor.visit_map(Fields {
            rest: self.all()?.iter(),
            seen: HashSet::new(),
            value: ("", &[]),
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        let one = self.one()?;
        let (name, rest) = match one {
            Sexp::Atom(_) => (one, [].as_slice()),
            Sexp::List(list) => list
                .split_first()
                .ok_or_else(|| SerdeError::new("expected (name ...), found ()"))?,
        };
        let name =
            crate::text(name).ok_or_else(|| SerdeError::new(format!("expected (name ...), found {}", show(one))))?;
        let at = name.clone();
        visitor
            .visit_enum(Variant { name, rest })
            .map_err(|error| error.within(&at))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        visitor.visit_unit()
    }
}

struct Items<'a>(std::slice::Iter<'a, Sexp>);

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = SerdeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, SerdeError> {
        self.0
            .next()
            .map(|item| seed.deserialize(Elements::One(item)))
            .transpose()
    }
}

struct Fields<'a> {
    rest: std::slice::Iter<'a, Sexp>,
    seen: HashSet<&'a str>,
    value: (&'a str, &'a [Sexp]),
}

impl<'de> de::MapAccess<'de> for Fields<'_> {
    type Error = SerdeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, SerdeError> {
        for field in self.rest.by_ref() {
            // Whatever is no (key ...) is none of ours, as with xend's accessors.
            let Sexp::List(list) = field else { continue };
            let Some((Sexp::Atom(Atom::S(key)), value)) = list.split_first() else {
                continue;
            };
            if self.seen.insert(key) {
                self.value = (key, value);
                return seed.deserialize(StrDeserializer::<SerdeError>::new(key)).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, SerdeError> {
        let (key, value) = self.value;
        seed.deserialize(Elements::After(value))
            .map_err(|error| error.within(key))
    }
}

struct Variant<'a> {
    name: String,
    rest: &'a [Sexp],
}

impl<'a, 'de> de::EnumAccess<'de> for Variant<'a> {
    type Error = SerdeError;
    type Variant = Content<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Content<'a>), SerdeError> {
        let name = seed.deserialize(StrDeserializer::<SerdeError>::new(&self.name))?;
        Ok((name, Content(self.rest)))
    }
}

struct Content<'a>(&'a [Sexp]);

impl<'de> de::VariantAccess<'de> for Content<'_> {
    type Error = SerdeError;

    fn unit_variant(self) -> Result<(), SerdeError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, SerdeError> {
        seed.deserialize(Elements::After(self.0))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, SerdeError> {
        de::Deserializer::deserialize_seq(Elements::After(self.0), visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, SerdeError> {
        de::Deserializer::deserialize_map(Elements::After(self.0), visitor)
    }
}
