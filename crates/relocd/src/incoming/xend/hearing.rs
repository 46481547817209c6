//! A receiver's end of the line to the daemon.

use std::{
    io::BufReader,
    os::unix::net::UnixStream,
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, Instant},
};

use toolstack::spool::Taken;

use super::orders::{self, Order, Said};

/// Between two words on how far it is.
const PROGRESS: Duration = Duration::from_millis(500);

/// The receiver's end of the line to the daemon. Nobody may be there any more.
pub(super) struct Daemon(pub(super) UnixStream);

impl Daemon {
    pub(super) fn say(&mut self, what: &Said) {
        if let Err(error) = orders::say(&mut self.0, what) {
            tracing::debug!(%error, "the daemon has gone");
        }
    }
}

/// Hears what the daemon says, as long as there is one.
pub(super) fn listen(
    mut orders: BufReader<UnixStream>,
    cancel: &Arc<OnceLock<String>>,
    abandon: &Arc<OnceLock<String>>,
    taken: Option<Arc<Taken>>,
) {
    let (cancel, abandon) = (Arc::clone(cancel), Arc::clone(abandon));
    thread::spawn(move || {
        while let Ok(Some(order)) = orders::hear(&mut orders) {
            match (order, &taken) {
                (Order::Cancel(reason), _) => drop(cancel.set(reason)),
                (Order::Abandon(reason), Some(taken)) => {
                    let _ = abandon.set(reason);
                    taken.give_up();
                }
                (Order::Taken(bytes), Some(taken)) => taken.up_to(bytes),
                _ => {}
            }
        }
        // What passes through needs somebody who takes it.
        if let Some(taken) = taken {
            let _ = abandon.set("relocd has ended".to_owned());
            taken.give_up();
        }
    });
}

/// Says now and then how many bytes have come.
pub(super) fn progress(daemon: &Daemon) -> impl FnMut(u64) + use<> {
    let mut line = daemon.0.try_clone().ok();
    let mut last = Instant::now();
    move |bytes| {
        if last.elapsed() >= PROGRESS
            && let Some(daemon) = &mut line
        {
            last = Instant::now();
            if orders::say(daemon, &Said::Progress(bytes)).is_err() {
                line = None;
            }
        }
    }
}
