//! What the daemon and a machine process say to each other: one S-expression and a newline each; a state follows as bytes.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

/// Bytes of a state at most.
pub(crate) const MAX_STATE: usize = 128 << 20;

/// How long either may take to answer: longer than any stretch of execution, and than collecting the dirty log of the largest machine.
pub(crate) const ANSWER_TIME: Duration = Duration::from_secs(10);

/// What a machine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// It is being made. Goes away with the connection that makes it.
    Building { relocation: Option<Uuid> },
    /// It executes.
    Running,
    /// An operator has stopped it.
    Paused,
    /// It executes (or is paused) while its memory is being copied. As before once the connection that copies is gone.
    Departing { relocation: Uuid, paused: bool },
    /// It stands still, its image is complete elsewhere. Only a decision ends this.
    Suspended { relocation: Uuid, paused: bool },
    /// It has arrived, is complete, and has never executed here. Only a decision ends this.
    Arrived { relocation: Uuid },
    /// It has crashed.
    Crashed,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Command {
    Status,
    /// The connection holds the machine that is being built.
    Hold,
    /// Sets the state, which follows; an arriving machine has then arrived, any other runs.
    Load {
        length: usize,
    },
    Depart {
        relocation: Uuid,
    },
    CollectDirty,
    /// Stops a departing machine for the last copy; still undone if the connection goes.
    Stop,
    /// The image is complete elsewhere: from now on only a decision ends this. The state follows the answer.
    Suspend,
    Throttle {
        percent: u8,
    },
    /// Ends a departure: as before.
    Resume,
    Pause,
    Unpause,
    /// An arrived machine executes from now on.
    Start,
    Destroy,
    /// The connection is the console from now on.
    Console,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    Done,
    /// So many bytes follow.
    State {
        length: usize,
    },
    Status {
        phase: Phase,
        waiting: bool,
        cpu_microseconds: u64,
        suspended_microseconds: u64,
    },
    Refused {
        reason: String,
    },
}

/// Why the other end of a machine's socket does not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProtocolError {
    #[error("the machine's socket: {0}")]
    Io(#[from] std::io::Error),
    #[error("the machine's socket: {0}")]
    Syntax(String),
    #[error("the machine has gone")]
    Gone,
}

impl ProtocolError {
    /// Whether the other end's process has ended, or is about to: there is nobody who could answer later.
    pub(crate) fn is_gone(&self) -> bool {
        match self {
            ProtocolError::Gone => true,
            ProtocolError::Io(error) => matches!(
                error.kind(),
                std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset
            ),
            ProtocolError::Syntax(_) => false,
        }
    }
}

/// One end of a machine's socket.
pub(crate) struct Line {
    pub(crate) stream: UnixStream,
}

impl Line {
    pub(crate) fn new(stream: UnixStream) -> Line {
        Line { stream }
    }

    pub(crate) fn send<T: Serialize>(&mut self, message: &T) -> Result<(), ProtocolError> {
        let value = sxp::to_sexp(message).map_err(|error| ProtocolError::Syntax(error.to_string()))?;
        let mut line = sxp::to_bytes(&value);
        line.push(b'\n');
        Ok(self.stream.write_all(&line)?)
    }

    /// The next message. Byte by byte: what follows may be a state, and messages are short.
    pub(crate) fn receive<T: DeserializeOwned>(&mut self) -> Result<T, ProtocolError> {
        let mut line = Vec::new();
        let mut byte = [0];
        loop {
            if self.stream.read(&mut byte)? == 0 {
                return Err(ProtocolError::Gone);
            }
            if byte[0] == b'\n' {
                break;
            }
            line.push(byte[0]);
            if line.len() > 4096 {
                return Err(ProtocolError::Syntax("a message of more than 4096 bytes".to_owned()));
            }
        }
        let syntax = |error: &dyn std::fmt::Display| ProtocolError::Syntax(error.to_string());
        let mut reader = sxp::Reader::new(sxp::Limits {
            max_bytes: 4096,
            max_depth: 8,
            ..sxp::Limits::default()
        });
        match reader.feed(&line).map_err(|error| syntax(&error))? {
            (_, Some(value)) => sxp::from_sexp(&value).map_err(|error| syntax(&error)),
            (_, None) => Err(syntax(&"no message")),
        }
    }

    pub(crate) fn receive_bytes(&mut self, length: usize) -> Result<Vec<u8>, ProtocolError> {
        if length > MAX_STATE {
            return Err(ProtocolError::Syntax(format!("a state of {length} bytes")));
        }
        let mut bytes = Vec::new();
        (&mut self.stream).take(length as u64).read_to_end(&mut bytes)?;
        if bytes.len() == length {
            Ok(bytes)
        } else {
            Err(ProtocolError::Gone)
        }
    }
}
