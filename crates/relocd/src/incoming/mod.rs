//! A domain arrives: the destination's side of a relocation.

mod admit;
mod checks;
mod handoff;
pub mod lost;
mod outcome;
pub mod xend;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use peer::{
    handoff::destination::{Event, State},
    native::{
        FrameSource,
        message::{Refused, Relocate, Reply, is_commit},
    },
};
use tokio::time::sleep;
use toolstack::{Arrival, ToolstackError};
use tracing::Instrument;

pub use admit::{Admitted, Ready, admit};
pub use checks::check_names;
pub use handoff::{Incoming, Say};
pub use outcome::{Whereabouts, look, outcome};

use crate::{
    audit::{Outcome, Record},
    blocking::blocking,
    conversation::Conversation,
    fault,
    host::Host,
    journal::Direction,
    relocations::Relocation,
};

/// How long the other end may take to read a last word.
const LAST_WORD: Duration = Duration::from_secs(5);

/// Answers `relocate`: takes the domain in, or says why not. `entry`: what let the peer in. The connection is used up, but after a dry run or a refusal.
pub async fn receive(host: &Arc<Host>, conversation: Conversation, request: Relocate, peer: &str, entry: &str) {
    let span =
        tracing::info_span!("relocation", id = %request.id, direction = "in", peer, domain = tracing::field::Empty);
    answer(host, conversation, request, peer, entry).instrument(span).await;
}

async fn answer(host: &Arc<Host>, mut conversation: Conversation, request: Relocate, peer: &str, entry: &str) {
    let begun = Instant::now();
    let limit = host.limits().handshake;
    let mut account = Record::new(request.id, Direction::In, "", peer, request.mode.word());
    account.asked_by = Some(peer.to_owned());
    account.allowed_by = Some(entry.to_owned());
    let admitted = match admit::config(&request) {
        Ok(config) => {
            tracing::Span::current().record("domain", &config.name);
            config.name.clone_into(&mut account.domain);
            account.uuid = Some(config.uuid);
            admit(host, &request, config, peer, entry).await
        }
        Err(refused) => Err(refused),
    };
    match admitted {
        Err(refused) => {
            tracing::warn!(kind = refused.word, "refused: {refused}");
            account.kind = Some(refused.word.clone());
            account.reason = Some(refused.text.clone());
            account.since(begun).over(Outcome::Refused);
            conversation.last_word(&line(&Reply::Err(refused)), LAST_WORD).await;
        }
        Ok(Admitted::DryRun { forced }) => {
            account.forced = forced;
            tracing::info!(allowed_by = entry, "a dry run: would be let in");
            account.since(begun).over(Outcome::DryRun);
            let _ = conversation.send(&line(&Reply::Admitted), limit).await;
        }
        Ok(Admitted::Ready(ready)) => {
            let Ready {
                booked,
                incoming,
                config,
            } = *ready;
            let relocation = &booked.relocation;
            tracing::info!(allowed_by = entry, mode = relocation.mode, "a domain arrives");
            fault::reached(&["in", "ready", "send"]).await;
            let sent = conversation.send(&line(&Reply::Ready), limit).await;
            fault::reached(&["in", "ready", "sent"]).await;
            if sent.is_ok() {
                take_in(host, conversation, relocation, &incoming, config).await;
            } else {
                give_up(relocation, &incoming, "the connection was lost before the image").await;
            }
            if incoming.is_lost() {
                lost::wait(Arc::clone(host), booked, incoming);
                return;
            }
            over(&incoming, Some(begun));
            finish(host, relocation, &incoming).await;
        }
    }
}

/// The audit trail, once nothing is left to decide. `begun`: when, if it began in this daemon's life.
pub fn over(incoming: &Incoming, begun: Option<Instant>) {
    let outcome = match incoming.state() {
        State::Running => Outcome::Moved,
        State::Discarded => Outcome::Discarded,
        // Left to the next start, which will tell.
        _ => return,
    };
    let account = Record::of(&incoming.entry());
    begun
        .map_or(account.clone(), |begun| account.since(begun))
        .over(outcome);
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
    let (arrived, stream) = match load(host, conversation, relocation, incoming, config).await {
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
            let (toolstack, uuid, id) = (Arc::clone(&host.toolstack), relocation.uuid, relocation.id);
            incoming.failed(Box::new(move || toolstack.find_arrived(uuid, id)));
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
        Ok(_) => {
            settle(relocation, incoming).await;
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
        Ok(_) => {
            settle(relocation, incoming).await;
            relocation.end();
            if let Some(domid) = incoming.runs_as() {
                tracing::info!(domid, "the domain runs here");
                // Lost or not: the source can ask.
                fault::reached(&["in", "running", "send"]).await;
                let _ = conversation
                    .send(&line(&Reply::Running { domid }), limits.handshake)
                    .await;
                fault::reached(&["in", "running", "sent"]).await;
            } else if !incoming.is_lost() {
                // A source of a lost domain asks on another connection.
                let why = incoming.entry().detail.unwrap_or_default();
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
    incoming: &Arc<Incoming>,
    config: domain::DomainConfig,
) -> std::io::Result<Loaded> {
    let stream = conversation.into_blocking(host.limits().idle)?;
    let brake = stream.try_clone()?;
    let toolstack = Arc::clone(&host.toolstack);
    let (id, peer, incoming) = (relocation.id, relocation.peer.clone(), Arc::clone(incoming));
    let loading = blocking(move || {
        let mut source = FrameSource::new(fault::reads(&stream));
        let arrival = Arrival {
            relocation: id,
            config: &config,
            peer: &peer,
            original: None,
        };
        let arrived = toolstack.arrive(&arrival, &mut source);
        incoming.amend(|entry| {
            entry.bytes = Some(source.read_bytes());
            entry.pages = Some(source.read_pages());
        });
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
            let any = !said.is_empty() || incoming.has_later();
            settle(relocation, incoming).await;
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

/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// Tries again what the toolstack or the disk failed to do, until the domain runs, or nothing is left of it. The last record may then still be missing:
/// see [`finish`].
pub async fn settle(relocation: &Relocation, incoming: &Arc<Incoming>) {
    while incoming.has_later() && !incoming.state().is_over() && again(relocation, incoming).await {}
}

/// Tries to write the last record until the disk has it: nobody else could answer the source once the daemon has ended. A daemon that stops leaves it
/// to the next start, which finds out by itself.
pub async fn finish(host: &Host, relocation: &Relocation, incoming: &Arc<Incoming>) {
    relocation.end();
    while incoming.has_later() && !host.relocations.is_stopping() && again(relocation, incoming).await {}
    if let Some(trouble) = incoming.trouble() {
        tracing::error!("left to the next start: {trouble}");
    }
}

/// After a pause, once more; false if that makes no sense.
async fn again(relocation: &Relocation, incoming: &Arc<Incoming>) -> bool {
    relocation.stage(incoming.state().name());
    if let Some(trouble) = incoming.trouble() {
        relocation.note(&trouble);
    }
    sleep(PAUSE).await;
    let handoff = Arc::clone(incoming);
    match blocking(move || handoff.again()).await {
        Ok(_) => true,
        Err(error) => {
            tracing::error!(%error, "the handoff is at fault");
            false
        }
    }
}
