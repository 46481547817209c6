//! After a restart: images from xends that were on their way. Their receivers go on by themselves; what they leave is looked at.

use std::{sync::Arc, time::Duration};

use domain::HostFacts;
use tokio::time::sleep;
use toolstack::{Domain, DomainId, DomainState};
use tracing::Instrument;
use uuid::Uuid;

use super::{
    admit::RECEIVING,
    early::clear,
    passage,
    place::{self, Found},
    start::{ARRIVED, start_here},
    write_end,
};
use crate::{
    blocking::{blocking, patiently},
    host::Host,
    journal::{Direction, Entry},
    relocations::Booked,
};

/// How often a receiver is looked after.
const PAUSE: Duration = Duration::from_millis(500);

/// Whether nothing is left to do for a record.
pub fn is_over(entry: &Entry) -> bool {
    ![RECEIVING, ARRIVED, passage::PASSING, passage::STARTING].contains(&entry.state.as_str())
}

/// Takes up a record that says `receiving`, or `arrived`.
pub fn recover(host: &Arc<Host>, entry: Entry, booked: Option<Booked>) {
    if let Some(booked) = &booked {
        booked.relocation.stage("recovering");
    }
    let host = Arc::clone(host);
    let carry_on = async move {
        if [passage::PASSING, passage::STARTING].contains(&entry.state.as_str()) {
            passage::recover(&host, entry).await;
            return;
        }
        // What the daemon before had built of it while it arrived comes first: nothing else is made of the domain as long as that is there.
        if let Err(error) = clear(&host, &entry).await {
            tracing::error!("{error}: left alone until the next start");
            return;
        }
        if entry.state == ARRIVED {
            if let Some(booked) = &booked {
                booked.relocation.is_on_disk();
            }
            start_here(&host, booked, entry, None).await;
            return;
        }
        match after_its_end(&host, &entry).await {
            Ok((state, detail)) => {
                match &detail {
                    Some(why) => tracing::warn!(state, "settled: {why}"),
                    None => tracing::info!(state, "settled"),
                }
                write_end(host.journal.clone(), entry, state, detail).await;
            }
            Err(error) => tracing::error!(error, "left alone until the next start"),
        }
        drop(booked);
    };
    tokio::spawn(carry_on.in_current_span());
}

/// Waits for a receiver's end, and looks at what it has left: the last state and why.
pub(super) async fn after_its_end(host: &Arc<Host>, entry: &Entry) -> Result<(&'static str, Option<String>), String> {
    let spool = host.spool.clone();
    let mut told = false;
    loop {
        let (directory, id) = (spool.directory().to_owned(), entry.id);
        match blocking(move || place::look(&directory, id)).await {
            Ok(Found::Receiving) => {
                if !told {
                    tracing::info!("its receiver is still at work");
                    told = true;
                }
                sleep(PAUSE).await;
            }
            Ok(Found::Entry) => {
                // How the sender closed was for a daemon to hear that is gone: an operator can look.
                let why = (host.toolstack.name() != HostFacts::SPOOL).then(|| {
                    format!(
                        "relocd ended while it arrived; make sure that the domain does not run at {}, then: xm spool restore {id}",
                        entry.peer
                    )
                });
                return Ok(("kept", why));
            }
            Ok(Found::Broken) => {
                let why = format!(
                    "the image could not be read to its end; what came is in the spool, as {id}.broken and {id}.rest"
                );
                return Ok(("broken", Some(why)));
            }
            Ok(Found::Nothing) => {
                // The journal may not have been told that it had arrived.
                if let Some(number) = runs_here(host, entry).await? {
                    tracing::info!(domid = number, "the domain runs here");
                    return Ok(("running", None));
                }
                let why = "the receiver ended before the image was whole: the sender still has the domain".to_owned();
                return Ok(("discarded", Some(why)));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// The number of the domain, if it runs here.
pub(super) async fn runs_here(host: &Arc<Host>, entry: &Entry) -> Result<Option<DomainId>, String> {
    let toolstack = Arc::clone(&host.toolstack);
    let domains = patiently(move || toolstack.domains()).await;
    let domains = domains.map_err(|error| error.to_string())?;
    let runs = |domain: &&Domain| domain.uuid == entry.uuid && domain.state != DomainState::Arriving;
    Ok(domains.iter().find(runs).map(|domain| domain.id))
}

/// Places that no record speaks of: whole images become entries all the same.
pub async fn all(host: &Arc<Host>, known: &[Uuid]) {
    let spool = host.spool.clone();
    let directory = spool.directory().to_owned();
    let journal = host.journal.clone();
    let places = blocking(move || {
        for id in place::noted_whole(&directory) {
            let found = journal.find(id, Direction::In);
            if found.is_ok_and(|entry| entry.is_none_or(|entry| is_over(&entry))) {
                place::forget(&directory, id);
            }
        }
        place::all(&directory)
    })
    .await;
    for id in places.into_iter().filter(|id| !known.contains(id)) {
        let directory = spool.directory().to_owned();
        match blocking(move || place::look(&directory, id)).await {
            Ok(found) => tracing::warn!(%id, ?found, "an image on its way that the journal does not know"),
            Err(error) => tracing::error!(%id, %error, "an image on its way can't be looked at"),
        }
    }
}
