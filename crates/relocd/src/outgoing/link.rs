//! The bulk path's way out: a blocking socket that notices when the other end gives up.

use std::{
    io::{self, IoSlice, Read, Write},
    net::TcpStream,
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
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

/// One wait of a write is this part of the time that the other end may take nothing. A write that was cut short by its time limit tells only that bytes were
/// taken since it began.
const WAITS: u32 = 6;

/// A connection to the destination.
pub struct TcpLink {
    stream: TcpStream,
    /// How long the other end may take nothing; `None`: for ever.
    idle: Option<Duration>,
    cancel: Cancel,
    written: Arc<AtomicU64>,
    /// A write has failed: what has gone out ends somewhere, and nothing can follow.
    broken: bool,
}

impl TcpLink {
    /// A link on a blocking connection with time limits. `written` counts bytes for others to see.
    pub fn new(stream: TcpStream, cancel: Cancel, written: Arc<AtomicU64>) -> TcpLink {
        let idle = stream.write_timeout().ok().flatten();
        let link = TcpLink {
            stream,
            idle,
            cancel,
            written,
            broken: false,
        };
        link.limit(idle.map(|idle| idle / WAITS));
        link
    }

    /// Gives the connection back.
    pub fn into_stream(self) -> TcpStream {
        self.limit(self.idle);
        self.stream
    }

    fn limit(&self, limit: Option<Duration>) {
        if let Err(error) = self.stream.set_write_timeout(limit) {
            tracing::warn!(%error, "the time limit of the connection can't be changed");
        }
    }

    fn write_all(&mut self, mut buffers: &mut [IoSlice<'_>]) -> Result<(), ImageError> {
        IoSlice::advance_slices(&mut buffers, 0);
        let mut taken = Instant::now();
        while !buffers.is_empty() {
            match self.stream.write_vectored(buffers) {
                Ok(0) => return Err(self.why(io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    taken = Instant::now();
                    self.written.fetch_add(count as u64, Ordering::Relaxed);
                    IoSlice::advance_slices(&mut buffers, count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What Linux says once the time limit of a write is over.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.idle.is_some_and(|idle| taken.elapsed() >= idle) {
                        let text = "the destination took nothing for too long: its host, or the network, may have gone";
                        return Err(self.why(io::Error::new(io::ErrorKind::TimedOut, text)));
                    }
                    self.cancel.check()?;
                }
                Err(error) => return Err(self.why(error)),
            }
        }
        Ok(())
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
    fn write(&mut self, buffers: &mut [IoSlice<'_>]) -> Result<(), ImageError> {
        fault::point(&["out", "frame"]);
        if self.broken {
            return Err(ImageError::Io {
                stage: "sending the image",
                source: io::ErrorKind::BrokenPipe.into(),
            });
        }
        let written = self.write_all(buffers);
        self.broken = written.is_err();
        written
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn link(idle: Duration) -> (TcpLink, TcpStream, Arc<AtomicU64>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_write_timeout(Some(idle)).unwrap();
        let written = Arc::new(AtomicU64::new(0));
        let link = TcpLink::new(stream, Cancel::default(), Arc::clone(&written));
        (link, listener.accept().unwrap().0, written)
    }

    #[test]
    fn a_destination_that_takes_nothing_is_noticed_and_written_to_no_more() {
        let (mut link, _there, written) = link(Duration::from_millis(600));
        let bytes = vec![1; 64 << 20];
        let said = link.write(&mut [IoSlice::new(&bytes)]).unwrap_err().to_string();
        assert!(said.contains("took nothing for too long"), "{said}");
        let before = written.load(Ordering::Relaxed);
        assert!(before > 0 && before < bytes.len() as u64);
        assert!(link.write(&mut [IoSlice::new(b"abort")]).is_err());
        assert_eq!(written.load(Ordering::Relaxed), before);
        let stream = link.into_stream();
        assert_eq!(stream.write_timeout().unwrap(), Some(Duration::from_millis(600)));
    }

    #[test]
    fn one_that_is_slow_is_not() {
        let (mut link, mut there, _) = link(Duration::from_secs(60));
        // Shorter than the pauses: a write is cut short again and again.
        link.limit(Some(Duration::from_millis(1)));
        let length = 16 << 20;
        let reader = std::thread::spawn(move || {
            let (mut bytes, mut sum) = (vec![0; 1 << 20], 0);
            while let Ok(count @ 1..) = there.read(&mut bytes) {
                sum += count;
                std::thread::sleep(Duration::from_millis(5));
            }
            sum
        });
        link.write(&mut [IoSlice::new(&vec![1; length])]).unwrap();
        drop(link);
        assert_eq!(reader.join().unwrap(), length);
    }
}
