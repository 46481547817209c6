//! The process between a TLS connection and its plaintext side.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    os::fd::AsFd,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use peer::xend::RECEIVE_BUFFER;
use rustls::ServerConnection;

use super::Identity;

/// Plaintext that is kept at most before it is passed on.
const PENDING: usize = 64 << 10;

/// How long the other end may take to close once this one has.
const CLOSING: Duration = Duration::from_secs(10);

/// The process: the TLS connection is its standard input, the plaintext side its standard output.
pub fn main(key: &Path, certificate: &Path, handshake_ms: u64) -> ExitCode {
    let done = (|| {
        let outer = TcpStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        let inner = TcpStream::from(io::stdout().as_fd().try_clone_to_owned()?);
        // Until the end has come in order, whoever ends this process resets both.
        for stream in [&outer, &inner] {
            socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
        }
        // What is on its way through here is lost if this host fails: as little as may be.
        socket2::SockRef::from(&outer).set_recv_buffer_size(RECEIVE_BUFFER)?;
        // A silent network is no end: the sender may have given up its copy already. How long to wait is the receiver's to say.
        socket2::SockRef::from(&outer).set_keepalive(false)?;
        socket2::SockRef::from(&inner).set_send_buffer_size(PENDING)?;
        let identity = Identity {
            key: key.to_owned(),
            certificate: certificate.to_owned(),
        };
        let config = identity.load().map_err(io::Error::other)?;
        let session = ServerConnection::new(config).map_err(io::Error::other)?;
        let mut relay = Relay {
            outer,
            inner,
            session,
            pending: Vec::new(),
            outer_ended: false,
            inner_ended: None,
            told: false,
        };
        relay.run(Duration::from_millis(handshake_ms))
    })();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("relocd: a TLS connection ended: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Relay {
    outer: TcpStream,
    inner: TcpStream,
    session: ServerConnection,
    /// Plaintext for the inner side.
    pending: Vec<u8>,
    /// The peer has closed.
    outer_ended: bool,
    /// The daemon, or the receiver, has closed.
    inner_ended: Option<Instant>,
    /// The inner side knows that the peer has closed.
    told: bool,
}

impl Relay {
    fn run(&mut self, handshake: Duration) -> io::Result<()> {
        let begun = Instant::now();
        loop {
            if self.session.is_handshaking() && begun.elapsed() > handshake {
                return Err(io::Error::new(ErrorKind::TimedOut, "the TLS handshake takes too long"));
            }
            if self.is_over() {
                // In order on both sides: nothing is to be reset.
                for stream in [&self.outer, &self.inner] {
                    socket2::SockRef::from(stream).set_linger(None)?;
                }
                return Ok(());
            }
            self.wait()?;
            self.read_outer()?;
            self.write_inner()?;
            if let Err(error) = self.read_inner() {
                // It was reset; what was said before that is a refusal, which goes first.
                let _ = self.write_outer();
                return Err(error);
            }
            self.write_outer()?;
        }
    }

    fn is_over(&self) -> bool {
        let late = self.inner_ended.is_some_and(|since| since.elapsed() > CLOSING);
        self.inner_ended.is_some() && !self.session.wants_write() && (self.told || late)
    }

    fn wait(&self) -> io::Result<()> {
        let mut outer = PollFlags::empty();
        if !self.outer_ended && self.pending.len() < PENDING {
            outer |= PollFlags::POLLIN;
        }
        if self.session.wants_write() {
            outer |= PollFlags::POLLOUT;
        }
        let mut inner = PollFlags::empty();
        if self.inner_ended.is_none() {
            inner |= PollFlags::POLLIN;
        }
        if !self.pending.is_empty() {
            inner |= PollFlags::POLLOUT;
        }
        let mut both = [
            PollFd::new(self.outer.as_fd(), outer),
            PollFd::new(self.inner.as_fd(), inner),
        ];
        match poll(&mut both, PollTimeout::from(500_u16)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn read_outer(&mut self) -> io::Result<()> {
        while !self.outer_ended && self.pending.len() < PENDING {
            match self.session.read_tls(&mut self.outer) {
                Ok(0) => self.outer_ended = true,
                Ok(_) => {
                    if let Err(error) = self.session.process_new_packets() {
                        // The alert says why.
                        let _ = self.write_outer();
                        return Err(io::Error::other(error));
                    }
                }
                Err(error) if is_idle(&error) => break,
                Err(error) => return Err(error),
            }
            self.take_plaintext()?;
        }
        Ok(())
    }

    fn take_plaintext(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        loop {
            match self.session.reader().read(&mut buffer) {
                Ok(0) => {
                    self.outer_ended = true;
                    return Ok(());
                }
                Ok(count) => self.pending.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                // The connection ended without TLS's own end: for xend's senders that is an end all the same.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    self.outer_ended = true;
                    return Ok(());
                }
                Err(error) if is_idle(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn write_inner(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match self.inner.write(&self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(error) if is_idle(&error) => return Ok(()),
                // Why is read from there next.
                Err(_) => return Ok(()),
            }
        }
        if self.outer_ended && !self.told {
            self.told = true;
            let _ = self.inner.shutdown(Shutdown::Write);
        }
        Ok(())
    }

    fn read_inner(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        while self.inner_ended.is_none() && !self.session.is_handshaking() {
            match self.inner.read(&mut buffer) {
                Ok(0) => {
                    self.session.send_close_notify();
                    self.inner_ended = Some(Instant::now());
                }
                Ok(count) => self
                    .session
                    .writer()
                    .write_all(buffer.get(..count).unwrap_or_default())?,
                Err(error) if is_idle(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write_outer(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.outer) {
                Ok(_) => {}
                Err(error) if is_idle(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn is_idle(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
