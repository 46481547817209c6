//! What can go wrong with a toolstack.

use std::io;

use image::ImageError;

use crate::DomainId;

/// Why a toolstack could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ToolstackError {
    /// No such domain here.
    #[error("domain {0} does not exist")]
    NoDomain(DomainId),
    /// A domain with this name is here already.
    #[error("domain name '{name}' is taken by domain {id}")]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        id: DomainId,
    },
    /// A relocation holds the domain.
    #[error("domain {id} is being relocated: {what} is refused until that has ended")]
    Relocating {
        /// The domain.
        id: DomainId,
        /// What was asked.
        what: &'static str,
    },
    /// Not enough memory for the domain.
    #[error("not enough memory: {needed_kib} KiB needed, {free_kib} KiB free")]
    Memory {
        /// KiB that the domain needs.
        needed_kib: u64,
        /// KiB that are free.
        free_kib: u64,
    },
    /// The configuration can't be run by this toolstack.
    #[error("configuration: {0}")]
    Config(String),
    /// The image failed on its way.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the path.
        what: String,
        /// The system's reason.
        source: io::Error,
    },
    /// This toolstack has no such function.
    #[error("the {toolstack} toolstack can't {what}")]
    Unsupported {
        /// Its name.
        toolstack: &'static str,
        /// What was asked.
        what: &'static str,
    },
    /// Something else has to be done first: it can be tried again then.
    #[error("{0}")]
    Busy(&'static str),
    /// The program behind the toolstack failed or behaved in an unexpected way.
    #[error("{0}")]
    Failed(String),
}

impl ToolstackError {
    /// Wraps a system error with what was being done.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| ToolstackError::Io { what, source }
    }
}
