//! Asking a destination how a relocation ended, when the connection was lost after the commit.

use std::time::Duration;

use peer::native::message::{Outcome, OutcomeQuery, Reply};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    conversation::{Conversation, prepare},
    fault,
};

/// The longest pause between two questions.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Asks once.
///
/// # Errors
/// Why no answer came, in words.
pub async fn ask_once(peer: &str, query: &OutcomeQuery, limit: Duration) -> Result<Outcome, String> {
    let stream = timeout(limit, TcpStream::connect(peer))
        .await
        .map_err(|_| "timed out".to_owned())?
        .map_err(|error| error.to_string())?;
    prepare(&stream).map_err(|error| error.to_string())?;
    let mut conversation = Conversation::new(stream, sxp::Limits::default());
    let line = query.to_line().map_err(|error| error.to_string())?;
    fault::reached(&["out", "outcome", "send"]).await;
    conversation
        .send(&line, limit)
        .await
        .map_err(|error| error.to_string())?;
    fault::reached(&["out", "outcome", "sent"]).await;
    let reply = conversation.next_line(limit).await.map_err(|error| error.to_string())?;
    fault::reached(&["out", "outcome", "received"]).await;
    match Reply::parse(&reply).map_err(|error| error.to_string())? {
        Reply::Outcome(outcome) => Ok(outcome),
        Reply::Err(refused) => Err(refused.to_string()),
        other => Err(format!("unexpected reply {other:?}")),
    }
}

/// Asks until the domain runs there, or never will. `unsure` hears why it is not known yet, each time that the reason changes.
pub async fn ask(peer: &str, query: &OutcomeQuery, limit: Duration, mut unsure: impl FnMut(&str)) -> Outcome {
    let mut pause = Duration::from_millis(100);
    let mut last = String::new();
    loop {
        let reason = match ask_once(peer, query, limit).await {
            Ok(outcome @ (Outcome::Running { .. } | Outcome::Discarded)) => return outcome,
            Ok(Outcome::Pending) => "the destination has the commit and is starting the domain".to_owned(),
            Ok(Outcome::Lost { reason }) => format!("the destination had the commit, but: {reason}"),
            Err(reason) => format!("no answer from {peer}: {reason}"),
        };
        if reason != last {
            tracing::warn!(id = %query.id, peer, "outcome unknown: {reason}");
            unsure(&reason);
            last = reason;
        }
        sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}
