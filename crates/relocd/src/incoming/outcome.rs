//! A source that has lost its connection asks how the relocation ended.

use std::sync::Arc;

use peer::{
    handoff::destination::{Event, State},
    native::message::{Outcome, OutcomeQuery, Refused, Reply},
};
use toolstack::DomainState;

use super::Say;
use crate::{
    blocking::blocking,
    host::Host,
    journal::{Direction, Entry},
    relocations::Relocation,
};

/// Answers the question for the outcome. `listed`: the host is on the allow list. One that is not hears only what a relocation's source may hear, which
/// shows by the relocation's secret; `None`: nothing, whatever the reason.
///
/// The address does not count, beyond the list: a source may have another one by now, or may have been taken off the list. What does is that nobody but
/// the source asks: a question ends a relocation that has not been committed, and the model check knows of no other askers.
pub async fn outcome(host: &Arc<Host>, query: &OutcomeQuery, listed: bool) -> Option<Reply> {
    let answer = match authenticated(host, query, listed).await {
        Ok(Asker::Source) => match in_the_books(host, query) {
            Some(relocation) => ask(&relocation).await,
            None => from_the_record(host, query).await,
        },
        Ok(Asker::Unproved) => from_the_record(host, query).await,
        Err(refused) => Err(refused),
    };
    match answer {
        Ok(outcome) => {
            tracing::info!(id = %query.id, ?outcome, listed, "the source asked for the outcome");
            Some(Reply::Outcome(outcome))
        }
        Err(refused) if listed => {
            tracing::error!(id = %query.id, "the source asked for the outcome, which is not told: {refused}");
            Some(Reply::Err(refused))
        }
        Err(_) => None,
    }
}

/// Who asks.
enum Asker {
    /// The relocation's source.
    Source,
    /// A host on the list, about a relocation that this host has no record of.
    Unproved,
}

/// Whether who asks is the relocation's source.
async fn authenticated(host: &Arc<Host>, query: &OutcomeQuery, listed: bool) -> Result<Asker, Refused> {
    let entry = match in_the_books(host, query).and_then(|relocation| relocation.incoming.clone()) {
        // It may be held for as long as the toolstack takes.
        Some(incoming) => Some(blocking(move || incoming.entry()).await),
        None => find(host, query.id).await?,
    };
    match entry {
        // A source of the first days made up none: then the list has to do.
        Some(entry) if entry.secret.is_none() && listed => Ok(Asker::Source),
        Some(entry) if entry.secret.is_some() && entry.secret == query.secret => Ok(Asker::Source),
        None if listed => Ok(Asker::Unproved),
        _ => Err(Refused {
            word: "secret".to_owned(),
            text: "the question does not have the secret of this relocation".to_owned(),
        }),
    }
}

async fn find(host: &Host, id: uuid::Uuid) -> Result<Option<Entry>, Refused> {
    let journal = host.journal.clone();
    blocking(move || journal.find(id, Direction::In))
        .await
        .map_err(|error| refused("journal", &error))
}

fn in_the_books(host: &Host, query: &OutcomeQuery) -> Option<Arc<Relocation>> {
    host.relocations.find(query.id, Direction::In)
}

/// A relocation that is under way, or being recovered.
async fn ask(relocation: &Arc<Relocation>) -> Result<Outcome, Refused> {
    let Some(incoming) = relocation.incoming.clone() else {
        return Ok(Outcome::Pending);
    };
    let said = blocking(move || incoming.on(Event::Asked))
        .await
        .map_err(|error| refused("internal", &error))?;
    let answer = said.into_iter().find_map(|say| match say {
        Say::Outcome(outcome) => Some(outcome),
        _ => None,
    });
    if answer == Some(Outcome::Discarded) {
        relocation.cancel.cancel("the source has lost its connection");
    }
    Ok(answer.unwrap_or(Outcome::Pending))
}

/// A relocation that nobody is at any more: its record, and whether the domain is here.
async fn from_the_record(host: &Arc<Host>, query: &OutcomeQuery) -> Result<Outcome, Refused> {
    let id = query.id;
    let entry = find(host, id).await?;
    // It may have begun, or ended, since the look into the books: then it is asked for again.
    if in_the_books(host, query).is_some() {
        return Ok(Outcome::Pending);
    }
    let state = entry.as_ref().map(|entry| State::from_name(&entry.state));
    match state {
        Some(Some(State::Running)) => Ok(Outcome::Running {
            domid: entry.and_then(|entry| entry.domid).unwrap_or_default(),
        }),
        // Over, or as good as over: the commit was not taken, and without a place in the books it never will be. The record may be an old one, where
        // the disk had no room for the last. What may still be here of the domain is discarded at the next start at the latest.
        Some(Some(State::Receiving | State::Loaded | State::Discarding | State::Discarded)) => Ok(Outcome::Discarded),
        // The commit was taken. It is not in the books because it is done and the disk had no room for the last record, or because its recovery
        // failed: the domain itself tells which.
        Some(Some(State::Committed | State::Deciding | State::Withdrawing)) => {
            let whereabouts = look(host, query.id, entry.as_ref().map(|entry| entry.uuid)).await?;
            Ok(match whereabouts {
                Whereabouts::Runs(domid) => Outcome::Running { domid },
                Whereabouts::Elsewhere | Whereabouts::Unclear => Outcome::Pending,
            })
        }
        // A newer version's state: the record will be understood once that version runs again.
        Some(None) => Ok(Outcome::Pending),
        // Sources ask about relocations that this host had a record of. If that is lost, or has expired, and the domain is here, then saying that it was
        // discarded would make a second one of it.
        None => Ok(match look(host, query.id, query.uuid).await? {
            Whereabouts::Runs(domid) => {
                tracing::warn!(%id, domid, "no record of this relocation, but its domain runs here");
                Outcome::Running { domid }
            }
            Whereabouts::Unclear => Outcome::Pending,
            // Who asks has committed, and a host that takes a commit has a record: it is lost, or this is not the host that was meant. Only an
            // operator can know.
            Whereabouts::Elsewhere => Outcome::Lost {
                reason: "no record of this relocation here, and no such domain: the record is lost, or this is not the host that took it".to_owned(),
            },
        }),
    }
}

/// Where a domain is, as far as this host can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// Here, and it has run.
    Runs(u32),
    /// Something of it is here, which waits for a decision of another relocation.
    Unclear,
    /// Not here.
    Elsewhere,
}

/// Looks for the domain of a relocation.
///
/// # Errors
/// The toolstack's, in words.
pub async fn look(host: &Arc<Host>, id: uuid::Uuid, uuid: Option<uuid::Uuid>) -> Result<Whereabouts, Refused> {
    let Some(uuid) = uuid else {
        return Ok(Whereabouts::Elsewhere);
    };
    let toolstack = Arc::clone(&host.toolstack);
    let domains = blocking(move || toolstack.domains())
        .await
        .map_err(|error| refused("toolstack", &error))?;
    // A source that is this very host asks: what it holds suspended is its own copy, not the one that may run.
    let asks_itself = host
        .relocations
        .find(id, Direction::Out)
        .is_some_and(|relocation| relocation.uuid == uuid);
    let mut whereabouts = Whereabouts::Elsewhere;
    for domain in domains.iter().filter(|domain| domain.uuid == uuid) {
        match domain.state {
            state if state.has_run() => return Ok(Whereabouts::Runs(domain.id)),
            DomainState::Suspended if asks_itself => {}
            _ => whereabouts = Whereabouts::Unclear,
        }
    }
    Ok(whereabouts)
}

fn refused(word: &str, error: &dyn std::fmt::Display) -> Refused {
    Refused {
        word: word.to_owned(),
        text: error.to_string(),
    }
}
