//! The syntax: `key = value`, a small part of Python's, as xend's `xm` and `xl` read it. Nothing is evaluated.

use std::str::Chars;

/// Lists within lists at most.
const MAX_DEPTH: usize = 16;

/// A place in the text, counted in characters, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Line.
    pub(crate) line: u32,
    /// Column.
    pub(crate) column: u32,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// In quotes.
    Text(String),
    /// Whole.
    Number(i64),
    /// Python's True and False.
    Bool(bool),
    /// Python's None: as if the key were not there.
    Nothing,
    /// In brackets.
    List(Vec<Item>),
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// Its first character.
    pub(crate) place: Place,
    /// The value.
    pub(crate) value: Value,
}

/// `key = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The key.
    pub(crate) key: String,
    /// Where the key stands.
    pub(crate) place: Place,
    /// The value.
    pub(crate) item: Item,
}

/// What can't be read, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// Where.
    pub(crate) place: Place,
    /// What is wrong.
    pub(crate) what: String,
}

/// Reads a file.
pub(crate) fn parse(text: &str) -> Result<Vec<Setting>, SyntaxError> {
    let mut cursor = Cursor::new(text);
    let mut settings = Vec::new();
    loop {
        cursor.skip(true);
        while cursor.take(';') {
            cursor.skip(true);
        }
        let place = cursor.place;
        let Some(c) = cursor.peek() else { return Ok(settings) };
        if !is_word_start(c) {
            return Err(cursor.unexpected("a key"));
        }
        let key = cursor.word();
        cursor.skip(false);
        if !cursor.take('=') {
            return Err(cursor.unexpected(&format!("'=' after '{key}'")));
        }
        cursor.skip(false);
        let item = cursor.item(0)?;
        cursor.skip(false);
        if !matches!(cursor.peek(), None | Some('\n' | ';')) {
            return Err(cursor.unexpected("the end of the line (expressions are not evaluated)"));
        }
        settings.push(Setting { key, place, item });
    }
}

/// Reads one value, and nothing after it.
pub(crate) fn parse_value(text: &str) -> Result<Item, SyntaxError> {
    let mut cursor = Cursor::new(text);
    cursor.skip(true);
    let item = cursor.item(0)?;
    cursor.skip(true);
    match cursor.peek() {
        None => Ok(item),
        Some(_) => Err(cursor.unexpected("nothing more")),
    }
}

fn is_word_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

struct Cursor<'a> {
    rest: Chars<'a>,
    place: Place,
}

impl<'a> Cursor<'a> {
    fn new(text: &'a str) -> Cursor<'a> {
        // Windows editors begin files with this mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Cursor {
            rest: text.chars(),
            place: Place { line: 1, column: 1 },
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        if c == '\n' {
            self.place = Place {
                line: self.place.line.saturating_add(1),
                column: 1,
            };
        } else {
            self.place.column = self.place.column.saturating_add(1);
        }
        Some(c)
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.next();
        }
        found
    }

    /// Skips blanks and comments, and line ends if they mean nothing here.
    fn skip(&mut self, lines: bool) {
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\r' | '\x0c' => {}
                '\n' if lines => {}
                '\\' if self.rest.as_str().starts_with("\\\n") || self.rest.as_str().starts_with("\\\r\n") => {
                    while self.peek() != Some('\n') {
                        self.next();
                    }
                }
                '#' => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.next();
                    }
                    continue;
                }
                _ => return,
            }
            self.next();
        }
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.peek().filter(|&c| is_word_start(c) || c.is_ascii_digit()) {
            word.push(c);
            self.next();
        }
        word
    }

    fn error(&self, what: impl Into<String>) -> SyntaxError {
        SyntaxError {
            place: self.place,
            what: what.into(),
        }
    }

    fn unexpected(&self, expected: &str) -> SyntaxError {
        match self.peek() {
            None => self.error(format!("the file ends; expected {expected}")),
            Some('\n') => self.error(format!("the line ends; expected {expected}")),
            // The text may come from anywhere: nothing that acts on a terminal.
            Some(c) if c.is_ascii_control() => {
                self.error(format!("found '\\x{:02x}', expected {expected}", u32::from(c)))
            }
            Some(c) if c.is_control() => self.error(format!("found '{}', expected {expected}", c.escape_unicode())),
            Some(c) => self.error(format!("found '{c}', expected {expected}")),
        }
    }

    fn item(&mut self, depth: usize) -> Result<Item, SyntaxError> {
        let place = self.place;
        let value = match self.peek() {
            Some(quote @ ('\'' | '"')) => Value::Text(self.string(quote)?),
            Some('[') => self.list(depth)?,
            Some(c) if c.is_ascii_digit() || c == '-' || c == '+' => Value::Number(self.number()?),
            Some(c) if is_word_start(c) => {
                let start = self.place;
                match self.word().as_str() {
                    "True" => Value::Bool(true),
                    "False" => Value::Bool(false),
                    "None" => Value::Nothing,
                    word => {
                        let what = format!("found '{word}', expected a value: text in quotes, a number, or [a, list]");
                        return Err(SyntaxError { place: start, what });
                    }
                }
            }
            _ => return Err(self.unexpected("a value: text in quotes, a number, or [a, list]")),
        };
        Ok(Item { place, value })
    }

    fn list(&mut self, depth: usize) -> Result<Value, SyntaxError> {
        let open = self.place;
        if depth == MAX_DEPTH {
            return Err(self.error(format!("lists nested deeper than {MAX_DEPTH}")));
        }
        self.next();
        let mut items = Vec::new();
        loop {
            self.skip(true);
            if self.take(']') {
                return Ok(Value::List(items));
            }
            if self.peek().is_none() {
                return Err(SyntaxError {
                    place: open,
                    what: "this list is not closed".to_owned(),
                });
            }
            items.push(self.item(depth + 1)?);
            self.skip(true);
            if !self.take(',') && self.peek().is_some_and(|c| c != ']') {
                return Err(self.unexpected("',' or ']'"));
            }
        }
    }

    fn number(&mut self) -> Result<i64, SyntaxError> {
        let start = self.place;
        let mut text = String::new();
        while let Some(c) = self.peek().filter(|c| c.is_ascii_alphanumeric() || "+-._".contains(*c)) {
            text.push(c);
            self.next();
        }
        let wrong = |what: &str| SyntaxError {
            place: start,
            what: format!("'{text}': {what}"),
        };
        let (sign, digits) = match text.strip_prefix('-') {
            Some(rest) => ("-", rest),
            None => ("", text.strip_prefix('+').unwrap_or(&text)),
        };
        let (radix, digits) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
            Some(hex) => (16, hex),
            None => (10, digits),
        };
        if radix == 10 && digits.len() > 1 && digits.starts_with('0') {
            return Err(wrong(
                "a number with a leading 0 is octal to some and decimal to others; write it without",
            ));
        }
        if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
            return Err(wrong("expected a whole number, or quotes around text"));
        }
        i64::from_str_radix(&format!("{sign}{digits}"), radix).map_err(|_| wrong("the number is too large"))
    }

    fn string(&mut self, quote: char) -> Result<String, SyntaxError> {
        let open = self.place;
        let unclosed = || SyntaxError {
            place: open,
            what: "this text is not closed on its line".to_owned(),
        };
        self.next();
        let mut text = String::new();
        loop {
            match self.next().filter(|&c| c != '\n').ok_or_else(unclosed)? {
                c if c == quote => return Ok(text),
                '\\' => self.escape(&mut text)?,
                c => text.push(c),
            }
        }
    }

    /// What stands after a backslash. As in Python, one that escapes nothing stands for itself.
    fn escape(&mut self, text: &mut String) -> Result<(), SyntaxError> {
        let Some(c) = self.peek() else { return Ok(()) };
        let plain = match c {
            '\n' => None,
            '\\' | '\'' | '"' => Some(c),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'a' => Some('\x07'),
            'b' => Some('\x08'),
            'f' => Some('\x0c'),
            'v' => Some('\x0b'),
            'x' => {
                self.next();
                let digits: Vec<u32> = (0..2).map_while(|_| self.digit(16)).collect();
                let &[high, low] = digits.as_slice() else {
                    return Err(self.error("\\x needs two hexadecimal digits"));
                };
                text.extend(char::from_u32(high * 16 + low));
                return Ok(());
            }
            '0'..='7' => {
                let code = (0..3)
                    .map_while(|_| self.digit(8))
                    .fold(0, |code, digit| code * 8 + digit);
                text.extend(char::from_u32(code));
                return Ok(());
            }
            c => {
                text.push('\\');
                Some(c)
            }
        };
        text.extend(plain);
        self.next();
        Ok(())
    }

    fn digit(&mut self, radix: u32) -> Option<u32> {
        let digit = self.peek()?.to_digit(radix)?;
        self.next();
        Some(digit)
    }
}
