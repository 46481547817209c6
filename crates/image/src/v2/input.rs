//! Bytes of a stream, counted.

use std::io::{self, Read};

use super::{MAX_RECORD, padding};
use crate::ImageError;

/// Memory for a body grows by this much at a time, after as many bytes have come: a length alone costs nothing.
const STEP: usize = 1 << 20;

/// A stream that is read to its end and not a byte further.
pub(super) struct Input<R> {
    read: R,
    offset: u64,
    /// Where the record or header that is being read begins.
    begin: u64,
}

impl<R: Read> Input<R> {
    pub(super) fn new(read: R) -> Input<R> {
        Input {
            read,
            offset: 0,
            begin: 0,
        }
    }

    /// Bytes read up to now.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn into_inner(self) -> R {
        self.read
    }

    /// An error about the record or header that is being read.
    pub(super) fn wrong(&self, what: impl Into<String>) -> ImageError {
        ImageError::Format {
            offset: self.begin,
            what: what.into(),
        }
    }

    /// A header's bytes.
    pub(super) fn header<const N: usize>(&mut self) -> Result<[u8; N], ImageError> {
        self.begin = self.offset;
        self.array()
    }

    /// A record's type and the length of its body, which is bounded.
    pub(super) fn record(&mut self) -> Result<(u32, usize), ImageError> {
        let [a, b, c, d, length @ ..] = self.header::<8>()?;
        let kind = u32::from_le_bytes([a, b, c, d]);
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_RECORD {
            return Err(self.wrong(format!("record {kind:#x} of {length} bytes, more than {MAX_RECORD}")));
        }
        Ok((kind, length))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], ImageError> {
        let mut bytes = [0; N];
        self.exact(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn exact(&mut self, bytes: &mut [u8]) -> Result<(), ImageError> {
        self.read.read_exact(bytes).map_err(cut)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Fills `body`, whose old content goes, with `length` bytes.
    pub(super) fn body(&mut self, body: &mut Vec<u8>, length: usize) -> Result<(), ImageError> {
        // What is there is overwritten, not cleared: only memory that is new costs zeros.
        body.truncate(length);
        let mut filled = 0;
        while filled < length {
            let end = length.min((filled + STEP).max(body.len()));
            if body.len() < end {
                body.resize(end, 0);
            }
            self.exact(body.get_mut(filled..end).unwrap_or_default())?;
            filled = end;
        }
        Ok(())
    }

    /// The zeros behind a body of this length.
    pub(super) fn padding(&mut self, length: usize) -> Result<(), ImageError> {
        let mut bytes = [0; 8];
        let bytes = bytes.get_mut(..padding(length)).unwrap_or_default();
        self.exact(bytes)?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Err(self.wrong("a record whose padding is not zero"));
        }
        Ok(())
    }
}

fn cut(source: io::Error) -> ImageError {
    let stage = match source.kind() {
        io::ErrorKind::UnexpectedEof => "the image ends in its middle",
        _ => "reading the image",
    };
    ImageError::Io { stage, source }
}
