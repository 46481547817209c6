//! What relocations there are and were.

use std::sync::Arc;

use peer::control::{Failure, RelocationLine, Reply};

use crate::{
    blocking::blocking,
    failure,
    host::Host,
    journal::Entry,
    recovery::is_over,
    relocations::{Relocation, lock},
};

/// Relocations that are over told of at most.
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
    // However many have been over since: what waits for somebody is told of.
    let (over, open): (Vec<_>, Vec<_>) = entries
        .into_iter()
        .filter(|entry| !is_running(entry))
        .partition(is_over);
    lines.extend(
        open.into_iter()
            .chain(over.into_iter().rev().take(MOST))
            .map(journal_line),
    );
    for fault in faults {
        tracing::error!("{fault}");
    }
    lines.sort_by_key(|line| std::cmp::Reverse(line.started));
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
