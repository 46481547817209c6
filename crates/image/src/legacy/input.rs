//! The bytes of an image as they come.

use std::io::{self, Read};

use crate::ImageError;

/// Width of the saving toolstack's `unsigned long`, and of everything that is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// A 32-bit dom0.
    Four,
    /// A 64-bit dom0.
    Eight,
}

impl Word {
    /// Bytes.
    pub fn bytes(self) -> usize {
        match self {
            Word::Four => 4,
            Word::Eight => 8,
        }
    }
}

/// A reader that knows where it is, and can take a few bytes back.
pub(super) struct Input<R> {
    inner: R,
    offset: u64,
    back: Vec<u8>,
}

impl<R: Read> Input<R> {
    pub(super) fn new(inner: R) -> Input<R> {
        Input {
            inner,
            offset: 0,
            back: Vec::new(),
        }
    }

    /// Bytes read up to now.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn into_inner(self) -> R {
        self.inner
    }

    /// An error about what has just been read.
    pub(super) fn wrong(&self, what: impl Into<String>) -> ImageError {
        ImageError::Format {
            offset: self.offset,
            what: what.into(),
        }
    }

    /// Takes bytes back: they are read next. Only as many as have been read.
    pub(super) fn unread(&mut self, bytes: &[u8]) {
        self.offset = self.offset.saturating_sub(bytes.len() as u64);
        self.back.splice(0..0, bytes.iter().copied());
    }

    /// Reads up to `out.len()` bytes; fewer only at the end of the stream.
    pub(super) fn up_to(&mut self, out: &mut [u8]) -> Result<usize, ImageError> {
        let mut done = self.back.len().min(out.len());
        for (place, byte) in out.iter_mut().zip(self.back.drain(..done)) {
            *place = byte;
        }
        while let Some(rest) = out.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.inner.read(rest) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(ImageError::Io {
                        stage: "reading the image",
                        source,
                    });
                }
            }
        }
        self.offset += done as u64;
        Ok(done)
    }

    /// Fills `out`. `what` names it, should the image end in its middle.
    pub(super) fn exact(&mut self, out: &mut [u8], what: &str) -> Result<(), ImageError> {
        let length = out.len();
        if self.up_to(out)? == length {
            return Ok(());
        }
        Err(self.wrong(format!("the image ends here, in the middle of {what}")))
    }

    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], ImageError> {
        let mut bytes = [0; N];
        self.exact(&mut bytes, what)?;
        Ok(bytes)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, ImageError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, ImageError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// An `unsigned long` of the saving toolstack.
    pub(super) fn word(&mut self, word: Word, what: &str) -> Result<u64, ImageError> {
        match word {
            Word::Four => self.u32(what).map(u64::from),
            Word::Eight => self.u64(what),
        }
    }

    /// Appends `length` bytes to `out`, whose memory grows only as they come.
    pub(super) fn append(&mut self, length: usize, out: &mut Vec<u8>, what: &str) -> Result<(), ImageError> {
        const STEP: usize = 64 << 10;
        let mut left = length;
        while left > 0 {
            let begin = out.len();
            let step = left.min(STEP);
            out.resize(begin + step, 0);
            self.exact(out.get_mut(begin..).unwrap_or_default(), what)?;
            left -= step;
        }
        Ok(())
    }

    /// Appends what comes until the end of the stream, `most` bytes at most.
    pub(super) fn append_rest(&mut self, most: usize, out: &mut Vec<u8>, what: &str) -> Result<(), ImageError> {
        const STEP: usize = 64 << 10;
        let begin = out.len();
        loop {
            let at = out.len();
            out.resize(at + STEP, 0);
            let count = self.up_to(out.get_mut(at..).unwrap_or_default())?;
            out.truncate(at + count);
            if out.len() - begin > most {
                return Err(self.wrong(format!("{what} of more than {most} bytes")));
            }
            if count < STEP {
                return Ok(());
            }
        }
    }

    /// Reads and drops `length` bytes.
    pub(super) fn skip(&mut self, length: u64, what: &str) -> Result<(), ImageError> {
        let mut left = length;
        let mut sink = [0; 4096];
        while left > 0 {
            let step = left.min(sink.len() as u64) as usize;
            self.exact(sink.get_mut(..step).unwrap_or_default(), what)?;
            left -= step as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_grows_only_as_bytes_come() {
        let mut out = Vec::new();
        let mut input = Input::new(&[7; 100_000][..]);
        let error = input.append(usize::MAX >> 1, &mut out, "something").unwrap_err();
        assert_eq!(
            error.to_string(),
            "image at byte 100000: the image ends here, in the middle of something"
        );
        assert!(out.capacity() < 300_000, "{}", out.capacity());
        let mut input = Input::new(&[7; 100_000][..]);
        let error = input.append_rest(1000, &mut Vec::new(), "something").unwrap_err();
        assert_eq!(
            error.to_string(),
            "image at byte 65536: something of more than 1000 bytes"
        );
    }

    #[test]
    fn bytes_that_are_taken_back_come_again() {
        let mut input = Input::new(&b"abcdef"[..]);
        assert_eq!(&input.array::<4>("x").unwrap(), b"abcd");
        input.unread(b"cd");
        assert_eq!(input.offset(), 2);
        assert_eq!(&input.array::<3>("x").unwrap(), b"cde");
        let mut rest = Vec::new();
        input.append_rest(10, &mut rest, "x").unwrap();
        assert_eq!((rest, input.offset()), (b"f".to_vec(), 6));
    }
}
