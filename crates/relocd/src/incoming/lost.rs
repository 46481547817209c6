//! A domain that was committed to this host, and is not here.

use std::{sync::Arc, time::Duration};

use peer::control::Decision;
use tokio::time::sleep;
use toolstack::{Arrived, DomainState, ToolstackError};
use tracing::Instrument;

use super::{Incoming, finish, over, settle};
use crate::{
    blocking::blocking,
    host::Host,
    relocations::{Booked, Decided, Relocation},
};

/// Between two looks whether it has come back.
const LOOKING: Duration = Duration::from_secs(10);

/// Tells operators, and waits for their word in the background; or for the domain, if all that it did was to reboot slowly. It stays in the books, to answer the
/// source; the domain may come here again.
pub fn wait(host: Arc<Host>, booked: Booked, incoming: Arc<Incoming>) {
    tell(&booked.relocation, &incoming);
    let waiting = async move {
        let (relocation, mut operator) = (&booked.relocation, booked.relocation.operator.subscribe());
        loop {
            let decided = tokio::select! {
                // The books hold the sender: it can't be gone.
                decided = operator.wait_for(Option::is_some) => decided.ok().and_then(|decided| decided.clone()),
                () = sleep(LOOKING) => None,
            };
            match decided {
                Some(decided) => decide(&host, &incoming, decided).await,
                None => look(&host, &incoming).await,
            }
            if incoming.is_lost() {
                continue;
            }
            relocation.stage(incoming.state().name());
            settle(relocation, &incoming).await;
            if !incoming.is_lost() {
                break;
            }
            tell(relocation, &incoming);
        }
        over(&incoming, None);
        finish(&host, relocation, &incoming).await;
    };
    tokio::spawn(waiting.in_current_span());
}

fn tell(relocation: &Relocation, incoming: &Incoming) {
    let why = incoming.why_lost().unwrap_or_default();
    tracing::error!("{why}");
    relocation.stage("lost");
    relocation.note(why);
    relocation.end();
}

/// An operator's word, and what follows.
async fn decide(host: &Host, incoming: &Arc<Incoming>, Decided { decision, by }: Decided) {
    let ran = decision == Decision::Destroy;
    let (toolstack, handoff) = (Arc::clone(&host.toolstack), Arc::clone(incoming));
    let done = blocking(move || {
        let entry = handoff.entry();
        // It may come back in this moment: then it has to go, if it is said that it never ran.
        handoff.failed(Box::new(move || toolstack.find_arrived(entry.uuid, entry.id)));
        handoff.amend(|entry| {
            let what = if ran { "it ran here" } else { "it never ran here" };
            entry.detail = Some(format!("an operator decided: {what}"));
            entry.decided_by = Some(by);
        });
        handoff.operator(ran)
    });
    if let Err(error) = done.await {
        tracing::error!(%error, "the handoff is at fault");
    }
}

/// Looks whether it is back, under the name that it arrived by, and runs. One that does not is still being made.
async fn look(host: &Host, incoming: &Arc<Incoming>) {
    let (toolstack, handoff) = (Arc::clone(&host.toolstack), Arc::clone(incoming));
    let done = blocking(move || {
        let entry = handoff.entry();
        let back = || -> Result<Option<Box<dyn Arrived>>, ToolstackError> {
            let Some(arrived) = toolstack.find_arrived(entry.uuid, entry.id)? else {
                return Ok(None);
            };
            let runs = toolstack.domains()?.iter().any(|domain| {
                domain.id == arrived.id() && matches!(domain.state, DomainState::Running | DomainState::Blocked)
            });
            Ok(runs.then_some(arrived))
        };
        match back() {
            Ok(Some(arrived)) => {
                tracing::warn!(domid = arrived.id(), "the domain is back, and runs");
                handoff.back(arrived).map(|_| ())
            }
            Ok(None) => Ok(()),
            Err(error) => {
                tracing::debug!(%error, "whether the domain is back can't be told");
                Ok(())
            }
        }
    });
    if let Err(error) = done.await {
        tracing::error!(%error, "the handoff is at fault");
    }
}
