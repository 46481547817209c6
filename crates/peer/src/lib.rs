//! The protocols between hosts, as state machines without I/O, and their wires; and what `xm` and the daemon say to each other.
//!
//! | module | what |
//! |---|---|
//! | [`request`] | what may be asked on the relocation port, and replies in xend's form |
//! | [`native`] | relocd to relocd: messages, frames, the image on the wire |
//! | [`xend`] | an old xend as the sender: its envelope, its image, and who owns the domain meanwhile |
//! | [`handoff`] | who owns the domain, at each moment: both ends' state machines |
//! | [`control`] | the operators' socket |
//!
//! The native protocol, all of it on one TCP connection to the relocation port (S source, D destination):
//!
//! ```text
//! S → D  (hello (protocol relocd) (versions 1) ...)      D → S  (ok (hello (version 1) (host ...)))
//! S → D  (relocate (id UUID) (mode live) (config (domain ...)) (host ...))
//!                                                        D → S  (ready relocate (streams 1))   or (err (type T) (value V))
//! S ⇒ D  frames: records and coded pages, checked, the last with a digest of all
//!                                                        D → S  (err ...) at any time: D gave up
//!                                                        D → S  (loaded)
//! S → D  (commit)                                        D → S  (running (domid N))
//! ```
//!
//! An old xend answers `hello` with `(err (type ...) (value 'Invalid operation: hello'))`, and stays ready for `receive`.

pub mod control;
pub mod handoff;
pub mod native;
pub mod request;
pub mod xend;
