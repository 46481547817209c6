//! Typed structs to trees.

use serde::{Serialize, ser};
use sexp::Sexp;

use crate::{SerdeError, atom, raw::RAW};

/// A value as a tree. A variant is a list; anything else that is not one element is put in a list.
///
/// # Errors
/// [`SerdeError`] for map keys that are no text.
pub fn to_sexp<T: Serialize + ?Sized>(value: &T) -> Result<Sexp, SerdeError> {
    let elements = value.serialize(Elements)?;
    Ok(match elements {
        Value::Variant(Sexp::Atom(name)) => Sexp::List(vec![Sexp::Atom(name)]),
        Value::Variant(list) => list,
        other => other.one(),
    })
}

/// What a value becomes.
enum Value {
    /// One element.
    One(Sexp),
    /// One element that is a variant.
    Variant(Sexp),
    /// Any number of elements.
    Many(Vec<Sexp>),
    /// An option that is not there.
    Absent,
}

impl Value {
    /// As elements after a name.
    fn many(self) -> Vec<Sexp> {
        match self {
            Value::One(one) | Value::Variant(one) => vec![one],
            Value::Many(many) => many,
            Value::Absent => Vec::new(),
        }
    }

    /// As an item of a sequence.
    fn one(self) -> Sexp {
        match self {
            Value::One(one) | Value::Variant(one) => one,
            Value::Many(many) => Sexp::List(many),
            Value::Absent => Sexp::List(Vec::new()),
        }
    }
}

fn list(name: &str, rest: Vec<Sexp>) -> Sexp {
    Sexp::List(std::iter::once(atom(name)).chain(rest).collect())
}

struct Elements;

/// Gathers the elements of something that has several.
struct Gather {
    variant: Option<&'static str>,
    elements: Vec<Sexp>,
    key: Option<String>,
}

impl Gather {
    fn new(variant: Option<&'static str>) -> Gather {
        Gather {
            variant,
            elements: Vec::new(),
            key: None,
        }
    }

    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerdeError> {
        self.elements.push(value.serialize(Elements)?.one());
        Ok(())
    }

    fn field<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), SerdeError> {
        match value.serialize(Elements).map_err(|error| error.within(key))? {
            Value::Absent => {}
            value => self.elements.push(list(key, value.many())),
        }
        Ok(())
    }

    fn finish(self) -> Value {
        match self.variant {
            Some(name) => Value::Variant(list(name, self.elements)),
            None => Value::Many(self.elements),
        }
    }
}

macro_rules! scalars {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, value: $type) -> Result<Value, SerdeError> {
            Ok(Value::One(atom(&value.to_string())))
        })*
    };
}

impl ser::Serializer for Elements {
    type Ok = Value;
    type Error = SerdeError;
    type SerializeSeq = Gather;
    type SerializeTuple = Gather;
    type SerializeTupleStruct = Gather;
    type SerializeTupleVariant = Gather;
    type SerializeMap = Gather;
    type SerializeStruct = Gather;
    type SerializeStructVariant = Gather;

    scalars!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_i128: i128,
             serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_u128: u128,
             serialize_f32: f32, serialize_f64: f64, serialize_char: char);

    fn serialize_bool(self, value: bool) -> Result<Value, SerdeError> {
        Ok(Value::One(atom(if value { "yes" } else { "no" })))
    }

    fn serialize_str(self, value: &str) -> Result<Value, SerdeError> {
        Ok(Value::One(atom(value)))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Value, SerdeError> {
        Ok(Value::One(atom(&crate::text_from_bytes(value))))
    }

    fn serialize_none(self) -> Result<Value, SerdeError> {
        Ok(Value::Absent)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, SerdeError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Value, SerdeError> {
        Ok(Value::Many(Vec::new()))
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Value, SerdeError> {
        Ok(Value::Many(Vec::new()))
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Value, SerdeError> {
        Ok(Value::Variant(atom(variant)))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<Value, SerdeError> {
        let value = value.serialize(self)?;
        Ok(if name == RAW { Value::One(value.one()) } else { value })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value, SerdeError> {
        let value = value.serialize(self).map_err(|error| error.within(variant))?;
        Ok(Value::Variant(list(variant, value.many())))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Gather, SerdeError> {
        Ok(Gather::new(None))
    }

    fn serialize_tuple(self, _: usize) -> Result<Gather, SerdeError> {
        Ok(Gather::new(None))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Gather, SerdeError> {
        Ok(Gather::new(None))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Gather, SerdeError> {
        Ok(Gather::new(Some(variant)))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Gather, SerdeError> {
        Ok(Gather::new(None))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Gather, SerdeError> {
        Ok(Gather::new(None))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Gather, SerdeError> {
        Ok(Gather::new(Some(variant)))
    }
}

macro_rules! gather_items {
    ($($trait:ident $method:ident),*) => {
        $(impl ser::$trait for Gather {
            type Ok = Value;
            type Error = SerdeError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerdeError> {
                self.item(value)
            }

            fn end(self) -> Result<Value, SerdeError> {
                Ok(self.finish())
            }
        })*
    };
}

gather_items!(
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field
);

macro_rules! gather_fields {
    ($($trait:ident),*) => {
        $(impl ser::$trait for Gather {
            type Ok = Value;
            type Error = SerdeError;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), SerdeError> {
                self.field(key, value)
            }

            fn end(self) -> Result<Value, SerdeError> {
                Ok(self.finish())
            }
        })*
    };
}

gather_fields!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Gather {
    type Ok = Value;
    type Error = SerdeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), SerdeError> {
        match key.serialize(Elements)? {
            Value::One(key) | Value::Variant(key) => {
                self.key = crate::text(&key);
                Ok(())
            }
            Value::Many(_) | Value::Absent => Err(SerdeError::new("a map's key must be a word")),
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerdeError> {
        let key = self
            .key
            .take()
            .ok_or_else(|| SerdeError::new("a map's key must be a word"))?;
        self.field(&key, value)
    }

    fn end(self) -> Result<Value, SerdeError> {
        Ok(self.finish())
    }
}
