//! The bulk path's way out: a blocking socket that notices when the other end gives up.

use std::{
    io::{self, IoSlice, Read, Write},
    net::TcpStream,
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use image::ImageError;
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, recv},
};
use peer::native::{Link, message::Reply};

use crate::{cancel::Cancel, failure::GAVE_UP, fault};

/// How long the other end's last word is waited for once its connection has failed.
const LAST_WORD: Duration = Duration::from_secs(3);

/// Bytes of the last word at most.
const MAX_LAST_WORD: usize = 4096;

/// A connection to the destination.
pub struct TcpLink {
    stream: TcpStream,
    cancel: Cancel,
    written: Arc<AtomicU64>,
}

impl TcpLink {
    /// A link on a blocking connection with time limits. `written` counts bytes for others to see.
    pub fn new(stream: TcpStream, cancel: Cancel, written: Arc<AtomicU64>) -> TcpLink {
        TcpLink {
            stream,
            cancel,
            written,
        }
    }

    /// Gives the connection back.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// What the other end said before it closed; else what the system says.
    fn why(&mut self, source: io::Error) -> ImageError {
        if let Err(cancelled) = self.cancel.check() {
            return cancelled;
        }
        self.last_word().unwrap_or(ImageError::Io {
            stage: "sending the image",
            source,
        })
    }

    fn last_word(&mut self) -> Option<ImageError> {
        self.stream.set_read_timeout(Some(LAST_WORD)).ok()?;
        let mut reader = sxp::Reader::new(sxp::Limits {
            max_bytes: MAX_LAST_WORD,
            ..sxp::Limits::default()
        });
        let mut bytes = [0; 512];
        loop {
            let count = self.stream.read(&mut bytes).ok().filter(|count| *count > 0)?;
            if let (_, Some(value)) = reader.feed(bytes.get(..count)?).ok()? {
                return Some(ImageError::Peer(match Reply::parse(&value) {
                    Ok(Reply::Err(refused)) => format!("{GAVE_UP}: {}", refused.text),
                    Ok(other) => format!("the destination broke the protocol: {other:?}"),
                    Err(error) => format!("the destination broke the protocol: {error}"),
                }));
            }
        }
    }
}

impl Link for TcpLink {
    fn write(&mut self, mut buffers: &mut [IoSlice<'_>]) -> Result<(), ImageError> {
        fault::point(&["out", "frame"]);
        IoSlice::advance_slices(&mut buffers, 0);
        while !buffers.is_empty() {
            match self.stream.write_vectored(buffers) {
                Ok(0) => return Err(self.why(io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    self.written.fetch_add(count as u64, Ordering::Relaxed);
                    IoSlice::advance_slices(&mut buffers, count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What Linux says once the time limit of a write is over.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let text = "the destination took nothing for too long: its host, or the network, may have gone";
                    return Err(self.why(io::Error::new(io::ErrorKind::TimedOut, text)));
                }
                Err(error) => return Err(self.why(error)),
            }
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), ImageError> {
        self.cancel.check()?;
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        match recv(self.stream.as_raw_fd(), &mut [0], flags) {
            // Silence is what is expected here.
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(()),
            Ok(_) => Err(self.why(io::ErrorKind::UnexpectedEof.into())),
            Err(errno) => Err(self.why(errno.into())),
        }
    }
}
