//! A domain departs: the source's side of a relocation, from the operator's order to the end.

mod conclude;
mod handoff;
mod link;
mod mode;
mod negotiate;
mod order;
mod outcome;
mod send;
mod spooled;

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

pub use conclude::{Conclusion, conclude};
use domain::{HostFacts, admission};
pub use handoff::{Ask, Handoff};
use image::ImageSink;
pub use order::migrate;
use peer::{
    control::{self, Failure, Migrate, Migrated, Reply},
    handoff::source::Event,
    native::message::{ModeWord, Relocate, Secret},
};
pub use spooled::send_spooled;
use toolstack::{Departed, Observer};
use uuid::Uuid;

use crate::{
    audit::{Outcome, Record},
    blocking::{blocking, patiently},
    failure::{self, Tell},
    host::Host,
    journal::{Direction, Entry},
    relocations::{Booked, lock},
};
use conclude::step;
use send::{NotSent, Sent};

/// What to do when the journal can't be written here.
const MAKE_ROOM: &str = "make room in the state directory, or see to its disk, and try again";

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
    asked_by: Option<String>,
    booked: Booked,
    config: domain::DomainConfig,
    word: ModeWord,
    place: Place,
    depart: Option<Depart>,
    /// The destination keeps domains on disk.
    spools: bool,
    begun: Instant,
    secret: Secret,
    /// What the audit trail will say.
    account: Mutex<(Record, Outcome)>,
}

/// What is known of the other copy once the domain runs on here.
#[derive(Clone, Copy, Debug)]
enum Leftover {
    /// Nothing is left: the destination said so, after it had seen to it.
    None,
    /// The destination will never run it: it said so.
    Dead,
    /// The destination can't run it, for it was never told to. When it lets go of it is its business.
    Harmless,
    /// An operator decided here, without the destination.
    Unknown,
}

impl Outgoing {
    async fn run(mut self) -> Result<Reply, Failure> {
        let result = self.relocate().await;
        self.tell(&result);
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

    /// The audit trail.
    fn tell(&self, result: &Result<Reply, Failure>) {
        let (mut account, mut outcome) = lock(&self.account).clone();
        match result {
            Ok(Reply::Admitted { .. }) => outcome = Outcome::DryRun,
            Ok(_) => {}
            Err(failure) => account = account.because(failure),
        }
        let progress = lock(&self.booked.relocation.progress);
        account.bytes = account.bytes.or(Some(progress.wire_bytes).filter(|bytes| *bytes > 0));
        account.pages = account.pages.or(Some(progress.pages_sent).filter(|pages| *pages > 0));
        drop(progress);
        account.since(self.begun).over(outcome);
    }

    async fn relocate(&mut self) -> Result<Reply, Failure> {
        let cancel = self.booked.relocation.cancel.clone();
        let request = self
            .request()
            .await
            .map_err(|failure| failure.state(self.untouched()))?;
        let negotiation = negotiate::negotiate(&self.host, &self.order, request, &self.config);
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
        entry.secret = Some(self.secret.clone());
        entry.asked_by = self.asked_by.clone();
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
        if self.order.live {
            admission::check_live(&self.config, &host)
                .map_err(|refusal| failure::simple(refusal.word(), refusal.to_string()))?;
        }
        if self.place == Place::Spool {
            // What this host runs has nothing to do with it.
            host.toolstack = HostFacts::SPOOL.to_owned();
        }
        Ok(Relocate {
            id: self.booked.relocation.id,
            secret: Some(self.secret.clone()),
            mode: self.word,
            dry_run: self.order.dry_run,
            config: sxp::Raw(self.config.to_sxp()),
            host,
        })
    }

    /// From the last page to the end.
    async fn hand_over(&self, mut handoff: Handoff, sent: Result<Sent, NotSent>) -> Result<Reply, Failure> {
        let sent = match sent {
            Ok(sent) => sent,
            Err(NotSent { failure, gave_up }) => {
                handoff.note(&failure.value);
                // Mostly it runs on by itself. Where it could not be resumed it still stands, and is resumed with the decision, however often that takes.
                let find = self.host.find_departed(self.config.uuid, self.booked.relocation.id);
                match patiently(find).await {
                    Ok(Some(departed)) => handoff.departed(departed),
                    Ok(None) => {}
                    Err(error) => tracing::error!(%error, "the toolstack can't say whether the domain runs on"),
                }
                return Err(self.fail(handoff, failure, async { gave_up }).await);
            }
        };
        handoff.departed(sent.departed);
        handoff.amend(|entry| {
            entry.bytes = Some(sent.wire_bytes);
            entry.pages = Some(sent.progress.pages_sent);
        });
        let mut conversation = sent.conversation;
        self.booked.relocation.stage("loading");
        if let Err(failure) = self.await_loaded(&mut conversation).await {
            handoff.note(&failure.value);
            let gave_up = failure::is_last_word(&failure);
            let gives_up = async { send::gives_up(conversation).await || gave_up };
            return Err(self.fail(handoff, failure, gives_up).await);
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
                    handoff.amend(|entry| entry.downtime_ms = u64::try_from(downtime.as_millis()).ok());
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
        let by_operator = handoff.entry().decided_by.is_some();
        match conclusion {
            Conclusion::Gone if by_operator => {
                let text = format!(
                    "an operator decided: the copy of domain '{}' here is destroyed",
                    self.config.name
                );
                let state = format!("whether it runs on {} is not known here", self.order.host);
                Err(failure::simple("operator", text).state(state))
            }
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
                let leftover = match () {
                    () if by_operator => Leftover::Unknown,
                    () if handoff.is_denied() => Leftover::Dead,
                    () => Leftover::Harmless,
                };
                Err(failure::simple("handoff", why).state(self.resumed(leftover)).next(next))
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

    /// Before the commit: the domain runs on here. `gives_up`: asked once it does, whether the destination has confirmed that nothing is left there.
    async fn fail(&self, handoff: Handoff, failure: Failure, gives_up: impl Future<Output = bool>) -> Failure {
        let (handoff, ask) = step(handoff, Event::Failed).await;
        let ask = match ask {
            Ok(ask) => ask,
            Err(error) => return failure::internal(&error),
        };
        let concluded = self.conclude(handoff, ask).await;
        let leftover = if gives_up.await {
            Leftover::None
        } else {
            Leftover::Harmless
        };
        match concluded {
            Ok(_) => failure.state(self.resumed(leftover)),
            Err(error) => error,
        }
    }

    async fn conclude(&self, handoff: Handoff, ask: Option<Ask>) -> Result<(Handoff, Conclusion), Failure> {
        let concluded = conclude(&self.host, &self.booked.relocation, handoff, ask).await;
        let (handoff, conclusion) = concluded.map_err(|error| failure::internal(&error))?;
        *lock(&self.account) = (Record::of(handoff.entry()), conclusion.outcome());
        Ok((handoff, conclusion))
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

    fn resumed(&self, leftover: Leftover) -> String {
        let (name, host) = (&self.config.name, &self.order.host);
        let as_before = match self.place {
            Place::Host => "runs on here as before",
            Place::Spool => "is in the spool here as before",
        };
        match leftover {
            Leftover::None => format!("domain '{name}' {as_before}; nothing is left of it on {host}"),
            Leftover::Dead => format!("domain '{name}' {as_before}; {host} has confirmed that it will never run there"),
            Leftover::Harmless => format!(
                "domain '{name}' {as_before}; {host} was never told to run it, and discards what it has of it as soon as it \
                 notices (xm status there)"
            ),
            Leftover::Unknown => format!(
                "domain '{name}' {}, as an operator decided; whether it runs on {host} is not known here",
                as_before.trim_end_matches(" as before")
            ),
        }
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
