//! A domain arrives: the destination's side of a relocation.

mod admit;
mod handoff;
mod outcome;
pub mod xend;

use std::{sync::Arc, time::Duration};

use peer::{
    handoff::destination::Event,
    native::{
        FrameSource,
        message::{Refused, Relocate, Reply, is_commit},
    },
};
use tokio::time::sleep;
use toolstack::{Arrival, ToolstackError};
use tracing::Instrument;

pub use admit::{Admitted, admit, check_names};
pub use handoff::{Incoming, Say};
pub use outcome::outcome;

use crate::{
    blocking::blocking, conversation::Conversation, fault, host::Host, relocations::Relocation, unwritten::write_later,
};

/// How long the other end may take to read a last word.
const LAST_WORD: Duration = Duration::from_secs(5);

/// Answers `relocate`: takes the domain in, or says why not. The connection is used up, but after a dry run or a refusal.
pub async fn receive(host: &Arc<Host>, mut conversation: Conversation, request: Relocate, peer: &str, entry: &str) {
    let span =
        tracing::info_span!("relocation", id = %request.id, direction = "in", peer, domain = tracing::field::Empty);
    async {
        let limit = host.limits().handshake;
        match admit(host, &request, peer).await {
            Err(refused) => {
                tracing::warn!(kind = refused.word, "refused: {refused}");
                conversation.last_word(&line(&Reply::Err(refused)), LAST_WORD).await;
            }
            Ok(Admitted::DryRun) => {
                tracing::info!(allowed_by = entry, "a dry run: would be let in");
                let _ = conversation.send(&line(&Reply::Admitted), limit).await;
            }
            Ok(Admitted::Ready(ready)) => {
                tracing::Span::current().record("domain", &ready.config.name);
                tracing::info!(
                    allowed_by = entry,
                    mode = ready.booked.relocation.mode,
                    "a domain arrives"
                );
                fault::reached(&["in", "ready", "send"]).await;
                let sent = conversation.send(&line(&Reply::Ready), limit).await;
                fault::reached(&["in", "ready", "sent"]).await;
                if sent.is_ok() {
                    take_in(
                        host,
                        conversation,
                        &ready.booked.relocation,
                        &ready.incoming,
                        ready.config,
                    )
                    .await;
                } else {
                    give_up(
                        &ready.booked.relocation,
                        &ready.incoming,
                        "the connection was lost before the image",
                    )
                    .await;
                }
            }
        }
    }
    .instrument(span)
    .await;
}

fn line(reply: &Reply) -> Vec<u8> {
    reply.to_line().unwrap_or_else(|error| {
        tracing::error!(%error, "a reply can't be printed");
        b"(err (type internal) (value 'a reply that can not be printed'))\n".to_vec()
    })
}

async fn take_in(
    host: &Arc<Host>,
    conversation: Conversation,
    relocation: &Arc<Relocation>,
    incoming: &Arc<Incoming>,
    config: domain::DomainConfig,
) {
    relocation.stage("copying");
    let limits = host.limits();
    let (arrived, stream) = match load(host, conversation, relocation, config, limits.idle).await {
        Ok(loaded) => loaded,
        Err(error) => {
            give_up(relocation, incoming, &error.to_string()).await;
            return;
        }
    };
    let mut conversation = match Conversation::from_blocking(stream, sxp::Limits::default()) {
        Ok(conversation) => conversation,
        Err(error) => {
            if let Ok(arrived) = arrived {
                let incoming = Arc::clone(incoming);
                let _ = blocking(move || incoming.complete(arrived)).await;
            }
            give_up(relocation, incoming, &error.to_string()).await;
            return;
        }
    };
    fault::reached(&["in", "finish", "received"]).await;
    let arrived = match arrived {
        Ok(arrived) => arrived,
        Err(error) => {
            let reason = relocation
                .cancel
                .reason()
                .map_or_else(|| error.to_string(), str::to_owned);
            give_up(relocation, incoming, &reason).await;
            let word = if relocation.cancel.reason().is_some() {
                "cancelled"
            } else {
                "arrival-failed"
            };
            conversation
                .last_word(
                    &line(&Reply::Err(Refused {
                        word: word.to_owned(),
                        text: reason,
                    })),
                    LAST_WORD,
                )
                .await;
            return;
        }
    };
    let completed = {
        let incoming = Arc::clone(incoming);
        blocking(move || incoming.complete(arrived)).await
    };
    match completed {
        Ok(said) if matches!(said.first(), Some(Say::Loaded)) => {}
        Ok(said) => {
            settle(incoming, said).await;
            return;
        }
        Err(error) => {
            tracing::error!(%error, "the handoff is at fault");
            give_up(relocation, incoming, &error.to_string()).await;
            return;
        }
    }
    relocation.stage("loaded");
    fault::reached(&["in", "loaded", "send"]).await;
    let sent = conversation.send(&line(&Reply::Loaded), limits.handshake).await;
    fault::reached(&["in", "loaded", "sent"]).await;
    if let Err(error) = sent {
        give_up(
            relocation,
            incoming,
            &format!("the connection was lost before the commit: {error}"),
        )
        .await;
        return;
    }
    if let Err(reason) = await_commit(host, &mut conversation, relocation).await {
        let said = give_up(relocation, incoming, &reason).await;
        if said {
            let refused = Refused {
                word: "not-committed".to_owned(),
                text: reason,
            };
            conversation.last_word(&line(&Reply::Err(refused)), LAST_WORD).await;
        }
        return;
    }
    relocation.stage("committing");
    fault::reached(&["in", "commit", "received"]).await;
    let committed = {
        let incoming = Arc::clone(incoming);
        blocking(move || incoming.on(Event::Commit)).await
    };
    match committed {
        Ok(said) => {
            let domid = settle(incoming, said).await;
            relocation.end();
            if let Some(domid) = domid {
                tracing::info!(domid, "the domain runs here");
                // Lost or not: the source can ask.
                fault::reached(&["in", "running", "send"]).await;
                let _ = conversation
                    .send(&line(&Reply::Running { domid }), limits.handshake)
                    .await;
                fault::reached(&["in", "running", "sent"]).await;
            } else {
                let why = incoming.detail().unwrap_or_default();
                let refused = Refused {
                    word: "not-committed".to_owned(),
                    text: format!("the commit could not be journalled there, and the domain was discarded: {why}"),
                };
                conversation.last_word(&line(&Reply::Err(refused)), LAST_WORD).await;
            }
        }
        Err(wrong) => tracing::warn!(%wrong, "a commit that came too late was refused"),
    }
}

type Loaded = (Result<Box<dyn toolstack::Arrived>, ToolstackError>, std::net::TcpStream);

/// Bulk path: the image comes in on a thread, with blocking calls.
async fn load(
    host: &Arc<Host>,
    conversation: Conversation,
    relocation: &Arc<Relocation>,
    config: domain::DomainConfig,
    idle: Duration,
) -> std::io::Result<Loaded> {
    let stream = conversation.into_blocking(idle)?;
    let brake = stream.try_clone()?;
    let toolstack = Arc::clone(&host.toolstack);
    let (id, peer) = (relocation.id, relocation.peer.clone());
    let loading = blocking(move || {
        let mut source = FrameSource::new(fault::reads(&stream));
        let arrival = Arrival {
            relocation: id,
            config: &config,
            peer: &peer,
            original: None,
        };
        let arrived = toolstack.arrive(&arrival, &mut source);
        tracing::debug!(bytes = source.read_bytes(), "the image has ended");
        (arrived, stream)
    });
    let cancel = relocation.cancel.clone();
    let pull_brake = async {
        cancel.cancelled().await;
        // Reading only: the reason can still be told.
        let _ = brake.shutdown(std::net::Shutdown::Read);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        loaded = loading => Ok(loaded),
        () = pull_brake => Err(std::io::ErrorKind::Interrupted.into()),
    }
}

/// Waits for the commit; until it has come, anything else is a reason to discard.
async fn await_commit(
    host: &Arc<Host>,
    conversation: &mut Conversation,
    relocation: &Arc<Relocation>,
) -> Result<(), String> {
    tokio::select! {
        // A commit that has come counts, even if a request to stop has come as well.
        biased;
        value = conversation.next_line(host.limits().commit) => match value {
            Ok(value) if is_commit(&value) => Ok(()),
            Ok(_) => Err("something else than a commit came".to_owned()),
            Err(error) => Err(format!("no commit: {error}")),
        },
        reason = relocation.cancel.cancelled() => Err(reason),
    }
}

/// Before the commit: whatever has arrived is discarded. Whether there was something to give up.
async fn give_up(relocation: &Relocation, incoming: &Arc<Incoming>, reason: &str) -> bool {
    tracing::warn!("given up: {reason}");
    incoming.note(reason);
    let handoff = Arc::clone(incoming);
    let any = match blocking(move || handoff.on(Event::Failed)).await {
        Ok(said) => {
            let any = !said.is_empty();
            settle(incoming, said).await;
            any
        }
        Err(error) => {
            tracing::error!(%error, "the handoff is at fault");
            false
        }
    };
    relocation.end();
    any
}

/// Tries again what the toolstack failed to do, until it is done. The domain's number if it runs.
pub async fn settle(incoming: &Arc<Incoming>, mut said: Vec<Say>) -> Option<u32> {
    let domid = loop {
        let (mut retry, mut runs) = (None, None);
        for say in said {
            match say {
                Say::Running(domid) => runs = Some(domid),
                Say::Retry(error) => retry = Some(error),
                Say::Loaded | Say::Outcome(_) | Say::Discarded => {}
            }
        }
        let (None, Some(error)) = (runs, retry) else { break runs };
        tracing::error!(%error, state = incoming.state().name(), "the toolstack failed; trying again");
        sleep(Duration::from_secs(1)).await;
        let handoff = Arc::clone(incoming);
        said = match blocking(move || handoff.again()).await {
            Ok(said) => said,
            Err(error) => {
                tracing::error!(%error, "the handoff is at fault");
                return None;
            }
        };
    };
    if let Some((journal, entry)) = incoming.unwritten() {
        write_later(journal, entry);
    }
    domid
}
