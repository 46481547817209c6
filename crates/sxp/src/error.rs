//! What can be wrong with S-expressions.

use crate::Position;

/// Bytes that are no S-expression. Where xend has a message, [`ReadErrorKind`] prints it in xend's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct ReadError {
    /// Where: for something unclosed, where it was opened.
    pub position: Position,
    /// What.
    pub kind: ReadErrorKind,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadErrorKind {
    /// A `)` without its `(`.
    #[error("syntax error: )")]
    UnexpectedClose,
    /// A byte that no value begins with.
    #[error("invalid character: code {0}")]
    InvalidCharacter(u8),
    /// The input ended in a string.
    #[error("unexpected EOF: a string is not closed")]
    UnclosedString,
    /// The input ended in a list.
    #[error("unexpected EOF: a list is not closed")]
    UnclosedList,
    /// `\x` without two hexadecimal digits.
    #[error("\\x needs two hexadecimal digits")]
    HexEscape,
    /// An octal escape above 255.
    #[error("octal escape out of range: {0:o}")]
    OctalEscape(u32),
    /// A value longer than the limit.
    #[error("a value of more than {0} bytes")]
    TooLong(usize),
    /// Lists nested deeper than the limit.
    #[error("lists nested deeper than {0}")]
    TooDeep(usize),
    /// A value of too many parts.
    #[error("a value of more than {0} parts")]
    TooMany(usize),
}

impl ReadError {
    /// Whether a limit was passed: whoever sends such things will go on.
    pub fn is_limit(&self) -> bool {
        matches!(
            self.kind,
            ReadErrorKind::TooLong(_) | ReadErrorKind::TooDeep(_) | ReadErrorKind::TooMany(_)
        )
    }
}

/// A tree that does not fit a type, or a type that no tree can hold. The path leads to the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerdeError {
    path: Vec<String>,
    what: String,
}

impl SerdeError {
    pub(crate) fn new(what: impl Into<String>) -> SerdeError {
        SerdeError {
            path: Vec::new(),
            what: what.into(),
        }
    }

    /// Adds where the error happened, from the inside to the outside.
    pub(crate) fn within(mut self, field: &str) -> SerdeError {
        self.path.push(field.to_owned());
        self
    }
}

impl std::fmt::Display for SerdeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, field) in self.path.iter().rev().enumerate() {
            write!(f, "{}{field}", if at == 0 { "" } else { "." })?;
        }
        write!(f, "{}{}", if self.path.is_empty() { "" } else { ": " }, self.what)
    }
}

impl std::error::Error for SerdeError {}

impl serde::ser::Error for SerdeError {
    fn custom<T: std::fmt::Display>(what: T) -> Self {
        SerdeError::new(what.to_string())
    }
}

impl serde::de::Error for SerdeError {
    fn custom<T: std::fmt::Display>(what: T) -> Self {
        SerdeError::new(what.to_string())
    }
}
