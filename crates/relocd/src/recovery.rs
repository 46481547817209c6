//! A daemon that starts carries on where the last one ended: the journal says where that was.

use std::{sync::Arc, time::Duration};

use domain::DomainConfig;
use domain::GuestKind;
use peer::handoff::{destination, source};
use toolstack::DomainState;
use tracing::Instrument;

use crate::{
    blocking::{blocking, patiently},
    host::Host,
    incoming::{self, Incoming, xend},
    journal::{Direction, Entry, JournalError},
    outgoing::{Handoff, conclude},
    relocations::{Booked, Relocation},
};

/// Takes up every relocation that the journal does not call over. Those that need the other host go on in the background.
///
/// # Errors
/// If the journal's directory can't be read: then nothing is known, and nothing may be touched.
pub async fn recover(host: &Arc<Host>) -> Result<(), JournalError> {
    let journal = host.journal.clone();
    let keep = host.config().journal_keep;
    let (entries, faults) = blocking(move || {
        if let Err(error) = journal.expire(|entry| is_over(entry).then(|| keep_for(entry, keep))) {
            tracing::warn!(%error, "old records could not be removed");
        }
        journal.all()
    })
    .await?;
    for fault in faults {
        tracing::error!("{fault}");
    }
    let known: Vec<_> = entries.iter().map(|entry| entry.id).collect();
    for entry in entries.into_iter().filter(|entry| !is_over(entry)) {
        let span = tracing::info_span!(
            "relocation", id = %entry.id, direction = entry.direction.word(), domain = %entry.domain, peer = %entry.peer
        );
        tracing::info!(parent: &span, state = entry.state, "taken up again");
        match entry.direction {
            Direction::Out => outgoing(host, entry).instrument(span).await,
            Direction::In if entry.mode == xend::MODE => {
                let booked = book(host, &entry, None);
                span.in_scope(|| xend::recover(host, entry, booked));
            }
            Direction::In => arriving(host, entry).instrument(span).await,
        }
    }
    xend::recover_all(host, &known).await;
    Ok(())
}

/// A source that was down, or cut off, may ask late whether its domain has run here, and it resumes an old copy if nobody remembers.
const KEEP_RUNNING: Duration = Duration::from_secs(5 * 365 * 86400);

fn keep_for(entry: &Entry, keep: Duration) -> Duration {
    if entry.direction == Direction::In && entry.state == destination::State::Running.name() {
        keep.max(KEEP_RUNNING)
    } else {
        keep
    }
}

/// Whether nothing is left to do for a record.
pub fn is_over(entry: &Entry) -> bool {
    match entry.direction {
        Direction::In if entry.mode == xend::MODE => xend::is_over(entry),
        Direction::Out => source::State::from_name(&entry.state).is_some_and(source::State::is_over),
        Direction::In => destination::State::from_name(&entry.state).is_some_and(destination::State::is_over),
    }
}

fn mode(entry: &Entry) -> &'static str {
    match entry.mode.as_str() {
        "live" => "live",
        xend::MODE => xend::MODE,
        _ => "offline",
    }
}

/// Its place in the books, whatever the limits.
fn book(host: &Arc<Host>, entry: &Entry, incoming: Option<Arc<Incoming>>) -> Option<Booked> {
    let config = DomainConfig::new(&entry.domain, entry.uuid, 0, GuestKind::Embedded);
    let relocation = Relocation {
        started: entry.started,
        incoming,
        ..Relocation::new(entry.id, entry.direction, &config, &entry.peer, mode(entry))
    };
    match host.relocations.begin(relocation, usize::MAX) {
        Ok(booked) => Some(booked),
        Err(conflict) => {
            tracing::error!(%conflict, "can't be taken up");
            None
        }
    }
}

async fn outgoing(host: &Arc<Host>, entry: Entry) {
    let Some(booked) = book(host, &entry, None) else { return };
    booked.relocation.stage("recovering");
    let departed = match patiently(host.find_departed(entry.uuid, entry.id)).await {
        Ok(departed) => departed,
        Err(error) => {
            tracing::error!(%error, "the toolstack can't say whether the domain is here: left alone until the next start");
            return;
        }
    };
    let Some(handoff) = Handoff::recover(entry, host.journal.clone(), departed) else {
        tracing::error!("the journal has a state that this program does not know: left alone");
        return;
    };
    let host = Arc::clone(host);
    let carry_on = async move {
        let mut handoff = handoff;
        let ask;
        (handoff, ask) = blocking(move || {
            let ask = handoff.again();
            (handoff, ask)
        })
        .await;
        let concluded = match ask {
            Ok(ask) => conclude(&host, &booked.relocation, handoff, ask).await,
            Err(error) => Err(error),
        };
        match concluded {
            Ok((_, conclusion)) => tracing::info!(?conclusion, "settled"),
            Err(error) => tracing::error!(%error, "the handoff is at fault"),
        }
    };
    tokio::spawn(carry_on.in_current_span());
}

async fn arriving(host: &Arc<Host>, mut entry: Entry) {
    let (toolstack, uuid, id) = (Arc::clone(&host.toolstack), entry.uuid, entry.id);
    let found = patiently(move || {
        let arrived = toolstack.find_arrived(uuid, id)?;
        // The unpause may have come just before the crash. A copy that is suspended has not run here: it departs, perhaps to this very host.
        let running = toolstack
            .domains()?
            .into_iter()
            .find(|domain| {
                domain.uuid == uuid
                    && !matches!(
                        domain.state,
                        DomainState::Suspended | DomainState::Arriving | DomainState::Unknown
                    )
            })
            .map(|domain| domain.id);
        Ok::<_, toolstack::ToolstackError>((arrived, running))
    })
    .await;
    let (arrived, running) = match found {
        Ok(found) => found,
        Err(error) => {
            tracing::error!(%error, "the toolstack can't say whether the domain is here: left alone until the next start");
            return;
        }
    };
    let committed = entry.state == destination::State::Committed.name();
    if committed && arrived.is_none() {
        entry.domid = running;
    }
    let lost = committed && arrived.is_none() && running.is_none();
    let Some(incoming) = Incoming::recover(entry.clone(), host.journal.clone(), arrived) else {
        tracing::error!("the journal has a state that this program does not know: left alone");
        return;
    };
    let incoming = Arc::new(incoming);
    let Some(booked) = book(host, &entry, Some(Arc::clone(&incoming))) else {
        return;
    };
    if lost {
        let reason = "it was committed to this host, but is not here: it may have run and ended, or this host may have been restarted";
        tracing::error!("{reason}");
        incoming.lost(reason);
        booked.relocation.stage("lost");
        booked.relocation.note(reason);
        // Stays in the books, to answer the source, for as long as the daemon runs; the domain may come here again.
        booked.relocation.end();
        std::mem::forget(booked);
        return;
    }
    booked.relocation.stage("recovering");
    let carry_on = async move {
        let handoff = Arc::clone(&incoming);
        match blocking(move || handoff.again()).await {
            Ok(said) => {
                incoming::settle(&incoming, said).await;
                tracing::info!(state = incoming.state().name(), "settled");
            }
            Err(error) => tracing::error!(%error, "the handoff is at fault"),
        }
        drop(booked);
    };
    tokio::spawn(carry_on.in_current_span());
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn that_a_domain_has_run_here_is_remembered_longest() {
        let entry = |direction, state| Entry::new(Uuid::new_v4(), direction, "web", Uuid::new_v4(), "", "live", state);
        let day = Duration::from_secs(86400);
        assert_eq!(keep_for(&entry(Direction::In, "running"), day), KEEP_RUNNING);
        assert_eq!(keep_for(&entry(Direction::In, "discarded"), day), day);
        assert_eq!(keep_for(&entry(Direction::Out, "destroyed"), day), day);
        assert_eq!(
            keep_for(&entry(Direction::In, "running"), KEEP_RUNNING * 2),
            KEEP_RUNNING * 2
        );
        assert!(!is_over(&entry(Direction::In, "committed")) && is_over(&entry(Direction::In, "running")));
    }
}
