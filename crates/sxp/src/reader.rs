//! The incremental reader.

use sexp::{Atom, Sexp};

use crate::{
    error::{ReadError, ReadErrorKind},
    text::text_from_bytes,
    token::{self, Escape, State},
};

/// What a reader takes at most. Memory is bounded by it whatever comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one top-level value, with the space and comments before it.
    pub max_bytes: usize,
    /// Lists within lists.
    pub max_depth: usize,
    /// Atoms, strings and lists in one top-level value, and backslashes that are remembered: each takes some forty times what it takes as text.
    pub max_parts: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_bytes: 1 << 20,
            max_depth: 64,
            max_parts: 1 << 15,
        }
    }
}

/// A place in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Bytes from the beginning.
    pub offset: u64,
    /// Line, from 1.
    pub line: u32,
    /// Column in bytes, from 1.
    pub column: u32,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned {
    /// Its first byte.
    pub position: Position,
    /// The value.
    pub kind: SpannedKind,
}

/// A value of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpannedKind {
    /// An atom or string.
    Atom {
        /// Its text.
        text: String,
        /// Whether it stood in quotes.
        quoted: bool,
        /// Backslashes whose next byte was lost, because the two are no escape: `'\.'` is `\` alone.
        dropped: Vec<Position>,
    },
    /// A list.
    List(Vec<Spanned>),
}

impl Spanned {
    /// The value without places.
    pub fn to_sexp(&self) -> Sexp {
        match &self.kind {
            SpannedKind::Atom { text, .. } => Sexp::Atom(Atom::S(text.clone())),
            SpannedKind::List(list) => Sexp::List(list.iter().map(Spanned::to_sexp).collect()),
        }
    }
}

/// Reads values out of bytes as they come, in whatever pieces.
#[derive(Clone, Debug)]
pub struct Reader {
    limits: Limits,
    state: State,
    here: Position,
    used: usize,
    parts: usize,
    open: Vec<(Position, Vec<Spanned>)>,
    start: Position,
    token: Vec<u8>,
    dropped: Vec<Position>,
    ended: bool,
}

impl Reader {
    /// A reader at the beginning of its input.
    pub fn new(limits: Limits) -> Reader {
        let here = Position {
            offset: 0,
            line: 1,
            column: 1,
        };
        Reader {
            limits,
            state: State::Between,
            here,
            used: 0,
            parts: 0,
            open: Vec::new(),
            start: here,
            token: Vec::new(),
            dropped: Vec::new(),
            ended: false,
        }
    }

    /// Takes bytes up to the end of the next value; says how many it took, and the value if it is complete. What ends an atom is not taken. Without a value all
    /// bytes were taken. A byte 0x04 between top-level values ends the input, as xend has it: whatever follows is dropped.
    ///
    /// # Errors
    /// [`ReadError`]; then [`Reader::reset`] before anything else.
    pub fn feed(&mut self, input: &[u8]) -> Result<(usize, Option<Sexp>), ReadError> {
        let (used, value) = self.feed_spanned(input)?;
        Ok((used, value.map(|value| value.to_sexp())))
    }

    fn feed_spanned(&mut self, input: &[u8]) -> Result<(usize, Option<Spanned>), ReadError> {
        for (at, &byte) in input.iter().enumerate() {
            if self.ended {
                break;
            }
            if self.state == State::Atom && token::ends_atom(byte) {
                self.state = State::Between;
                if let Some(value) = self.finish_token(false) {
                    return Ok((at, Some(value)));
                }
            }
            self.used += 1;
            if self.used > self.limits.max_bytes {
                return Err(self.error(ReadErrorKind::TooLong(self.limits.max_bytes)));
            }
            if self.parts > self.limits.max_parts {
                return Err(self.error(ReadErrorKind::TooMany(self.limits.max_parts)));
            }
            let value = self.byte(byte)?;
            self.advance(byte);
            if value.is_some() {
                return Ok((at + 1, value));
            }
        }
        Ok((input.len(), None))
    }

    /// The input has ended: gives the last atom, if it ends with the input.
    ///
    /// Stricter than xend, which drops a list that ends within an atom (`(a`) without a word: here it is an error with the place of its `(`.
    ///
    /// # Errors
    /// [`ReadErrorKind::UnclosedList`], [`ReadErrorKind::UnclosedString`].
    pub fn finish(&mut self) -> Result<Option<Sexp>, ReadError> {
        Ok(self.finish_spanned()?.map(|value| value.to_sexp()))
    }

    fn finish_spanned(&mut self) -> Result<Option<Spanned>, ReadError> {
        match self.state {
            State::String { .. } | State::Escape { .. } | State::Octal { .. } | State::Hex { .. } => Err(ReadError {
                position: self.start,
                kind: ReadErrorKind::UnclosedString,
            }),
            _ => match self.open.first() {
                Some((position, _)) => Err(ReadError {
                    position: *position,
                    kind: ReadErrorKind::UnclosedList,
                }),
                None if self.state == State::Atom => {
                    self.state = State::Between;
                    Ok(self.finish_token(false))
                }
                None => Ok(None),
            },
        }
    }

    /// Forgets what has begun. Positions go on.
    pub fn reset(&mut self) {
        *self = Reader {
            here: self.here,
            ..Reader::new(self.limits)
        };
    }

    fn error(&self, kind: ReadErrorKind) -> ReadError {
        ReadError {
            position: self.here,
            kind,
        }
    }

    fn advance(&mut self, byte: u8) {
        self.here.offset += 1;
        if byte == b'\n' {
            self.here.line += 1;
            self.here.column = 1;
        } else {
            self.here.column += 1;
        }
    }

    fn byte(&mut self, byte: u8) -> Result<Option<Spanned>, ReadError> {
        match self.state {
            State::Between => return self.between(byte),
            State::Comment if byte == b'\n' => self.state = State::Between,
            State::Comment => {}
            State::Atom => self.token.push(byte),
            State::String { quote } => return Ok(self.in_string(quote, byte)),
            State::Escape { quote } => {
                self.state = State::String { quote };
                match token::escape(byte) {
                    Escape::Byte(byte) => self.token.push(byte),
                    Escape::Octal(value) => {
                        self.state = State::Octal {
                            quote,
                            value,
                            digits: 1,
                        }
                    }
                    Escape::Hex => {
                        self.state = State::Hex {
                            quote,
                            value: 0,
                            digits: 0,
                        }
                    }
                    Escape::Dropped => {
                        self.token.push(b'\\');
                        self.parts += 1;
                        self.dropped.push(Position {
                            offset: self.here.offset - 1,
                            column: self.here.column.saturating_sub(1).max(1),
                            ..self.here
                        });
                    }
                }
            }
            State::Octal { quote, value, digits } => {
                if digits < 3 && matches!(byte, b'0'..=b'7') {
                    let value = value * 8 + u32::from(byte - b'0');
                    self.state = State::Octal {
                        quote,
                        value,
                        digits: digits + 1,
                    };
                } else {
                    let octal = token::octal_byte(value).map_err(|kind| self.error(kind))?;
                    self.token.push(octal);
                    self.state = State::String { quote };
                    return Ok(self.in_string(quote, byte));
                }
            }
            State::Hex { quote, value, digits } => {
                let value = value << 4 | token::hex_digit(byte).map_err(|kind| self.error(kind))?;
                if digits == 1 {
                    self.token.push(value);
                    self.state = State::String { quote };
                } else {
                    self.state = State::Hex {
                        quote,
                        value,
                        digits: 1,
                    };
                }
            }
        }
        Ok(None)
    }

    fn in_string(&mut self, quote: u8, byte: u8) -> Option<Spanned> {
        if byte == quote {
            self.state = State::Between;
            return self.finish_token(true);
        }
        if byte == b'\\' {
            self.state = State::Escape { quote };
        } else {
            self.token.push(byte);
        }
        None
    }

    fn between(&mut self, byte: u8) -> Result<Option<Spanned>, ReadError> {
        match byte {
            byte if token::is_space(byte) => {}
            b'#' => self.state = State::Comment,
            b'(' => {
                if self.open.len() >= self.limits.max_depth {
                    return Err(self.error(ReadErrorKind::TooDeep(self.limits.max_depth)));
                }
                self.parts += 1;
                self.open.push((self.here, Vec::new()));
            }
            b')' => {
                let Some((position, list)) = self.open.pop() else {
                    return Err(self.error(ReadErrorKind::UnexpectedClose));
                };
                return Ok(self.place(Spanned {
                    position,
                    kind: SpannedKind::List(list),
                }));
            }
            b'\'' | b'"' => {
                self.start = self.here;
                self.state = State::String { quote: byte };
            }
            0x04 if self.open.is_empty() => self.ended = true,
            byte if token::begins_atom(byte) => {
                self.start = self.here;
                self.token.push(byte);
                self.state = State::Atom;
            }
            byte => return Err(self.error(ReadErrorKind::InvalidCharacter(byte))),
        }
        Ok(None)
    }

    fn finish_token(&mut self, quoted: bool) -> Option<Spanned> {
        let text = text_from_bytes(&self.token);
        self.token.clear();
        let dropped = std::mem::take(&mut self.dropped);
        self.parts += 1;
        self.place(Spanned {
            position: self.start,
            kind: SpannedKind::Atom { text, quoted, dropped },
        })
    }

    /// Puts a value into the list that is open; gives it out if none is.
    fn place(&mut self, value: Spanned) -> Option<Spanned> {
        match self.open.last_mut() {
            Some((_, list)) => {
                list.push(value);
                None
            }
            None => {
                self.used = 0;
                self.parts = 0;
                Some(value)
            }
        }
    }
}

/// Reads a whole input, with positions.
///
/// # Errors
/// The first [`ReadError`].
pub fn read_all(mut input: &[u8], limits: Limits) -> Result<Vec<Spanned>, ReadError> {
    let mut reader = Reader::new(limits);
    let mut values = Vec::new();
    loop {
        let (used, value) = reader.feed_spanned(input)?;
        match value {
            Some(value) => values.push(value),
            None => break,
        }
        input = input.get(used..).unwrap_or_default();
    }
    values.extend(reader.finish_spanned()?);
    Ok(values)
}
