//! A domain departs: the source's side of a relocation, from the operator's order to the end.

mod conclude;
mod handoff;
mod link;
mod mode;
mod negotiate;
mod outcome;
mod send;
mod spooled;

use std::{sync::Arc, time::Instant};

pub use conclude::{Conclusion, conclude};
use domain::HostFacts;
pub use handoff::{Ask, Handoff};
use image::ImageSink;
use peer::{
    control::{self, Failure, Migrate, Migrated, Reply},
    handoff::source::Event,
    native::message::{ModeWord, Relocate},
};
pub use spooled::send_spooled;
use tokio::sync::oneshot;
use toolstack::{Departed, Departure, DomainState, Observer};
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    blocking::{blocking, patiently},
    cancel::Cancel,
    failure::{self, Tell},
    host::Host,
    journal::{Direction, Entry},
    relocations::{Booked, Relocation},
};
use conclude::step;
use send::{GIVING_UP, Sent};

/// What to do when the journal can't be written here.
const MAKE_ROOM: &str = "make room in the state directory, or see to its disk, and try again";

/// Carries out an operator's order. `started` gets the booked relocation, for its progress.
///
/// # Errors
/// [`Failure`], with the state that the domain is in.
pub async fn migrate(
    host: Arc<Host>,
    order: Migrate,
    cancel: Cancel,
    started: oneshot::Sender<Arc<Relocation>>,
) -> Result<Reply, Failure> {
    let begun = Instant::now();
    check_tls(&host, order.ssl)?;
    let domain = host.find_domain(&order.domain).await?;
    match domain.state {
        DomainState::Suspended | DomainState::Arriving => {
            return Err(failure::simple(
                "relocating",
                format!("domain '{}' is being relocated already", domain.name),
            )
            .next("xm status tells where that stands"));
        }
        DomainState::Crashed | DomainState::Dying | DomainState::Unknown => {
            return Err(failure::simple(
                "not-running",
                format!("domain '{}' is not running", domain.name),
            ));
        }
        DomainState::Running | DomainState::Blocked | DomainState::Paused => {}
    }
    let toolstack = Arc::clone(&host.toolstack);
    let id = domain.id;
    let config = blocking(move || toolstack.config(id))
        .await
        .map_err(|error| failure::toolstack(&error))?;
    let word = if order.live { ModeWord::Live } else { ModeWord::Offline };
    let relocation = Relocation {
        domid: Some(domain.id),
        cancel,
        ..Relocation::new(Uuid::new_v4(), Direction::Out, &config, &order.host, word.word())
    };
    let (toolstack, mode, relocation_id) = (Arc::clone(&host.toolstack), mode::of(&order), relocation.id);
    let depart = move |image: &mut dyn ImageSink, observer: &mut dyn Observer| {
        let departure = Departure {
            relocation: relocation_id,
            id,
            mode: &mode,
        };
        toolstack.depart(&departure, image, observer)
    };
    let booked = host
        .relocations
        .begin(relocation, host.limits().max_outgoing)
        .map_err(|conflict| failure::conflict(&conflict))?;
    // Whoever asked may have gone: the relocation does not depend on that, its cancel does.
    let _ = started.send(Arc::clone(&booked.relocation));
    let span = tracing::info_span!(
        "relocation",
        id = %booked.relocation.id,
        direction = "out",
        domain = %config.name,
        peer = %order.host,
    );
    let departure = Outgoing {
        host,
        order,
        booked,
        config,
        word,
        place: Place::Host,
        depart: Some(Box::new(depart)),
        spools: false,
        begun,
    };
    departure.run().instrument(span).await
}

fn check_tls(host: &Host, asked: bool) -> Result<(), Failure> {
    if !asked && !host.config().relocation_ssl {
        return Ok(());
    }
    let failure = failure::simple(
        "unsupported",
        "relocation over TLS is not supported by this version of relocd",
    );
    Err(failure
        .next("leave out --ssl, set (xend-relocation-ssl no), and put a tunnel in between (README, Other subnets)"))
}

/// Lets the domain's image out, as [`Toolstack::depart`](toolstack::Toolstack::depart) does. Blocks.
type Depart =
    Box<dyn FnOnce(&mut dyn ImageSink, &mut dyn Observer) -> toolstack::Result<Box<dyn Departed>> + Send + Sync>;

/// Where the source's copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A domain of this host's toolstack.
    Host,
    /// An entry of the spool.
    Spool,
}

struct Outgoing {
    host: Arc<Host>,
    order: Migrate,
    booked: Booked,
    config: domain::DomainConfig,
    word: ModeWord,
    place: Place,
    depart: Option<Depart>,
    /// The destination keeps domains on disk.
    spools: bool,
    begun: Instant,
}

impl Outgoing {
    async fn run(mut self) -> Result<Reply, Failure> {
        let result = self.relocate().await;
        match &result {
            Ok(Reply::Migrated(done)) => tracing::info!(
                domid = done.domid,
                rounds = done.rounds,
                pages = done.pages,
                bytes = done.wire_bytes,
                total_ms = done.total_ms,
                downtime_ms = done.downtime_ms,
                "the domain runs at the destination"
            ),
            Ok(_) => tracing::info!("the destination would take the domain"),
            Err(failure) => tracing::warn!(kind = failure.r#type, "relocation failed: {}", failure.value),
        }
        result
    }

    async fn relocate(&mut self) -> Result<Reply, Failure> {
        let cancel = self.booked.relocation.cancel.clone();
        let negotiation = negotiate::negotiate(&self.host, &self.order, self.request().await?, &self.config);
        let negotiated = tokio::select! {
            negotiated = negotiation => negotiated,
            reason = cancel.cancelled() => Err(failure::cancelled(&reason)),
        };
        let negotiated = negotiated.map_err(|failure| failure.state(self.untouched()))?;
        let ready = match negotiated {
            negotiate::Negotiated::Admitted(host) => {
                return Ok(Reply::Admitted {
                    host: host.name,
                    free_memory_kib: host.free_memory_kib,
                });
            }
            negotiate::Negotiated::Ready(ready) => ready,
        };
        self.spools = ready.spools;
        let relocation = &self.booked.relocation;
        let mut entry = Entry::new(
            relocation.id,
            Direction::Out,
            &self.config.name,
            self.config.uuid,
            &ready.peer,
            relocation.mode,
            "sending",
        );
        let journal = self.host.journal.clone();
        let written = blocking(move || journal.begin(&mut entry).map(|()| entry)).await;
        let entry = written.map_err(|error| {
            failure::simple("journal", error.to_string())
                .state(self.untouched())
                .next(MAKE_ROOM)
        })?;
        let handoff = Handoff::new(entry, self.host.journal.clone());
        relocation.stage("copying");
        let depart = self
            .depart
            .take()
            .ok_or_else(|| failure::simple("internal", "it has departed already"))?;
        let relocation = &self.booked.relocation;
        let sent = send::send(&self.host, relocation, ready.conversation, depart).await;
        self.hand_over(handoff, sent).await
    }

    async fn request(&self) -> Result<Relocate, Failure> {
        let mut host = self.host.facts().await.map_err(|error| failure::toolstack(&error))?;
        if self.place == Place::Spool {
            // What this host runs has nothing to do with it.
            host.toolstack = HostFacts::SPOOL.to_owned();
        }
        Ok(Relocate {
            id: self.booked.relocation.id,
            mode: self.word,
            dry_run: self.order.dry_run,
            config: sxp::Raw(self.config.to_sxp()),
            host,
        })
    }

    /// From the last page to the end.
    async fn hand_over(&self, mut handoff: Handoff, sent: Result<Sent, Failure>) -> Result<Reply, Failure> {
        let sent = match sent {
            Ok(sent) => sent,
            Err(failure) => {
                handoff.note(&failure.value);
                // Mostly it runs on by itself. Where it could not be resumed it still stands, and is resumed with the decision, however often that takes.
                let find = self.host.find_departed(self.config.uuid, self.booked.relocation.id);
                match patiently(find).await {
                    Ok(Some(departed)) => handoff.departed(departed),
                    Ok(None) => {}
                    Err(error) => tracing::error!(%error, "the toolstack can't say whether the domain runs on"),
                }
                return Err(self.fail(handoff, failure).await);
            }
        };
        handoff.departed(sent.departed);
        let mut conversation = sent.conversation;
        self.booked.relocation.stage("loading");
        if let Err(failure) = self.await_loaded(&mut conversation).await {
            handoff.note(&failure.value);
            let failure = self.fail(handoff, failure).await;
            conversation.hang_up(GIVING_UP).await;
            return Err(failure);
        }
        self.booked.relocation.stage("committing");
        let (mut handoff, ask) = step(handoff, Event::Loaded).await;
        let mut ask = ask.map_err(|error| failure::internal(&error))?;
        let mut next = "see to the cause, and try again";
        if !matches!(ask, Some(Ask::SendCommit)) {
            next = MAKE_ROOM;
        } else {
            let stopped = handoff.suspended_for().unwrap_or_default();
            let asked = Instant::now();
            match negotiate::commit(&mut conversation, self.host.limits().commit).await {
                Ok(domid) => {
                    let downtime = stopped + asked.elapsed();
                    handoff.runs_there_as(domid);
                    let reply = self.report(domid, downtime, sent.progress, sent.wire_bytes);
                    let (handoff, ask) = step(handoff, Event::Running).await;
                    let ask = ask.map_err(|error| failure::internal(&error))?;
                    // The domain runs there: whatever is left to do here is no reason to tell the operator otherwise.
                    return self.conclude(handoff, ask).await.map(|_| reply);
                }
                Err(reason) => {
                    tracing::warn!("the connection was lost after the commit: {reason}");
                    self.booked.relocation.note(&reason);
                    handoff.note(&reason);
                    let asked;
                    (handoff, asked) = step(handoff, Event::Unknown).await;
                    ask = asked.map_err(|error| failure::internal(&error))?;
                }
            }
        }
        let (handoff, conclusion) = self.conclude(handoff, ask).await?;
        match conclusion {
            Conclusion::Gone => {
                let domid = handoff.entry().domid.unwrap_or_default();
                Ok(self.report(domid, sent.suspended.elapsed(), sent.progress, sent.wire_bytes))
            }
            Conclusion::Resumed => {
                let why = handoff
                    .entry()
                    .detail
                    .clone()
                    .unwrap_or_else(|| "the handoff failed".to_owned());
                Err(failure::simple("handoff", why).state(self.resumed()).next(next))
            }
        }
    }

    /// Waits until the destination has all of it.
    async fn await_loaded(&self, conversation: &mut crate::conversation::Conversation) -> Result<(), Failure> {
        let cancel = &self.booked.relocation.cancel;
        let loaded = negotiate::loaded(conversation, self.host.limits().idle);
        tokio::select! {
            loaded = loaded => loaded,
            reason = cancel.cancelled() => Err(failure::cancelled(&reason)),
        }
    }

    /// Before the commit: the domain runs on here.
    async fn fail(&self, handoff: Handoff, failure: Failure) -> Failure {
        let (handoff, ask) = step(handoff, Event::Failed).await;
        let ask = match ask {
            Ok(ask) => ask,
            Err(error) => return failure::internal(&error),
        };
        match self.conclude(handoff, ask).await {
            Ok(_) => failure.state(self.resumed()),
            Err(error) => error,
        }
    }

    async fn conclude(&self, handoff: Handoff, ask: Option<Ask>) -> Result<(Handoff, Conclusion), Failure> {
        conclude(&self.host, &self.booked.relocation, handoff, ask)
            .await
            .map_err(|error| failure::internal(&error))
    }

    fn report(
        &self,
        domid: u32,
        downtime: std::time::Duration,
        progress: toolstack::Progress,
        wire_bytes: u64,
    ) -> Reply {
        let milliseconds = |duration: std::time::Duration| (duration.as_secs_f64() * 1e5).round() / 100.0;
        Reply::Migrated(Box::new(Migrated {
            id: self.booked.relocation.id,
            domain: self.config.name.clone(),
            host: self.order.host.clone(),
            domid,
            spooled: self.spools,
            mode: self.word.word().to_owned(),
            rounds: progress.round,
            pages: progress.pages_sent,
            zero_pages: progress.zero_pages,
            wire_bytes,
            total_ms: milliseconds(self.begun.elapsed()),
            downtime_ms: milliseconds(downtime),
        }))
    }

    fn untouched(&self) -> String {
        match self.place {
            Place::Host => format!("domain '{}' was not touched: it runs here", self.config.name),
            Place::Spool => format!("domain '{}' was not touched: it is in the spool here", self.config.name),
        }
    }

    fn resumed(&self) -> String {
        let as_before = match self.place {
            Place::Host => "runs on here as before",
            Place::Spool => "is in the spool here as before",
        };
        format!(
            "domain '{}' {as_before}; nothing is left of it on {}",
            self.config.name, self.order.host
        )
    }
}

/// Where a departure stands, in the words of the control socket.
pub fn progress_line(id: Uuid, stage: &str, progress: &toolstack::Progress, wire_bytes: u64) -> control::Progress {
    control::Progress {
        id,
        stage: stage.to_owned(),
        round: progress.round,
        round_done: progress.round_done,
        round_total: progress.round_total,
        pages_sent: progress.pages_sent,
        wire_bytes,
        rate: progress.rate,
        dirty_rate: progress.dirty_rate,
        estimated_downtime_ms: progress
            .estimated_downtime
            .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        throttle: progress.throttle,
    }
}
