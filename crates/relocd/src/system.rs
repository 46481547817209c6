//! The service manager and the signals: what comes from outside the network.

use std::{sync::mpsc::RecvTimeoutError, thread, time::Duration};

use sd_notify::NotifyState;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use tokio::sync::mpsc;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGTERM or SIGINT: end.
    Stop,
}

/// The signals, as they come. A second one to end does not end sooner: the clean-up is what matters.
///
/// # Errors
/// The system's, if handlers can't be set.
pub fn signals() -> std::io::Result<mpsc::UnboundedReceiver<Asked>> {
    let mut signals = Signals::new([SIGHUP, SIGTERM, SIGINT])?;
    let (send, receive) = mpsc::unbounded_channel();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let asked = if signal == SIGHUP { Asked::Reload } else { Asked::Stop };
            if send.send(asked).is_err() {
                return;
            }
        }
    })?;
    Ok(receive)
}

/// Tells the service manager something; without one, nobody.
pub fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager can't be told");
    }
}

/// Tells the service manager that a reload has begun: it wants the moment with it.
pub fn notify_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "no clock for the service manager"),
    }
}

/// Feeds the service manager's watchdog, if it has one, for as long as the async runtime answers: a daemon that hangs is to be restarted.
pub fn watchdog(runtime: tokio::runtime::Handle) {
    let Some(period) = sd_notify::watchdog_enabled() else {
        return;
    };
    let feed = move || {
        loop {
            let (alive, answered) = std::sync::mpsc::channel();
            runtime.spawn(async move { alive.send(()) });
            match answered.recv_timeout(period) {
                Ok(()) => notify(&[NotifyState::Watchdog]),
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            }
            thread::sleep(period / 3);
        }
    };
    if let Err(error) = thread::Builder::new().name("watchdog".to_owned()).spawn(feed) {
        tracing::warn!(%error, "no thread for the watchdog");
    }
}

/// How long a daemon that ends waits for relocations whose outcome is open.
pub const LAST_WAIT: Duration = Duration::from_secs(15);
