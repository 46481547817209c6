//! xend's S-expression dialect.
//!
//! The tree is [`sexp::Sexp`], of which the reader makes strings and lists only, as xend's does: `1.10` stays `1.10`. The dialect is bytes, a tree's
//! strings are text: see [`text_from_bytes`] for how any bytes survive the way there and back.
//!
//! | part | what |
//! |---|---|
//! | [`Reader`] | incremental, bounded in size and nesting; values come out as their last byte goes in |
//! | [`read_all`] | a whole file, with positions |
//! | [`to_bytes`] | what every xend takes back |
//! | [`to_sexp`], [`from_sexp`] | typed structs, through serde |
//!
//! # Typed structs
//!
//! Every value is a sequence of elements. A scalar is one element, `()` none. A struct or map is a list `(key elements...)` for each field; a field that is
//! `None` is left out. A sequence is its items, one element each: an item that is not one element by itself is put in a list. A variant
//! without content is its name, one with content is `(name elements...)`; a top-level value that is a variant is always a list: `(commit)`. Booleans
//! are written `yes` and `no`, and read in all of xend's spellings. A field that is not known is ignored, and of two with the same name the first counts.

mod de;
mod error;
mod print;
mod raw;
mod reader;
mod ser;
mod text;
mod token;

pub use de::from_sexp;
pub use error::{ReadError, ReadErrorKind, SerdeError};
pub use print::{print_into, quote_single, to_bytes};
pub use raw::Raw;
pub use reader::{Limits, Position, Reader, Spanned, SpannedKind, read_all};
pub use ser::to_sexp;
pub use sexp::{Atom, Sexp};
pub use text::{bytes_of_text, text_from_bytes};

/// A string as a tree.
pub fn atom(text: &str) -> Sexp {
    Sexp::Atom(Atom::S(text.to_owned()))
}

/// The text of an atom; `None` for a list.
pub fn text(value: &Sexp) -> Option<String> {
    match value {
        Sexp::Atom(Atom::S(text)) => Some(text.clone()),
        Sexp::Atom(Atom::I(number)) => Some(number.to_string()),
        Sexp::Atom(Atom::F(number)) => Some(number.to_string()),
        Sexp::List(_) => None,
    }
}
