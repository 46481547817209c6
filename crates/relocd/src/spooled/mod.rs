//! Domains on disk, as operators handle them.

mod recover;
mod restore;

use std::sync::Arc;

use peer::control::{Failure, Reply, SpoolLine};
use toolstack::spool::{Entry, EntryState, Held};

pub use recover::recover;
pub use restore::{restore, restore_for, start};

use crate::{
    audit::{SpoolOrder, SpoolOutcome, SpoolRecord},
    blocking::blocking,
    failure::{self, Tell},
    host::Host,
    journal::Direction,
    recovery,
};

/// The entry that an operator wants something done with.
pub struct Wanted {
    /// Name or id.
    pub entry: String,
    /// Also if that is dangerous: it may have run elsewhere since, or be lost.
    pub yes_i_know: bool,
}

/// All that is in the spool.
///
/// # Errors
/// The spool's.
pub async fn list(host: &Arc<Host>) -> Result<Reply, Failure> {
    let spool = host.spool.clone();
    let read = blocking(move || Ok((spool.list()?, spool.room()?))).await;
    let ((entries, faults), free) = read.map_err(|error| failure::spool(&error))?;
    Ok(Reply::Spool {
        directory: host.spool.directory().display().to_string(),
        free,
        entries: entries.iter().map(|entry| line(host, entry)).collect(),
        faults: faults.iter().map(ToString::to_string).collect(),
    })
}

fn line(host: &Host, entry: &Entry) -> SpoolLine {
    SpoolLine {
        id: entry.id,
        name: entry.name.clone(),
        uuid: entry.uuid,
        peer: entry.peer.clone(),
        since: entry.since,
        bytes: entry.bytes,
        state: entry.state.word().to_owned(),
        reason: entry.reason.clone(),
        image: host.spool.image_path(entry).display().to_string(),
    }
}

/// Deletes an entry. `asked_by`: who wants that.
///
/// # Errors
/// [`Failure`]: it is there as before.
pub async fn delete(host: &Arc<Host>, wanted: Wanted, asked_by: String) -> Result<Reply, Failure> {
    let mut account = SpoolRecord::new(SpoolOrder::Delete, &wanted.entry, Some(asked_by));
    let held = match take_to_delete(host, wanted, &mut account).await {
        Ok(held) => held,
        Err(failure) => {
            account.because(&failure).over(SpoolOutcome::Refused);
            return Err(failure);
        }
    };
    let deleted = blocking(move || held.delete().map_err(|(error, _)| error)).await;
    if let Err(error) = deleted {
        let failure = failure::spool(&error);
        account.because(&failure).over(SpoolOutcome::Kept);
        return Err(failure);
    }
    account.over(SpoolOutcome::Deleted);
    Ok(Reply::Done)
}

/// Takes an entry that an operator wants deleted, and knows what that means.
async fn take_to_delete(host: &Arc<Host>, wanted: Wanted, account: &mut SpoolRecord) -> Result<Held, Failure> {
    let sure = wanted.yes_i_know;
    let wanted = Wanted {
        yes_i_know: true,
        ..wanted
    };
    let held = take(host, wanted).await?;
    account.entry(held.entry());
    if sure { Ok(held) } else { Err(danger(held.entry())) }
}

/// What is lost with an entry.
fn danger(entry: &Entry) -> Failure {
    let name = &entry.name;
    let reason = entry.reason.as_ref();
    let text = format!(
        "domain '{name}' may be nowhere else: it came from {}, {} ago, and is in the spool in state {}{}",
        entry.peer,
        xm::span(entry.age().as_secs()),
        entry.state.word(),
        reason.map(|reason| format!(" ({reason})")).unwrap_or_default()
    );
    let next = format!(
        "make sure that it runs elsewhere, or that nobody needs it any more, then: xm spool delete --yes-i-know {}",
        entry.id
    );
    let failure = failure::simple("dangerous", text).next(next);
    failure.state(format!("domain '{name}' is in the spool as before"))
}

/// Takes an entry, if nothing else is being done with it and its domain can't run elsewhere.
///
/// # Errors
/// [`Failure`]: which entry is meant is not clear, it is in use, or it may have run.
pub async fn take(host: &Arc<Host>, wanted: Wanted) -> Result<Held, Failure> {
    let spool = host.spool.clone();
    let taken = blocking(move || {
        let entry = spool.find(&wanted.entry)?;
        Ok((spool.hold(entry.id)?, wanted))
    })
    .await;
    let (held, wanted) = taken.map_err(|error| failure::spool(&error))?;
    let entry = held.entry();
    check_settled(host, entry)?;
    if entry.state == EntryState::Starting && !wanted.yes_i_know {
        let text = format!(
            "domain '{}' was being started from the spool when relocd ended: it may have run since",
            entry.name
        );
        return Err(failure::simple("dangerous", text).next(format!(
            "make sure that it does not run anywhere (xm list), then again with --yes-i-know; or xm spool delete {}",
            entry.id
        )));
    }
    Ok(held)
}

/// Whether the relocation that brought an entry, or the one that sends it, still goes on.
fn check_settled(host: &Host, entry: &Entry) -> Result<(), Failure> {
    let brought = (entry.state == EntryState::Complete).then_some((entry.id, Direction::In));
    let sends = entry.held_by.map(|id| (id, Direction::Out));
    for (id, direction) in brought.into_iter().chain(sends) {
        let journalled = host
            .journal
            .find(id, direction)
            .map_err(|error| failure::simple("journal", error.to_string()))?;
        let runs = host.relocations.find(id, direction).is_some();
        if runs || journalled.is_some_and(|record| !recovery::is_over(&record)) {
            let text = format!(
                "domain '{}' in the spool belongs to relocation {id}, which is not over",
                entry.name
            );
            return Err(failure::simple("busy", text).next("xm status tells where that stands"));
        }
    }
    Ok(())
}
