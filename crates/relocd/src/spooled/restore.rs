//! A domain comes back to life from the spool, on this host.
//!
//! The entry says how far it has come, and each step is on disk before it is taken: `restoring` while the domain is built, `starting` before it runs. It is
//! deleted once the domain runs. A start of the daemon finds it in either state and does what is left to do: see [`recover`](super::recover()).

use std::{sync::Arc, time::Duration};

use domain::{
    DomainConfig, HostFacts,
    admission::{self, Terms},
};
use image::{ImageError, ImageSource, Item, PAGE_SIZE};
use peer::control::{Failure, Reply};
use tokio::sync::oneshot;
use toolstack::{
    Arrival, Arrived, Progress, Toolstack, Undone,
    spool::{EntryState, Held},
};
use tracing::Instrument;
use uuid::Uuid;

use super::{Wanted, take};
use crate::{
    audit::{SpoolOrder, SpoolOutcome, SpoolRecord},
    blocking::blocking,
    cancel::Cancel,
    failure::{self, Tell},
    fault,
    host::Host,
    incoming,
    journal::Direction,
    outgoing::progress_line,
    relocations::{Booked, Conflict, Relocation, lock},
};

/// Times that a domain is asked to run before that counts as failed, and the time between.
const START_ATTEMPTS: u32 = 5;
const START_PAUSE: Duration = Duration::from_secs(1);

/// Starts a domain from the spool as soon as it has arrived there, without an operator. `booked`: its place in the books, which it gets if it has none.
///
/// # Errors
/// [`Failure`]: it is in the spool as before.
pub async fn restore(host: &Arc<Host>, wanted: Wanted, booked: &mut Option<Booked>) -> Result<Reply, Failure> {
    let account = SpoolRecord::new(SpoolOrder::Restore, &wanted.entry, None);
    let account = account.decided_by("relocd, on its arrival");
    let (started, _) = oneshot::channel();
    account_for(host, wanted, None, account, booked, Cancel::default(), started).await
}

/// Starts a domain that has been built while its image came to the spool, which has all of it by now.
///
/// # Errors
/// [`Failure`]: it is in the spool, and what was built of it is gone, or the failure says that it is not.
pub async fn start(host: &Arc<Host>, wanted: Wanted, arrived: Box<dyn Arrived>) -> Result<Reply, Failure> {
    let held = match take(host, wanted).await {
        Ok(held) => held,
        Err(failure) => {
            let discarded = blocking(move || arrived.discard()).await;
            if let Err(undone) = discarded {
                tracing::error!(error = %undone.error, "what was built of the domain can't be discarded");
            }
            return Err(failure);
        }
    };
    let (id, name) = (held.entry().id, held.entry().name.clone());
    let relocation = host.relocations.find(id, Direction::In);
    let stage = move |stage: &str| {
        if let Some(relocation) = &relocation {
            relocation.stage(stage);
        }
    };
    let started = blocking(move || run(id, held, arrived, stage)).await;
    started.map(|done| Reply::Restored {
        name,
        domid: done.domid,
        left: done.left,
    })
}

/// Starts a domain from the spool for an operator. `asked_by`: who wants that.
///
/// # Errors
/// As [`restore`].
pub async fn restore_for(
    host: Arc<Host>,
    wanted: Wanted,
    asked_by: String,
    cancel: Cancel,
    started: oneshot::Sender<Arc<Relocation>>,
) -> Result<Reply, Failure> {
    let account = SpoolRecord::new(SpoolOrder::Restore, &wanted.entry, Some(asked_by.clone()));
    account_for(&host, wanted, Some(asked_by), account, &mut None, cancel, started).await
}

/// Carries it out, and writes the audit trail.
async fn account_for(
    host: &Arc<Host>,
    wanted: Wanted,
    asked_by: Option<String>,
    account: SpoolRecord,
    booked: &mut Option<Booked>,
    cancel: Cancel,
    started: oneshot::Sender<Arc<Relocation>>,
) -> Result<Reply, Failure> {
    let mut account = (account, SpoolOutcome::Refused);
    let restored = carry_out(host, wanted, asked_by, &mut account, booked, cancel, started).await;
    let (mut account, mut outcome) = account;
    match &restored {
        Ok(Reply::Restored { left, .. }) => {
            outcome = SpoolOutcome::Restored;
            if let Some(left) = left {
                account = account.reason(&format!("its file can't be deleted: {left}"));
            }
        }
        Ok(_) => {}
        Err(failure) => account = account.because(failure),
    }
    account.over(outcome);
    restored
}

/// `account`: what the audit trail will say.
async fn carry_out(
    host: &Arc<Host>,
    wanted: Wanted,
    asked_by: Option<String>,
    account: &mut (SpoolRecord, SpoolOutcome),
    booked: &mut Option<Booked>,
    cancel: Cancel,
    started: oneshot::Sender<Arc<Relocation>>,
) -> Result<Reply, Failure> {
    if host.toolstack.name() == HostFacts::SPOOL {
        return Err(
            failure::simple("unsupported", "this relocd runs no domains (--toolstack spool)")
                .next("xm spool send sends it to a host that does; xl restore takes its file (xm spool list --json)"),
        );
    }
    let mut held = take(host, wanted).await?;
    account.0.entry(held.entry());
    held.asked_by(asked_by);
    let config = held.entry().config().map_err(|error| failure::spool(&error))?;
    let id = match booked {
        Some(booked) => booked.relocation.id,
        None => Uuid::new_v4(),
    };
    let span = tracing::info_span!("restore", %id, domain = %config.name, spooled = %held.entry().id);
    let state = format!("domain '{}' is in the spool as before", config.name);
    async {
        let relocation = book(host, id, &config, booked, cancel)?;
        check(host, &relocation, &config).await?;
        account.1 = SpoolOutcome::Kept;
        // Whoever asked may have gone.
        let _ = started.send(Arc::clone(&relocation));
        relocation.stage("copying");
        let toolstack = Arc::clone(&host.toolstack);
        let name = config.name.clone();
        let restored = blocking(move || build_and_run(&*toolstack, &relocation, &config, held)).await;
        match &restored {
            Ok(done) => tracing::info!(domid = done.domid, "the domain runs here, from the spool"),
            Err(failure) => tracing::warn!("not restored: {}", failure.value),
        }
        restored.map(|done| Reply::Restored {
            name,
            domid: done.domid,
            left: done.left,
        })
    }
    .instrument(span)
    .await
    .map_err(|failure| failure.state(state))
}

/// Books the arrival, if it is not in the books already.
fn book(
    host: &Arc<Host>,
    id: Uuid,
    config: &DomainConfig,
    booked: &mut Option<Booked>,
    cancel: Cancel,
) -> Result<Arc<Relocation>, Failure> {
    let needed = admission::needed_kib(config);
    if let Some(booked) = booked {
        if host.relocations.is_stopping() {
            return Err(failure::conflict(&Conflict::Stopping));
        }
        booked.relocation.reserve(needed);
        return Ok(Arc::clone(&booked.relocation));
    }
    let relocation = Relocation {
        cancel,
        reserved_kib: needed.into(),
        ..Relocation::new(id, Direction::In, config, "the spool", "offline")
    };
    let new = host
        .relocations
        .begin(relocation, host.limits().max_incoming)
        .map_err(|conflict| failure::conflict(&conflict))?;
    Ok(Arc::clone(&booked.insert(new).relocation))
}

/// Checks what is checked of a domain from another host.
async fn check(host: &Arc<Host>, relocation: &Relocation, config: &DomainConfig) -> Result<(), Failure> {
    let refused = |host: &str| {
        let host = host.to_owned();
        move |refused| failure::refused(&host, &refused)
    };
    incoming::check_names(host, config, None)
        .await
        .map_err(refused("this host"))?;
    let promised = host.promised_kib(relocation.id).await;
    let promised = promised.map_err(|error| failure::toolstack(&error))?;
    let here = host.facts().await.map_err(|error| failure::toolstack(&error))?;
    let there = HostFacts {
        toolstack: HostFacts::SPOOL.to_owned(),
        ..here.clone()
    };
    let terms = Terms {
        reserved_kib: promised,
        force: false,
    };
    admission::check(config, &there, &here, terms)
        .map_err(|refusal| failure::simple(refusal.word(), refusal.to_string()))?;
    let room = host.make_room(relocation.reserved(), promised, &here).await;
    room.map_err(|error| failure::simple("insufficient-memory", error.to_string()))
}

struct Done {
    domid: u32,
    /// Why the entry is still there although the domain runs.
    left: Option<String>,
}

/// Bulk path.
fn build_and_run(
    toolstack: &dyn Toolstack,
    relocation: &Relocation,
    config: &DomainConfig,
    mut held: Held,
) -> Result<Done, Failure> {
    held.set(EntryState::Restoring, Some(relocation.id), None)
        .map_err(|error| failure::spool(&error))?;
    fault::point(&["spool", "restoring"]);
    let arrived = match build(toolstack, relocation, config, &held) {
        Ok(arrived) => arrived,
        Err(failure) => {
            held.release();
            return Err(failure);
        }
    };
    run(relocation.id, held, arrived, |stage| relocation.stage(stage))
}

/// A domain that has been built is to run: from here on its entry says so. `relocation`: whose name it has until then.
fn run(relocation: Uuid, mut held: Held, arrived: Box<dyn Arrived>, stage: impl Fn(&str)) -> Result<Done, Failure> {
    fault::point(&["spool", "arrived"]);
    stage("loaded");
    if let Err(error) = held.set(EntryState::Starting, Some(relocation), None) {
        return Err(undo(arrived, held, failure::spool(&error)));
    }
    fault::point(&["spool", "starting"]);
    stage("committing");
    let domid = match unpause(arrived) {
        Ok(domid) => domid,
        Err(undone) => return Err(may_have_run(undone, held, relocation)),
    };
    fault::point(&["spool", "runs"]);
    let left = held.delete().err().map(|(error, _)| {
        tracing::error!(%error, "the domain runs, but its entry can't be deleted");
        error.to_string()
    });
    Ok(Done { domid, left })
}

fn build(
    toolstack: &dyn Toolstack,
    relocation: &Relocation,
    config: &DomainConfig,
    held: &Held,
) -> Result<Box<dyn Arrived>, Failure> {
    let mut image = Watched {
        image: held.open_image().map_err(|error| failure::spool(&error))?,
        relocation,
        progress: Progress {
            round: 1,
            round_total: config.memory_kib * 1024 / PAGE_SIZE as u64,
            suspended: true,
            ..Progress::default()
        },
    };
    let entry = held.entry();
    let arrival = Arrival {
        relocation: relocation.id,
        config,
        peer: &entry.peer,
        original: entry.original.as_ref().map(|original| &original.0),
    };
    let arrived = toolstack
        .arrive(&arrival, &mut image)
        .map_err(|error| failure::toolstack(&error))?;
    match relocation.cancel.check() {
        Ok(()) => Ok(arrived),
        Err(error) => match arrived.discard() {
            Ok(()) => Err(failure::cancelled(&error.to_string())),
            Err(undone) => Err(failure::toolstack(&undone.error)),
        },
    }
}

/// Lets it run: asked again where the toolstack can't say whether it does, for what has been asked of it is not taken back.
fn unpause(mut arrived: Box<dyn Arrived>) -> Result<u32, Undone<dyn Arrived>> {
    let mut attempt = 1;
    loop {
        match arrived.unpause() {
            Err(undone) if attempt < START_ATTEMPTS => {
                tracing::warn!(error = %undone.error, attempt, "the domain could not be started; trying again");
                arrived = undone.domain;
            }
            started => return started,
        }
        attempt += 1;
        std::thread::sleep(START_PAUSE);
    }
}

/// It could not be started, as far as the toolstack knows: it may have run for a moment, and have written to its disks. So it is never again as if nothing had been.
fn may_have_run(undone: Undone<dyn Arrived>, mut held: Held, relocation: Uuid) -> Failure {
    let failure = failure::toolstack(&undone.error);
    if let Err(undone) = undone.domain.discard() {
        tracing::error!(error = %undone.error, "what was built of the domain can't be discarded");
        return failure
            .state("what was built of the domain here can't be discarded; its file is in the spool")
            .next("restart relocd, which tries again");
    }
    let reason = format!(
        "it could not be started here, and may have run for a moment: {}",
        failure.value
    );
    if let Err(error) = held.set(EntryState::Starting, Some(relocation), Some(reason)) {
        tracing::error!(%error, "the spool's record can't be rewritten; it says that the domain was being started");
    }
    failure
        .state("domain is in the spool, and may have run here for a moment")
        .next("look at its disks; then xm spool restore with --yes-i-know")
}

/// It is not to run after all, or can't.
fn undo(arrived: Box<dyn Arrived>, held: Held, failure: Failure) -> Failure {
    match arrived.discard() {
        Ok(()) => {
            held.release();
            failure
        }
        Err(undone) => {
            // The entry says `starting`, or `restoring`: the next start sees to it.
            tracing::error!(error = %undone.error, "what was built of the domain can't be discarded");
            failure
                .state("what was built of the domain here can't be discarded; its file is in the spool")
                .next("restart relocd, which tries again")
        }
    }
}

/// An image whose progress can be seen, and that can be stopped.
struct Watched<'a, S> {
    image: S,
    relocation: &'a Relocation,
    progress: Progress,
}

impl<S: ImageSource> ImageSource for Watched<'_, S> {
    fn next(&mut self) -> Result<Item<'_>, ImageError> {
        self.relocation.cancel.check()?;
        let item = self.image.next()?;
        if let Item::Pages(batch) = &item {
            let progress = &mut self.progress;
            progress.pages_sent += batch.entries.len() as u64;
            progress.round_done = progress.pages_sent;
            progress.round_total = progress.round_total.max(progress.pages_sent);
            let mut line = lock(&self.relocation.progress);
            *line = progress_line(self.relocation.id, "copying", progress, line.wire_bytes);
        }
        Ok(item)
    }
}
