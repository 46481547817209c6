//! Restores that a crash has ended: the entry says how far they had come.

use std::sync::Arc;

use toolstack::{
    DomainState, Toolstack, ToolstackError,
    spool::{EntryState, Held},
};
use uuid::Uuid;

use crate::{
    audit::{SpoolOrder, SpoolOutcome, SpoolRecord},
    blocking::{blocking, patiently},
    host::Host,
};

/// Does what is left to do. What the toolstack can't tell about is left to the next start.
pub async fn recover(host: &Arc<Host>) {
    let spool = host.spool.clone();
    let entries = match blocking(move || spool.list()).await {
        Ok((entries, _)) => entries,
        Err(error) => {
            tracing::error!(%error, "restores that were under way are left to the next start");
            return;
        }
    };
    for entry in entries {
        let (EntryState::Restoring | EntryState::Starting, Some(id)) = (entry.state, entry.held_by) else {
            continue;
        };
        let (toolstack, spool) = (Arc::clone(&host.toolstack), host.spool.clone());
        let (state, uuid) = (entry.state, entry.uuid);
        let mut account = SpoolRecord::new(SpoolOrder::Restore, &entry.name, entry.asked_by.clone())
            .decided_by("relocd, after a restart");
        account.entry(&entry);
        // An earlier start has told already.
        let told = entry.reason.as_deref() == Some(MAY_HAVE_RUN);
        let settle = move || {
            let held = spool.hold(entry.id)?;
            settle(&*toolstack, held, id)
        };
        let outcome = patiently(settle).await;
        match outcome {
            Ok((outcome, what)) => {
                tracing::warn!(spooled = %id, %uuid, state = state.word(), "a restore that was under way: {what}");
                if !(told && outcome == SpoolOutcome::InDoubt) {
                    account.reason(what).over(outcome);
                }
            }
            Err(error) => {
                tracing::error!(%error, spooled = %id, "a restore that was under way is left to the next start")
            }
        }
    }
}

/// Why an entry stays in the state `starting`.
const MAY_HAVE_RUN: &str =
    "relocd ended while the domain was being started here, and it is not here now: it may have run since";

/// What became of it, and in words.
fn settle(toolstack: &dyn Toolstack, mut held: Held, id: Uuid) -> Result<(SpoolOutcome, &'static str), ToolstackError> {
    let uuid = held.entry().uuid;
    let arrived = toolstack.find_arrived(uuid, id)?;
    if held.entry().state == EntryState::Restoring {
        if let Some(arrived) = arrived {
            arrived.discard().map_err(|undone| undone.error)?;
        }
        held.release();
        return Ok((SpoolOutcome::Kept, "it had not run, and is kept"));
    }
    let runs = match arrived {
        Some(arrived) => {
            arrived.unpause().map_err(|undone| undone.error)?;
            true
        }
        None => toolstack
            .domains()?
            .iter()
            .any(|domain| domain.uuid == uuid && !matches!(domain.state, DomainState::Arriving | DomainState::Unknown)),
    };
    if runs {
        held.delete().map_err(|(error, _)| error)?;
        return Ok((SpoolOutcome::Restored, "the domain runs, and its entry is deleted"));
    }
    // The state stays: whoever wants it started has to say so twice.
    held.set(EntryState::Starting, Some(id), Some(MAY_HAVE_RUN.to_owned()))?;
    Ok((SpoolOutcome::InDoubt, "it may have run; it is kept"))
}
