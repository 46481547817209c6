//! The operators' socket: what `xm` asks the daemon, and what it answers.
//!
//! A unix stream socket, mode 0600. The grammar is that of the relocation port: each message is one S-expression and a newline. A connection
//! carries one [`Request`]; the daemon answers with any number of [`Reply::Progress`] (only for `migrate`, `spool-send` and `spool-restore`), then one [`Reply::Err`] or one other reply.
//! After [`Reply::Console`] the connection is no longer messages but the domain's console, both ways, until one end closes.

mod doubt;
mod spool;

use domain::HostFacts;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use doubt::{Choice, Decision, Doubt};
pub use spool::{SpoolLine, SpoolSend};

/// Where the socket is unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/relocd/control";

/// Bytes in one request at most.
pub const MAX_REQUEST: usize = 1 << 20;

/// What an operator asks for. `domain` is a name or a number; a name of digits only counts as a number.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// All domains, or one.
    #[serde(rename_all = "kebab-case")]
    List {
        /// Only this one.
        #[serde(default)]
        domain: Option<String>,
        /// With configurations.
        #[serde(default)]
        long: bool,
    },
    /// The host's facts.
    Info,
    /// Sends a domain away.
    Migrate(Migrate),
    /// Attaches to a domain's console.
    #[serde(rename_all = "kebab-case")]
    Console {
        /// Whose.
        domain: String,
    },
    /// Makes a domain and starts it.
    #[serde(rename_all = "kebab-case")]
    Create {
        /// `(domain ...)`.
        config: sxp::Raw,
    },
    /// Ends a domain at once.
    #[serde(rename_all = "kebab-case")]
    Destroy {
        /// Which.
        domain: String,
    },
    /// Stops a domain's processors.
    #[serde(rename_all = "kebab-case")]
    Pause {
        /// Which.
        domain: String,
    },
    /// Lets a domain's processors run again.
    #[serde(rename_all = "kebab-case")]
    Unpause {
        /// Which.
        domain: String,
    },
    /// Decides a relocation whose outcome can't be learnt, or tells what there is to decide.
    #[serde(rename_all = "kebab-case")]
    Resolve {
        /// The relocation.
        id: Uuid,
        /// What shall become of the source's copy; absent: only tell.
        #[serde(default)]
        decision: Option<Decision>,
        /// The operator knows what can go wrong.
        #[serde(default)]
        yes_i_know: bool,
    },
    /// Relocations that run, and recent ones.
    Status,
    /// What is in the spool.
    SpoolList,
    /// Starts a domain from the spool. Answered with progress as well.
    #[serde(rename_all = "kebab-case")]
    SpoolRestore {
        /// The domain's name, or the entry's id.
        entry: String,
        /// It can't have run since it was kept.
        #[serde(default)]
        yes_i_know: bool,
    },
    /// Sends a domain from the spool to another host. Answered as a relocation is.
    SpoolSend(SpoolSend),
    /// Deletes a domain from the spool.
    #[serde(rename_all = "kebab-case")]
    SpoolDelete {
        /// The domain's name, or the entry's id.
        entry: String,
        /// The operator knows what is lost.
        #[serde(default)]
        yes_i_know: bool,
    },
}

/// A relocation as an operator wants it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Migrate {
    /// Name or number.
    pub domain: String,
    /// Host name or address.
    pub host: String,
    /// The destination's relocation port; absent = this host's own.
    #[serde(default)]
    pub port: Option<u16>,
    /// While it runs.
    #[serde(default)]
    pub live: bool,
    /// Over TLS.
    #[serde(default)]
    pub ssl: bool,
    /// NUMA node there (xend's option; for xend peers).
    #[serde(default)]
    pub node: Option<u32>,
    /// Check only.
    #[serde(default)]
    pub dry_run: bool,
    /// Try it in spite of what can be forced.
    #[serde(default)]
    pub force: bool,
    /// Milliseconds that the domain may stand still; absent = 300.
    #[serde(default)]
    pub max_downtime: Option<u64>,
    /// Bytes per second at most; absent = no limit.
    #[serde(default)]
    pub bandwidth: Option<u64>,
    /// `stop`, `abort` or `throttle`; absent = `stop`.
    #[serde(default)]
    pub on_no_convergence: Option<NoConvergence>,
    /// Version of Xen of the destination, if that is an xend: nothing on the wire tells it.
    #[serde(default)]
    pub xend: Option<String>,
    /// To an xend: what the guest might miss and an xend can't take is left out.
    #[serde(default)]
    pub leave_out: bool,
}

/// What to do with a guest that dirties memory faster than it can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoConvergence {
    /// Stop it and copy the rest.
    Stop,
    /// Give up; it runs on here.
    Abort,
    /// Slow it down.
    Throttle,
}

/// What the daemon answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// Done; nothing to tell.
    Done,
    /// To [`Request::List`].
    #[serde(rename_all = "kebab-case")]
    Domains {
        /// By ascending number; domain 0 first.
        domains: Vec<DomainLine>,
    },
    /// To [`Request::Info`].
    Info(Box<Info>),
    /// To [`Request::Create`].
    #[serde(rename_all = "kebab-case")]
    Created {
        /// The new domain's number.
        domid: u32,
    },
    /// To [`Request::Migrate`], now and then.
    Progress(Progress),
    /// To [`Request::Migrate`], at the end.
    Migrated(Box<Migrated>),
    /// To [`Request::Migrate`] with `dry-run`: the destination would take it.
    #[serde(rename_all = "kebab-case")]
    Admitted {
        /// The destination's name for itself.
        host: String,
        /// KiB that it has free.
        free_memory_kib: u64,
    },
    /// To the same with a destination that is an xend, which can't be asked: nothing that can be known here is in the way.
    #[serde(rename_all = "kebab-case")]
    AdmittedToXend {
        /// The version of Xen that it is taken for.
        version: String,
        /// What the domain has and an xend can't take.
        #[serde(default)]
        left_out: Vec<String>,
    },
    /// To [`Request::Console`]: what follows is the console.
    #[serde(rename_all = "kebab-case")]
    Console {
        /// The domain's name.
        name: String,
        /// The domain's number.
        domid: u32,
    },
    /// To [`Request::Status`]: newest first.
    #[serde(rename_all = "kebab-case")]
    Status {
        /// Relocations that run, and those still in the journal.
        relocations: Vec<RelocationLine>,
    },
    /// To [`Request::SpoolList`].
    #[serde(rename_all = "kebab-case")]
    Spool {
        /// Where it is.
        directory: String,
        /// Bytes that are free there, less what images on their way still need.
        free: u64,
        /// Oldest first.
        #[serde(default)]
        entries: Vec<SpoolLine>,
        /// What is wrong in the directory, in words.
        #[serde(default)]
        faults: Vec<String>,
    },
    /// To [`Request::SpoolRestore`]: the domain runs.
    #[serde(rename_all = "kebab-case")]
    Restored {
        /// Its name.
        name: String,
        /// Its number.
        domid: u32,
        /// Why its file is still there: it is not to be restored again.
        #[serde(default)]
        left: Option<String>,
    },
    /// To [`Request::Resolve`] without a decision.
    Doubt(Box<Doubt>),
    /// Refused or failed.
    Err(Failure),
}

/// Why something was refused or failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
#[error("{value}")]
pub struct Failure {
    /// A word for programs: `no-domain`, `connect`, `refused`, `busy`, `in-doubt`...
    pub r#type: String,
    /// What happened.
    pub value: String,
    /// What state the domain is in, and where; absent if nothing was touched.
    #[serde(default)]
    pub domain_state: Option<String>,
    /// What to do next.
    #[serde(default)]
    pub next: Option<String>,
}

/// A domain in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DomainLine {
    /// Its number.
    pub domid: u32,
    /// Its name now.
    pub name: String,
    /// Its identity; absent for domain 0.
    #[serde(default)]
    pub uuid: Option<Uuid>,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Virtual processors.
    pub vcpus: u32,
    /// Six flags: running, blocked, paused, shut down, crashed, dying.
    pub state: String,
    /// Seconds of processor time used.
    pub cpu_time: f64,
    /// `(domain ...)`, when asked for.
    #[serde(default)]
    pub config: Option<sxp::Raw>,
}

/// The host and the daemon.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Info {
    /// What the host is and offers.
    pub host: HostFacts,
    /// The daemon's version.
    pub relocd_version: String,
    /// Its configuration file.
    pub config_file: String,
    /// Addresses with ports that it listens on for relocations.
    #[serde(default)]
    pub listening: Vec<String>,
}

/// Where a relocation stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Progress {
    /// The relocation.
    pub id: Uuid,
    /// What is being done: `connecting`, `checking`, `copying`, `suspended`, `loading`, `committing`, `in-doubt`.
    pub stage: String,
    /// The round, from 1; 0 before the first.
    #[serde(default)]
    pub round: u32,
    /// Pages done in this round.
    #[serde(default)]
    pub round_done: u64,
    /// Pages to do in this round.
    #[serde(default)]
    pub round_total: u64,
    /// Pages sent in all rounds.
    #[serde(default)]
    pub pages_sent: u64,
    /// Bytes on the wire up to now.
    #[serde(default)]
    pub wire_bytes: u64,
    /// Guest bytes per second now.
    #[serde(default)]
    pub rate: u64,
    /// Bytes per second that the guest dirties.
    #[serde(default)]
    pub dirty_rate: u64,
    /// Milliseconds of downtime if the domain were stopped now.
    #[serde(default)]
    pub estimated_downtime_ms: Option<u64>,
    /// Percent by which the guest is slowed down.
    #[serde(default)]
    pub throttle: u8,
}

/// A relocation that has succeeded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Migrated {
    /// The relocation.
    pub id: Uuid,
    /// The domain's name.
    pub domain: String,
    /// The destination, as the operator named it.
    pub host: String,
    /// The domain's number there; 0 if it is not known: an xend does not tell.
    pub domid: u32,
    /// The destination is an xend, of this version of Xen.
    #[serde(default)]
    pub xend: Option<String>,
    /// What the domain had and the xend could not take.
    #[serde(default)]
    pub left_out: Vec<String>,
    /// It does not run there, but is in the spool: the destination keeps domains on disk.
    #[serde(default)]
    pub spooled: bool,
    /// `live` or `offline`.
    pub mode: String,
    /// Rounds, with the last one.
    pub rounds: u32,
    /// Pages sent, in all rounds.
    pub pages: u64,
    /// Of these, pages of zeros.
    pub zero_pages: u64,
    /// Bytes written to the connection.
    pub wire_bytes: u64,
    /// Milliseconds from the request to the domain running there.
    pub total_ms: f64,
    /// Milliseconds from the domain's stop here to the news that it runs there.
    pub downtime_ms: f64,
}

/// A relocation in the daemon's books.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RelocationLine {
    /// The relocation.
    pub id: Uuid,
    /// `out` or `in`.
    pub direction: String,
    /// The domain's name.
    pub domain: String,
    /// The other host.
    pub peer: String,
    /// Where it stands, in the journal's words.
    pub state: String,
    /// `live` or `offline`.
    pub mode: String,
    /// Seconds since 1970 when it began.
    pub started: u64,
    /// What is known beyond that: an error, a number of bytes.
    #[serde(default)]
    pub detail: Option<String>,
    /// While it copies.
    #[serde(default)]
    pub progress: Option<Progress>,
}
