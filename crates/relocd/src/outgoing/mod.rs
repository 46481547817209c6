//! A domain departs: the source's side of a relocation, from the operator's order to the end.

mod conclude;
mod hand_over;
mod handoff;
mod link;
mod mode;
mod negotiate;
mod order;
mod outcome;
mod send;
mod spooled;
mod xend;

use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::Instant,
};

use conclude::NOT_HERE;
pub use conclude::conclude;
use domain::{HostFacts, admission};
pub use handoff::Handoff;
use image::ImageSink;
pub use order::migrate;
use peer::{
    control::{self, Failure, Migrate, Migrated, Reply},
    native::message::{ModeWord, Relocate, Secret},
};
pub use spooled::send_spooled;
use toolstack::{Departed, Observer};
use uuid::Uuid;

use crate::{
    audit::{Outcome, Record},
    blocking::blocking,
    failure::{self, Tell},
    host::Host,
    journal::{Direction, Entry},
    relocations::{Booked, lock},
};
use negotiate::{Negotiated, Ready};
use send::Wire;
use xend::{Look, ToXend};

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
    /// The source's copy can be looked through before anything is sent.
    look: Option<Look>,
    /// The destination is an xend.
    xend: Option<ToXend>,
    begun: Instant,
    secret: Secret,
    /// What the audit trail will say.
    account: Mutex<(Record, Outcome)>,
}

/// How a negotiation ends.
enum Prepared {
    /// The image may follow.
    Ready(Box<Ready>, Wire),
    /// A dry run: this is the answer.
    Admitted(Reply),
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
    /// The domain itself is not here any more.
    NotHere,
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
            Ok(Reply::Admitted { .. } | Reply::AdmittedToXend { .. }) => outcome = Outcome::DryRun,
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
        let negotiation = self.prepare(request);
        let prepared = tokio::select! {
            prepared = negotiation => prepared,
            reason = cancel.cancelled() => Err(failure::cancelled(&reason)),
        };
        let (ready, wire) = match prepared.map_err(|failure| failure.state(self.untouched()))? {
            Prepared::Ready(ready, wire) => (ready, wire),
            Prepared::Admitted(reply) => return Ok(reply),
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
        entry.forced = lock(&self.account).0.forced.clone();
        entry.xend = self.xend.as_ref().map(|xend| xend.version.clone());
        let journal = self.host.journal.clone();
        let written = blocking(move || journal.begin(&mut entry).map(|()| entry)).await;
        let entry = written.map_err(|error| {
            failure::simple("journal", error.to_string())
                .state(self.untouched())
                .next(MAKE_ROOM)
        })?;
        let find = self.host.find_departed(entry.uuid, entry.id);
        let handoff = Handoff::new(entry, self.host.journal.clone(), Box::new(find));
        relocation.stage("copying");
        let depart = self
            .depart
            .take()
            .ok_or_else(|| failure::simple("internal", "it has departed already"))?;
        let relocation = &self.booked.relocation;
        let sent = send::send(&self.host, relocation, ready.conversation, wire, depart).await;
        self.hand_over(handoff, sent).await
    }

    /// Up to where the image may follow, or what a dry run has come to.
    async fn prepare(&mut self, request: Relocate) -> Result<Prepared, Failure> {
        let (negotiated, forced) = negotiate::negotiate(&self.host, &self.order, request, &self.config).await?;
        if self.order.force && !matches!(negotiated, Negotiated::Xend(_)) {
            lock(&self.account).0.forced = Some(admission::words(&forced));
        }
        let address = match negotiated {
            Negotiated::Admitted(host) => {
                return Ok(Prepared::Admitted(Reply::Admitted {
                    host: host.name,
                    free_memory_kib: host.free_memory_kib,
                }));
            }
            Negotiated::Ready(ready) => return Ok(Prepared::Ready(ready, Wire::Native)),
            Negotiated::Xend(address) => address,
        };
        let (plan, xend) = self.plan().await?;
        if self.order.dry_run {
            return Ok(Prepared::Admitted(self.admitted_to_xend(xend)));
        }
        let conversation = xend::ask(&self.order.host, address, self.host.limits().handshake).await?;
        self.booked.relocation.to_xend.store(true, Ordering::SeqCst);
        self.xend = Some(xend);
        let ready = Ready {
            conversation,
            peer: address.to_string(),
            spools: false,
        };
        Ok(Prepared::Ready(Box::new(ready), Wire::Xend(Box::new(plan))))
    }

    async fn request(&self) -> Result<Relocate, Failure> {
        let mut host = self.host.facts().await.map_err(|error| failure::toolstack(&error))?;
        admission::check_departure(&self.config, &host, self.order.live).map_err(|refusal| {
            failure::simple(refusal.word(), refusal.to_string())
                .next_if(admission::next_step(refusal.word(), &self.order.host))
        })?;
        if self.place == Place::Spool {
            // What this host runs has nothing to do with it.
            host.toolstack = HostFacts::SPOOL.to_owned();
        }
        if !self.config.cpu_features.is_empty() {
            host.features.clone_from(&self.config.cpu_features);
        }
        Ok(Relocate {
            id: self.booked.relocation.id,
            secret: Some(self.secret.clone()),
            mode: self.word,
            dry_run: self.order.dry_run,
            force: self.order.force,
            config: sxp::Raw(self.config.to_sxp()),
            host,
        })
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
            xend: self.xend.as_ref().map(|xend| xend.version.clone()),
            left_out: self.xend.as_ref().map(|xend| xend.left_out.clone()).unwrap_or_default(),
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
            Leftover::NotHere => format!("domain '{name}': {NOT_HERE}"),
            Leftover::Dead | Leftover::Harmless if self.xend.is_some() => {
                format!("domain '{name}' {as_before}; {host} {}", self.left_there())
            }
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
