//! What runs domains on this host.
//!
//! A [`Toolstack`] lets domains depart and arrive as images. Between "complete here" and "runs here" stand two types,
//! [`Departed`] and [`Arrived`], each consumed by exactly one decision: a relocated domain can't be started or
//! destroyed in any other way.
//!
//! All calls block: they belong on threads of the bulk path, not on the async runtime.

mod error;
pub mod linux;
pub mod spool;

use std::{os::unix::net::UnixStream, path::PathBuf, time::Duration};

use domain::{DomainConfig, HostFacts};
use image::{ImageSink, ImageSource};
use sexp::Sexp;
use uuid::Uuid;

pub use error::ToolstackError;
pub use precopy::{LiveOptions, Observer, OnNoConvergence, Progress};

/// Number of a domain on one host; another host gives it another one. Domain 0 is the host itself.
pub type DomainId = u32;

/// Result of a toolstack's call.
pub type Result<T> = std::result::Result<T, ToolstackError>;

/// What stands before a domain's name while it departs, as xend did it.
pub const DEPARTING_PREFIX: &str = "migrating-";

/// What a domain does at the moment, in the words of `xm list`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainState {
    /// On a processor (`r`).
    Running,
    /// Waits for something (`b`).
    Blocked,
    /// Stopped by an operator (`p`).
    Paused,
    /// Suspended for a relocation, complete, and not running (`s`).
    Suspended,
    /// Being filled by a relocation, has never run (`p`, as xend showed it).
    Arriving,
    /// Has crashed (`c`).
    Crashed,
    /// On its way out (`d`).
    Dying,
    /// There, but what it does can't be told: it does not answer.
    Unknown,
}

impl DomainState {
    /// The six flags of `xm list`: running, blocked, paused, shut down, crashed, dying.
    pub fn flags(self) -> &'static str {
        match self {
            DomainState::Running => "r-----",
            DomainState::Blocked => "-b----",
            DomainState::Paused | DomainState::Arriving => "--p---",
            DomainState::Suspended => "---s--",
            DomainState::Crashed => "----c-",
            DomainState::Dying => "-----d",
            DomainState::Unknown => "------",
        }
    }

    /// Whether it is certain that a domain in this state has run on its host. One that is suspended may have run elsewhere only, a dying one never.
    pub fn has_run(self) -> bool {
        match self {
            DomainState::Running | DomainState::Blocked | DomainState::Paused | DomainState::Crashed => true,
            DomainState::Suspended | DomainState::Arriving | DomainState::Dying | DomainState::Unknown => false,
        }
    }
}

/// A domain on this host.
#[derive(Clone, Debug)]
pub struct Domain {
    /// Its number here.
    pub id: DomainId,
    /// Its present name here: with [`DEPARTING_PREFIX`] while it departs.
    pub name: String,
    /// Its identity everywhere.
    pub uuid: Uuid,
    /// Memory in KiB.
    pub memory_kib: u64,
    /// Virtual processors.
    pub vcpus: u32,
    /// What it does.
    pub state: DomainState,
    /// Processor time that it has used.
    pub cpu_time: Duration,
}

/// How a domain departs.
#[derive(Clone, Debug)]
pub enum Mode {
    /// Paused, copied, resumed there.
    Offline,
    /// Copied while it runs, and stopped for the rest.
    Live(LiveOptions),
}

/// Runs domains on this host.
pub trait Toolstack: Send + Sync {
    /// Its name in configuration and messages: `embedded`, `xl`, `spool`.
    fn name(&self) -> &'static str;

    /// What this host offers, now.
    fn host(&self) -> Result<HostFacts>;

    /// All domains here, by ascending id, without domain 0.
    fn domains(&self) -> Result<Vec<Domain>>;

    /// The configuration of a domain, with its own name even while it departs.
    fn config(&self, id: DomainId) -> Result<DomainConfig>;

    /// Sends a domain's image into `image`, up to and including [`image::Item::Finish`]. Returns once the domain is suspended and its
    /// image complete. On an error the domain runs on here as before (or is paused, if it was).
    fn depart(
        &self,
        departure: &Departure<'_>,
        image: &mut dyn ImageSink,
        observer: &mut dyn Observer,
    ) -> Result<Box<dyn Departed>>;

    /// Builds a domain from an image, under the configuration's name, and does not run it. On an error nothing of it is left.
    fn arrive(&self, arrival: &Arrival<'_>, image: &mut dyn ImageSource) -> Result<Box<dyn Arrived>>;

    /// A domain that `depart` suspended, found again after the daemon was restarted. `None`: it is not here (any more).
    fn find_departed(&self, uuid: Uuid, relocation: Uuid) -> Result<Option<Box<dyn Departed>>>;

    /// A domain that `arrive` completed and that has not run, found again after the daemon was restarted.
    fn find_arrived(&self, uuid: Uuid, relocation: Uuid) -> Result<Option<Box<dyn Arrived>>>;

    /// Memory of domain 0 now, in KiB; `None` where there is no such domain.
    fn dom0_memory_kib(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Makes so many KiB of the host's memory free by taking it from domain 0, which keeps `keep_kib` at least; waits until it is there, for `limit` at most.
    /// Only where [`Toolstack::dom0_memory_kib`] is known.
    fn take_from_dom0(&self, _wanted_kib: u64, _keep_kib: u64, _limit: Duration) -> Result<()> {
        Err(ToolstackError::Unsupported {
            toolstack: self.name(),
            what: "take memory from domain 0",
        })
    }

    /// Makes a domain from a configuration and starts it.
    fn create(&self, config: &DomainConfig) -> Result<DomainId>;

    /// Ends a domain at once.
    fn destroy(&self, id: DomainId) -> Result<()>;

    /// Stops a domain's processors.
    fn pause(&self, id: DomainId) -> Result<()>;

    /// Lets a domain's processors run again. Refuses a domain that a relocation holds.
    fn unpause(&self, id: DomainId) -> Result<()>;

    /// The domain's console: first what is kept of its past output, then its output as it comes; what is written is its input.
    fn console(&self, id: DomainId) -> Result<UnixStream>;
}

/// What a toolstack is told of a domain that arrives.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The relocation's identity, kept with the domain until the decision, for [`Toolstack::find_arrived`].
    pub relocation: Uuid,
    /// The domain's configuration.
    pub config: &'a DomainConfig,
    /// Who sends it: address and port. For those who keep such things.
    pub peer: &'a str,
    /// The configuration as an xend sent it. For the same.
    pub original: Option<&'a Sexp>,
}

/// What a toolstack is told of a domain that departs.
#[derive(Clone, Copy, Debug)]
pub struct Departure<'a> {
    /// The relocation's identity, kept with the domain until the decision, for [`Toolstack::find_departed`].
    pub relocation: Uuid,
    /// The domain's number here.
    pub id: DomainId,
    /// Live or offline.
    pub mode: &'a Mode,
}

/// A decision that could not be carried out, and the domain it was for: nothing has changed, it can be tried again.
#[derive(Debug)]
pub struct Undone<T: ?Sized> {
    /// Why.
    pub error: ToolstackError,
    /// The domain, undecided as before.
    pub domain: Box<T>,
}

/// A domain that is suspended here, and complete there. Dropping it decides nothing: the domain stays suspended.
pub trait Departed: Send {
    /// The domain's number here.
    fn id(&self) -> DomainId;
    /// How long ago the domain stopped.
    fn suspended_for(&self) -> Duration;
    /// Whether it runs there is not known, and may not be for long: from here on nothing but [`Departed::resume`] lets the domain run, whoever else does
    /// something with the host's domains. Can be called again and again.
    ///
    /// # Errors
    /// The toolstack's; then it stands still as before.
    fn guard(&mut self) -> Result<()> {
        Ok(())
    }
    /// The relocation failed: runs the domain on here under its own name.
    fn resume(self: Box<Self>) -> std::result::Result<(), Undone<dyn Departed>>;
    /// The domain runs there: ends it here.
    fn destroy(self: Box<Self>) -> std::result::Result<(), Undone<dyn Departed>>;
}

/// A domain that is complete here and has not run. Dropping it decides nothing: the domain stays as it is.
pub trait Arrived: Send {
    /// The domain's number here.
    fn id(&self) -> DomainId;
    /// Runs the domain. Not an error if it runs already.
    fn unpause(self: Box<Self>) -> std::result::Result<DomainId, Undone<dyn Arrived>>;
    /// Ends the domain, which has never run here.
    fn discard(self: Box<Self>) -> std::result::Result<(), Undone<dyn Arrived>>;
}

/// Where a toolstack keeps things and what it may use, set by the daemon.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The daemon's state directory; the toolstack makes its own below.
    pub state_directory: PathBuf,
    /// KiB of memory that all domains of the embedded toolstack may have; `None` = what the machine has available.
    pub embedded_memory_kib: Option<u64>,
    /// KiB of console output kept for each domain (`console-limit`).
    pub console_limit_kib: u32,
}
