//! The audit trail: one record for each relocation at each end, in the log, when it is over. It answers who moved a domain, and when.
//!
//! `grep 'relocation over'`; the fields are those of [`Record`]. It is in the log whatever the level (`loglevel`). What is still open when a daemon ends
//! is told by the next one, from the journal.

use std::time::{Duration, Instant};

use peer::control::Failure;
use uuid::Uuid;

use crate::journal::{Direction, Entry, unix_seconds};

/// The records' target, which passes every filter.
pub const TARGET: &str = "relocd::audit";

/// How a relocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The domain runs at the destination, or ran there.
    Moved,
    /// It runs on at the source, after a copy had begun. At the source only.
    Stayed,
    /// What had arrived was discarded. At the destination only.
    Discarded,
    /// Nothing was begun: `kind` and `reason` say why not.
    Refused,
    /// Only a check: it would be taken.
    DryRun,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Outcome::Moved => "moved",
            Outcome::Stayed => "stayed",
            Outcome::Discarded => "discarded",
            Outcome::Refused => "refused",
            Outcome::DryRun => "dry-run",
        }
    }
}

/// What is known of a relocation that is over. What is not known is left out of the log.
#[derive(Clone, Debug)]
pub struct Record {
    /// The relocation, the same at both ends.
    pub id: Uuid,
    /// Which end this is.
    pub direction: Direction,
    /// The domain's name; if there is none, what was asked for.
    pub domain: String,
    /// The domain's identity.
    pub uuid: Option<Uuid>,
    /// The other host.
    pub peer: String,
    /// Who asked: an operator's process at the source, the requesting address at the destination.
    pub asked_by: Option<String>,
    /// The entry of `xend-relocation-hosts-allow` that let it in. At the destination only.
    pub allowed_by: Option<String>,
    /// Who decided, if it was neither the order itself nor what the two hosts made out between them.
    pub decided_by: Option<String>,
    /// `live` or `offline`.
    pub mode: String,
    /// Bytes of the image on the wire.
    pub bytes: Option<u64>,
    /// Pages of the image, in all rounds.
    pub pages: Option<u64>,
    /// From the request to now.
    pub total: Duration,
    /// How long the domain stood still. Measured at the source only.
    pub downtime_ms: Option<u64>,
    /// Why it failed, in a word.
    pub kind: Option<String>,
    /// Why it failed.
    pub reason: Option<String>,
}

impl Record {
    /// Of a relocation of which nothing else is known.
    pub fn new(id: Uuid, direction: Direction, domain: &str, peer: &str, mode: &str) -> Record {
        Record {
            id,
            direction,
            domain: domain.to_owned(),
            uuid: None,
            peer: peer.to_owned(),
            asked_by: None,
            allowed_by: None,
            decided_by: None,
            mode: mode.to_owned(),
            bytes: None,
            pages: None,
            total: Duration::ZERO,
            downtime_ms: None,
            kind: None,
            reason: None,
        }
    }

    /// What the journal knows.
    pub fn of(entry: &Entry) -> Record {
        Record {
            id: entry.id,
            direction: entry.direction,
            domain: entry.domain.clone(),
            uuid: Some(entry.uuid),
            peer: entry.peer.clone(),
            asked_by: entry.asked_by.clone(),
            allowed_by: entry.allowed_by.clone(),
            decided_by: entry.decided_by.clone(),
            mode: entry.mode.clone(),
            bytes: entry.bytes,
            pages: entry.pages,
            total: Duration::from_secs(unix_seconds().saturating_sub(entry.started)),
            downtime_ms: entry.downtime_ms,
            kind: None,
            reason: entry.detail.clone(),
        }
    }

    /// The time is that since `begun`, which is finer than the journal's.
    pub fn since(mut self, begun: Instant) -> Record {
        self.total = begun.elapsed();
        self
    }

    /// A failure's word and reason.
    pub fn because(mut self, failure: &Failure) -> Record {
        self.kind = Some(failure.r#type.clone());
        self.reason = Some(failure.value.clone());
        self
    }

    /// Writes it to the log.
    pub fn over(&self, outcome: Outcome) {
        // Texts as they are, not as they print: quoted, so that nobody's words can look like another field or another line.
        tracing::info!(
            target: TARGET,
            parent: None,
            id = %self.id,
            direction = self.direction.word(),
            domain = self.domain,
            uuid = self.uuid.map(tracing::field::display),
            peer = self.peer,
            asked_by = self.asked_by,
            allowed_by = self.allowed_by,
            decided_by = self.decided_by,
            mode = self.mode,
            bytes = self.bytes,
            pages = self.pages,
            total_ms = u64::try_from(self.total.as_millis()).unwrap_or(u64::MAX),
            downtime_ms = self.downtime_ms,
            outcome = outcome.word(),
            kind = self.kind,
            reason = self.reason,
            "relocation over"
        );
    }
}
