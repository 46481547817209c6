//! A xend that sends a domain: its request, its envelope, its image, and who owns the domain meanwhile; and one that a domain is sent to. No I/O but a
//! reader of bytes, and a writer.
//!
//! ```text
//!  xend (sender)                              relocd
//!  "receive\n"                 ------------>
//!                              <------------  "(ready receive)\n"   read once, content ignored
//!  "LinuxGuestRecord"          ------------>  16 bytes
//!  length, config              ------------>  4 bytes big-endian; (domain ...)
//!  legacy image                ------------>
//!  destroys its domain, closes ------------>  end of stream
//!                              <------------  "(ok)\n"              nobody reads it
//! ```
//!
//! # Who owns the domain
//!
//! A xend takes no acknowledgement: once the kernel has taken its last write, it destroys its domain. If a write fails, it resumes the domain (3.1 and
//! later), and only then reads an `(err ...)`. So a refusal is that line and at once a reset of the connection, as long as the sender has something
//! to write. When it has not is not told on the wire: bytes that were written may stand in two kernels' buffers. [`Custody`] keeps count:
//!
//! | custody | when | what a failure here means |
//! |---|---|---|
//! | [`Custody::Sender`] | more of the image must be to come than buffers can hold | refuse, reset: the domain runs on there |
//! | [`Custody::Unclear`] | the rest may be on its way already | a reset may end the only copy: take in all that comes, and keep it |
//! | [`Custody::Here`] | the image is whole, or the stream has ended behind a whole one | the copy here is the domain; never thrown away |
//!
//! An end of the stream in the middle of the image says that the sender has failed, and that its domain runs there.
//!
//! # To a xend
//!
//! The same with the roles exchanged ([`XendSink`]), but that the sender here waits for the answers: for `(ready receive)`, as bytes that come with the
//! request are lost, and for `(ok)`, which a xend says once the domain runs. It runs the domain as soon as it has the whole image, and asks nobody: so the
//! last bytes of the image are the commit. [`XendSink`] keeps them back until the handoff says so.
//!
//! ```text
//!  relocd                                     xend (receiver)
//!  "receive\n"                 ------------>
//!                              <------------  "(ready receive)\n"   or (err ...)
//!  envelope, image but its last bytes ----->
//!                              <------------  (err ...), closes: it has discarded what it had
//!  the last bytes, end of stream ---------->  3.0.3 to 3.4 wait for the end of the stream
//!                              <------------  "(ok)\n": the domain runs; (err ...)
//! ```
//!
//! What became of it can't be asked later: a connection that is lost behind the last bytes leaves the outcome to an operator.
//!
//! Sources: `relocate.py`, `XendDomain.py`, `XendCheckpoint.py` of xend 3.0.2 to 4.4, and two of them observed.

mod custody;
mod envelope;
mod image;
mod sender;

pub use custody::{Custody, Failure, Keeper, RECEIVE_BUFFER, Verdict};
pub use envelope::{Envelope, EnvelopeError, EnvelopeReader, envelope};
pub use image::{Ended, ImageBytes, Outcome, Watch, take_in, take_in_if};
pub use sender::{Answer, TAIL, XendSink};

/// The request to take a domain in. Nothing may follow it before the answer.
pub const RECEIVE: &[u8] = b"receive\n";

/// The answer to `receive`. A sender reads up to 80 bytes, once; nothing more may come before the end, or its kernel could reset the connection when it closes.
pub const READY: &[u8] = b"(ready receive)\n";

/// The answer to `sslreceive`, which is the same request on a connection with TLS (xend takes it on others as well).
pub const SSL_READY: &[u8] = b"(ready sslreceive)\n";

/// The last word, once the domain is safe here. xend's senders do not wait for it.
pub const OK: &[u8] = b"(ok)\n";

/// Bytes of a refusal at most: what a sender reads of it.
pub const MAX_REFUSAL: usize = 1024;

/// A refusal in the one shape that a sender (4.0 and later) finds in what it reads: `(err (type T) (value 'TEXT'))`, TEXT in single quotes. See
/// [`sxp::quote_single`] for what happens to quotes and line ends in `text`, and to what is too long. It is read only after a write has failed: the
/// connection has to be reset right behind it.
pub fn refusal(text: &str) -> Vec<u8> {
    let mut line = b"(err (type xen.xend.XendError.XendError) (value ".to_vec();
    line.extend_from_slice(sxp::quote_single(text).as_bytes());
    line.extend_from_slice(b"))\n");
    line
}
