//! From the last page to the end of a departure: the decisions, each on disk before it is acted on.

use std::time::{Duration, Instant};

use peer::{
    control::{Failure, Reply},
    handoff::source::Event,
};
use tokio::time::timeout;

use super::{
    Handoff, Leftover, MAKE_ROOM, Outgoing,
    conclude::{Conclusion, conclude, step},
    handoff::Ask,
    negotiate,
    send::{Last, NotSent, Sent, gives_up},
    xend::{self, Unsaid},
};
use crate::{
    audit::Record,
    blocking::blocking,
    conversation::Conversation,
    failure::{self, Tell},
    relocations::lock,
};

impl Outgoing {
    /// From the last page to the end.
    pub(super) async fn hand_over(
        &mut self,
        mut handoff: Handoff,
        sent: Result<Sent, NotSent>,
    ) -> Result<Reply, Failure> {
        let sent = match sent {
            Ok(sent) => sent,
            Err(NotSent { failure, gave_up }) => {
                // Mostly it runs on by itself. Where it could not be resumed it still stands, and is resumed with the decision, however often that takes.
                handoff.note(&failure.value);
                return Err(self.fail(handoff, failure, async { gave_up }).await);
            }
        };
        handoff.departed(sent.departed);
        handoff.amend(|entry| {
            entry.bytes = Some(sent.wire_bytes);
            entry.pages = Some(sent.progress.pages_sent);
        });
        if let Some(xend) = &mut self.xend {
            let known = |what: &&str| !xend.left_out.iter().any(|other| other == what);
            let new: Vec<String> = sent.left_out.iter().copied().filter(known).map(str::to_owned).collect();
            xend.left_out.extend(new);
        }
        let mut conversation = sent.conversation;
        self.booked.relocation.stage("loading");
        if let Err(failure) = self.await_loaded(&mut conversation, &sent.last).await {
            handoff.note(&failure.value);
            let gave_up = failure::is_last_word(&failure);
            let gives_up = async { gives_up(conversation).await || gave_up };
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
            let limit = self.host.limits().commit;
            let committing = async {
                let committed = match &sent.last {
                    Last::Commit => negotiate::commit(&mut conversation, limit).await.map(Some),
                    Last::Tail(tail) => xend::commit(&mut conversation, tail, limit).await.map(|()| None),
                };
                (committed, asked.elapsed())
            };
            let (committed, answered);
            (handoff, (committed, answered)) = guarded_if_late(handoff, committing).await;
            match committed {
                Ok(domid) => {
                    let downtime = stopped + answered;
                    if let Some(domid) = domid {
                        handoff.runs_there_as(domid);
                    }
                    handoff.amend(|entry| entry.downtime_ms = u64::try_from(downtime.as_millis()).ok());
                    let reply = self.report(domid.unwrap_or_default(), downtime, sent.progress, sent.wire_bytes);
                    let (handoff, ask) = step(handoff, Event::Running).await;
                    let ask = ask.map_err(|error| failure::internal(&error))?;
                    // The domain runs there: whatever is left to do here is no reason to tell the operator otherwise.
                    return self.conclude(handoff, ask).await.map(|_| reply);
                }
                Err(Unsaid { reason, event }) => {
                    tracing::warn!("not known to run there after the commit: {reason}");
                    self.booked.relocation.note(&reason);
                    handoff.note(&reason);
                    match event {
                        Event::Discarded => handoff.deny(),
                        // Nobody says it again.
                        _ if self.xend.is_some() => handoff = blocking(move || handoff.remember()).await,
                        _ => {}
                    }
                    let asked;
                    (handoff, asked) = step(handoff, event).await;
                    ask = asked.map_err(|error| failure::internal(&error))?;
                }
            }
        }
        // An xend discards what it has at the end of its connection; a relocd is asked on another one.
        drop(conversation);
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
            Conclusion::Resumed { is_here } => {
                let why = handoff
                    .entry()
                    .detail
                    .clone()
                    .unwrap_or_else(|| "the handoff failed".to_owned());
                let leftover = match () {
                    () if !is_here => Leftover::NotHere,
                    () if by_operator => Leftover::Unknown,
                    () if handoff.is_denied() => Leftover::Dead,
                    () => Leftover::Harmless,
                };
                Err(failure::simple("handoff", why).state(self.resumed(leftover)).next(next))
            }
        }
    }

    /// Waits until the destination has all of it.
    async fn await_loaded(&self, conversation: &mut Conversation, last: &Last) -> Result<(), Failure> {
        let cancel = &self.booked.relocation.cancel;
        let loaded = async {
            match last {
                Last::Commit => negotiate::loaded(conversation, self.host.limits().idle).await,
                Last::Tail(_) => xend::last_look(conversation).await,
            }
        };
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
            Ok((_, Conclusion::Resumed { is_here: false })) => failure.state(self.resumed(Leftover::NotHere)),
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
}

/// How long the answer to the commit may take before the copy here is guarded. This daemon may be told to end meanwhile, and others with it that would let the copy
/// run: well below [`LAST_WAIT`](crate::system::LAST_WAIT).
const LATE: Duration = Duration::from_secs(3);

/// Waits for the answer to the commit, and guards the copy here if that takes long.
async fn guarded_if_late<T>(mut handoff: Handoff, answer: impl Future<Output = T>) -> (Handoff, T) {
    tokio::pin!(answer);
    if let Ok(answer) = timeout(LATE, &mut answer).await {
        return (handoff, answer);
    }
    let guarding = blocking(move || {
        handoff.guard();
        handoff
    });
    tokio::join!(guarding, answer)
}
