//! What is recorded of a relocation.

use std::time::SystemTime;

use peer::native::message::Secret;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Version of the records.
pub(super) const VERSION: u32 = 1;

/// Which end of a relocation this host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// The source.
    Out,
    /// The destination.
    In,
}

impl Direction {
    /// The word for it: `out`, `in`.
    pub fn word(self) -> &'static str {
        match self {
            Direction::Out => "out",
            Direction::In => "in",
        }
    }
}

/// A relocation's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Entry {
    pub(super) version: u32,
    /// The relocation.
    pub id: Uuid,
    /// Which end this is.
    pub direction: Direction,
    /// The domain's name.
    pub domain: String,
    /// The domain's identity.
    pub uuid: Uuid,
    /// The other host: where to ask (source), who it was (destination).
    pub peer: String,
    /// `live` or `offline`.
    pub mode: String,
    /// The handoff's state, in its own words.
    pub state: String,
    /// Seconds since 1970 when it began.
    pub started: u64,
    /// Seconds since 1970 when this record was written.
    pub updated: u64,
    /// The domain's number at the destination, once it runs.
    #[serde(default)]
    pub domid: Option<u32>,
    /// What went wrong, or what was measured.
    #[serde(default)]
    pub detail: Option<String>,
    /// What the source made up for this relocation: who has it is the source, wherever it comes from.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// The destination is an xend, of this version of Xen: it can't be asked for the outcome (source).
    #[serde(default)]
    pub xend: Option<String>,
    /// Who asked for it: an operator's process (source), an address (destination).
    #[serde(default)]
    pub asked_by: Option<String>,
    /// The entry of the allow list that let it in (destination).
    #[serde(default)]
    pub allowed_by: Option<String>,
    /// What was refused but for an operator's `--force`: [`crate::audit::Record::forced`].
    #[serde(default)]
    pub forced: Option<String>,
    /// Who decided, if it was not what the two hosts made out between them: an operator, a restart.
    #[serde(default)]
    pub decided_by: Option<String>,
    /// Bytes of the image on the wire, once it is complete.
    #[serde(default)]
    pub bytes: Option<u64>,
    /// Pages of the image, in all rounds.
    #[serde(default)]
    pub pages: Option<u64>,
    /// Milliseconds that the domain stood still (source).
    #[serde(default)]
    pub downtime_ms: Option<u64>,
}

impl Entry {
    /// The record of a relocation that begins now.
    pub fn new(id: Uuid, direction: Direction, domain: &str, uuid: Uuid, peer: &str, mode: &str, state: &str) -> Entry {
        let now = unix_seconds();
        Entry {
            version: VERSION,
            id,
            direction,
            domain: domain.to_owned(),
            uuid,
            peer: peer.to_owned(),
            mode: mode.to_owned(),
            state: state.to_owned(),
            started: now,
            updated: now,
            domid: None,
            detail: None,
            secret: None,
            xend: None,
            asked_by: None,
            allowed_by: None,
            forced: None,
            decided_by: None,
            bytes: None,
            pages: None,
            downtime_ms: None,
        }
    }
}

/// Seconds since 1970.
pub fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
