//! What is wrong with a `(domain ...)`, or with a domain for a xend.

use crate::shown::shown;

/// What is wrong with a `(domain ...)`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It is not a list that begins with `domain`.
    #[error("expected (domain ...)")]
    NotADomain,
    /// A needed element is not there.
    #[error("domain configuration: ({0} ...) is missing")]
    Missing(&'static str),
    /// An element has a value that it can't have.
    #[error("domain configuration: {key}: found '{found}', expected {expected}")]
    Wrong {
        /// The element.
        key: &'static str,
        /// What stands there.
        found: String,
        /// What may stand there.
        expected: &'static str,
    },
    /// A PCI device without its address on the host. Not to be passed over: a domain that has one can't leave its host.
    #[error("domain configuration: {path}: a PCI device without a bus, a slot and a function that can be")]
    PciDevice {
        /// Which.
        path: String,
    },
    /// There are too many of something.
    #[error("domain configuration: more than {limit} {what}")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
}

impl ConfigError {
    pub(crate) fn wrong(key: &'static str, found: &str, expected: &'static str) -> ConfigError {
        ConfigError::Wrong {
            key,
            found: shown(found),
            expected,
        }
    }
}

/// Why a domain can't go to a xend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ToXendError {
    /// Only paravirtualised guests can: an HVM guest's devices are in the state of a device model that xend does not have, and the others are newer than it.
    #[error("a xend takes paravirtualised guests only; this one is {0}")]
    Kind(&'static str),
    /// xend takes letters, digits and `_.:+-` only.
    #[error("xend takes names of letters, digits and _.:+- only; rename '{0}' first")]
    Name(String),
}
