//! xend-config.sxp: every key typed, diagnostics with line and column, the allow list.
//!
//! ```
//! let loaded = config::Config::parse(b"(xend-relocation-server yes)", "xend-config.sxp")?;
//! assert!(loaded.config.relocation_server && loaded.notes.is_empty());
//!
//! let errors = config::Config::parse(b"(xend-relocation-port abc)", "xend-config.sxp").unwrap_err();
//! assert_eq!(errors.to_string(), "xend-config.sxp:1:23: error: xend-relocation-port: found 'abc', expected a port number, 1 to 65535");
//! # Ok::<(), config::ConfigErrors>(())
//! ```
//!
//! A file is read as xend reads it: of a key that stands there twice the first counts, `(key)` is the default, top-level values that are no lists count for
//! nothing. Where xend then says nothing, here is a warning. All of a file's errors are told at once.
//!
//! Two defaults differ from xend's. `loglevel` is INFO, not DEBUG; `logfile` is none, because the journal keeps the log. And without
//! `xend-relocation-hosts-allow` localhost is let in, not everyone.

mod allow;
mod config;
mod diagnostic;
mod file;
pub mod firewall;
mod keys;
mod settings;
mod value;

pub use allow::{AllowList, AllowedBy, Entry, Verdict};
pub use config::{Config, Loaded};
pub use diagnostic::{ConfigErrors, Diagnostic, Severity};
pub use keys::{Key, Kind, keys};
pub use value::{ListenAddress, LogLevel};
