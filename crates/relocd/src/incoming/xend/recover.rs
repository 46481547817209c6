//! After a restart: images from xends that were on their way. Their receivers go on by themselves; what they leave is looked at.

use std::{sync::Arc, time::Duration};

use domain::HostFacts;
use tokio::time::sleep;
use tracing::Instrument;
use uuid::Uuid;

use super::{
    admit::RECEIVING,
    place::{self, Found},
    start::{ARRIVED, start_here},
    write_end,
};
use crate::{blocking::blocking, host::Host, journal::Entry, relocations::Booked};

/// How often a receiver is looked after.
const PAUSE: Duration = Duration::from_millis(500);

/// Whether nothing is left to do for a record.
pub fn is_over(entry: &Entry) -> bool {
    ![RECEIVING, ARRIVED].contains(&entry.state.as_str())
}

/// Takes up a record that says `receiving`, or `arrived`.
pub fn recover(host: &Arc<Host>, entry: Entry, booked: Option<Booked>) {
    if let Some(booked) = &booked {
        booked.relocation.stage("recovering");
    }
    let host = Arc::clone(host);
    if entry.state == ARRIVED {
        // Its start books it anew.
        drop(booked);
        tokio::spawn(async move { start_here(&host, entry).await }.in_current_span());
        return;
    }
    let carry_on = async move {
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
                let why = "the receiver ended before the image was whole: the sender still has the domain".to_owned();
                return Ok(("discarded", Some(why)));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Places that no record speaks of: whole images become entries all the same.
pub async fn all(host: &Arc<Host>, known: &[Uuid]) {
    let spool = host.spool.clone();
    let directory = spool.directory().to_owned();
    let places = blocking(move || place::all(&directory)).await;
    for id in places.into_iter().filter(|id| !known.contains(id)) {
        let directory = spool.directory().to_owned();
        match blocking(move || place::look(&directory, id)).await {
            Ok(found) => tracing::warn!(%id, ?found, "an image on its way that the journal does not know"),
            Err(error) => tracing::error!(%id, %error, "an image on its way can't be looked at"),
        }
    }
}
