//! The image goes out. Bulk path: one thread, blocking calls; the control path only waits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use image::ImageError;
use peer::{
    control::Failure,
    native::{FrameSink, message::Reply},
};
use tokio::time::sleep;
use toolstack::{Departed, Observer, Progress};

use super::{Depart, link::TcpLink, progress_line};
use crate::{
    blocking::blocking,
    conversation::Conversation,
    failure, fault,
    host::Host,
    relocations::{Relocation, lock},
};

/// How long the bulk path may take to notice a request to stop by itself, before its connection is shut.
const NOTICE: Duration = Duration::from_secs(2);

/// How long the destination may take to discard what has arrived.
const GIVING_UP: Duration = Duration::from_secs(5);

/// An image that has gone out whole.
pub struct Sent {
    /// The domain, suspended.
    pub departed: Box<dyn Departed>,
    /// When it was, about.
    pub suspended: Instant,
    /// The connection.
    pub conversation: Conversation,
    /// The last figures.
    pub progress: Progress,
    /// Bytes written.
    pub wire_bytes: u64,
}

/// Why an image has not gone out whole.
pub struct NotSent {
    /// What happened.
    pub failure: Failure,
    /// Whether the destination has said that nothing is left of it there.
    pub gave_up: bool,
}

impl From<Failure> for NotSent {
    fn from(failure: Failure) -> NotSent {
        NotSent {
            failure,
            gave_up: false,
        }
    }
}

/// Sends a domain's image.
///
/// # Errors
/// [`NotSent`]; the domain runs on here.
pub async fn send(
    host: &Arc<Host>,
    relocation: &Arc<Relocation>,
    conversation: Conversation,
    depart: Depart,
) -> Result<Sent, NotSent> {
    let idle = host.limits().idle;
    let stream = conversation
        .into_blocking(idle)
        .map_err(|error| failure::internal(&error))?;
    let brake = stream.try_clone().map_err(|error| failure::internal(&error))?;
    let cancel = relocation.cancel.clone();
    let for_thread = Arc::clone(relocation);
    let copying = blocking(move || {
        let relocation = for_thread;
        let written = Arc::new(AtomicU64::new(0));
        let link = TcpLink::new(stream, relocation.cancel.clone(), Arc::clone(&written));
        let mut sink = FrameSink::new(link);
        let mut watcher = Watcher {
            relocation: &relocation,
            written: &written,
            last: Progress::default(),
        };
        let departed = depart(&mut sink, &mut watcher);
        let progress = watcher.last;
        if let Err(error) = &departed {
            sink.abort(&error.to_string());
        }
        let wire_bytes = sink.written();
        (departed, sink.into_link().into_stream(), progress, wire_bytes)
    });
    // A thread that is stuck in a write does not see the request: shutting the connection ends the write.
    let pull_brake = async {
        cancel.cancelled().await;
        sleep(NOTICE).await;
        let _ = brake.shutdown(std::net::Shutdown::Both);
        std::future::pending::<()>().await;
    };
    let (departed, stream, progress, wire_bytes) = tokio::select! {
        copied = copying => copied,
        () = pull_brake => return Err(failure::cancelled("stopped").into()),
    };
    let departed = match departed {
        Ok(departed) => departed,
        Err(error) => {
            let gave_up = give_up(stream).await;
            let failure = failure::toolstack(&error);
            return Err(NotSent {
                gave_up: gave_up || failure::is_last_word(&failure),
                failure,
            });
        }
    };
    fault::reached(&["out", "finish", "sent"]).await;
    let suspended = Instant::now()
        .checked_sub(departed.suspended_for())
        .unwrap_or_else(Instant::now);
    let conversation = match Conversation::from_blocking(stream, sxp::Limits::default()) {
        Ok(conversation) => conversation,
        Err(error) => {
            let failure = failure::internal(&error);
            return match blocking(move || departed.resume()).await {
                Ok(()) => Err(failure.into()),
                Err(undone) => Err(failure::toolstack(&undone.error).into()),
            };
        }
    };
    Ok(Sent {
        departed,
        suspended,
        conversation,
        progress,
        wire_bytes,
    })
}

/// The destination has been told that nothing comes of it, and discards what it has: whoever tries again at once is not in the way of that. Whether it
/// has confirmed that.
async fn give_up(stream: std::net::TcpStream) -> bool {
    match Conversation::from_blocking(stream, sxp::Limits::default()) {
        Ok(conversation) => gives_up(conversation).await,
        Err(_) => false,
    }
}

/// Hangs up; whether the destination has confirmed that nothing is left there. Its refusal comes when it has discarded what had arrived.
pub async fn gives_up(conversation: Conversation) -> bool {
    let word = conversation.hang_up(GIVING_UP).await;
    word.is_some_and(|word| matches!(Reply::parse(&word), Ok(Reply::Err(_))))
}

struct Watcher<'a> {
    relocation: &'a Relocation,
    written: &'a AtomicU64,
    last: Progress,
}

impl Observer for Watcher<'_> {
    fn progress(&mut self, progress: &Progress) -> Result<(), ImageError> {
        self.last = *progress;
        let stage = if progress.suspended { "suspended" } else { "copying" };
        let written = self.written.load(Ordering::Relaxed);
        *lock(&self.relocation.progress) = progress_line(self.relocation.id, stage, progress, written);
        self.relocation.cancel.check()
    }
}
