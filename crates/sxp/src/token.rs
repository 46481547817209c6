//! The dialect's bytes: classes, and the states between them (xend 4.0 to 4.4; up to 3.4 `!` ends an atom as well).

use crate::error::ReadErrorKind;

pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Bytes that end an atom without being part of it.
pub(crate) fn ends_atom(byte: u8) -> bool {
    is_space(byte)
        || matches!(
            byte,
            b'#' | b'{' | b'}' | b'(' | b')' | b'<' | b'>' | b'[' | b']' | b';'
        )
}

/// Bytes that an atom can begin with: whatever is printable and nothing else, even a separator.
pub(crate) fn begins_atom(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e)
}

/// Where the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Between,
    Comment,
    Atom,
    String { quote: u8 },
    Escape { quote: u8 },
    Octal { quote: u8, value: u32, digits: u8 },
    Hex { quote: u8, value: u8, digits: u8 },
}

/// What a byte after a backslash means.
pub(crate) enum Escape {
    Byte(u8),
    Octal(u32),
    Hex,
    /// A backslash; the byte itself is lost (xend 3.0.4 and later).
    Dropped,
}

pub(crate) fn escape(byte: u8) -> Escape {
    match byte {
        b'a' => Escape::Byte(0x07),
        b'b' => Escape::Byte(0x08),
        b't' => Escape::Byte(b'\t'),
        b'n' => Escape::Byte(b'\n'),
        b'v' => Escape::Byte(0x0b),
        b'f' => Escape::Byte(0x0c),
        b'r' => Escape::Byte(b'\r'),
        b'\\' | b'\'' | b'"' => Escape::Byte(byte),
        b'0'..=b'7' => Escape::Octal(u32::from(byte - b'0')),
        b'x' => Escape::Hex,
        _ => Escape::Dropped,
    }
}

pub(crate) fn octal_byte(value: u32) -> Result<u8, ReadErrorKind> {
    u8::try_from(value).map_err(|_| ReadErrorKind::OctalEscape(value))
}

pub(crate) fn hex_digit(byte: u8) -> Result<u8, ReadErrorKind> {
    char::from(byte)
        .to_digit(16)
        .map(|digit| digit as u8)
        .ok_or(ReadErrorKind::HexEscape)
}
