//! The daemon: listeners, control socket, relocations, journal, signals, systemd.
//!
//! The control path is async (tokio): small messages, many waits. The bulk path, an image on its way, is blocking calls on threads: `outgoing::send`
//! and `incoming`'s loading are where one becomes the other.

mod allocator;
mod audit;
mod blocking;
mod cancel;
pub mod check;
pub mod cli;
mod control;
mod conversation;
pub mod daemon;
pub mod demo;
mod failure;
mod fault;
mod host;
pub mod image_tools;
mod incoming;
mod interfaces;
mod journal;
mod listeners;
mod logging;
mod memory;
mod names;
mod outgoing;
mod port;
mod recovery;
mod relocations;
mod spooled;
mod system;
pub mod tls;
mod toolstacks;
mod unwritten;

pub use incoming::xend::receiver::main as receive_xend;
