//! What stands before the image: a signature, a length, and the domain's configuration.
//!
//! ```text
//! offset  size
//!   0     16     "LinuxGuestRecord", whatever the guest
//!  16      4     N: signed, big-endian
//!  20      N     one (domain ...)
//! ```
//!
//! The same as in a file of xend's `xm save` (`XendCheckpoint.py`, xend 3.0.2 to 4.4).

use sexp::Sexp;

/// The first bytes.
const SIGNATURE: &[u8; 16] = b"LinuxGuestRecord";

/// Bytes of space before the signature at most. xend takes none; what ended the request may be left over.
const MAX_SPACE: usize = 16;

/// What is sent before the image.
///
/// # Errors
/// [`EnvelopeError::Length`] for a configuration that is longer than the format can say.
pub fn envelope(config: &Sexp) -> Result<Vec<u8>, EnvelopeError> {
    let text = sxp::to_bytes(config);
    let length = i32::try_from(text.len()).map_err(|_| EnvelopeError::Length {
        length: -1,
        limit: i32::MAX as usize,
    })?;
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend(length.to_be_bytes());
    bytes.extend(text);
    Ok(bytes)
}

/// An envelope that has been read.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// The configuration as it came.
    pub text: Vec<u8>,
    /// Its first value, which is the one that counts.
    pub config: Sexp,
}

/// What is wrong with an envelope. The first two are in xend's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// It does not begin as one.
    #[error("not a valid guest state file: found '{0}'")]
    Signature(String),
    /// The stream ended in it.
    #[error("not a valid guest state file: {0} read")]
    Cut(&'static str),
    /// The configuration has a length that it can't have.
    #[error("the configuration has {length} bytes, 1 to {limit} are taken (relocd-max-config-size)")]
    Length {
        /// The length that was announced.
        length: i32,
        /// The most that is taken.
        limit: usize,
    },
    /// The configuration is no S-expression.
    #[error("the configuration can't be read: {0}")]
    Config(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Signature,
    Length,
    Config,
}

/// Reads an envelope out of bytes as they come, in whatever pieces. Memory grows with the bytes that have come, never with a length that was announced.
#[derive(Clone, Debug)]
pub struct EnvelopeReader {
    limits: sxp::Limits,
    stage: Stage,
    space: usize,
    wanted: usize,
    have: Vec<u8>,
}

impl EnvelopeReader {
    /// A reader at the beginning. `limits`: of the configuration.
    pub fn new(limits: sxp::Limits) -> EnvelopeReader {
        EnvelopeReader {
            limits,
            stage: Stage::Signature,
            space: 0,
            wanted: SIGNATURE.len(),
            have: Vec::new(),
        }
    }

    /// Bytes that may be read without reading into the image: at least 1 until the envelope is whole.
    pub fn wanted(&self) -> usize {
        self.wanted - self.have.len()
    }

    /// Takes bytes up to the end of the envelope; says how many it took, and the envelope once it is whole. Not to be called again after that, or after an error.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn feed(&mut self, input: &[u8]) -> Result<(usize, Option<Envelope>), EnvelopeError> {
        let mut rest = input;
        loop {
            while self.stage == Stage::Signature && self.have.is_empty() && self.space < MAX_SPACE {
                match rest.split_first() {
                    Some((b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r', after)) => {
                        rest = after;
                        self.space += 1;
                    }
                    _ => break,
                }
            }
            let (now, after) = rest.split_at(self.wanted().min(rest.len()));
            self.have.extend_from_slice(now);
            rest = after;
            if self.wanted() > 0 {
                return Ok((input.len() - rest.len(), None));
            }
            let have = std::mem::take(&mut self.have);
            match self.stage {
                Stage::Signature if have == SIGNATURE => {
                    self.stage = Stage::Length;
                    self.wanted = 4;
                }
                Stage::Signature => {
                    let found = have.iter().flat_map(|byte| std::ascii::escape_default(*byte));
                    return Err(EnvelopeError::Signature(found.map(char::from).collect()));
                }
                Stage::Length => {
                    let length = i32::from_be_bytes(have.try_into().unwrap_or_default());
                    let limit = self.limits.max_bytes;
                    self.wanted = match usize::try_from(length) {
                        Ok(length) if length > 0 && length <= limit => length,
                        _ => return Err(EnvelopeError::Length { length, limit }),
                    };
                    self.stage = Stage::Config;
                }
                Stage::Config => {
                    let config = self.config(&have)?;
                    self.wanted = 0;
                    return Ok((input.len() - rest.len(), Some(Envelope { text: have, config })));
                }
            }
        }
    }

    /// As for xend, the first value counts, and what follows it does not.
    fn config(&self, text: &[u8]) -> Result<Sexp, EnvelopeError> {
        match sxp::Reader::new(self.limits).feed(text) {
            Ok((_, Some(value))) => Ok(value),
            Ok((_, None)) => Err(EnvelopeError::Config("it is not complete".to_owned())),
            Err(error) => Err(EnvelopeError::Config(error.to_string())),
        }
    }

    /// The stream has ended here: what is missing.
    pub fn cut(&self) -> EnvelopeError {
        EnvelopeError::Cut(match self.stage {
            Stage::Signature => "signature",
            Stage::Length => "length",
            Stage::Config => "config",
        })
    }
}
