//! A domain that a xend has sent, and given up, is started: as it was built while it arrived, or from its safety copy, as an operator would do it, and as often as
//! it takes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use peer::control::{Failure, Reply};
use tokio::time::sleep;
use toolstack::{Arrived, Domain, DomainState, spool::EntryState};

use super::write_end;
use crate::{
    blocking::blocking,
    host::Host,
    journal::Entry,
    relocations::Booked,
    spooled::{self, Wanted},
};

/// The journal's word for a domain that is safe on disk, whose sender has closed in good order, and that is to be started here: also after a restart.
pub const ARRIVED: &str = "arrived";

/// How long reasons are waited out that may pass: another domain that is being built, memory that one which ends still has.
const PATIENCE: Duration = Duration::from_secs(600);

/// The time between two attempts.
const PAUSE: Duration = Duration::from_secs(5);

/// Words of failures that may pass.
const MAY_PASS: [&str; 4] = ["busy", "toolstack", "insufficient-memory", "relocating"];

/// Starts it. Whatever goes wrong, it stays in the spool. `booked`: its place in the books, which it has until it runs or is the spool's. `built`: what has been
/// built of it while it arrived.
pub async fn start_here(
    host: &Arc<Host>,
    mut booked: Option<Booked>,
    mut entry: Entry,
    mut built: Option<Box<dyn Arrived>>,
) {
    let begun = Instant::now();
    loop {
        let wanted = Wanted {
            entry: entry.id.to_string(),
            yes_i_know: false,
        };
        let started = match built.take() {
            Some(arrived) => spooled::start(host, wanted, arrived).await,
            None => {
                host.early.make_room(entry.id);
                spooled::restore(host, wanted, &mut booked).await
            }
        };
        let failure = match started {
            Ok(reply) => {
                if let Reply::Restored { domid, .. } = reply {
                    entry.domid = Some(domid);
                }
                tracing::info!("the domain runs here, and its safety copy is deleted");
                write_end(host.journal.clone(), entry, "running", None).await;
                return;
            }
            Err(failure) => failure,
        };
        if host.relocations.is_stopping() {
            // The record says that it is to be started: the next start of the daemon does.
            return;
        }
        let waits = is_kept(host, &entry).await;
        if waits && MAY_PASS.contains(&failure.r#type.as_str()) && begun.elapsed() < PATIENCE {
            tracing::warn!("the domain could not be started, and is tried again: {}", failure.value);
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = stopping(booked.as_ref()) => return,
            }
            continue;
        }
        give_up(host, entry, &failure, waits).await;
        return;
    }
}

/// Waits until the daemon is told to end.
async fn stopping(booked: Option<&Booked>) {
    match booked {
        Some(booked) => drop(booked.relocation.cancel.cancelled().await),
        None => std::future::pending().await,
    }
}

/// Whether it is in the spool, and has not run.
async fn is_kept(host: &Arc<Host>, entry: &Entry) -> bool {
    let (spool, id) = (host.spool.clone(), entry.id.to_string());
    blocking(move || spool.find(&id))
        .await
        .is_ok_and(|found| found.state == EntryState::Kept)
}

/// It waits for an operator, unless it runs: a daemon that was killed may have started it, and not have written that down.
async fn give_up(host: &Arc<Host>, mut entry: Entry, failure: &Failure, waits: bool) {
    let toolstack = Arc::clone(&host.toolstack);
    let domains = blocking(move || toolstack.domains()).await.unwrap_or_default();
    let runs = |domain: &&Domain| domain.uuid == entry.uuid && domain.state != DomainState::Arriving;
    if let Some(domain) = domains.iter().find(runs).filter(|_| !waits) {
        entry.domid = Some(domain.id);
        write_end(host.journal.clone(), entry, "running", None).await;
        return;
    }
    let id = entry.id;
    let why = format!("it could not be started here: {}", failure.value);
    tracing::error!("{why}. The domain stays in the spool; once the reason is gone: xm spool restore {id}");
    if waits {
        let (spool, reason) = (host.spool.clone(), why.clone());
        let kept = blocking(move || spool.hold(id).map(|held| held.keep(&reason))).await;
        if let Err(error) = kept {
            tracing::error!(%error, "the reason can't be written into the spool's record");
        }
    }
    write_end(host.journal.clone(), entry, "kept", Some(why)).await;
}
