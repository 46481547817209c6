//! Failures as an operator sees them: what happened, what state the domain is in and where, what to do next.

use domain::admission::{Ends, Refusal, next_step, tunnel};
use peer::{control::Failure, native::message::Refused};
use toolstack::{ToolstackError, spool::SpoolError};

use crate::relocations::Conflict;

/// A failure that can be told more about.
pub trait Tell {
    /// What state the domain is in, and where. Does not replace what is there already.
    fn state(self, state: impl Into<String>) -> Self;
    /// What to do next.
    fn next(self, next: impl Into<String>) -> Self;
    /// What to do next, if there is anything to say.
    fn next_if(self, next: Option<String>) -> Self;
}

impl Tell for Failure {
    fn state(mut self, state: impl Into<String>) -> Self {
        self.domain_state.get_or_insert_with(|| state.into());
        self
    }

    fn next(mut self, next: impl Into<String>) -> Self {
        self.next.get_or_insert_with(|| next.into());
        self
    }

    fn next_if(self, next: Option<String>) -> Self {
        match next {
            Some(next) => self.next(next),
            None => self,
        }
    }
}

/// A failure of a kind, in words.
pub fn simple(kind: &str, value: impl Into<String>) -> Failure {
    Failure {
        r#type: kind.to_owned(),
        value: value.into(),
        domain_state: None,
        next: None,
    }
}

/// The toolstack's.
pub fn toolstack(error: &ToolstackError) -> Failure {
    let kind = match error {
        ToolstackError::NoDomain(_) => "no-domain",
        ToolstackError::NameTaken { .. } => "name-taken",
        ToolstackError::Relocating { .. } => "relocating",
        ToolstackError::Memory { .. } => "insufficient-memory",
        ToolstackError::Config(_) => "config",
        ToolstackError::Image(image::ImageError::Cancelled(_)) => "cancelled",
        ToolstackError::Image(image::ImageError::Peer(_)) => "destination",
        ToolstackError::Image(_) => "image",
        ToolstackError::Unsupported { .. } => "unsupported",
        ToolstackError::Busy(_) => "busy",
        ToolstackError::Io { .. } | ToolstackError::Failed(_) => "toolstack",
    };
    simple(kind, error.to_string())
}

/// Something else is going on.
pub fn conflict(conflict: &Conflict) -> Failure {
    simple(conflict.word(), conflict.to_string()).next("xm status tells what is running")
}

/// The destination's refusal.
pub fn refused(host: &str, refused: &Refused) -> Failure {
    let failure = simple(&refused.word, format!("{host} refused: {refused}"));
    match refused.word.as_str() {
        "journal" => failure.next(format!(
            "make room in relocd's state directory on {host}, or see to its disk, and try again"
        )),
        word => failure.next_if(next_step(word, host)),
    }
}

/// The source's own refusal: what it knows of the destination stands against it. `ends`: where the two hosts reach each other.
pub fn not_there(domain: &str, refusal: &Refusal, ends: Ends<'_>) -> Failure {
    let host = ends.destination;
    let failure = simple(
        refusal.word(),
        format!("{host} can't take domain '{domain}': {refusal}"),
    );
    let next = match refusal {
        Refusal::Subnet { bridge, .. } => Some(format!(
            "join the two networks with these commands, once (UDP port 4789 has to pass between the hosts), and try again with --force; \
             if they are one network already, --force is all that is needed\n{}",
            tunnel(bridge, ends)
        )),
        _ => next_step(refusal.word(), host),
    };
    failure.next_if(next)
}

/// What begins the news that the destination gave up before the commit. By then it has discarded what had arrived.
pub const GAVE_UP: &str = "the destination gave up";

/// Whether a failure is the destination's last word: [`GAVE_UP`].
pub fn is_last_word(failure: &Failure) -> bool {
    failure.r#type == "destination" && failure.value.contains(GAVE_UP)
}

/// Somebody asked to stop.
pub fn cancelled(reason: &str) -> Failure {
    simple("cancelled", format!("cancelled: {reason}"))
}

/// A fault of this program.
pub fn internal(error: &dyn std::error::Error) -> Failure {
    simple("internal", format!("relocd is at fault: {error}")).next("please report it, with the journal of the service")
}

/// The spool's.
pub fn spool(error: &SpoolError) -> Failure {
    let (kind, next) = match error {
        SpoolError::NotFound(_) => ("no-domain", Some("xm spool list shows what there is")),
        SpoolError::Ambiguous { .. } => ("ambiguous", None),
        SpoolError::Busy(_) => ("busy", Some("xm status tells what is running")),
        SpoolError::NoRoom { .. } => ("spool-full", Some("make room there (xm spool list)")),
        SpoolError::Config(_) => ("config", None),
        SpoolError::Image(_) => ("image", None),
        SpoolError::Io { .. }
        | SpoolError::InUse(_)
        | SpoolError::Foreign { .. }
        | SpoolError::Remains { .. }
        | SpoolError::Exists(_) => ("spool", None),
    };
    let failure = simple(kind, error.to_string());
    match next {
        Some(next) => failure.next(next),
        None => failure,
    }
}
