//! The audit trail: one record for each relocation at each end, in the log, when it is over, and one for each order to restore or delete a domain in the
//! spool. It answers who moved a domain, or deleted it, and when.
//!
//! `grep 'relocation over'`; the fields are those of [`Record`]. `grep 'spool order over'`; the fields are those of [`SpoolRecord`]. They are in the log
//! whatever the level (`loglevel`). What is still open when a daemon ends is told by the next one, from the journal and the spool.

use std::time::{Duration, Instant};

use peer::control::Failure;
use toolstack::spool;
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
    /// It came to this host's spool, and stays there. At the destination only.
    Kept,
    /// It came without a safety copy, and could not be started: it is nowhere, unless it is at the source. At the destination only.
    Lost,
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
            Outcome::Kept => "kept",
            Outcome::Lost => "lost",
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
    /// What was refused but for `--force`, in words; `nothing` if there was no need of it. Absent without `--force`.
    pub forced: Option<String>,
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
            forced: None,
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
            forced: entry.forced.clone(),
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

    /// Writes a refusal to the log: its word and reason.
    pub fn refused(mut self, kind: &str, reason: &str) {
        self.kind = Some(kind.to_owned());
        self.reason = Some(reason.to_owned());
        self.over(Outcome::Refused);
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
            forced = self.forced,
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

/// What an operator wants done with a domain in the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpoolOrder {
    /// It shall run here.
    Restore,
    /// Its file shall go.
    Delete,
}

/// How such an order ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpoolOutcome {
    /// The domain runs here.
    Restored,
    /// It is in the spool no more.
    Deleted,
    /// Nothing was begun, and it is in the spool as before: `kind` and `reason` say why.
    Refused,
    /// It was begun, and failed: the domain is in the spool, and does not run here.
    Kept,
    /// It is in the spool, and may have run since.
    InDoubt,
}

impl SpoolOutcome {
    fn word(self) -> &'static str {
        match self {
            SpoolOutcome::Restored => "restored",
            SpoolOutcome::Deleted => "deleted",
            SpoolOutcome::Refused => "refused",
            SpoolOutcome::Kept => "kept",
            SpoolOutcome::InDoubt => "in-doubt",
        }
    }
}

/// What is known of an order about a domain in the spool that is over. What is not known is left out of the log.
#[derive(Clone, Debug)]
pub struct SpoolRecord {
    order: SpoolOrder,
    /// The domain's name; if there is none, what was asked for.
    domain: String,
    /// The entry: the relocation that brought it.
    id: Option<Uuid>,
    /// The domain's identity.
    uuid: Option<Uuid>,
    /// The host that it came from.
    peer: Option<String>,
    /// The operator's process.
    asked_by: Option<String>,
    /// Who decided, if not whoever asked.
    decided_by: Option<String>,
    kind: Option<String>,
    reason: Option<String>,
}

impl SpoolRecord {
    /// Of an order of which nothing else is known.
    pub fn new(order: SpoolOrder, wanted: &str, asked_by: Option<String>) -> SpoolRecord {
        SpoolRecord {
            order,
            domain: wanted.to_owned(),
            id: None,
            uuid: None,
            peer: None,
            asked_by,
            decided_by: None,
            kind: None,
            reason: None,
        }
    }

    /// It is about this entry.
    pub fn entry(&mut self, entry: &spool::Entry) {
        entry.name.clone_into(&mut self.domain);
        self.id = Some(entry.id);
        self.uuid = Some(entry.uuid);
        self.peer = Some(entry.peer.clone());
    }

    /// Not the operator has decided how it ends.
    pub fn decided_by(mut self, who: &str) -> SpoolRecord {
        self.decided_by = Some(who.to_owned());
        self
    }

    /// A failure's word and reason.
    pub fn because(mut self, failure: &Failure) -> SpoolRecord {
        self.kind = Some(failure.r#type.clone());
        self.reason(&failure.value)
    }

    /// Why it ended so.
    pub fn reason(mut self, reason: &str) -> SpoolRecord {
        self.reason = Some(reason.to_owned());
        self
    }

    /// Writes it to the log.
    pub fn over(&self, outcome: SpoolOutcome) {
        let order = match self.order {
            SpoolOrder::Restore => "restore",
            SpoolOrder::Delete => "delete",
        };
        // As in `Record::over`.
        tracing::info!(
            target: TARGET,
            parent: None,
            order,
            id = self.id.map(tracing::field::display),
            domain = self.domain,
            uuid = self.uuid.map(tracing::field::display),
            peer = self.peer,
            asked_by = self.asked_by,
            decided_by = self.decided_by,
            outcome = outcome.word(),
            kind = self.kind,
            reason = self.reason,
            "spool order over"
        );
    }
}
