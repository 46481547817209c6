//! A domain arrives from a xend: the daemon's part. The image is taken in by a process of its own, see [`receiver`].
//!
//! What the sender sees, and what it concludes, decides where the domain lives. Up to the end of the configuration, and as long as more of the image
//! must come than buffers can hold, every failure here is an `(err ...)` and a reset: the sender resumes its domain. The connection is set
//! to be reset from the first moment on, so that a daemon that is killed refuses as well. Once the rest may be on its way, nothing is refused any more:
//! whatever comes is kept. See [`peer::xend`] for who owns the domain when.
//!
//! ```text
//! daemon                                 receiver (a process)               toolstack
//! (ready receive)
//! envelope, admission
//! journal: receiving
//! starts it, hands over the connection → place in the spool, locked
//!                                      ← begun
//! go                                   → image: reads, converts, writes
//! builds it from what has come ------------------------------------------→ paused, under a name of the relocation's
//!                                        synced, an entry of the spool
//!                                        end of stream, (ok)
//! journal: kept, or arrived            ← kept
//! spool: starting -------------------------------------------------------→ runs
//! spool: deleted; journal: running
//! ```
//!
//! What is built before the copy is whole is only there to save time: see [`early`]. Without it the domain is built from the copy afterwards.

mod admit;
mod early;
mod hearing;
mod line;
mod orders;
mod passage;
pub mod place;
pub mod receiver;
mod recover;
mod start;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use peer::xend::{self, EnvelopeReader};
use tracing::Instrument;
use uuid::Uuid;

pub use admit::MODE;
pub use early::Early;
pub use recover::{all as recover_all, is_over, recover};

use self::{
    admit::{Admitted, Refused, admit},
    orders::{Job, Said},
};
use crate::{
    audit::{Outcome, Record},
    blocking::blocking,
    conversation::{Conversation, ConversationError},
    fault,
    host::Host,
    journal::{Direction, Entry, Journal},
    port::Place,
    relocations::{Relocation, lock},
    unwritten::write_later,
};

/// The hidden subcommand that is a receiver.
pub const RECEIVER_COMMAND: &str = "receive-xend";

/// What the operator is told of an entry that is where it was to go.
const ARRIVED: &str = "it came from a xend and was taken to disk, as --toolstack spool says";

/// What the operator is told of an entry whose domain is yet to be started here.
const NOT_RUN: &str = "it came from a xend, which has destroyed its copy";

/// Answers `receive` (or `sslreceive`, `ready` says which): takes the domain in, or refuses. The connection is used up.
/// `place`: what it holds as a connection that has not been granted a relocation.
pub async fn receive(
    host: &Arc<Host>,
    mut conversation: Conversation,
    ready: &[u8],
    peer: &str,
    entry: &str,
    place: Option<Place>,
) {
    let begun = Instant::now();
    let span = tracing::info_span!(
        "relocation",
        id = tracing::field::Empty,
        direction = "in",
        peer,
        domain = tracing::field::Empty
    );
    async {
        let limits = host.limits();
        // From here on, whoever closes the connection resets it, also the kernel for a daemon that was killed.
        let prepared = conversation
            .reset_on_close()
            .and_then(|()| conversation.bound_receive_buffer(xend::RECEIVE_BUFFER));
        if let Err(error) = prepared {
            tracing::debug!(%error, "the connection has gone");
            return;
        }
        fault::reached(&["in", "receive", "received"]).await;
        if conversation.send(ready, limits.handshake).await.is_err() {
            return;
        }
        fault::reached(&["in", "receive", "ready"]).await;
        let config = match read_envelope(&mut conversation, limits.max_message, limits.idle).await {
            Ok(config) => config,
            Err(why) => {
                tracing::warn!(kind = "envelope", "refused: {why}");
                account(peer, entry, begun).refused("envelope", &why);
                conversation.refuse(&xend::refusal(&why)).await;
                return;
            }
        };
        fault::reached(&["in", "envelope", "received"]).await;
        match admit(host, &config.config, peer, entry).await {
            Err(Refused { word, text }) => {
                tracing::warn!(kind = word, "refused: {text}");
                let mut account = account(peer, entry, begun);
                if let Ok((known, _)) = admit::understand(&config.config) {
                    account.domain = known.name;
                    account.uuid = Some(known.uuid);
                }
                account.refused(&word, &text);
                conversation.refuse(&xend::refusal(&text)).await;
            }
            Ok(admitted) => {
                // From here on the limit on relocations counts.
                drop(place);
                let current = tracing::Span::current();
                current.record("id", tracing::field::display(admitted.entry.id));
                current.record("domain", &admitted.config.name);
                tracing::info!(
                    allowed_by = entry,
                    mode = MODE,
                    memory_kib = admitted.config.memory_kib,
                    "a domain arrives from a xend"
                );
                for lost in admitted.lost.iter().filter(|lost| lost.matters()) {
                    tracing::warn!("not taken over: {lost}");
                }
                fault::reached(&["in", "admitted", "journalled"]).await;
                take_in(host, conversation, admitted, config.text).await;
            }
        }
    }
    .instrument(span)
    .await;
}

/// Reads exactly the envelope: what follows is for another process.
async fn read_envelope(
    conversation: &mut Conversation,
    max_bytes: usize,
    limit: Duration,
) -> Result<xend::Envelope, String> {
    let mut reader = EnvelopeReader::new(sxp::Limits {
        max_bytes,
        max_depth: crate::port::MAX_DEPTH,
        ..sxp::Limits::default()
    });
    let reading = async {
        loop {
            let bytes = match conversation.take(reader.wanted()).await {
                Ok(bytes) => bytes,
                Err(ConversationError::Closed) => return Err(reader.cut().to_string()),
                Err(error) => return Err(error.to_string()),
            };
            if let (_, Some(envelope)) = reader.feed(&bytes).map_err(|error| error.to_string())? {
                return Ok(envelope);
            }
        }
    };
    match tokio::time::timeout(limit, reading).await {
        Ok(read) => read,
        Err(_) => Err(ConversationError::Timeout(limit).to_string()),
    }
}

async fn take_in(host: &Arc<Host>, conversation: Conversation, admitted: Admitted, config: Vec<u8>) {
    let relocation = Arc::clone(&admitted.booked.relocation);
    relocation.stage("copying");
    let job = Job {
        id: admitted.entry.id,
        spool: admitted.spool.directory().to_owned(),
        peer: relocation.peer.clone(),
        config: sxp::text_from_bytes(&config),
        domain: relocation.domain.clone(),
        max_pages: admit::max_pages(&admitted.config),
        pv32: admitted.pv32,
        xsave: admitted.xsave,
        idle_ms: u64::try_from(host.limits().idle.as_millis()).unwrap_or(u64::MAX),
        passes: admitted.passes,
        keep: if admitted.stays { ARRIVED } else { NOT_RUN }.to_owned(),
        log_file: host.config().log_file.clone(),
    };
    let (spool, id) = (job.spool.clone(), job.id);
    let started = match conversation.into_blocking(host.limits().idle) {
        Ok(stream) => blocking(move || line::start(stream, &job)).await,
        Err(error) => Err(error),
    };
    let mut building = None;
    let said = match started {
        Ok(line) => {
            let early = (!admitted.stays).then_some(line::Early {
                host,
                config: &admitted.config,
                spool: &spool,
                passes: admitted.passes,
            });
            line::follow(line, &relocation, early, &mut building).await
        }
        // The connection has been dropped, and reset by that.
        Err(error) => {
            // Without an order the receiver keeps nothing; the directory made for it goes.
            let spool = spool.clone();
            blocking(move || place::leave(&spool, id)).await;
            Some(Said::Refused(format!(
                "the receiving process could not be started: {error}"
            )))
        }
    };
    let said = match said {
        None if admitted.passes && place::was_whole(&spool, id) => Some(Said::Doubtful(
            "the receiving process ended before its sender was seen to close".to_owned(),
        )),
        said => said,
    };
    if admitted.passes && matches!(said, Some(Said::Passed | Said::Doubtful(_))) {
        passage::conclude(host, admitted.booked, admitted.entry, said, building).await;
        return;
    }
    // Whatever has been built of a domain that is not to run here goes before it is written down that it does not.
    if said != Some(Said::Kept)
        && let Some(building) = building.take()
        && let Err(error) = building.end(host, &admitted.entry, "it does not arrive").await
    {
        tracing::error!("{error}. The next start of relocd tries again");
        return;
    }
    let to_start = conclude(host, &relocation, admitted.entry, said, !admitted.stays).await;
    if let Some(entry) = to_start {
        let built = match building {
            Some(building) => building.built(host).await,
            None => None,
        };
        start::start_here(host, Some(admitted.booked), entry, built).await;
    }
}

/// The audit trail's record of a request of which nothing is known yet.
fn account(peer: &str, entry: &str, begun: Instant) -> Record {
    let mut account = Record::new(Uuid::new_v4(), Direction::In, "?", peer, MODE).since(begun);
    account.asked_by = Some(peer.to_owned());
    account.allowed_by = Some(entry.to_owned());
    account
}

/// Writes down how it ended, and lets others have its place. `start`: whether it is to be started here; the record, if that is to be done now.
async fn conclude(
    host: &Arc<Host>,
    relocation: &Relocation,
    mut entry: Entry,
    said: Option<Said>,
    start: bool,
) -> Option<Entry> {
    let bytes = lock(&relocation.progress).wire_bytes;
    entry.bytes = Some(bytes).filter(|bytes| *bytes > 0);
    let (state, detail) = match said {
        Some(Said::Kept) if start => (start::ARRIVED, None),
        Some(Said::Kept) => ("kept", None),
        Some(Said::Doubtful(why)) => ("kept", Some(why)),
        Some(Said::Refused(why) | Said::Discarded(why)) => ("discarded", Some(why)),
        Some(Said::Broken(why)) => ("broken", Some(why)),
        None | Some(Said::Begun | Said::Progress(_) | Said::Passed) => {
            recover::after_its_end(host, &entry).await.unwrap_or_else(|error| {
                tracing::error!(%error, "what has become of the image can't be told: left to the next start");
                let open = [admit::RECEIVING, passage::PASSING];
                let state = open.into_iter().find(|state| *state == entry.state);
                (state.unwrap_or(admit::RECEIVING), Some(error))
            })
        }
    };
    match (state, &detail) {
        ("kept" | start::ARRIVED, None) => {
            tracing::info!("the domain is in the spool: its sender has destroyed its copy");
        }
        ("kept", Some(why)) => tracing::error!("the domain is in the spool, and is not started: {why}"),
        (_, why) => tracing::warn!(
            state,
            "the domain did not arrive: {}",
            why.as_deref().unwrap_or_default()
        ),
    }
    fault::reached(&["in", "concluded", "before"]).await;
    let entry = write_end(host.journal.clone(), entry, state, detail).await;
    relocation.is_on_disk();
    if state == start::ARRIVED {
        return Some(entry);
    }
    relocation.end();
    None
}

/// The last record, and the audit trail's. If it can't be written now it is later: the spool tells the same.
async fn write_end(journal: Journal, mut entry: Entry, state: &'static str, detail: Option<String>) -> Entry {
    entry.state = state.to_owned();
    entry.detail = detail;
    let outcome = match state {
        "running" => Some(Outcome::Moved),
        "kept" | "broken" => Some(Outcome::Kept),
        "discarded" => Some(Outcome::Discarded),
        passage::LOST => Some(Outcome::Lost),
        // Not over.
        _ => None,
    };
    if let Some(outcome) = outcome {
        Record::of(&entry).over(outcome);
    }
    let (again, journal_again) = (entry.clone(), journal.clone());
    let (written, entry) = blocking(move || (journal.write(&mut entry), entry)).await;
    if let Err(error) = written {
        tracing::error!(%error, state, "the journal can't be written");
        write_later(journal_again, again);
    }
    entry
}
