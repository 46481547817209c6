//! What can go wrong with the spool.

use std::{io, path::PathBuf};

use image::ImageError;
use uuid::Uuid;

use crate::ToolstackError;

/// Why the spool could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The system refused.
    #[error("spool {}: {what}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was being done.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// Another daemon has the directory.
    #[error("spool {}: another relocd has it; stop that one first, or give this one its own (relocd-spool-directory)", .0.display())]
    InUse(PathBuf),
    /// A file that the spool did not write, or not all of.
    #[error("spool {}: {what}; it is left alone: look at it, and remove it once it is certain that nobody needs it", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// What came of an image that could not be read to its end, and may be all that there is of its domain.
    #[error(
        "spool {}: the remains of {}: {what}. That host may have given up its own copy: never delete this before you know that the domain runs elsewhere",
        path.display(), whose(domain.as_ref())
    )]
    Remains {
        /// The file.
        path: PathBuf,
        /// What is in it.
        what: &'static str,
        /// The domain's name, and who sent it; `None` if there is no record of it.
        domain: Option<(String, String)>,
    },
    /// Not enough room for an image.
    #[error("spool {}: not enough room: {needed} bytes needed, {free} free", directory.display())]
    NoRoom {
        /// The spool.
        directory: PathBuf,
        /// Bytes that the image needs, about.
        needed: u64,
        /// Bytes that are free, less what other images on their way need.
        free: u64,
    },
    /// No such entry.
    #[error("no domain '{0}' in the spool")]
    NotFound(String),
    /// Several entries have the name.
    #[error("{} domains with the name '{name}' are in the spool: say which by its id: {}", ids.len(), words(ids))]
    Ambiguous {
        /// The name.
        name: String,
        /// Their ids.
        ids: Vec<Uuid>,
    },
    /// Something is being done with the entry.
    #[error("domain '{0}' in the spool is in use: it is being received, restored or sent")]
    Busy(String),
    /// The entry's identity is in use.
    #[error("relocation {0} has an entry in the spool already")]
    Exists(Uuid),
    /// The configuration can't be kept, or a kept one not be used.
    #[error("configuration: {0}")]
    Config(String),
    /// The image failed on its way, or is not whole.
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl From<SpoolError> for ToolstackError {
    fn from(error: SpoolError) -> ToolstackError {
        match error {
            SpoolError::Image(error) => ToolstackError::Image(error),
            SpoolError::Config(what) => ToolstackError::Config(what),
            other => ToolstackError::Failed(other.to_string()),
        }
    }
}

fn whose(domain: Option<&(String, String)>) -> String {
    match domain {
        Some((name, peer)) => format!("domain '{name}' from {peer}"),
        None => "a domain whose record is gone".to_owned(),
    }
}

fn words(ids: &[Uuid]) -> String {
    ids.iter().map(Uuid::to_string).collect::<Vec<_>>().join(", ")
}
