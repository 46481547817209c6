//! From the commit to the end: also where a restarted daemon carries on.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use peer::{
    control::Decision,
    handoff::{WrongMove, source::Event},
    native::message::{Outcome, OutcomeQuery},
};
use tokio::time::sleep;

use super::{
    handoff::{Ask, Handoff},
    outcome,
};
use crate::{
    audit,
    blocking::blocking,
    host::Host,
    relocations::{Decided, Relocation},
    unwritten::write_later,
};

/// How a relocation ended at the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// The domain is the source's.
    Resumed {
        /// It runs on here. Otherwise it has ended meanwhile by itself, or with the host.
        is_here: bool,
    },
    /// The domain is gone from here.
    Gone,
}

impl Conclusion {
    /// In the words of the audit trail.
    pub fn outcome(self) -> audit::Outcome {
        match self {
            Conclusion::Resumed { .. } => audit::Outcome::Stayed,
            Conclusion::Gone => audit::Outcome::Moved,
        }
    }
}

/// Feeds an event to the handoff, off the async runtime: it syncs files and calls the toolstack.
///
/// # Errors
/// [`WrongMove`] if the event can't follow.
pub async fn step(mut handoff: Handoff, event: Event) -> (Handoff, Result<Option<Ask>, WrongMove>) {
    blocking(move || {
        let ask = handoff.on(event);
        (handoff, ask)
    })
    .await
}

/// Sees a handoff through, however long it takes.
///
/// # Errors
/// [`WrongMove`] only if this program is wrong; the journal then still says what a restart has to do.
pub async fn conclude(
    host: &Host,
    relocation: &Arc<Relocation>,
    mut handoff: Handoff,
    mut ask: Option<Ask>,
) -> Result<(Handoff, Conclusion), WrongMove> {
    loop {
        match ask {
            Some(Ask::Resumed) => {
                let is_here = is_here(host, relocation).await;
                if !is_here {
                    tracing::error!("{NOT_HERE}");
                    let why = handoff.entry().detail.clone().map(|why| format!(" ({why})"));
                    handoff.note(format!("{NOT_HERE}{}", why.unwrap_or_default()));
                    handoff = blocking(move || handoff.remember()).await;
                }
                return Ok(over(host, handoff, Conclusion::Resumed { is_here }));
            }
            Some(Ask::Destroyed) => return Ok(over(host, handoff, Conclusion::Gone)),
            Some(Ask::Retry(error)) => {
                tracing::error!(%error, state = handoff.state().name(), "the toolstack failed; trying again");
                relocation.stage("retrying");
                relocation.note(&error.to_string());
                sleep(Duration::from_secs(1)).await;
                let next;
                (handoff, next) = blocking(move || {
                    let ask = handoff.again();
                    (handoff, ask)
                })
                .await;
                ask = next?;
            }
            Some(Ask::Outcome | Ask::SendCommit) | None => {
                relocation.stage("in-doubt");
                handoff = guarded(handoff).await;
                let event = learn_outcome(host, relocation, &mut handoff).await;
                let next;
                (handoff, next) = step(handoff, event).await;
                ask = next?;
            }
        }
    }
}

/// What is known of a domain that stays, and is not here.
pub const NOT_HERE: &str =
    "the domain stays with this host, but is not here any more: it has ended, or this host was started anew meanwhile";

/// How long a guest that reboots may be nowhere: xl waits, frees its memory, and may have to wait for another domain to be built.
const NOWHERE: Duration = Duration::from_secs(15);

/// Whether the domain that stays is here. Taken for granted where that can't be told.
async fn is_here(host: &Host, relocation: &Relocation) -> bool {
    let begun = Instant::now();
    while host.has(relocation.uuid).await == Some(false) {
        if begun.elapsed() > NOWHERE {
            return false;
        }
        sleep(Duration::from_secs(1)).await;
    }
    true
}

/// How often the copy is guarded until that has succeeded, before the destination is asked all the same.
const GUARDING: u32 = 3;

async fn guarded(mut handoff: Handoff) -> Handoff {
    for _ in 0..GUARDING {
        let done;
        (handoff, done) = blocking(move || {
            let done = handoff.guard();
            (handoff, done)
        })
        .await;
        if done {
            break;
        }
        sleep(Duration::from_secs(1)).await;
    }
    handoff
}

fn over(host: &Host, handoff: Handoff, conclusion: Conclusion) -> (Handoff, Conclusion) {
    if handoff.is_unwritten() {
        write_later(host.journal.clone(), handoff.entry().clone());
    }
    (handoff, conclusion)
}

/// What is known of a domain towards an xend when nothing else is.
const ENDED_MEANWHILE: &str = "relocd ended when it was about to send the last bytes of the domain";

/// Waits for the destination's word, or an operator's: of an xend nobody hears any more.
async fn learn_outcome(host: &Host, relocation: &Arc<Relocation>, handoff: &mut Handoff) -> Event {
    let peer = handoff.entry().peer.clone();
    let limit = host.limits().handshake;
    let query = OutcomeQuery {
        id: relocation.id,
        secret: handoff.entry().secret.clone(),
        uuid: Some(relocation.uuid),
    };
    let mut operator = relocation.operator.subscribe();
    let unsure = |reason: &str| relocation.note(reason);
    let is_xend = handoff.entry().xend.is_some();
    if is_xend {
        // It knows no such question.
        let detail = handoff.entry().detail.clone();
        relocation.note(detail.as_deref().unwrap_or(ENDED_MEANWHILE));
    }
    let asking = async {
        if is_xend {
            std::future::pending::<()>().await;
        }
        outcome::ask(&peer, &query, limit, unsure).await
    };
    tokio::select! {
        outcome = asking => match outcome {
            Outcome::Running { domid } => {
                handoff.runs_there_as(domid);
                Event::Running
            }
            _ => {
                let why = handoff.entry().detail.clone().map(|why| format!(": {why}"));
                handoff.note(format!("the destination never took the commit{}", why.unwrap_or_default()));
                handoff.deny();
                Event::Discarded
            }
        },
        decided = operator.wait_for(Option::is_some) => match decided.ok().and_then(|decided| decided.clone()) {
            Some(Decided { decision, by }) => {
                let (what, event) = match decision {
                    Decision::Destroy => ("destroyed", Event::OperatorDestroy),
                    Decision::Resume => ("resumed", Event::OperatorResume),
                };
                handoff.note(format!("an operator decided: {what} here"));
                handoff.amend(|entry| entry.decided_by = Some(by));
                event
            }
            // The books hold the sender, so it can't be gone; if it were, nothing would be known.
            None => Event::Unknown,
        },
    }
}
