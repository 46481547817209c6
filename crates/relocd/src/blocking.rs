//! The bridge from the control path to blocking calls.

use std::panic;

use tokio::task;

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
