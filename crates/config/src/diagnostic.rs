//! What is said about a file.

use std::fmt::{self, Display, Formatter};

use sxp::Position;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The file can't be used.
    Error,
    /// Probably not what was meant.
    Warning,
    /// Good to know.
    Note,
}

impl Display for Severity {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        })
    }
}

/// One thing about one place. Always one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file, as it was named.
    pub file: String,
    /// Line, from 1; 0 if the file as a whole is meant.
    pub line: u32,
    /// Column in bytes, from 1; 0 if the file as a whole is meant.
    pub column: u32,
    /// What.
    pub message: String,
}

impl Display for Diagnostic {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.file, 4096))?;
        if self.line != 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}: {}", self.severity, self.message)
    }
}

/// Why a file can't be used: its errors, and the warnings that were found with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Diagnostic>);

impl Display for ConfigErrors {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (at, diagnostic) in self.0.iter().enumerate() {
            write!(f, "{}{diagnostic}", if at == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Text of the file as it is put into a message: one line, not long, nothing that a terminal obeys.
pub(crate) fn shown(text: &str, max: usize) -> String {
    let mut shown = String::new();
    for (at, c) in text.chars().enumerate() {
        if at == max {
            shown.push_str("...");
            break;
        }
        if c.is_control() || u32::from(c) >= 0x10_0000 {
            for byte in sxp::bytes_of_text(c.encode_utf8(&mut [0; 4])) {
                shown.push_str(&format!("\\x{byte:02x}"));
            }
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Gathers diagnostics. A file of a mebibyte can be wrong half a million times: beyond a number they are only counted.
#[derive(Debug)]
pub(crate) struct Report {
    file: String,
    found: Vec<Diagnostic>,
    left_out: usize,
    failed: bool,
}

const MAX_DIAGNOSTICS: usize = 500;

impl Report {
    pub(crate) fn new(file: &str) -> Report {
        Report {
            file: file.to_owned(),
            found: Vec::new(),
            left_out: 0,
            failed: false,
        }
    }

    pub(crate) fn add(&mut self, severity: Severity, at: Option<Position>, message: impl Into<String>) {
        let first_error = severity == Severity::Error && !self.failed;
        self.failed |= severity == Severity::Error;
        // The first error is always told: otherwise warnings could hide why a file is refused.
        if self.found.len() >= MAX_DIAGNOSTICS && !first_error {
            self.left_out += 1;
            return;
        }
        self.found.push(Diagnostic {
            severity,
            file: self.file.clone(),
            line: at.map_or(0, |at| at.line),
            column: at.map_or(0, |at| at.column),
            message: message.into(),
        });
    }

    pub(crate) fn error(&mut self, at: Position, message: impl Into<String>) {
        self.add(Severity::Error, Some(at), message);
    }

    pub(crate) fn warning(&mut self, at: Position, message: impl Into<String>) {
        self.add(Severity::Warning, Some(at), message);
    }

    /// The diagnostics in the order of the file; as an error if one of them is.
    pub(crate) fn finish(mut self) -> Result<Vec<Diagnostic>, ConfigErrors> {
        self.found
            .sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
        if self.left_out > 0 {
            self.found.push(Diagnostic {
                severity: Severity::Note,
                file: self.file,
                line: 0,
                column: 0,
                message: format!("{} more left out", self.left_out),
            });
        }
        if self.failed {
            Err(ConfigErrors(self.found))
        } else {
            Ok(self.found)
        }
    }
}
