//! Last records that could not be written when they were due.

use std::time::Duration;

use tokio::time::sleep;
use tracing::Instrument;

use crate::{
    blocking::blocking,
    journal::{Entry, Journal},
};

/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(2);

/// Goes on trying to write the last record of a relocation that is over. Nothing depends on it any more: an old record is settled again at the next
/// start, which finds nothing to do. But until then it says the wrong thing to whoever reads it.
pub fn write_later(journal: Journal, mut entry: Entry) {
    let trying = async move {
        loop {
            sleep(PAUSE).await;
            let journal = journal.clone();
            let written;
            (entry, written) = blocking(move || {
                let written = journal.write(&mut entry);
                (entry, written)
            })
            .await;
            if written.is_ok() {
                tracing::info!(state = entry.state, "the journal has the last record now");
                return;
            }
        }
    };
    tokio::spawn(trying.in_current_span());
}
