//! A domain that was committed to this host, and is not here.

use std::sync::Arc;

use peer::control::Decision;
use tracing::Instrument;

use super::{Incoming, finish, handoff::LOST, over, settle};
use crate::{
    blocking::blocking,
    host::Host,
    relocations::{Booked, Decided, Relocation},
};

/// Tells operators, and waits for their word in the background. It stays in the books, to answer the source, until an operator decides; the domain may come here
/// again.
pub fn wait(host: Arc<Host>, booked: Booked, incoming: Arc<Incoming>) {
    tracing::error!("{LOST}");
    booked.relocation.stage("lost");
    booked.relocation.note(LOST);
    booked.relocation.end();
    let waiting = async move {
        until_decided(&booked.relocation, &incoming).await;
        over(&incoming, None);
        finish(&host, &booked.relocation, &incoming).await;
    };
    tokio::spawn(waiting.in_current_span());
}

async fn until_decided(relocation: &Relocation, incoming: &Arc<Incoming>) {
    let mut operator = relocation.operator.subscribe();
    let decided = operator
        .wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|decided| decided.clone());
    // The relocation holds the sender: it can't be gone.
    let Some(Decided { decision, by }) = decided else {
        return;
    };
    let ran = decision == Decision::Destroy;
    let handoff = Arc::clone(incoming);
    let done = blocking(move || {
        handoff.amend(|entry| {
            let what = if ran { "it ran here" } else { "it never ran here" };
            entry.detail = Some(format!("an operator decided: {what}"));
            entry.decided_by = Some(by);
        });
        handoff.operator(ran)
    })
    .await;
    match done {
        Ok(_) => {
            relocation.stage(incoming.state().name());
            settle(relocation, incoming).await;
        }
        Err(error) => tracing::error!(%error, "the handoff is at fault"),
    }
}
