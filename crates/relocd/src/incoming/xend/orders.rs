//! What the daemon and the process that receives an image say to each other: one JSON object on a line.

use std::{
    io::{self, BufRead, Write},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Bytes in a line at most: a configuration may have a megabyte, and be quoted.
pub const MAX_LINE: usize = 32 << 20;

/// What a receiver is to do: the first line it gets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// The relocation.
    pub id: Uuid,
    /// The spool.
    pub spool: PathBuf,
    /// The sender: address and port.
    pub peer: String,
    /// `(domain ...)` as it came, in text.
    pub config: String,
    /// The domain's name, for the log.
    pub domain: String,
    /// Pages that the domain may have at most, holes included.
    pub max_pages: u64,
    /// Whether guests of 32 bits can run where it goes.
    pub pv32: bool,
    /// Whether guests with XSAVE state can.
    pub xsave: bool,
    /// Milliseconds without a byte after which the sender is given up, as long as it owns its domain.
    pub idle_ms: u64,
    /// The image only passes through: nothing of it is kept.
    pub passes: bool,
    /// What the operator is told of the entry.
    pub keep: String,
    /// The daemon's log file.
    pub log_file: Option<PathBuf>,
}

/// What the daemon says later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Take the image in. From here on the receiver is on its own: that the daemon ends changes nothing.
    Go,
    /// Give up, as long as the sender owns the domain.
    Cancel(String),
    /// What passes through can't be taken any more: give up, whoever owns the domain. A sender that has still something to write resumes it.
    Abandon(String),
    /// So many bytes of what passes through have been taken.
    Taken(u64),
}

/// What the receiver says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// It has its place in the spool, and waits for [`Order::Go`].
    Begun,
    /// So many bytes have come.
    Progress(u64),
    /// The image is whole: on disk, synced, in the spool. Nothing can fail any more.
    Kept,
    /// The image is whole, and whoever takes what passes through can have all of it.
    Passed,
    /// The image is whole, but the sender was not seen to close in good order behind its image: it may have its domain still.
    Doubtful(String),
    /// It was refused: the sender's domain runs on there.
    Refused(String),
    /// The sender gave up, or has gone; nothing is here.
    Discarded(String),
    /// The image could not be understood to its end, at a time when the sender may have given up its copy. All that came is on disk.
    Broken(String),
}

/// Says something.
///
/// # Errors
/// The system's: the other end may have gone.
pub fn say(to: &mut impl Write, what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    to.write_all(&line)
}

/// The next line; `None` at the end.
///
/// # Errors
/// The system's; `InvalidData` for what can't be understood.
pub fn hear<T: serde::de::DeserializeOwned>(from: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    io::Read::take(&mut *from, MAX_LINE as u64).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&line)?))
}
