//! Images that only pass through: whoever writes waits for whoever reads, so that little of them is on disk. See [`Purpose::Passage`](super::Purpose::Passage).

use std::{
    io,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

/// Bytes of an image that only passes through which may be on disk, and have not been read.
const LAG: u64 = 256 << 20;

/// Room for an image that only passes through.
pub(super) const ROOM: u64 = LAG + (64 << 20);

/// How often it is looked after what has been read.
const PAUSE: Duration = Duration::from_millis(5);

/// How far an image that only passes through has been read by whoever takes it.
#[derive(Debug, Default)]
pub struct Taken {
    bytes: AtomicU64,
    given_up: AtomicBool,
}

impl Taken {
    /// So many bytes of it have been read.
    pub fn up_to(&self, bytes: u64) {
        self.bytes.fetch_max(bytes, Ordering::SeqCst);
    }

    /// Waits until little of what has been written is still to be read.
    pub(super) fn wait(&self, written: u64) -> io::Result<()> {
        while written.saturating_sub(self.bytes.load(Ordering::SeqCst)) > LAG {
            if self.given_up.load(Ordering::SeqCst) {
                return Err(io::Error::other("nobody takes the image any more"));
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Nobody reads it any more.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_writer_waits_for_its_reader_and_not_for_one_that_has_gone() {
        let taken = Arc::new(Taken::default());
        taken.wait(LAG).unwrap();
        let waits = {
            let taken = Arc::clone(&taken);
            thread::spawn(move || taken.wait(LAG + 10))
        };
        thread::sleep(10 * PAUSE);
        assert!(!waits.is_finished());
        taken.up_to(10);
        waits.join().unwrap().unwrap();
        taken.give_up();
        assert!(taken.wait(LAG + 11).is_err() && taken.wait(LAG + 10).is_ok());
    }
}
