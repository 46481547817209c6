//! Values, from the text that stands for them.

use std::{ffi::OsString, net::IpAddr, os::unix::ffi::OsStringExt, path::PathBuf};

use crate::keys::Kind;

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// And what looks wrong.
    Warn,
    /// And what happens.
    Info,
    /// And why.
    Debug,
    /// And everything.
    Trace,
}

/// Where the relocation ports listen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// On all addresses.
    All,
    /// On one.
    Address(IpAddr),
    /// On that of an interface or host of this name.
    Name(String),
}

/// A value, by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Bool(bool),
    Number(u64),
    Text(String),
    Path(Option<PathBuf>),
    Level(LogLevel),
    Address(ListenAddress),
}

/// Where xend looks for certificates that are named without a directory.
const XEN_DIRECTORY: &str = "/etc/xen";

impl Kind {
    /// The value that `text` stands for; `None` if it is none of this kind.
    pub(crate) fn read(self, text: &str) -> Option<Value> {
        match self {
            Kind::Bool => boolean(text).map(Value::Bool),
            Kind::Number { min, max, .. } => integer(text)
                .filter(|number| (min..=max).contains(number))
                .map(Value::Number),
            Kind::Text | Kind::Hosts | Kind::Any => Some(Value::Text(text.to_owned())),
            Kind::Path | Kind::XenFile if text.is_empty() => Some(Value::Path(None)),
            Kind::XenFile if !text.contains('/') && text != ".." && text != "." => {
                path(&format!("{XEN_DIRECTORY}/{text}"))
            }
            Kind::Path | Kind::XenFile | Kind::Directory => path(text),
            Kind::Level => level(text).map(Value::Level),
            Kind::Address => address(text).map(Value::Address),
        }
    }

    /// What is accepted, for messages.
    pub(crate) fn expected(self) -> String {
        match self {
            Kind::Bool => "yes or no (or y 1 on true t, n 0 off false f)".to_owned(),
            Kind::Number { min, max, of } => format!("{of}, {min} to {max}"),
            Kind::Text | Kind::Hosts => "text".to_owned(),
            Kind::Any => "text or a list".to_owned(),
            Kind::Path => "an absolute path, or ''".to_owned(),
            Kind::Directory => "an absolute path".to_owned(),
            Kind::XenFile => format!("an absolute path, a bare file name in {XEN_DIRECTORY}, or ''"),
            Kind::Level => "CRITICAL, ERROR, WARNING, INFO, DEBUG, TRACE or NOTSET".to_owned(),
            Kind::Address => "an address, an interface, a host name, or ''".to_owned(),
        }
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "yes" | "y" | "1" | "on" | "true" | "t" => Some(true),
        "no" | "n" | "0" | "off" | "false" | "f" => Some(false),
        _ => None,
    }
}

/// As Python's `int()`: blanks around it, a sign, leading zeros, but no `0x`.
fn integer(text: &str) -> Option<u64> {
    let text = text.trim_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    // Rust takes a sign too: a second one must not slip through.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    (!negative || number == 0).then_some(number)
}

fn path(text: &str) -> Option<Value> {
    let bytes = sxp::bytes_of_text(text);
    let usable = bytes.first() == Some(&b'/') && !bytes.contains(&0) && bytes.len() < 4096;
    usable.then(|| Value::Path(Some(PathBuf::from(OsString::from_vec(bytes)))))
}

fn level(text: &str) -> Option<LogLevel> {
    match text.to_ascii_uppercase().as_str() {
        "CRITICAL" | "FATAL" | "ERROR" => Some(LogLevel::Error),
        "WARN" | "WARNING" => Some(LogLevel::Warn),
        "INFO" => Some(LogLevel::Info),
        "DEBUG" => Some(LogLevel::Debug),
        // Python's "nothing is held back".
        "TRACE" | "NOTSET" => Some(LogLevel::Trace),
        _ => None,
    }
}

fn address(text: &str) -> Option<ListenAddress> {
    if text.is_empty() {
        return Some(ListenAddress::All);
    }
    if let Ok(address) = text.parse() {
        return Some(ListenAddress::Address(address));
    }
    let named = text.len() <= 253
        && !text.starts_with('-')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-:@".contains(&byte));
    (named && !meant_as_address(text)).then(|| ListenAddress::Name(text.to_owned()))
}

/// Whether a text is made like an address. An interface can be called `eth0:1`, or `cafe`.
pub(crate) fn meant_as_address(text: &str) -> bool {
    let digits = |piece: &str| piece.bytes().all(|byte| byte.is_ascii_digit());
    let hexadecimal = |piece: &str| piece.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'.');
    text.split('.').all(digits) || (text.contains(':') && text.split(':').all(hexadecimal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_pythons() {
        for (text, number) in [("8002", 8002), (" 8002\t", 8002), ("+7", 7), ("007", 7), ("-0", 0)] {
            assert_eq!(integer(text), Some(number), "{text}");
        }
        for text in [
            "",
            " ",
            "-1",
            "+-1",
            "++1",
            "0x10",
            "1 2",
            "1.0",
            "1e3",
            "99999999999999999999",
            "1_0",
            "8002L",
        ] {
            assert_eq!(integer(text), None, "{text}");
        }
    }

    #[test]
    fn booleans_are_xends() {
        for text in ["yes", "Y", "1", "ON", "True", "t"] {
            assert_eq!(boolean(text), Some(true), "{text}");
        }
        for text in ["no", "N", "0", "Off", "FALSE", "f"] {
            assert_eq!(boolean(text), Some(false), "{text}");
        }
        for text in ["", "2", "ja", "yes "] {
            assert_eq!(boolean(text), None, "{text}");
        }
    }

    #[test]
    fn addresses_and_names() {
        assert_eq!(address(""), Some(ListenAddress::All));
        assert_eq!(
            address("10.0.0.1"),
            Some(ListenAddress::Address(IpAddr::from([10, 0, 0, 1])))
        );
        assert!(matches!(address("fe80::1"), Some(ListenAddress::Address(_))));
        for text in ["eth0", "eth0:1", "cafe", "host.example.com", "xenbr0.5"] {
            assert_eq!(address(text), Some(ListenAddress::Name(text.to_owned())), "{text}");
        }
        for text in [
            "10.0.0.300",
            "10.0.0",
            "1:2:3",
            "a b",
            "[::1]",
            "-x",
            "fe80::1%eth0",
            "ü",
        ] {
            assert_eq!(address(text), None, "{text}");
        }
    }

    #[test]
    fn paths() {
        let some = |text: &str| Some(Value::Path(Some(PathBuf::from(text))));
        assert_eq!(Kind::XenFile.read("a.key"), some("/etc/xen/a.key"));
        assert_eq!(Kind::XenFile.read("/k/a.key"), some("/k/a.key"));
        assert_eq!(Kind::XenFile.read("k/a.key"), None);
        assert_eq!(Kind::XenFile.read(".."), None);
        assert_eq!(Kind::Path.read(""), Some(Value::Path(None)));
        assert_eq!(Kind::Directory.read(""), None);
        assert_eq!(Kind::Path.read("/a\0b"), None);
        assert_eq!(Kind::Path.read("x.log"), None);
    }
}
