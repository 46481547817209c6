//! Classes of characters: `[...]`.

use super::pattern::{Last, PatternError, Translator, at};

/// A member of a class.
#[derive(Clone, Copy)]
enum Member {
    Byte(u8),
    Category(u8),
}

impl Translator<'_> {
    /// `[...]`. Python knows neither classes within classes nor operations on them.
    pub(super) fn class(&mut self, start: usize) -> Result<(), PatternError> {
        self.out.push('[');
        if self.eat(b"^") {
            self.out.push('^');
        }
        let mut first = true;
        loop {
            let Some(byte) = self.next() else {
                return Err(at(start, "this [ is not closed"));
            };
            if byte == b']' && !first {
                break;
            }
            first = false;
            let from = self.at - 1;
            let low = self.member(from, byte)?;
            let ranged = self.peek() == Some(b'-') && self.bytes.get(self.at + 1).is_some_and(|&byte| byte != b']');
            if !ranged {
                self.put_member(low);
                continue;
            }
            self.at += 1;
            let begin = self.at;
            let high = match self.next() {
                Some(byte) => self.member(begin, byte)?,
                None => return Err(at(start, "this [ is not closed")),
            };
            match (low, high) {
                (Member::Byte(low), Member::Byte(high)) if low <= high => {
                    self.out.push_str(&format!("\\x{low:02x}-\\x{high:02x}"));
                }
                _ => return Err(at(from, "bad range of characters")),
            }
        }
        self.out.push(']');
        self.last = Last::Item;
        Ok(())
    }

    fn member(&mut self, start: usize, byte: u8) -> Result<Member, PatternError> {
        if byte != b'\\' {
            return Ok(Member::Byte(byte));
        }
        Ok(match self.next() {
            None => return Err(at(start, "a backslash at the end")),
            Some(byte @ (b'd' | b'D' | b's' | b'S' | b'w' | b'W')) => Member::Category(byte),
            Some(b'b') => Member::Byte(0x08),
            Some(byte @ b'0'..=b'7') => Member::Byte(self.octal(u32::from(byte - b'0'), 2)),
            Some(b'8' | b'9') => return Err(at(start, "unknown escape")),
            Some(byte) => Member::Byte(self.plain_escape(start, byte)?),
        })
    }

    fn put_member(&mut self, member: Member) {
        match member {
            Member::Byte(byte) => self.literal(byte),
            Member::Category(letter) => {
                self.out.push('\\');
                self.out.push(letter as char);
            }
        }
    }
}
