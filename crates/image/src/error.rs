//! What can go wrong with an image on its way.

use std::io;

/// Why an image could not be written, read or understood.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The transport below failed: a socket, pipe or file.
    #[error("{stage}: {source}")]
    Io {
        /// What was being done, in words an operator knows, such as `writing the image`.
        stage: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// The bytes are not an image, or not one that this program understands.
    #[error("image at byte {offset}: {what}")]
    Format {
        /// Bytes from the start of the stream.
        offset: u64,
        /// What was found and what was expected.
        what: String,
    },
    /// The items came in an order that no image has, such as pages after the end.
    #[error("image: {0}")]
    Order(String),
    /// The other end gave up, and this is its reason.
    #[error("{0}")]
    Peer(String),
    /// Somebody at this end asked to stop: an operator, or the daemon as it ends.
    #[error("cancelled: {0}")]
    Cancelled(String),
    /// The image is sound, but the domain's toolstack can't use it or can't make it.
    #[error("{0}")]
    Toolstack(String),
}

impl ImageError {
    /// Wraps a system error with what was being done.
    pub fn io(stage: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| ImageError::Io { stage, source }
    }
}
