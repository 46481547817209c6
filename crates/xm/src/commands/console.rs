//! `xm console`: what the domain printed so far, then what it prints; what is typed goes to it.

use std::{
    io::{self, ErrorKind, IsTerminal, Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd,
};
use peer::control::{Reply, Request};
use signal_hook::{
    SigId,
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    flag, low_level,
};

use super::{Answer, terminal::RawMode};
use crate::{
    client::{Connection, unexpected},
    error::CommandError,
    notice,
    render::escape,
};

/// Ctrl-].
const DETACH: u8 = 0x1d;

/// Bytes at most that wait for a domain that does not read.
const MAX_WAITING: usize = 64 << 10;

/// How an attachment ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The daemon closed.
    Closed,
    /// The operator left, or nobody reads any more.
    Detached,
    /// A signal came.
    Signal(u8),
}

/// Attaches to a domain's console.
pub(crate) fn run(control: &Path, domain: String) -> Answer {
    let mut connection = Connection::open(control)?;
    connection.send(&Request::Console { domain })?;
    let name = match connection.reply()? {
        Reply::Console { name, domid } => {
            if io::stdin().is_terminal() {
                notice(&format!(
                    "Console of '{}' (domain {domid}). Ctrl-] detaches.",
                    escape(&name)
                ));
            }
            escape(&name)
        }
        Reply::Err(failure) => return Err(CommandError::Failed(failure)),
        _ => return Err(unexpected()),
    };
    let (socket, first) = connection.into_console()?;
    match attach(socket, &first).map_err(|error| CommandError::local("console", &error))? {
        End::Closed => {
            notice(&format!(
                "\nThe console of '{name}' closed: the domain has ended or been relocated. If it has been relocated, reattach \
                 with xm console {name} on its new host."
            ));
            Ok(String::new())
        }
        End::Detached => {
            if io::stderr().is_terminal() {
                notice("");
            }
            Ok(String::new())
        }
        End::Signal(number) => Err(CommandError::Signal(number)),
    }
}

fn attach(socket: UnixStream, first: &[u8]) -> io::Result<End> {
    let stdin = io::stdin();
    let signals = Signals::watch()?;
    let is_terminal = stdin.is_terminal();
    // Restored when this function ends, however it does.
    let _raw = if is_terminal {
        Some(RawMode::enter(stdin.as_fd())?)
    } else {
        None
    };
    let mut session = Session {
        socket,
        waiting: Vec::new(),
        is_terminal,
        input_open: true,
    };
    if !output(first)? {
        return Ok(End::Detached);
    }
    session.run(&stdin, &signals)
}

/// Prints; `false` if nobody reads any more.
fn output(bytes: &[u8]) -> io::Result<bool> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

struct Session {
    socket: UnixStream,
    /// Typed, and not yet taken.
    waiting: Vec<u8>,
    is_terminal: bool,
    input_open: bool,
}

impl Session {
    fn run(&mut self, stdin: &io::Stdin, signals: &Signals) -> io::Result<End> {
        self.socket.set_nonblocking(true)?;
        loop {
            // From a terminal everything is read, so that Ctrl-] works whatever the domain does; a file can wait.
            let read_input = self.input_open && (self.is_terminal || self.waiting.len() < MAX_WAITING);
            let (input, from_socket, from_signals) = {
                let wanted = if self.waiting.is_empty() {
                    PollFlags::POLLIN
                } else {
                    PollFlags::POLLIN | PollFlags::POLLOUT
                };
                let mut fds = vec![
                    PollFd::new(self.socket.as_fd(), wanted),
                    PollFd::new(signals.pipe.as_fd(), PollFlags::POLLIN),
                ];
                if read_input {
                    fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
                }
                match poll(&mut fds, PollTimeout::NONE) {
                    Err(nix::errno::Errno::EINTR) => {}
                    result => drop(result?),
                }
                let ready = |at: usize| fds.get(at).and_then(PollFd::any).unwrap_or(false);
                (ready(2), ready(0), ready(1))
            };
            if from_signals {
                return Ok(End::Signal(signals.number()));
            }
            if from_socket && let Some(end) = self.read_domain()? {
                return Ok(end);
            }
            if input && let Some(end) = self.read_operator(stdin)? {
                return Ok(end);
            }
            if !self.flush()? {
                // What it said last is still to be read; reading tells the end.
                self.waiting.clear();
                self.input_open = false;
            }
        }
    }

    fn read_domain(&mut self) -> io::Result<Option<End>> {
        let mut buffer = [0; 16 << 10];
        match self.socket.read(&mut buffer) {
            Ok(0) => Ok(Some(End::Closed)),
            Ok(count) => {
                let going = output(buffer.get(..count).unwrap_or_default())?;
                Ok((!going).then_some(End::Detached))
            }
            Err(error) if is_passing(&error) => Ok(None),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(Some(End::Closed)),
            Err(error) => Err(error),
        }
    }

    fn read_operator(&mut self, stdin: &io::Stdin) -> io::Result<Option<End>> {
        let mut buffer = [0; 4096];
        let bytes = match unistd::read(stdin, &mut buffer) {
            // The terminal has gone; the end of a file only ends the typing.
            Ok(0) if self.is_terminal => return Ok(Some(End::Detached)),
            Ok(0) => {
                self.input_open = false;
                return Ok(None);
            }
            Ok(count) => buffer.get(..count).unwrap_or_default(),
            Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => return Ok(None),
            // So a terminal says that it has gone.
            Err(nix::errno::Errno::EIO) => return Ok(Some(End::Detached)),
            Err(error) => return Err(error.into()),
        };
        let detach = if self.is_terminal {
            bytes.iter().position(|&byte| byte == DETACH)
        } else {
            None
        };
        let typed = bytes.get(..detach.unwrap_or(bytes.len())).unwrap_or_default();
        // What is typed at a domain that does not read is lost, as on a serial line.
        if self.waiting.len() + typed.len() <= MAX_WAITING + buffer.len() {
            self.waiting.extend_from_slice(typed);
        }
        if detach.is_some() {
            self.flush()?;
            return Ok(Some(End::Detached));
        }
        Ok(None)
    }

    /// Hands over what waits, as far as it is taken; `false` if the other end has gone.
    fn flush(&mut self) -> io::Result<bool> {
        while !self.waiting.is_empty() {
            match self.socket.write(&self.waiting) {
                Ok(count) => drop(self.waiting.drain(..count)),
                Err(error) if is_passing(&error) => return Ok(true),
                Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Signals that would end the program with the terminal in raw mode.
struct Signals {
    pipe: UnixStream,
    last: Arc<AtomicUsize>,
    registered: Vec<SigId>,
}

impl Signals {
    fn watch() -> io::Result<Signals> {
        let (pipe, write) = UnixStream::pair()?;
        let mut signals = Signals {
            pipe,
            last: Arc::new(AtomicUsize::new(0)),
            registered: Vec::new(),
        };
        for (signal, number) in [(SIGHUP, 1), (SIGINT, 2), (SIGQUIT, 3), (SIGTERM, 15)] {
            signals
                .registered
                .push(flag::register_usize(signal, Arc::clone(&signals.last), number)?);
            signals
                .registered
                .push(low_level::pipe::register(signal, write.try_clone()?)?);
        }
        Ok(signals)
    }

    fn number(&self) -> u8 {
        u8::try_from(self.last.load(Ordering::SeqCst)).unwrap_or_default()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            low_level::unregister(id);
        }
    }
}
