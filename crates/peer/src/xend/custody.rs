//! Who owns a domain that a xend sends.

/// Bytes of an image that a sender may have written although nobody has read them: in its kernel's buffer, which by Linux's defaults grows to 4 MiB and is
/// tuned to 16 MiB on fast networks, and in that of this host, which [`RECEIVE_BUFFER`] bounds.
pub const IN_FLIGHT: u64 = (16 << 20) + 2 * RECEIVE_BUFFER as u64;

/// What the receiving socket's buffer is asked to be. Small: what is in it when this host dies is lost, and a sender may count on it already.
pub const RECEIVE_BUFFER: usize = 512 << 10;

/// Who owns the domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Custody {
    /// The sender: it can't have written everything yet.
    Sender,
    /// The sender, or this host: the rest may be on its way already, and the sender's domain destroyed.
    Unclear,
    /// This host.
    Here,
}

/// What has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// Something here: the image is not understood, the disk is full, somebody asked to stop.
    OurSide,
    /// The stream ended, or the connection broke, before the image was whole.
    Cut,
    /// Nothing came for too long.
    Silence,
}

/// What is to be done after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Say why, reset the connection, throw away what has come: the sender resumes its domain.
    Refuse,
    /// Throw away what has come: the sender has failed, or is gone, and its domain is not here.
    Discard,
    /// Take in what still comes, and keep all of it.
    Keep,
}

/// Keeps count of who owns the domain while its image comes in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Keeper {
    /// Bytes that the sender can't have done without: see [`Keeper::new`].
    least: u64,
    taken: u64,
    /// The image's prologue has been read.
    begun: bool,
    whole: bool,
}

impl Keeper {
    /// At the beginning of the image of a domain with so much memory, by its configuration. Of that a quarter may never be sent: a guest that has not
    /// yet reached its target. Pages that are sent again only make the count more careful.
    pub fn new(memory_kib: u64) -> Keeper {
        Keeper {
            least: memory_kib.saturating_mul(1024) / 4 * 3,
            taken: 0,
            begun: false,
            whole: false,
        }
    }

    /// So many more bytes of the image have been read.
    pub fn took(&mut self, bytes: usize) {
        self.taken = self.taken.saturating_add(bytes as u64);
    }

    /// Bytes of the image that have been read.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// The image's prologue is whole: size, kind and frames of the guest are known, pages follow.
    pub fn begun(&mut self) {
        self.begun = true;
    }

    /// Whether the prologue is whole.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether the domain is so small that buffers hold it: its sender is never certain to own it. See [`IN_FLIGHT`].
    pub fn fits_into_buffers(&self) -> bool {
        self.least <= IN_FLIGHT
    }

    /// The image is whole, on disk, and synced.
    pub fn whole(&mut self) {
        self.whole = true;
    }

    /// Who owns the domain now.
    pub fn custody(&self) -> Custody {
        if self.whole {
            Custody::Here
        } else if self.taken.saturating_add(IN_FLIGHT) < self.least {
            Custody::Sender
        } else {
            Custody::Unclear
        }
    }

    /// What follows from a failure.
    pub fn failed(&self, failure: Failure) -> Verdict {
        match (self.custody(), failure) {
            (Custody::Here, _) => Verdict::Keep,
            // The stream's end in the middle of the image: nothing can follow any more, and a sender whose writes were all taken would not have ended there.
            (Custody::Sender | Custody::Unclear, Failure::Cut) => Verdict::Discard,
            (Custody::Sender, Failure::OurSide | Failure::Silence) => Verdict::Refuse,
            (Custody::Unclear, Failure::OurSide) => Verdict::Keep,
            // After a silence longer than any TCP retries there is nothing to wait for; the reset is for a sender that sleeps.
            (Custody::Unclear, Failure::Silence) => Verdict::Refuse,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sender_owns_the_domain_while_more_is_to_come_than_buffers_hold() {
        // 64 MiB: 48 must come, 17 may be on their way.
        let mut keeper = Keeper::new(64 << 10);
        assert_eq!(keeper.custody(), Custody::Sender);
        keeper.took(30 << 20);
        assert_eq!(keeper.custody(), Custody::Sender);
        assert_eq!(keeper.failed(Failure::OurSide), Verdict::Refuse);
        keeper.took(1 << 20);
        assert_eq!(keeper.custody(), Custody::Unclear);
        assert_eq!(keeper.failed(Failure::OurSide), Verdict::Keep);
        assert_eq!(keeper.failed(Failure::Cut), Verdict::Discard);
        keeper.whole();
        for failure in [Failure::OurSide, Failure::Cut, Failure::Silence] {
            assert_eq!(
                (keeper.custody(), keeper.failed(failure)),
                (Custody::Here, Verdict::Keep)
            );
        }
    }

    #[test]
    fn of_a_domain_that_fits_into_buffers_nothing_is_certain() {
        for memory in [0, 4096, 16 << 10] {
            assert_eq!(Keeper::new(memory).custody(), Custody::Unclear);
            assert!(Keeper::new(memory).fits_into_buffers());
        }
        assert!(!Keeper::new(64 << 10).fits_into_buffers());
        assert_eq!(Keeper::new(u64::MAX).custody(), Custody::Sender);
    }
}
