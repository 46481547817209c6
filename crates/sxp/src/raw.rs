//! A subtree as it is, within typed structs.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sexp::{Atom, Sexp};

/// A subtree that is no concern of the type around it: `config: Raw` is `(config (domain ...))`.
#[derive(Clone, Debug, PartialEq)]
pub struct Raw(pub Sexp);

/// The names under which the two ends of this crate recognise a raw tree.
pub(crate) const RAW: &str = "$sxp::raw";

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(RAW, &Tree(&self.0))
    }
}

/// Other formats see nested sequences of strings.
struct Tree<'a>(&'a Sexp);

impl Serialize for Tree<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Sexp::List(list) => serializer.collect_seq(list.iter().map(Tree)),
            Sexp::Atom(Atom::S(text)) => serializer.serialize_str(text),
            Sexp::Atom(Atom::I(number)) => serializer.serialize_i64(*number),
            Sexp::Atom(Atom::F(number)) => serializer.serialize_f64(*number),
        }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Raw;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an S-expression")
            }

            fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
                Ok(Raw(crate::atom(text)))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
                let mut list = Vec::new();
                while let Some(Raw(item)) = items.next_element()? {
                    list.push(item);
                }
                Ok(Raw(Sexp::List(list)))
            }
        }
        deserializer.deserialize_newtype_struct(RAW, Visitor)
    }
}
