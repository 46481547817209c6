//! Pipes to and from a process that may hang.

use std::{
    io::{self, Read, Write},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

/// A pipe that waits for its other end for so long and no longer: then it is an error, of the kind [`io::ErrorKind::TimedOut`].
pub(crate) struct Timed<P> {
    pipe: P,
    limit: Duration,
}

impl<P: AsFd> Timed<P> {
    pub(crate) fn new(pipe: P, limit: Duration) -> io::Result<Timed<P>> {
        let flags = OFlag::from_bits_retain(fcntl(&pipe, FcntlArg::F_GETFL)?);
        fcntl(&pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        // The pipe's buffer: 64 KiB unless told otherwise, which costs a switch of processes for each. Not essential.
        let _ = fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(1 << 20));
        Ok(Timed { pipe, limit })
    }

    fn wait(&self, flags: PollFlags, since: Instant) -> io::Result<()> {
        loop {
            let Some(left) = self.limit.checked_sub(since.elapsed()) else {
                return Err(io::ErrorKind::TimedOut.into());
            };
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.pipe.as_fd(), flags)], left) {
                Ok(0) | Err(nix::errno::Errno::EINTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn patiently(&mut self, flags: PollFlags, mut act: impl FnMut(&mut P) -> io::Result<usize>) -> io::Result<usize> {
        let since = Instant::now();
        loop {
            match act(&mut self.pipe) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(flags, since)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

impl<P: AsFd + Read> Read for Timed<P> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.patiently(PollFlags::POLLIN, |pipe| pipe.read(buffer))
    }
}

impl<P: AsFd + Write> Write for Timed<P> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.patiently(PollFlags::POLLOUT, |pipe| pipe.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pipe.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::{io::pipe, thread};

    use super::*;

    #[test]
    fn bytes_go_through_and_an_end_is_an_end() {
        let (read, write) = pipe().unwrap();
        let mut read = Timed::new(read, Duration::from_secs(60)).unwrap();
        let mut write = Timed::new(write, Duration::from_secs(60)).unwrap();
        let sent: Vec<u8> = (0..5_000_000_u32).map(|number| number as u8).collect();
        let copy = sent.clone();
        let writer = thread::spawn(move || write.write_all(&copy));
        let mut received = Vec::new();
        read.read_to_end(&mut received).unwrap();
        writer.join().unwrap().unwrap();
        assert!(received == sent);
    }

    #[test]
    fn a_silent_end_is_an_error() {
        let (read, write) = pipe().unwrap();
        let mut read = Timed::new(read, Duration::from_millis(20)).unwrap();
        assert_eq!(read.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        let mut write = Timed::new(write, Duration::from_millis(20)).unwrap();
        let full = write.write_all(&vec![0; 2 << 20]).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::TimedOut);
        drop(read);
        assert_eq!(write.write_all(&[0]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
