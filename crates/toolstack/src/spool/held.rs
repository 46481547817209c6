//! Entries that something is being done with.

use std::io;

use uuid::Uuid;

use super::{Entry, EntryState, Spool, SpoolError, SpoolReader, files, io_error, lock};

/// An entry that something is being done with. Dropping it changes nothing but that others can have it.
#[derive(Debug)]
pub struct Held {
    spool: Spool,
    entry: Entry,
    /// Nobody else gets it, also when this is dropped.
    stays: bool,
}

impl Held {
    /// One that is in the books as held.
    pub(super) fn new(spool: &Spool, entry: Entry) -> Held {
        Held {
            spool: spool.clone(),
            entry,
            stays: false,
        }
    }

    /// The entry.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Opens the image.
    ///
    /// # Errors
    /// As [`Spool::open_image`].
    pub fn open_image(&self) -> Result<SpoolReader, SpoolError> {
        self.spool.open_image(&self.entry)
    }

    /// Who asks for what is now done with it. On disk from the next [`Held::set`] on, until nothing is being done with it any more.
    pub fn asked_by(&mut self, who: Option<String>) {
        self.entry.asked_by = who;
    }

    /// Writes down what is being done with it; on disk when this returns. `reason`: for the operator, in place of the old one.
    ///
    /// # Errors
    /// [`SpoolError::Io`]; the record on disk is the old one, or, if only the last sync failed, perhaps the new one.
    pub fn set(&mut self, state: EntryState, held_by: Option<Uuid>, reason: Option<String>) -> Result<(), SpoolError> {
        let entry = Entry {
            state,
            held_by,
            asked_by: held_by.and_then(|_| self.entry.asked_by.clone()),
            reason: reason.or_else(|| self.entry.reason.clone()),
            ..self.entry.clone()
        };
        self.spool.write(&entry)?;
        self.entry = entry;
        Ok(())
    }

    /// Leaves it to an operator. If that can't be written down it is there all the same.
    pub fn keep(mut self, reason: &str) {
        let id = self.entry.id;
        if let Err(error) = self.set(EntryState::Kept, None, Some(reason.to_owned())) {
            tracing::error!(%error, %id, "the spool's record can't be rewritten; the image is kept all the same");
        }
        tracing::warn!(%id, domain = self.entry.name, image = %self.spool.image_path(&self.entry).display(), "kept in the spool: {reason}");
    }

    /// Gives it to nobody else until the next start, for nobody knows what has become of it.
    pub(super) fn stay(mut self) {
        self.stays = true;
    }

    /// What was to be done with it is not done: it waits for an operator as before, for the reason that it had.
    pub fn release(mut self) {
        if let Err(error) = self.set(EntryState::Kept, None, None) {
            tracing::error!(%error, id = %self.entry.id, "the spool's record can't be rewritten; the image is kept all the same");
        }
    }

    /// Deletes it.
    ///
    /// # Errors
    /// [`SpoolError::Io`], and the entry: it is there as before, or, if only the last sync failed, gone and perhaps back after a crash.
    #[allow(clippy::result_large_err)] // whoever can't delete it still has it
    pub fn delete(self) -> Result<(), (SpoolError, Held)> {
        let spool = &self.spool;
        let [record, deleting] = ["sxp", "deleting"].map(|extension| spool.path(&self.entry, extension));
        let _names = lock(&spool.inner.names);
        let renamed = match files::rename(&record, &deleting) {
            // An earlier attempt has come so far.
            Err(error) if error.kind() == io::ErrorKind::NotFound && deleting.exists() => Ok(()),
            renamed => renamed.map_err(io_error(&record, "renaming the record")),
        };
        if let Err(error) = renamed.and_then(|()| spool.sync_directory()) {
            drop(_names);
            return Err((error, self));
        }
        files::remove(&spool.image_path(&self.entry));
        files::remove(&deleting);
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.stays {
            self.spool.books().held.remove(&self.entry.id);
        }
    }
}
