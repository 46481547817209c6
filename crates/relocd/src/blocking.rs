//! The bridge from the control path to blocking calls.

use std::panic;

use tokio::task;

/// Times that a question to the toolstack is asked before its error counts.
const ATTEMPTS: u32 = 5;

/// Asks something of the toolstack again and again: it may be slow to answer, and what it would say is needed.
///
/// # Errors
/// The last one.
pub async fn patiently<T, E>(call: impl Fn() -> Result<T, E> + Clone + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    let mut attempt = 1;
    loop {
        match blocking(call.clone()).await {
            Err(error) if attempt < ATTEMPTS => tracing::warn!(%error, attempt, "asking again"),
            answer => return answer,
        }
        attempt += 1;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}

/// Runs a blocking call on a thread of its own kind and waits for it. A panic goes on in the caller.
pub async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    let span = tracing::Span::current();
    match task::spawn_blocking(move || span.in_scope(call)).await {
        Ok(value) => value,
        Err(error) if error.is_panic() => panic::resume_unwind(error.into_panic()),
        // Only a runtime that is being torn down cancels such tasks; there is nobody left to answer.
        Err(_) => std::future::pending().await,
    }
}
