//! `relocd-safety-copy no`: the image of a domain only passes through the spool on its way into `xl restore`. What has been read of it is gone from the disk, so
//! that little room is needed; and nothing can be built anew.
//!
//! Whatever fails before the image is whole is a refusal, as far as the sender can still feel one. After that the domain is here alone, in the memory that was built
//! of it: if it can't be built, it is lost. The journal has a state more: `starting`, before it runs.

use std::{sync::Arc, time::Duration};

use config::Config;
use domain::DomainConfig;
use peer::xend::Keeper;
use tokio::time::sleep;
use toolstack::{Arrived, DomainId, DomainState, Undone};

use super::{
    early::Building,
    orders::Said,
    place::{self, Found},
    recover::runs_here,
    write_end,
};
use crate::{
    blocking::{blocking, patiently},
    fault,
    host::Host,
    journal::Entry,
    relocations::Booked,
};

/// The journal's word while the image passes through.
pub const PASSING: &str = "passing";

/// The journal's word once the domain is to run: it may have run.
pub const STARTING: &str = "starting";

/// The journal's word for a domain that came without a copy, and is not here.
pub const LOST: &str = "lost";

/// How often a receiver is looked after.
const PAUSE: Duration = Duration::from_millis(100);

/// Whether a domain is to come without a copy. One that buffers hold never does: of it nothing could be refused.
pub fn is_wanted(config: &Config, domain: &DomainConfig) -> bool {
    !config.safety_copy && !Keeper::new(domain.memory_kib).fits_into_buffers()
}

/// The image is whole. Waits until the domain has been built, and lets it run; or leaves it to an operator, if its sender may have it still.
pub(super) async fn conclude(
    host: &Arc<Host>,
    booked: Booked,
    entry: Entry,
    said: Option<Said>,
    building: Option<Building>,
) {
    let id = entry.id;
    let built = match building {
        Some(building) => building.built(host).await,
        None => None,
    };
    fault::reached(&["in", "concluded", "before"]).await;
    match (built, said) {
        (Some(arrived), Some(Said::Doubtful(why))) => leave(host, entry, arrived.id(), &why).await,
        (Some(arrived), _) => start(host, entry, arrived).await,
        (None, _) => {
            lost(
                host,
                entry,
                "it came without a safety copy, and could not be built here",
            )
            .await
        }
    }
    drop(booked);
    place::forget(host.spool.directory(), id);
}

/// It is written down before it runs.
async fn start(host: &Arc<Host>, mut entry: Entry, arrived: Box<dyn Arrived>) {
    STARTING.clone_into(&mut entry.state);
    let journal = host.journal.clone();
    let written;
    (written, entry) = blocking(move || (journal.write(&mut entry), entry)).await;
    if let Err(error) = written {
        // The start after it finds the domain, and leaves it to an operator.
        tracing::error!(%error, "the journal can't be written: the domain is built, and does not run");
        leave(host, entry, arrived.id(), "the journal could not be written").await;
        return;
    }
    fault::reached(&["in", "passed", "starting"]).await;
    run(host, entry, arrived).await;
}

/// Times that a domain is asked to run.
const ATTEMPTS: u32 = 5;

async fn run(host: &Arc<Host>, mut entry: Entry, arrived: Box<dyn Arrived>) {
    let started = blocking(move || {
        let mut arrived = arrived;
        for _ in 1..ATTEMPTS {
            match arrived.unpause() {
                Ok(number) => return Ok(number),
                Err(Undone { error, domain }) => {
                    tracing::warn!(%error, "the domain could not be started; trying again");
                    arrived = domain;
                }
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        arrived.unpause()
    });
    match started.await {
        Ok(number) => {
            fault::reached(&["in", "passed", "runs"]).await;
            entry.domid = Some(number);
            tracing::info!(domid = number, "the domain runs here");
            write_end(host.journal.clone(), entry, "running", None).await;
        }
        Err(undone) => {
            let why = format!("it could not be started: {}", undone.error);
            leave(host, entry, undone.domain.id(), &why).await;
        }
    }
}

/// It stays as it was built, paused: it may be all that there is of the domain, and it may be one too many.
async fn leave(host: &Arc<Host>, mut entry: Entry, number: DomainId, why: &str) {
    entry.domid = Some(number);
    let why = format!(
        "{why}. The domain is here, paused, as domain {number} (xl list). Make sure that it does not run at {}, then: xl unpause {number} and xl rename {number} {}; \
         if it runs there: xl destroy {number}",
        entry.peer, entry.domain
    );
    tracing::error!("{why}");
    write_end(host.journal.clone(), entry, "kept", Some(why)).await;
}

async fn lost(host: &Arc<Host>, entry: Entry, why: &str) {
    let why = format!(
        "{why}: unless it runs at {}, it is lost (relocd-safety-copy no)",
        entry.peer
    );
    tracing::error!("{why}");
    write_end(host.journal.clone(), entry, LOST, Some(why)).await;
}

async fn refused(host: &Arc<Host>, entry: Entry) {
    let why = "relocd ended before its image was whole: the sender has been refused, and still has the domain";
    tracing::warn!("settled: {why}");
    write_end(host.journal.clone(), entry, "discarded", Some(why.to_owned())).await;
}

/// After a restart. Without the daemon nothing passes through: the receiver has refused its sender, unless the image was whole, which it has noted.
pub(super) async fn recover(host: &Arc<Host>, entry: Entry) {
    let (directory, id) = (host.spool.directory().to_owned(), entry.id);
    loop {
        let directory = directory.clone();
        match blocking(move || place::look(&directory, id)).await {
            Ok(Found::Receiving) => sleep(PAUSE).await,
            Ok(_) => break,
            Err(error) => {
                tracing::error!(%error, "left alone until the next start");
                return;
            }
        }
    }
    if settle(host, entry).await {
        place::forget(&directory, id);
    }
}

/// Its receiver has ended. Whether it is over.
async fn settle(host: &Arc<Host>, mut entry: Entry) -> bool {
    let (toolstack, uuid, id) = (Arc::clone(&host.toolstack), entry.uuid, entry.id);
    let found = patiently(move || {
        let Some(arrived) = toolstack.find_arrived(uuid, id)? else {
            return Ok(None);
        };
        let domains = toolstack.domains()?;
        let state = domains.iter().find(|domain| domain.id == arrived.id());
        let waits = state.is_none_or(|domain| domain.state == DomainState::Arriving);
        Ok::<_, toolstack::ToolstackError>(Some((arrived, waits)))
    });
    let runs = runs_here(host, &entry).await;
    let (found, runs) = match (found.await, runs) {
        (Ok(found), Ok(runs)) => (found, runs),
        (found, runs) => {
            let error = found.err().map(|error| error.to_string()).or(runs.err());
            tracing::error!(
                error,
                "whether the domain is here can't be told: left alone until the next start"
            );
            return false;
        }
    };
    let was_whole = place::was_whole(host.spool.directory(), id);
    match found {
        Some((arrived, waits)) if entry.state == STARTING || !waits => run(host, entry, arrived).await,
        Some((arrived, _)) if was_whole => {
            let why =
                "relocd ended while it arrived, and whether what is built of it has all of its image is not known";
            leave(host, entry, arrived.id(), why).await;
        }
        Some((arrived, _)) => match blocking(move || arrived.discard()).await {
            Ok(()) => refused(host, entry).await,
            Err(undone) => {
                tracing::error!(error = %undone.error, "what was built of the domain can't be removed: left alone until the next start");
                return false;
            }
        },
        None if runs.is_some() => {
            entry.domid = runs;
            write_end(host.journal.clone(), entry, "running", None).await;
        }
        None if entry.state == STARTING || was_whole => {
            lost(host, entry, "relocd ended while it arrived without a safety copy").await;
        }
        None => refused(host, entry).await,
    }
    true
}
