//! An operator's relocation: the order, its progress, its end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use peer::control::{Failure, Reply};
use tokio::{
    io::AsyncReadExt,
    net::UnixStream,
    sync::oneshot,
    time::{MissedTickBehavior, interval},
};
use tracing::Instrument;

use super::{in_doubt, send};
use crate::{
    cancel::Cancel,
    failure,
    relocations::{Relocation, lock},
};

/// How often the operator hears of the progress.
const PROGRESS: Duration = Duration::from_millis(100);

/// How long an operator is kept waiting for an open outcome; the daemon goes on asking.
const IN_DOUBT: Duration = Duration::from_secs(10);

/// Where whoever carries an order out tells what it has booked.
pub type Started = oneshot::Sender<Arc<Relocation>>;

/// Has an order carried out, and tells how that goes. An operator who goes away has asked to stop.
///
/// # Errors
/// [`Failure`], for the operator.
pub async fn follow<T>(stream: &mut UnixStream, order: impl FnOnce(Cancel, Started) -> T) -> Result<Reply, Failure>
where
    T: Future<Output = Result<Reply, Failure>> + Send + 'static,
{
    let cancel = Cancel::default();
    let (started, booked) = oneshot::channel();
    // On a task of its own: from the commit on it goes on whether the operator waits or not.
    let task = order(cancel.clone(), started);
    let mut task = tokio::spawn(task.in_current_span());
    let mut relocation = Box::pin(booked);
    let mut booked: Option<Arc<Relocation>> = None;
    let mut last = None;
    let mut doubtful_since = None;
    let mut here = true;
    let mut ticks = interval(PROGRESS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut byte = [0; 64];
    loop {
        tokio::select! {
            ended = &mut task => return ended.unwrap_or_else(|error| Err(failure::internal(&error))),
            found = &mut relocation, if booked.is_none() => match found {
                Ok(found) => booked = Some(found),
                // The order was refused at once: the task ends with the reason.
                Err(_) => return task.await.unwrap_or_else(|error| Err(failure::internal(&error))),
            },
            read = stream.read(&mut byte), if here => {
                if matches!(read, Ok(0) | Err(_)) {
                    here = false;
                    cancel.cancel("the operator has gone");
                }
            }
            _ = ticks.tick() => {
                let Some(relocation) = &booked else { continue };
                let progress = lock(&relocation.progress).clone();
                if progress.stage == "in-doubt" {
                    let since = *doubtful_since.get_or_insert_with(Instant::now);
                    // Of an xend nothing more is heard.
                    if relocation.is_to_xend() || since.elapsed() > IN_DOUBT {
                        return Err(in_doubt(relocation));
                    }
                }
                if here && last.as_ref() != Some(&progress) {
                    here = send(stream, &Reply::Progress(progress.clone())).await.is_ok();
                    if !here {
                        cancel.cancel("the operator has gone");
                    }
                    last = Some(progress);
                }
            }
        }
    }
}
