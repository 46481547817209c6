//! The syntax: `key = value` lines, text in quotes, and texts of `key=value` pairs within them.
//!
//! xl's reader (4.2 to today) takes any byte in quotes except for a line end and a zero byte. Of the escapes only those of one letter can be relied on: it reads
//! `\x41` and `\101`, but loses the byte.

use super::XlError;
use crate::shown::shown;

/// Settings whose values are in no message.
const SECRET: [&str; 1] = ["vncpasswd"];

/// Lines of a configuration.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    out: Vec<u8>,
}

impl Lines {
    /// `key = "text"`, if there is one.
    pub(crate) fn text(&mut self, key: &str, text: Option<&str>) -> Result<(), XlError> {
        let Some(text) = text else { return Ok(()) };
        self.key(key);
        quote(key, text, &mut self.out)?;
        self.out.push(b'\n');
        Ok(())
    }

    /// `key = number`, if there is one. A negative one is in quotes: without, xl's reader takes no sign.
    pub(crate) fn number(&mut self, key: &str, number: Option<impl Into<i128>>) {
        let Some(number) = number.map(Into::into) else { return };
        self.key(key);
        let quote = if number < 0 { "\"" } else { "" };
        self.out
            .extend_from_slice(format!("{quote}{number}{quote}\n").as_bytes());
    }

    /// `key = 1` or `key = 0`, if it is either.
    pub(crate) fn switch(&mut self, key: &str, on: Option<bool>) {
        self.number(key, on.map(u8::from));
    }

    /// `key = [ "text", ... ]`, if there are any.
    pub(crate) fn list(&mut self, key: &str, items: &[String]) -> Result<(), XlError> {
        if items.is_empty() {
            return Ok(());
        }
        self.key(key);
        self.out.push(b'[');
        for (at, item) in items.iter().enumerate() {
            self.out.extend_from_slice(if at > 0 { b", " } else { b" " });
            quote(key, item, &mut self.out)?;
        }
        self.out.extend_from_slice(b" ]\n");
        Ok(())
    }

    /// The text.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.out
    }

    fn key(&mut self, key: &str) {
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b" = ");
    }
}

fn quote(key: &str, text: &str, out: &mut Vec<u8>) -> Result<(), XlError> {
    out.push(b'"');
    for byte in sxp::bytes_of_text(text) {
        match byte {
            0 => return Err(XlError::ZeroByte(key.to_owned())),
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            byte => out.push(byte),
        }
    }
    out.push(b'"');
    Ok(())
}

/// The settings of a device within one text: `key=value,key=value`.
#[derive(Debug)]
pub(crate) struct Spec {
    device: String,
    out: String,
}

impl Spec {
    /// `device`: what to call it in errors.
    pub(crate) fn new(device: impl Into<String>) -> Spec {
        Spec {
            device: device.into(),
            out: String::new(),
        }
    }

    /// A word without a value.
    pub(crate) fn word(&mut self, word: &str) {
        if !self.out.is_empty() {
            self.out.push(',');
        }
        self.out.push_str(word);
    }

    /// `key=value`, if there is one.
    pub(crate) fn pair(&mut self, key: &str, value: Option<&str>) -> Result<(), XlError> {
        let Some(value) = value else { return Ok(()) };
        if value.contains(',') {
            return Err(self.separator(key, value));
        }
        self.last(key, value)
    }

    /// `key=value` for a value that may hold commas because nothing follows it.
    pub(crate) fn last(&mut self, key: &str, value: &str) -> Result<(), XlError> {
        if value.chars().any(|c| c.is_ascii_control()) || value.ends_with(',') {
            return Err(self.separator(key, value));
        }
        self.word(&format!("{key}={value}"));
        Ok(())
    }

    /// `key=1` or `key=0`, if it is either.
    pub(crate) fn switch(&mut self, key: &str, on: Option<bool>) {
        if let Some(on) = on {
            self.word(&format!("{key}={}", u8::from(on)));
        }
    }

    /// `backend=name`, if there is one. A number means another domain here than at the source.
    pub(crate) fn backend(&mut self, name: Option<&str>) -> Result<(), XlError> {
        match name {
            Some(id) if id.bytes().all(|byte| byte.is_ascii_digit()) => Err(XlError::BackendNumber {
                key: self.device.clone(),
                id: shown(id),
            }),
            name => self.pair("backend", name),
        }
    }

    /// The text.
    pub(crate) fn finish(self) -> String {
        self.out
    }

    fn separator(&self, key: &str, value: &str) -> XlError {
        XlError::Separator {
            key: format!("{}: {key}", self.device),
            value: if SECRET.contains(&key) {
                "(not shown)".to_owned()
            } else {
                shown(value)
            },
        }
    }
}
