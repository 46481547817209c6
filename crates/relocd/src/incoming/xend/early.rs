//! A domain is built while its image still arrives: `xl restore` reads the safety copy as it grows, so that little is left to do when the last byte has come.
//!
//! The receiver and the copy know nothing of this: what is built here is thrown away whenever anything is not as it should be, and built anew from the copy.
//! It runs only once its receiver has said that the copy is whole and the sender's domain gone, and once the spool's record says that it starts.
//!
//! If it can't be built while the sender still owns its domain, the sender is refused. A domain that is here alone comes first: whoever is being built early
//! makes room for it, and is built again later.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use domain::{DomainConfig, HostFacts};
use image::{ImageError, ImageSource, Item};
use tokio::task::{self, JoinHandle};
use toolstack::{
    Arrival, Arrived, DomainState, Toolstack, ToolstackError,
    spool::{EntryState, Growing, Spool},
};
use uuid::Uuid;

use crate::{
    blocking::patiently,
    cancel::Cancel,
    fault,
    host::Host,
    journal::Entry,
    relocations::{Relocation, lock},
};

/// All domains that are being built early, to ask them to make room.
#[derive(Debug, Default)]
pub struct Early {
    all: Mutex<Vec<Turn>>,
}

/// One of them.
#[derive(Clone, Debug)]
struct Turn {
    id: Uuid,
    stop: Cancel,
    /// It is its turn: only one can be built at a time.
    is_on: Arc<AtomicBool>,
    /// Bytes that have been taken, if the image only passes through: then nothing can be built anew.
    taken: Option<Arc<AtomicU64>>,
}

impl Turn {
    fn is_on(&self) -> bool {
        self.is_on.load(Ordering::SeqCst)
    }
}

impl Early {
    /// A domain stands still until it is built: whoever is being built and does not have to be makes room for it.
    pub fn make_room(&self, id: Uuid) {
        for other in lock(&self.all)
            .iter()
            .filter(|other| other.id != id && other.is_on() && other.taken.is_none())
        {
            other.stop.cancel("another domain is here alone and comes first");
        }
    }
}

/// A domain that is being built, or has been.
pub(super) struct Building {
    turn: Turn,
    work: Work,
}

enum Work {
    Runs(JoinHandle<Built>),
    Done(Built),
}

type Built = Result<Box<dyn Arrived>, ToolstackError>;

impl Building {
    /// Begins. `image`: where its copy is being written.
    pub(super) fn begin(host: &Arc<Host>, relocation: &Relocation, config: DomainConfig, image: Growing) -> Building {
        let (id, peer) = (relocation.id, relocation.peer.clone());
        let turn = Turn {
            id,
            stop: Cancel::default(),
            is_on: Arc::default(),
            taken: image.taken(),
        };
        let (host, own) = (Arc::clone(host), turn.clone());
        let span = tracing::Span::current();
        lock(&host.early.all).push(turn.clone());
        let work = task::spawn_blocking(move || {
            let _entered = span.enter();
            let arrival = Arrival {
                relocation: id,
                config: &config,
                peer: &peer,
                original: None,
            };
            let built = build(&*host.toolstack, &arrival, &image, &own);
            lock(&host.early.all).retain(|other| other.id != id);
            built
        });
        Building {
            turn,
            work: Work::Runs(work),
        }
    }

    /// Ends it, whatever it is at. What it leaves is for [`Building::end`].
    pub(super) fn stop(&self, reason: &str) {
        self.turn.stop.cancel(reason);
    }

    /// Whether it is still being built.
    pub(super) fn runs(&self) -> bool {
        matches!(self.work, Work::Runs(_))
    }

    /// Bytes that have been taken of an image that only passes through.
    pub(super) fn taken(&self) -> Option<u64> {
        Some(self.turn.taken.as_ref()?.load(Ordering::SeqCst))
    }

    /// Waits until it has been built, or can't be. May be dropped, and asked again.
    pub(super) async fn settle(&mut self) {
        if let Work::Runs(handle) = &mut self.work {
            let built = match handle.await {
                Ok(built) => built,
                Err(error) => Err(ToolstackError::Failed(format!("the thread that builds it: {error}"))),
            };
            self.work = Work::Done(built);
        }
    }

    /// Why it can't be built, if it can't and nobody has asked it to stop.
    pub(super) fn failure(&self) -> Option<String> {
        match &self.work {
            Work::Done(Err(error)) if self.turn.stop.reason().is_none() => Some(error.to_string()),
            _ => None,
        }
    }

    /// The domain, which is here alone now, once it has been built. `None`: it has to be built anew.
    pub(super) async fn built(mut self, host: &Host) -> Option<Box<dyn Arrived>> {
        if self.runs() && !self.turn.is_on() {
            host.early.make_room(self.turn.id);
        }
        self.settle().await;
        match self.work {
            Work::Done(Ok(arrived)) => Some(arrived),
            Work::Done(Err(error)) => {
                tracing::warn!("not built while it arrived: {error}");
                None
            }
            Work::Runs(_) => None,
        }
    }

    /// Ends it and throws away what there is of the domain.
    ///
    /// # Errors
    /// If that can't be done, or seen to be done: then nothing else may be made of the domain.
    pub(super) async fn end(mut self, host: &Arc<Host>, entry: &Entry, reason: &str) -> Result<(), String> {
        self.stop(reason);
        fault::reached(&["in", "early", "end"]).await;
        self.settle().await;
        clear(host, entry).await?;
        fault::reached(&["in", "early", "ended"]).await;
        Ok(())
    }
}

/// Builds it; waits for others that are being built, for as long as it takes.
fn build(toolstack: &dyn Toolstack, arrival: &Arrival<'_>, image: &Growing, turn: &Turn) -> Built {
    fault::point(&["in", "early", "begin"]);
    loop {
        let stop = turn.stop.clone();
        let image = Watched {
            image: image.open(move || stop.check())?,
            items: 0,
            turn,
        };
        match toolstack.arrive(arrival, &mut { image }) {
            Err(ToolstackError::Busy(why)) => {
                tracing::debug!("{why}");
                turn.stop.check()?;
            }
            built => {
                fault::point(&["in", "early", "built"]);
                if built.is_ok() {
                    tracing::debug!("the domain is built, and waits for its sender to be done");
                }
                return built;
            }
        }
    }
}

/// An image whose reader can be stopped.
struct Watched<'a, S> {
    image: S,
    items: u64,
    turn: &'a Turn,
}

impl<S: ImageSource> ImageSource for Watched<'_, S> {
    fn next(&mut self) -> Result<Item<'_>, ImageError> {
        self.turn.stop.check()?;
        self.items += 1;
        // The first one is read before the toolstack is asked for anything.
        if self.items == 2 {
            self.turn.is_on.store(true, Ordering::SeqCst);
        }
        self.image.next()
    }
}

/// Throws away what a relocation has built of its domain, unless that may have run: what decides is the spool's record, which says so before it does.
///
/// # Errors
/// If the toolstack can't tell, or can't do it.
pub(super) async fn clear(host: &Arc<Host>, entry: &Entry) -> Result<(), String> {
    let (toolstack, spool) = (Arc::clone(&host.toolstack), host.spool.clone());
    if toolstack.name() == HostFacts::SPOOL {
        return Ok(());
    }
    let (id, uuid) = (entry.id, entry.uuid);
    patiently(move || discard(&*toolstack, &spool, id, uuid))
        .await
        .map_err(|error| format!("what was built of the domain here can't be removed: {error}"))
}

fn discard(toolstack: &dyn Toolstack, spool: &Spool, id: Uuid, uuid: Uuid) -> Result<(), ToolstackError> {
    let starts = |entry: &toolstack::spool::Entry| entry.id == id && entry.state == EntryState::Starting;
    if spool.list()?.0.iter().any(starts) {
        return Ok(());
    }
    let Some(arrived) = toolstack.find_arrived(uuid, id)? else {
        return Ok(());
    };
    let number = arrived.id();
    let domains = toolstack.domains()?;
    let has_run = domains
        .iter()
        .any(|domain| domain.id == number && domain.state != DomainState::Arriving);
    if has_run {
        tracing::error!(
            domid = number,
            "the domain runs under the name that it arrived by: left alone"
        );
        return Ok(());
    }
    arrived.discard().map_err(|undone| undone.error)?;
    tracing::info!(domid = number, "what was built of the domain has been removed");
    Ok(())
}
