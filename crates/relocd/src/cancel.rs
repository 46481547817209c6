//! Asking a relocation to stop, from any thread.

use std::sync::{Arc, OnceLock};

use image::ImageError;
use tokio::sync::Notify;

/// A request to stop, and its reason. Clones are the same request. It is obeyed up to the commit and ignored from then on.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    reason: OnceLock<String>,
    wake: Notify,
}

impl Cancel {
    /// Asks to stop. The first reason counts.
    pub fn cancel(&self, reason: &str) {
        let _ = self.shared.reason.set(reason.to_owned());
        self.shared.wake.notify_waiters();
    }

    /// The reason, if somebody has asked.
    pub fn reason(&self) -> Option<&str> {
        self.shared.reason.get().map(String::as_str)
    }

    /// For the bulk path: an error if somebody has asked.
    ///
    /// # Errors
    /// [`ImageError::Cancelled`] with the reason.
    pub fn check(&self) -> Result<(), ImageError> {
        self.reason()
            .map_or(Ok(()), |reason| Err(ImageError::Cancelled(reason.to_owned())))
    }

    /// For the control path: waits until somebody asks.
    pub async fn cancelled(&self) -> String {
        loop {
            let wake = self.shared.wake.notified();
            tokio::pin!(wake);
            // Registered before the look, so that a request in between is not missed.
            wake.as_mut().enable();
            if let Some(reason) = self.reason() {
                return reason.to_owned();
            }
            wake.await;
        }
    }
}
