//! Relocations whose outcome is not known, and what an operator decides about them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An operator's decision about the copy that is suspended at the source. At the destination it is about what the source hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// It runs on at the source: the domain has never run at the destination, and never will. Wrong if it has.
    Resume,
    /// It ends: the domain runs, or has run, at the destination. Wrong if it has not.
    Destroy,
}

/// A relocation that waits for an operator's decision, or for the other host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Doubt {
    /// The relocation.
    pub id: Uuid,
    /// `out` or `in`.
    pub direction: String,
    /// The domain's name.
    pub domain: String,
    /// The other host.
    pub peer: String,
    /// `in-doubt` (at the source), `lost` (at the destination).
    pub state: String,
    /// Seconds since 1970 when the relocation began.
    pub started: u64,
    /// What happened.
    pub happened: String,
    /// What is known.
    #[serde(default)]
    pub known: Vec<String>,
    /// What an operator can decide.
    #[serde(default)]
    pub choices: Vec<Choice>,
}

/// A decision that an operator can take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Choice {
    /// The decision.
    pub decision: Decision,
    /// What it does.
    pub means: String,
    /// When it is wrong, and what happens then; absent: it can't be.
    #[serde(default)]
    pub danger: Option<String>,
}
