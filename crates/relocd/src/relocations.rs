//! The relocations that run now, and the limits on them.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use domain::DomainConfig;
use peer::control::{Decision, Progress};
use tokio::sync::watch;
use toolstack::DomainId;
use uuid::Uuid;

use crate::{
    cancel::Cancel,
    incoming::Incoming,
    journal::{Direction, unix_seconds},
    outgoing::progress_line,
};

/// What an operator has decided.
#[derive(Clone, Debug)]
pub struct Decided {
    /// About the source's copy.
    pub decision: Decision,
    /// Who.
    pub by: String,
}

/// A relocation that runs now.
#[derive(Debug)]
pub struct Relocation {
    /// Its identity, the same at both ends.
    pub id: Uuid,
    /// Which end this is.
    pub direction: Direction,
    /// The domain's name.
    pub domain: String,
    /// The domain's identity.
    pub uuid: Uuid,
    /// The domain's number here, at the source.
    pub domid: Option<DomainId>,
    /// The other host.
    pub peer: String,
    /// `live` or `offline`.
    pub mode: &'static str,
    /// Seconds since 1970.
    pub started: u64,
    /// KiB promised to an arriving domain.
    pub reserved_kib: AtomicU64,
    /// To stop it, up to the commit.
    pub cancel: Cancel,
    /// Where it stands.
    pub progress: Mutex<Progress>,
    /// What is known beyond that: why the outcome is open.
    pub detail: Mutex<Option<String>>,
    /// An operator's decision, once the outcome is open.
    pub operator: watch::Sender<Option<Decided>>,
    /// The destination's handoff, for those who ask for the outcome.
    pub incoming: Option<Arc<Incoming>>,
    /// The destination is an xend: it can't be asked for the outcome.
    pub to_xend: AtomicBool,
    /// Set by [`Relocation::is_on_disk`].
    pub on_disk: AtomicBool,
    /// Set by [`Relocation::end`].
    pub over: AtomicBool,
}

impl Relocation {
    /// A relocation at its beginning.
    pub fn new(id: Uuid, direction: Direction, config: &DomainConfig, peer: &str, mode: &'static str) -> Relocation {
        Relocation {
            id,
            direction,
            domain: config.name.clone(),
            uuid: config.uuid,
            domid: None,
            peer: peer.to_owned(),
            mode,
            started: unix_seconds(),
            reserved_kib: AtomicU64::new(0),
            cancel: Cancel::default(),
            progress: Mutex::new(progress_line(id, "connecting", &toolstack::Progress::default(), 0)),
            detail: Mutex::new(None),
            operator: watch::Sender::new(None),
            incoming: None,
            to_xend: AtomicBool::new(false),
            on_disk: AtomicBool::new(false),
            over: AtomicBool::new(false),
        }
    }

    /// Nothing is left to do but to tell the other end, which may take its time to listen: no longer in the way of others.
    pub fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// Its image is on disk, whole: it takes no more room there.
    pub fn is_on_disk(&self) {
        self.on_disk.store(true, Ordering::SeqCst);
    }

    /// Promises memory to it, in KiB.
    pub fn reserve(&self, kib: u64) {
        self.reserved_kib.fetch_max(kib, Ordering::SeqCst);
    }

    /// KiB promised to it.
    pub fn reserved(&self) -> u64 {
        self.reserved_kib.load(Ordering::SeqCst)
    }

    /// Whether the destination is known to be an xend.
    pub fn is_to_xend(&self) -> bool {
        self.to_xend.load(Ordering::SeqCst)
    }

    fn is_in_the_way(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }

    /// Keeps something for those who ask for the status.
    pub fn note(&self, detail: &str) {
        *lock(&self.detail) = Some(detail.to_owned());
    }

    /// A change of stage, in the words of [`Progress::stage`].
    pub fn stage(&self, stage: &str) {
        lock(&self.progress).stage = stage.to_owned();
    }
}

/// Why a relocation can't begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// As many as are allowed run already.
    #[error("busy: {running} {direction} relocations run, {limit} are allowed")]
    Busy {
        /// How many run.
        running: usize,
        /// How many may.
        limit: usize,
        /// `incoming` or `outgoing`.
        direction: &'static str,
    },
    /// Something else is being done with that domain.
    #[error("domain '{0}' is being relocated already")]
    SameDomain(String),
    /// This identity is in use.
    #[error("relocation {0} runs already")]
    SameId(Uuid),
    /// The daemon is about to end.
    #[error("relocd is stopping")]
    Stopping,
}

impl Conflict {
    /// The word for it, for programs: the type of a refusal, at either end.
    pub fn word(&self) -> &'static str {
        match self {
            Conflict::Busy { .. } => "busy",
            Conflict::SameDomain(_) | Conflict::SameId(_) => "relocating",
            Conflict::Stopping => "stopping",
        }
    }
}

/// The relocations that run now.
#[derive(Debug, Default)]
pub struct Relocations {
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    relocations: HashMap<(Uuid, Direction), Arc<Relocation>>,
    stopping: bool,
}

/// Keeps a relocation in the books until it is dropped.
#[derive(Debug)]
pub struct Booked {
    /// The relocation.
    pub relocation: Arc<Relocation>,
    books: Arc<Relocations>,
}

impl Drop for Booked {
    fn drop(&mut self) {
        lock(&self.books.running)
            .relocations
            .remove(&(self.relocation.id, self.relocation.direction));
    }
}

impl Relocations {
    /// Books a relocation, if it fits. `limit`: of its direction.
    ///
    /// # Errors
    /// [`Conflict`].
    pub fn begin(self: &Arc<Self>, relocation: Relocation, limit: usize) -> Result<Booked, Conflict> {
        let mut running = lock(&self.running);
        if running.stopping {
            return Err(Conflict::Stopping);
        }
        let direction = relocation.direction;
        let alike = |other: &&Arc<Relocation>| other.direction == direction && other.is_in_the_way();
        let count = running.relocations.values().filter(alike).count();
        if count >= limit {
            let direction = match direction {
                Direction::In => "incoming",
                Direction::Out => "outgoing",
            };
            return Err(Conflict::Busy {
                running: count,
                limit,
                direction,
            });
        }
        if running.relocations.contains_key(&(relocation.id, direction)) {
            return Err(Conflict::SameId(relocation.id));
        }
        let same = |other: &Arc<Relocation>| other.uuid == relocation.uuid || other.domain == relocation.domain;
        if running.relocations.values().filter(alike).any(same) {
            return Err(Conflict::SameDomain(relocation.domain));
        }
        Ok(self.insert(&mut running, relocation))
    }

    /// Books one that a daemon before has left, whatever the limits: also beside others of the same domain, which were let in because it was over or lost.
    ///
    /// # Errors
    /// [`Conflict::SameId`], [`Conflict::Stopping`].
    pub fn take_up(self: &Arc<Self>, relocation: Relocation) -> Result<Booked, Conflict> {
        let mut running = lock(&self.running);
        if running.stopping {
            return Err(Conflict::Stopping);
        }
        let key = (relocation.id, relocation.direction);
        if running.relocations.contains_key(&key) {
            return Err(Conflict::SameId(relocation.id));
        }
        Ok(self.insert(&mut running, relocation))
    }

    fn insert(self: &Arc<Self>, running: &mut Running, relocation: Relocation) -> Booked {
        let relocation = Arc::new(relocation);
        running
            .relocations
            .insert((relocation.id, relocation.direction), Arc::clone(&relocation));
        Booked {
            relocation,
            books: Arc::clone(self),
        }
    }

    /// A relocation that runs.
    pub fn find(&self, id: Uuid, direction: Direction) -> Option<Arc<Relocation>> {
        lock(&self.running).relocations.get(&(id, direction)).cloned()
    }

    /// All that run.
    pub fn all(&self) -> Vec<Arc<Relocation>> {
        lock(&self.running).relocations.values().cloned().collect()
    }

    /// KiB promised to arriving domains.
    pub fn reserved_kib(&self) -> u64 {
        lock(&self.running)
            .relocations
            .values()
            .filter(|relocation| relocation.is_in_the_way())
            .map(|relocation| relocation.reserved())
            .sum()
    }

    /// KiB promised to arriving domains other than this relocation's, less what each of them has: told by its identity.
    pub fn promised_kib(&self, but: Uuid, has: impl Fn(Uuid) -> u64) -> u64 {
        let running = lock(&self.running);
        let arriving = running.relocations.values().filter(|relocation| {
            relocation.direction == Direction::In && relocation.id != but && relocation.is_in_the_way()
        });
        arriving
            .map(|relocation| relocation.reserved().saturating_sub(has(relocation.uuid)))
            .fold(0, u64::saturating_add)
    }

    /// Bytes that images of other arriving domains of a mode have yet to write, where `needed` is told a domain's memory in KiB: each less what has come of it.
    pub fn unwritten_bytes(&self, mode: &str, but: Uuid, needed: impl Fn(u64) -> u64) -> u64 {
        let running = lock(&self.running);
        let arriving = running.relocations.values().filter(|relocation| {
            relocation.direction == Direction::In
                && relocation.mode == mode
                && relocation.id != but
                && relocation.is_in_the_way()
                && !relocation.on_disk.load(Ordering::SeqCst)
        });
        arriving
            .map(|relocation| needed(relocation.reserved()).saturating_sub(lock(&relocation.progress).wire_bytes))
            .fold(0, u64::saturating_add)
    }

    /// Whether [`Relocations::stop`] has been called.
    pub fn is_stopping(&self) -> bool {
        lock(&self.running).stopping
    }

    /// Lets no new one begin, and asks all that run to stop.
    pub fn stop(&self, reason: &str) {
        let mut running = lock(&self.running);
        running.stopping = true;
        for relocation in running.relocations.values() {
            relocation.cancel.cancel(reason);
        }
    }
}

/// Locks; a thread that panicked while it held the lock has left nothing half done in these books.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use domain::GuestKind;

    use super::*;

    #[test]
    fn what_has_been_written_and_what_goes_elsewhere_needs_no_room() {
        let books = Arc::new(Relocations::default());
        let begin = |name: &str, direction, mode, reserved_kib, wire_bytes| {
            let config = DomainConfig::new(name, Uuid::new_v4(), 1024, GuestKind::Pv);
            let relocation = Relocation {
                reserved_kib: AtomicU64::new(reserved_kib),
                ..Relocation::new(Uuid::new_v4(), direction, &config, "peer", mode)
            };
            lock(&relocation.progress).wire_bytes = wire_bytes;
            books.begin(relocation, 10).unwrap()
        };
        let own = begin("own", Direction::In, "xend", 1000, 0);
        let native = begin("native", Direction::In, "live", 1000, 0);
        let leaves = begin("leaves", Direction::Out, "xend", 1000, 0);
        let half = begin("half", Direction::In, "xend", 1000, 400 * 1024);
        let more = begin("more", Direction::In, "xend", 10, 11 * 1024);
        let unwritten = || books.unwritten_bytes("xend", own.relocation.id, |kib| kib * 1024);
        assert_eq!(unwritten(), 600 * 1024);
        half.relocation.end();
        assert_eq!(unwritten(), 0);
        let other = begin("other", Direction::In, "xend", 1000, 0);
        assert_eq!(unwritten(), 1000 * 1024);
        other.relocation.is_on_disk();
        assert_eq!(unwritten(), 0);
        other.relocation.reserve(500);
        assert_eq!(other.relocation.reserved(), 1000);
        drop((native, leaves, more));
    }

    #[test]
    fn all_that_a_daemon_has_left_is_taken_up() {
        let books = Arc::new(Relocations::default());
        let config = DomainConfig::new("web", Uuid::new_v4(), 1024, GuestKind::Pv);
        let arrival = || Relocation::new(Uuid::new_v4(), Direction::In, &config, "peer", "live");
        // Lost here, and come again.
        let (lost, again) = (books.take_up(arrival()).unwrap(), books.take_up(arrival()).unwrap());
        assert_eq!(books.all().len(), 2);
        assert_eq!(
            books.begin(arrival(), 10).unwrap_err(),
            Conflict::SameDomain("web".to_owned())
        );
        lost.relocation.end();
        again.relocation.end();
        drop(books.begin(arrival(), 10).unwrap());
        let same = Relocation::new(lost.relocation.id, Direction::In, &config, "peer", "live");
        assert_eq!(books.take_up(same).unwrap_err(), Conflict::SameId(lost.relocation.id));
    }

    #[test]
    fn what_an_arriving_domain_has_is_not_promised_any_more() {
        let books = Arc::new(Relocations::default());
        let begin = |name: &str, direction, reserved_kib: u64| {
            let config = DomainConfig::new(name, Uuid::new_v4(), 1024, GuestKind::Pv);
            let relocation = Relocation {
                reserved_kib: reserved_kib.into(),
                ..Relocation::new(Uuid::new_v4(), direction, &config, "peer", "live")
            };
            books.begin(relocation, 10).unwrap()
        };
        let own = begin("own", Direction::In, 1000);
        let half = begin("half", Direction::In, 1000);
        let leaves = begin("leaves", Direction::Out, 0);
        let promised = |kib| {
            books.promised_kib(
                own.relocation.id,
                |uuid| if uuid == half.relocation.uuid { kib } else { 0 },
            )
        };
        assert_eq!((promised(0), promised(400), promised(2000)), (1000, 600, 0));
        half.relocation.end();
        assert_eq!(promised(0), 0);
        drop(leaves);
    }
}
