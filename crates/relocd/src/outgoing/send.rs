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
    xend::XendSink,
};
use tokio::time::sleep;
use toolstack::{Departed, Observer, Progress};

use super::{Depart, link::TcpLink, progress_line, xend::Plan};
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

/// How the image travels.
pub enum Wire {
    /// As frames.
    Native,
    /// As an xend takes it.
    Xend(Box<Plan>),
}

/// What is still to be sent so that the domain can run there.
pub enum Last {
    /// The commit.
    Commit,
    /// The image's last bytes, to an xend.
    Tail(Vec<u8>),
}

/// An image that has gone out whole, but for what [`Sent::last`] says.
pub struct Sent {
    /// The domain, suspended.
    pub departed: Box<dyn Departed>,
    /// When it was, about.
    pub suspended: Instant,
    /// The connection.
    pub conversation: Conversation,
    /// The last figures.
    pub progress: Progress,
    /// Bytes written, those of [`Sent::last`] counted.
    pub wire_bytes: u64,
    /// What is still to be sent.
    pub last: Last,
    /// What the image had and the wire can't carry.
    pub left_out: Vec<&'static str>,
}

/// What the bulk path has come to.
struct Copied {
    departed: toolstack::Result<Box<dyn Departed>>,
    stream: std::net::TcpStream,
    progress: Progress,
    wire_bytes: u64,
    /// `None`: not all of the image has been sent.
    last: Option<Last>,
    left_out: Vec<&'static str>,
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
    wire: Wire,
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
        let mut watcher = Watcher {
            relocation: &relocation,
            written: &written,
            last: Progress::default(),
        };
        match wire {
            Wire::Native => {
                let mut sink = FrameSink::new(link);
                let departed = depart(&mut sink, &mut watcher);
                if let Err(error) = &departed {
                    sink.abort(&error.to_string());
                }
                Copied {
                    departed,
                    progress: watcher.last,
                    wire_bytes: sink.written(),
                    stream: sink.into_link().into_stream(),
                    last: Some(Last::Commit),
                    left_out: Vec::new(),
                }
            }
            Wire::Xend(plan) => {
                let mut sink = XendSink::new(link, plan.envelope, plan.options);
                // An image that ends in the middle is all that an xend understands of a failure.
                let departed = depart(&mut sink, &mut watcher);
                let (wire_bytes, left_out) = (sink.written(), sink.left_out().collect());
                let (link, tail) = sink.into_parts();
                Copied {
                    departed,
                    progress: watcher.last,
                    wire_bytes,
                    stream: link.into_stream(),
                    last: tail.map(Last::Tail),
                    left_out,
                }
            }
        }
    });
    // A thread that is stuck in a write does not see the request: shutting the connection ends the write.
    let pull_brake = async {
        cancel.cancelled().await;
        sleep(NOTICE).await;
        let _ = brake.shutdown(std::net::Shutdown::Both);
        std::future::pending::<()>().await;
    };
    let copied = tokio::select! {
        copied = copying => copied,
        () = pull_brake => return Err(failure::cancelled("stopped").into()),
    };
    let departed = match copied.departed {
        Ok(departed) => departed,
        Err(error) => {
            let gave_up = give_up(copied.stream).await;
            let failure = failure::toolstack(&error);
            return Err(NotSent {
                gave_up: gave_up || failure::is_last_word(&failure),
                failure,
            });
        }
    };
    let Some(last) = copied.last else {
        drop(copied.stream);
        let failure = failure::simple("internal", "relocd is at fault: the image that was sent has no end");
        return Err(run_on(departed, failure).await.into());
    };
    fault::reached(&["out", "finish", "sent"]).await;
    let suspended = Instant::now()
        .checked_sub(departed.suspended_for())
        .unwrap_or_else(Instant::now);
    let conversation = match Conversation::from_blocking(copied.stream, sxp::Limits::default()) {
        Ok(conversation) => conversation,
        Err(error) => return Err(run_on(departed, failure::internal(&error)).await.into()),
    };
    Ok(Sent {
        departed,
        suspended,
        conversation,
        progress: copied.progress,
        wire_bytes: copied.wire_bytes,
        last,
        left_out: copied.left_out,
    })
}

/// It runs on here, for this reason.
async fn run_on(departed: Box<dyn Departed>, failure: Failure) -> Failure {
    match blocking(move || departed.resume()).await {
        Ok(()) => failure,
        Err(undone) => failure::toolstack(&undone.error),
    }
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
