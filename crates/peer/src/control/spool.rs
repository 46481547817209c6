//! Domains on disk.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A domain in the spool that is to be sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SpoolSend {
    /// The domain's name, or the entry's id.
    pub entry: String,
    /// Host name or address.
    pub host: String,
    /// The destination's relocation port; absent = this host's own.
    #[serde(default)]
    pub port: Option<u16>,
    /// Check only.
    #[serde(default)]
    pub dry_run: bool,
    /// Try it in spite of what can be forced.
    #[serde(default)]
    pub force: bool,
    /// It can't have run since it was kept.
    #[serde(default)]
    pub yes_i_know: bool,
    /// Version of Xen of the destination, if that is an xend: nothing on the wire tells it.
    #[serde(default)]
    pub xend: Option<String>,
    /// To an xend: what the guest might miss and an xend can't take is left out.
    #[serde(default)]
    pub leave_out: bool,
}

/// A domain in the spool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SpoolLine {
    /// The relocation that brought it: the entry's id.
    pub id: Uuid,
    /// The domain's name.
    pub name: String,
    /// The domain's identity.
    pub uuid: Uuid,
    /// Who sent it: address and port.
    pub peer: String,
    /// Seconds since 1970 when it began to arrive.
    pub since: u64,
    /// Bytes in its file.
    pub bytes: u64,
    /// `complete`, `kept`, `sending`, `restoring` or `starting`.
    pub state: String,
    /// Why it is still there.
    #[serde(default)]
    pub reason: Option<String>,
    /// Its file, which xl restore takes.
    pub image: String,
}
