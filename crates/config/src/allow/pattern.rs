//! Python's regular expressions, as far as they are regular, in the words of the `regex` crate.
//!
//! The two dialects mostly agree. Where they don't, an entry must not come to mean something else than it meant to xend: every literal is written out as
//! `\xHH`, what Python alone has is translated or refused, and what only `regex` has is refused. Matching is by bytes and ASCII, as in Python 2.

use regex::bytes::{Regex, RegexBuilder};

/// Memory of one compiled entry, in bytes.
const MAX_COMPILED: usize = 128 << 10;
const MAX_LENGTH: usize = 2048;
const MAX_NESTING: u32 = 100;

/// Why an entry is no regular expression that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatternError {
    #[error("character {at}: {what}")]
    At { at: usize, what: &'static str },
    #[error("{0}")]
    Whole(&'static str),
}

/// A compiled entry.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    regex: Regex,
    /// Whether every way through it ends with `$` or `\Z`.
    pub(crate) closed: bool,
}

impl Pattern {
    /// Compiles what Python's `re.compile` would.
    pub(crate) fn new(text: &str) -> Result<Pattern, PatternError> {
        let bytes = sxp::bytes_of_text(text);
        if bytes.len() > MAX_LENGTH {
            return Err(PatternError::Whole("longer than 2048 bytes"));
        }
        let mut translator = Translator::new(&bytes);
        translator.pattern()?;
        let closed = translator.closed();
        let source = format!("\\A(?{}:{})", translator.flags, translator.out);
        let regex = RegexBuilder::new(&source)
            .unicode(false)
            .size_limit(MAX_COMPILED)
            .nest_limit(MAX_NESTING)
            .build()
            .map_err(|error| {
                PatternError::Whole(match error {
                    regex::Error::CompiledTooBig(_) => "takes too much memory: fewer or smaller repetitions are needed",
                    _ => "not a regular expression",
                })
            })?;
        Ok(Pattern { regex, closed })
    }

    /// Python's `re.match`: at the beginning, not to the end.
    pub(crate) fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text.as_bytes())
    }
}

/// What was read last, and so whether it can be repeated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    /// Nothing, or something of no width: `^`, `\b`.
    Nothing,
    /// The end: `$`, `\Z`, or a group each way through which ends so.
    End,
    /// The same, but repeatable: a group.
    ClosedGroup,
    Item,
    /// Something that is repeated already.
    Repeated,
}

/// A group that is open.
struct Group {
    at: usize,
    /// Whether the alternatives so far end closed.
    closed: bool,
}

pub(super) struct Translator<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
    pub(super) out: String,
    flags: String,
    groups: Vec<Group>,
    pub(super) last: Last,
}

impl<'a> Translator<'a> {
    fn new(bytes: &'a [u8]) -> Translator<'a> {
        let groups = vec![Group { at: 0, closed: true }];
        Translator {
            bytes,
            at: 0,
            out: String::new(),
            flags: String::new(),
            groups,
            last: Last::Nothing,
        }
    }

    fn closed(&self) -> bool {
        matches!(self.last, Last::End | Last::ClosedGroup) && self.groups.iter().all(|group| group.closed)
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub(super) fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    pub(super) fn eat(&mut self, text: &[u8]) -> bool {
        let found = self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(text));
        if found {
            self.at += text.len();
        }
        found
    }

    pub(super) fn literal(&mut self, byte: u8) {
        self.out.push_str(&format!("\\x{byte:02x}"));
    }

    fn pattern(&mut self) -> Result<(), PatternError> {
        while let Some(byte) = self.next() {
            let start = self.at - 1;
            match byte {
                b'\\' => self.escape(start)?,
                b'[' => self.class(start)?,
                b'(' => self.open(start)?,
                b')' => self.close(start)?,
                b'|' => {
                    let closed = matches!(self.last, Last::End | Last::ClosedGroup);
                    if let Some(group) = self.groups.last_mut() {
                        group.closed &= closed;
                    }
                    self.out.push('|');
                    self.last = Last::Nothing;
                }
                b'*' | b'+' | b'?' => self.repeat(start, (byte as char).to_string())?,
                b'{' => match self.counts() {
                    Some((least, most)) => {
                        if most.is_some_and(|most| most < least) {
                            return Err(at(start, "the least count is above the greatest"));
                        }
                        let most = most.map_or(String::new(), |most| most.to_string());
                        self.repeat(start, format!("{{{least},{most}}}"))?;
                    }
                    None => self.item(byte),
                },
                b'^' => self.assertion("^", Last::Nothing),
                b'$' => self.assertion("$", Last::End),
                b'.' => {
                    self.out.push('.');
                    self.last = Last::Item;
                }
                byte => self.item(byte),
            }
        }
        match self.groups.as_slice() {
            [_] => Ok(()),
            [.., open] => Err(at(open.at, "this ( is not closed")),
            [] => Err(PatternError::Whole("not a regular expression")),
        }
    }

    fn item(&mut self, byte: u8) {
        self.literal(byte);
        self.last = Last::Item;
    }

    fn assertion(&mut self, text: &str, last: Last) {
        self.out.push_str(text);
        self.last = last;
    }

    fn repeat(&mut self, start: usize, operator: String) -> Result<(), PatternError> {
        match self.last {
            Last::Nothing | Last::End => return Err(at(start, "nothing to repeat")),
            Last::Repeated => return Err(at(start, "repeated twice")),
            Last::Item | Last::ClosedGroup => self.last = Last::Repeated,
        }
        self.out.push_str(&operator);
        if self.eat(b"?") {
            self.out.push('?');
        }
        Ok(())
    }

    /// `{m}`, `{m,}`, `{,n}`, `{m,n}` after its brace; anything else is an ordinary brace.
    fn counts(&mut self) -> Option<(u32, Option<u32>)> {
        let rest = self.bytes.get(self.at..)?;
        let end = rest.iter().position(|&byte| byte == b'}')?;
        let inside = std::str::from_utf8(rest.get(..end)?).ok()?;
        if inside.is_empty() || !inside.bytes().all(|byte| byte.is_ascii_digit() || byte == b',') {
            return None;
        }
        // A count beyond all bounds is refused by its size later.
        let count = |text: &str| text.parse().unwrap_or(u32::MAX);
        let counts = match inside.split_once(',') {
            None => (count(inside), Some(count(inside))),
            Some((_, most)) if most.contains(',') => return None,
            Some((least, most)) => {
                let least = if least.is_empty() { 0 } else { count(least) };
                (least, (!most.is_empty()).then(|| count(most)))
            }
        };
        self.at += end + 1;
        Some(counts)
    }

    fn open(&mut self, start: usize) -> Result<(), PatternError> {
        if self.eat(b"?#") {
            while let Some(byte) = self.next() {
                if byte == b')' {
                    return Ok(());
                }
            }
            return Err(at(start, "this comment is not closed"));
        }
        if self.eat(b"?P<") {
            let name = self.at;
            while self
                .peek()
                .is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            {
                self.at += 1;
            }
            let first = self.bytes.get(name).copied().unwrap_or(b'0');
            if first.is_ascii_digit() || !self.eat(b">") {
                return Err(at(start, "the group's name is not a name"));
            }
            // Nothing refers to a group, so the name has no use.
            self.out.push_str("(?:");
        } else if self.eat(b"?:") || !self.eat(b"?") {
            self.out.push_str("(?:");
        } else {
            return self.flags(start);
        }
        self.groups.push(Group {
            at: start,
            closed: true,
        });
        self.last = Last::Nothing;
        Ok(())
    }

    /// After `(?`: flags for all of it; or something that can't be had.
    fn flags(&mut self, start: usize) -> Result<(), PatternError> {
        let what = match (self.peek(), self.bytes.get(self.at + 1)) {
            (Some(b'='), _) => "(?= is look-ahead, which is not supported",
            (Some(b'!'), _) => "(?! is look-ahead, which is not supported",
            (Some(b'<'), Some(b'=' | b'!')) => "(?< is look-behind, which is not supported",
            (Some(b'('), _) => "(?( is a conditional, which is not supported",
            (Some(b'>'), _) => "(?> is an atomic group, which is not supported",
            (Some(b'P'), Some(b'=')) => "(?P= is a back-reference, which is not supported",
            _ => "unknown kind of group",
        };
        let mut seen = false;
        while let Some(flag @ (b'i' | b'm' | b's' | b'L' | b'u')) = self.peek() {
            // Locale and Unicode change nothing for what a name or an address is made of.
            if flag.is_ascii_lowercase() && flag != b'u' && !self.flags.contains(flag as char) {
                self.flags.push(flag as char);
            }
            self.at += 1;
            seen = true;
        }
        match self.peek() {
            Some(b')') if seen => {
                self.at += 1;
                Ok(())
            }
            Some(b'x') => Err(at(start, "the flag x is not supported")),
            _ => Err(at(start, what)),
        }
    }

    fn close(&mut self, start: usize) -> Result<(), PatternError> {
        let closed = matches!(self.last, Last::End | Last::ClosedGroup);
        if self.groups.len() < 2 {
            return Err(at(start, "this ) closes nothing"));
        }
        let group = self.groups.pop();
        self.out.push(')');
        let all_closed = closed && group.is_some_and(|group| group.closed);
        self.last = if all_closed { Last::ClosedGroup } else { Last::Item };
        Ok(())
    }

    fn escape(&mut self, start: usize) -> Result<(), PatternError> {
        let Some(byte) = self.next() else {
            return Err(at(start, "a backslash at the end"));
        };
        match byte {
            b'A' => self.assertion("\\A", Last::Nothing),
            b'Z' => self.assertion("\\z", Last::End),
            b'b' => self.assertion("\\b", Last::Nothing),
            b'B' => self.assertion("\\B", Last::Nothing),
            b'd' | b'D' | b's' | b'S' | b'w' | b'W' => {
                self.out.push('\\');
                self.out.push(byte as char);
                self.last = Last::Item;
            }
            b'0' => {
                let value = self.octal(0, 2);
                self.item(value);
            }
            b'1'..=b'9' => {
                let octal = |byte: Option<&u8>| byte.is_some_and(|byte| matches!(byte, b'0'..=b'7'));
                if byte > b'7' || !octal(self.bytes.get(self.at)) || !octal(self.bytes.get(self.at + 1)) {
                    return Err(at(start, "a back-reference, which is not supported"));
                }
                let value = self.octal(u32::from(byte - b'0'), 2);
                self.item(value);
            }
            byte => {
                let value = self.plain_escape(start, byte)?;
                self.item(value);
            }
        }
        Ok(())
    }

    /// Up to `digits` octal digits; beyond a byte the rest is cut off, as Python does.
    pub(super) fn octal(&mut self, mut value: u32, digits: usize) -> u8 {
        for _ in 0..digits {
            let Some(digit @ b'0'..=b'7') = self.peek() else { break };
            value = value * 8 + u32::from(digit - b'0');
            self.at += 1;
        }
        (value & 0xff) as u8
    }

    /// An escape that stands for one byte. A letter without meaning stands for itself, as in Python 2.
    pub(super) fn plain_escape(&mut self, start: usize, byte: u8) -> Result<u8, PatternError> {
        Ok(match byte {
            b'a' => 0x07,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0b,
            b'x' => {
                let digit = |byte: Option<u8>| byte.and_then(|byte| (byte as char).to_digit(16));
                let (Some(high), Some(low)) = (digit(self.next()), digit(self.next())) else {
                    return Err(at(start, "\\x needs two hexadecimal digits"));
                };
                (high << 4 | low) as u8
            }
            byte => byte,
        })
    }
}

/// An error at a byte, told from 1.
pub(super) fn at(offset: usize, what: &'static str) -> PatternError {
    PatternError::At { at: offset + 1, what }
}

#[cfg(test)]
#[path = "pattern_tests.rs"]
mod tests;
