//! A daemon that starts carries on where the last one ended: the journal says where that was.

use std::{sync::Arc, time::Duration};

use domain::DomainConfig;
use domain::GuestKind;
use peer::handoff::{destination, source};
use tokio::time::timeout;
use toolstack::{Arrived, DomainId};
use tracing::Instrument;

use crate::{
    audit::Record,
    blocking::{blocking, patiently},
    host::Host,
    incoming::{self, Incoming, lost, xend},
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
    expire(host).await;
    let (entries, faults) = blocking(move || journal.all()).await?;
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

/// Removes the records of relocations that have been over for long enough, as the configuration in force has it.
pub async fn expire(host: &Host) {
    let (journal, keep) = (host.journal.clone(), host.config().journal_keep);
    let expired = blocking(move || journal.expire(|entry| is_over(entry).then(|| keep_for(entry, keep)))).await;
    if let Err(error) = expired {
        tracing::warn!(%error, "old records could not be removed");
    }
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
    relocation
        .to_xend
        .store(entry.xend.is_some(), std::sync::atomic::Ordering::SeqCst);
    match host.relocations.take_up(relocation) {
        Ok(booked) => Some(booked),
        Err(conflict) => {
            tracing::error!(%conflict, "can't be taken up");
            None
        }
    }
}

/// Who has decided, unless an operator does.
const BY_RESTART: &str = "relocd, after a restart";

/// How long the daemon's start waits for the toolstack's word on a relocation. What takes longer goes on behind it: the operators' socket, and all other
/// relocations, don't wait for an `xl` that hangs.
const SOON: Duration = Duration::from_secs(10);
const NOT_YET: &str = "the toolstack can't say yet whether the domain is here: it is asked until it does";

async fn outgoing(host: &Arc<Host>, mut entry: Entry) {
    entry.decided_by.get_or_insert_with(|| BY_RESTART.to_owned());
    let Some(booked) = book(host, &entry, None) else { return };
    booked.relocation.stage("recovering");
    let find = host.find_departed(entry.uuid, entry.id);
    let Some(mut handoff) = Handoff::recover(entry, host.journal.clone(), Box::new(find.clone())) else {
        tracing::error!("the journal has a state that this program does not know: left alone");
        return;
    };
    let mut looking = Box::pin(patiently(find));
    let found = timeout(SOON, &mut looking).await;
    let host = Arc::clone(host);
    let carry_on = async move {
        let found = match found {
            Ok(found) => found,
            Err(_) => looking.await,
        };
        match found {
            Ok(Some(departed)) => handoff.departed(departed),
            Ok(None) => {}
            // The handoff looks for it as often as it takes.
            Err(error) => tracing::error!(%error, "{NOT_YET}"),
        }
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
            Ok((handoff, conclusion)) => {
                tracing::info!(?conclusion, "settled");
                Record::of(handoff.entry()).over(conclusion.outcome());
            }
            Err(error) => tracing::error!(%error, "the handoff is at fault"),
        }
    };
    tokio::spawn(carry_on.in_current_span());
}

async fn arriving(host: &Arc<Host>, mut entry: Entry) {
    entry.decided_by.get_or_insert_with(|| BY_RESTART.to_owned());
    let Some(incoming) = Incoming::recover(entry.clone(), host.journal.clone()) else {
        tracing::error!("the journal has a state that this program does not know: left alone");
        return;
    };
    let incoming = Arc::new(incoming);
    let Some(booked) = book(host, &entry, Some(Arc::clone(&incoming))) else {
        return;
    };
    booked.relocation.stage("recovering");
    let (toolstack, uuid, id) = (Arc::clone(&host.toolstack), entry.uuid, entry.id);
    let look = move || {
        let arrived = toolstack.find_arrived(uuid, id)?;
        // The unpause may have come just before the crash. A copy that is suspended has not run here: it departs, perhaps to this very host.
        let running = toolstack
            .domains()?
            .into_iter()
            .find(|domain| domain.uuid == uuid && domain.state.has_run())
            .map(|domain| domain.id);
        Ok::<_, toolstack::ToolstackError>((arrived, running))
    };
    let host = Arc::clone(host);
    let mut looking = Box::pin(patiently(look.clone()));
    match timeout(SOON, &mut looking).await {
        Ok(Ok(found)) => arrived(host, booked, incoming, found),
        late => {
            tracing::error!("{NOT_YET}");
            let goes_on = async move {
                let mut found = match late {
                    Ok(found) => found,
                    Err(_) => looking.await,
                };
                let found = loop {
                    match found {
                        Ok(found) => break found,
                        Err(error) => booked.relocation.note(&error.to_string()),
                    }
                    found = patiently(look.clone()).await;
                };
                arrived(host, booked, incoming, found);
            };
            tokio::spawn(goes_on.in_current_span());
        }
    }
}

/// Carries on with what is here of a domain: what waits for a decision, and the number of the domain if it runs.
fn arrived(
    host: Arc<Host>,
    booked: Booked,
    incoming: Arc<Incoming>,
    (arrived, running): (Option<Box<dyn Arrived>>, Option<DomainId>),
) {
    let committed = incoming.state() == destination::State::Committed;
    let is_lost = committed && arrived.is_none() && running.is_none();
    if committed && arrived.is_none() {
        incoming.amend(|entry| entry.domid = running);
    }
    incoming.found(arrived);
    if is_lost {
        incoming.lost();
        lost::wait(host, booked, incoming);
        return;
    }
    let carry_on = async move {
        let handoff = Arc::clone(&incoming);
        if let Err(error) = blocking(move || handoff.again()).await {
            tracing::error!(%error, "the handoff is at fault");
            return;
        }
        incoming::settle(&booked.relocation, &incoming).await;
        if incoming.is_lost() {
            lost::wait(host, booked, incoming);
            return;
        }
        tracing::info!(state = incoming.state().name(), "settled");
        incoming::over(&incoming, None);
        incoming::finish(&host, &booked.relocation, &incoming).await;
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
