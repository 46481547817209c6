//! What relocations there are and were, and what an operator decides about them.

use std::sync::Arc;

use peer::control::{Decision, Failure, RelocationLine, Reply};
use uuid::Uuid;

use crate::{
    blocking::blocking,
    failure::{self, Tell},
    host::Host,
    journal::{Direction, Entry},
    relocations::{Relocation, lock},
};

/// Relocations told of at most.
const MOST: usize = 200;

/// The relocations that run, and those in the journal; newest first.
///
/// # Errors
/// The journal's.
pub async fn status(host: &Arc<Host>) -> Result<Reply, Failure> {
    let journal = host.journal.clone();
    let read = blocking(move || journal.all()).await;
    let (entries, faults) = read.map_err(|error| failure::simple("journal", error.to_string()))?;
    let running = host.relocations.all();
    let mut lines: Vec<RelocationLine> = running.iter().map(|relocation| running_line(relocation)).collect();
    let is_running = |entry: &Entry| {
        running
            .iter()
            .any(|other| other.id == entry.id && other.direction == entry.direction)
    };
    lines.extend(entries.into_iter().filter(|entry| !is_running(entry)).map(journal_line));
    for fault in faults {
        tracing::error!("{fault}");
    }
    lines.sort_by_key(|line| std::cmp::Reverse(line.started));
    lines.truncate(MOST);
    Ok(Reply::Status { relocations: lines })
}

fn running_line(relocation: &Relocation) -> RelocationLine {
    let progress = lock(&relocation.progress).clone();
    RelocationLine {
        id: relocation.id,
        direction: relocation.direction.word().to_owned(),
        domain: relocation.domain.clone(),
        peer: relocation.peer.clone(),
        state: progress.stage.clone(),
        mode: relocation.mode.to_owned(),
        started: relocation.started,
        detail: lock(&relocation.detail).clone(),
        progress: Some(progress),
    }
}

fn journal_line(entry: Entry) -> RelocationLine {
    RelocationLine {
        id: entry.id,
        direction: entry.direction.word().to_owned(),
        domain: entry.domain,
        peer: entry.peer,
        state: entry.state,
        mode: entry.mode,
        started: entry.started,
        detail: entry.detail,
        progress: None,
    }
}

/// An operator decides about a copy that stands still here.
///
/// # Errors
/// If there is nothing to decide, or what the operator wants is dangerous and was not confirmed.
pub async fn resolve(host: &Arc<Host>, id: Uuid, decision: Decision, yes_i_know: bool) -> Result<Reply, Failure> {
    let Some(relocation) = host.relocations.find(id, Direction::Out) else {
        return Err(failure::simple(
            "no-relocation",
            format!("no outgoing relocation {id} waits for a decision"),
        )
        .next("xm status lists the relocations and their states"));
    };
    if lock(&relocation.progress).stage != "in-doubt" {
        return Err(failure::simple(
            "not-in-doubt",
            format!("relocation {id} is under way: nothing is to be decided"),
        ));
    }
    if decision == Decision::Resume && !yes_i_know {
        let text = format!(
            "domain '{}' may run on {}: if it does, resuming it here makes two of it, on the same disks",
            relocation.domain, relocation.peer
        );
        return Err(failure::simple("dangerous", text).next(format!(
            "make sure that it does not run there and never will (xm list there, or that host is gone for good), then: \
             xm resolve {id} --resume --yes-i-know"
        )));
    }
    if decision == Decision::Destroy && !yes_i_know {
        let text = format!(
            "domain '{}' may not run on {}: if it does not, destroying it here loses it",
            relocation.domain, relocation.peer
        );
        return Err(failure::simple("dangerous", text).next(format!(
            "make sure that it runs there (xm list there), then: xm resolve {id} --destroy --yes-i-know"
        )));
    }
    tracing::warn!(%id, ?decision, "an operator decides in the other host's stead");
    relocation.operator.send_replace(Some(decision));
    Ok(Reply::Done)
}
