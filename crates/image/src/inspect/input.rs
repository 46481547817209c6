//! The bytes of a file as they come.

use std::io::{self, Read};

use crate::{FIRST_BYTES, PAGE_SIZE};

/// Bytes that are read at once.
const BUFFER: usize = 64 << 10;

const _: () = assert!(BUFFER > FIRST_BYTES && BUFFER > PAGE_SIZE);

/// A reader with a buffer, which knows where in the file it is and can look ahead.
pub(super) struct Input<R> {
    inner: R,
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
    offset: u64,
}

impl<R: Read> Input<R> {
    pub(super) fn new(inner: R) -> Input<R> {
        Input {
            inner,
            buffer: vec![0; BUFFER],
            begin: 0,
            end: 0,
            offset: 0,
        }
    }

    /// Bytes taken up to now.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next bytes, up to `count` of them: fewer only at the end of the file. They are not taken.
    pub(super) fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        let count = count.min(BUFFER);
        if self.end - self.begin < count && BUFFER - self.begin < count {
            self.buffer.copy_within(self.begin..self.end, 0);
            self.end -= self.begin;
            self.begin = 0;
        }
        while self.end - self.begin < count {
            match self.inner.read(self.buffer.get_mut(self.end..).unwrap_or_default()) {
                Ok(0) => break,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let end = self.end.min(self.begin + count);
        Ok(self.buffer.get(self.begin..end).unwrap_or_default())
    }

    /// Takes bytes that have been looked at.
    fn advance(&mut self, count: usize) {
        let count = count.min(self.end - self.begin);
        self.begin += count;
        self.offset += count as u64;
        if self.begin == self.end {
            self.begin = 0;
            self.end = 0;
        }
    }

    /// Fills `out`, as far as the file goes: how many bytes there were.
    pub(super) fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = out.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let bytes = self.peek(rest.len())?;
            if bytes.is_empty() {
                break;
            }
            let count = bytes.len();
            if let Some(place) = rest.get_mut(..count) {
                place.copy_from_slice(bytes);
            }
            self.advance(count);
            done += count;
        }
        Ok(done)
    }

    /// Passes over bytes, as far as the file goes: how many there were.
    pub(super) fn skip(&mut self, count: u64) -> io::Result<u64> {
        let mut left = count;
        while left > 0 {
            let step = left.min(BUFFER as u64) as usize;
            // Any part of it will do: only an empty one is the end.
            let there = self.peek(1)?.len().min(step);
            if there == 0 {
                break;
            }
            let step = step.min(self.end - self.begin);
            self.advance(step);
            left -= step as u64;
        }
        Ok(count - left)
    }
}
