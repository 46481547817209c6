//! The printer: what every xend takes back.

use sexp::{Atom, Sexp};

use crate::text::bytes_of_text;

/// A value on one line, without a newline at the end.
pub fn to_bytes(value: &Sexp) -> Vec<u8> {
    let mut out = Vec::new();
    print_into(value, &mut out);
    out
}

/// Adds a value to `out`. Recurses as deep as the tree, which the reader's limits bound.
pub fn print_into(value: &Sexp, out: &mut Vec<u8>) {
    match value {
        Sexp::Atom(Atom::S(text)) => string(&bytes_of_text(text), out),
        Sexp::Atom(Atom::I(number)) => out.extend_from_slice(number.to_string().as_bytes()),
        Sexp::Atom(Atom::F(number)) => out.extend_from_slice(number.to_string().as_bytes()),
        Sexp::List(list) => {
            out.push(b'(');
            for (at, item) in list.iter().enumerate() {
                if at > 0 {
                    out.push(b' ');
                }
                print_into(item, out);
            }
            out.push(b')');
        }
    }
}

fn string(bytes: &[u8], out: &mut Vec<u8>) {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_:/~".contains(byte);
    if (!bytes.is_empty() && bytes.iter().all(plain)) || bytes == b"@" {
        out.extend_from_slice(bytes);
        return;
    }
    // As Python's repr chooses.
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') {
        b'"'
    } else {
        b'\''
    };
    out.push(quote);
    for &byte in bytes {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            byte if byte == quote => out.extend_from_slice(&[b'\\', byte]),
            0x20..=0x7e => out.push(byte),
            byte => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
    out.push(quote);
}

/// Text in single quotes for an `(err ...)` that an xend's sender finds by a regular expression: it must not be empty, and hold no quote and no line end. Quotes
/// become backticks, other bytes that do not print become `?`, and 800 bytes are enough for the 1024 that it reads.
pub fn quote_single(text: &str) -> String {
    let harmless = |c: char| match c {
        '\'' | '"' => '`',
        '\\' => '/',
        ' '..='~' => c,
        _ => '?',
    };
    let inner: String = text.chars().take(800).map(harmless).collect();
    format!("'{}'", if inner.is_empty() { "no reason given" } else { &inner })
}
