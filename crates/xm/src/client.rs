//! One request to the daemon, and its answers.

use std::{
    io::{ErrorKind, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
};

use peer::control::{MAX_REQUEST, Reply, Request};

use crate::error::CommandError;

/// Bytes of one answer at most: thousands of domains with their configurations.
const MAX_REPLY: usize = 64 << 20;

/// Lists within lists in an answer at most.
const MAX_DEPTH: usize = 64;

/// A connection that carries one request.
pub(crate) struct Connection {
    stream: UnixStream,
    reader: sxp::Reader,
    /// What was read from the socket, and how much of it was taken.
    buffer: Vec<u8>,
    taken: usize,
}

impl Connection {
    /// Connects.
    pub(crate) fn open(path: &Path) -> Result<Connection, CommandError> {
        let stream = UnixStream::connect(path).map_err(|source| CommandError::Connect {
            path: path.to_owned(),
            source,
        })?;
        let limits = sxp::Limits {
            max_bytes: MAX_REPLY,
            max_depth: MAX_DEPTH,
            // The daemon is not a stranger: a list of many domains has many parts.
            max_parts: MAX_REPLY,
        };
        Ok(Connection {
            stream,
            reader: sxp::Reader::new(limits),
            buffer: Vec::new(),
            taken: 0,
        })
    }

    /// Sends the request. A daemon that takes none may still say why: then [`Connection::reply`] gives that.
    pub(crate) fn send(&mut self, request: &Request) -> Result<(), CommandError> {
        let value = sxp::to_sexp(request).map_err(|error| CommandError::Protocol(error.to_string()))?;
        let mut line = sxp::to_bytes(&value);
        line.push(b'\n');
        if line.len() > MAX_REQUEST {
            return Err(CommandError::Local {
                what: format!(
                    "the request has {} bytes, more than the {MAX_REQUEST} that relocd takes",
                    line.len()
                ),
                next: None,
            });
        }
        match self.stream.write_all(&line) {
            // It closed its end: what it said before that is there to be read.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => Ok(()),
            Err(error) => Err(CommandError::Lost(Some(error))),
            Ok(()) => Ok(()),
        }
    }

    /// The next answer.
    pub(crate) fn reply(&mut self) -> Result<Reply, CommandError> {
        loop {
            let rest = self.buffer.get(self.taken..).unwrap_or_default();
            let (used, value) = self
                .reader
                .feed(rest)
                .map_err(|error| CommandError::Protocol(error.to_string()))?;
            self.taken += used;
            if let Some(value) = value {
                // Each value counts for itself.
                self.reader.reset();
                return sxp::from_sexp(&value).map_err(|error| CommandError::Protocol(error.to_string()));
            }
            self.fill()?;
        }
    }

    /// Sends a request that has one answer.
    pub(crate) fn ask(path: &Path, request: &Request) -> Result<Reply, CommandError> {
        let mut connection = Connection::open(path)?;
        connection.send(request)?;
        match connection.reply()? {
            Reply::Err(failure) => Err(CommandError::Failed(failure)),
            reply => Ok(reply),
        }
    }

    /// Ends the talk in messages: the socket, and what was read of the console already. The line end of the last message belongs to neither.
    pub(crate) fn into_console(mut self) -> Result<(UnixStream, Vec<u8>), CommandError> {
        while self.taken == self.buffer.len() {
            self.fill()?;
        }
        let mut rest = self.buffer.split_off(self.taken);
        if rest.first() == Some(&b'\n') {
            rest.remove(0);
        }
        Ok((self.stream, rest))
    }

    /// Something that closes the sending side: so the daemon learns that the operator wants to stop.
    pub(crate) fn canceller(&self) -> std::io::Result<impl Fn() + Send + 'static> {
        let stream = self.stream.try_clone()?;
        // A connection that has gone needs no closing.
        Ok(move || drop(stream.shutdown(Shutdown::Write)))
    }

    fn fill(&mut self) -> Result<(), CommandError> {
        self.buffer.resize(64 << 10, 0);
        self.taken = 0;
        let read = loop {
            match self.stream.read(&mut self.buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(*read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(CommandError::Lost(None)),
            Ok(_) => Ok(()),
            Err(error) => Err(CommandError::Lost(Some(error))),
        }
    }
}

/// An answer to another question than the one that was asked.
pub(crate) fn unexpected() -> CommandError {
    CommandError::Protocol("its answer belongs to another request".to_owned())
}
