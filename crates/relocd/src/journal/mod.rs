//! The journal: one small file for each relocation, written before its decisions are acted on.
//!
//! `STATE/journal/ID.out.sxp` at the source, `ID.in.sxp` at the destination (a relocation to the own host has both). Each write makes a new file beside the
//! old one, syncs it, renames it over the old one, and syncs the directory: a crash leaves the old or the new record, never half of one. A file that
//! can't be read is reported and never acted on.

mod entry;

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use peer::handoff::Written;
use uuid::Uuid;

use entry::VERSION;
pub use entry::{Direction, Entry, unix_seconds};

use crate::fault;

/// Bytes in a record at most.
const MAX_RECORD: u64 = 64 << 10;

/// Why a record could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The system refused.
    #[error("journal {}: {what}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was being done.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// A new record is in place, or may be, and a crash may leave it or the one before it.
    #[error("journal {}: {what}: {source}", path.display())]
    Unsynced {
        /// The record, or its directory.
        path: PathBuf,
        /// What was being done.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// Another daemon has it.
    #[error("journal {}: another relocd has it; stop that one first, or give this one its own --state-dir", .0.display())]
    InUse(PathBuf),
    /// The file is no record of this program, or of a newer version of it.
    #[error("journal {}: {what}; it is left alone: look at it, and remove it once the domain's whereabouts are certain", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

impl JournalError {
    /// How a write that failed with this has ended.
    pub fn written(&self) -> Written {
        match self {
            JournalError::Unsynced { .. } => Written::Unsynced,
            _ => Written::Failed,
        }
    }
}

/// The journal's directory. One daemon at a time has it.
#[derive(Clone, Debug)]
pub struct Journal {
    directory: PathBuf,
    _lock: Arc<File>,
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory).and_then(|directory| directory.sync_all())
}

/// Characters of a detail at most: it may be a peer's words, and a record has to stay readable.
const MAX_DETAIL: usize = 1000;

impl Journal {
    /// Opens, and makes if need be, the journal below a state directory.
    ///
    /// # Errors
    /// [`JournalError::Io`] if the directory can't be made.
    pub fn open(state_directory: &Path) -> Result<Journal, JournalError> {
        let directory = state_directory.join("journal");
        // A relocation's secret is all that it takes to ask for its outcome: not for everyone on this host.
        let mut make = fs::DirBuilder::new();
        let made = make.recursive(true).mode(0o700).create(&directory);
        made.map_err(io_error(&directory, "making the directory"))?;
        let lock = File::create(directory.join("lock")).map_err(io_error(&directory, "making its lock"))?;
        if let Err(error) = lock.try_lock() {
            return Err(match error {
                TryLockError::WouldBlock => JournalError::InUse(directory),
                TryLockError::Error(source) => io_error(&directory, "locking it")(source),
            });
        }
        let journal = Journal {
            directory,
            _lock: Arc::new(lock),
        };
        journal.sweep()?;
        // A record that a write left in place without a sync must not turn back into the one before it once it has been acted on.
        journal.sync_directory()?;
        sync(state_directory).map_err(io_error(state_directory, "syncing the directory"))?;
        Ok(journal)
    }

    /// Removes what a crash left of writes. Only at the start: later, one may be under way.
    fn sweep(&self) -> Result<(), JournalError> {
        let reading = "reading the directory";
        for file in fs::read_dir(&self.directory).map_err(io_error(&self.directory, reading))? {
            let path = file.map_err(io_error(&self.directory, reading))?.path();
            if path.extension().is_some_and(|extension| extension == "new") {
                let _ = fs::remove_file(&path);
            }
        }
        Ok(())
    }

    /// Writes a record; when this returns, it is on disk.
    ///
    /// # Errors
    /// [`JournalError::Io`]: the record before it stands. [`JournalError::Unsynced`]: a later start may find the old record or the new one.
    pub fn write(&self, entry: &mut Entry) -> Result<(), JournalError> {
        entry.updated = unix_seconds();
        if let Some(detail) = &mut entry.detail
            && let Some((end, _)) = detail.char_indices().nth(MAX_DETAIL)
        {
            detail.truncate(end);
        }
        let path = self.path(entry.id, entry.direction);
        let new = path.with_extension("new");
        let text = sxp::to_sexp(&*entry).map_err(|error| JournalError::Foreign {
            path: path.clone(),
            what: error.to_string(),
        })?;
        let mut bytes = b"(relocation".to_vec();
        if let sexp::Sexp::List(fields) = &text {
            for field in fields {
                bytes.push(b' ');
                bytes.extend_from_slice(&sxp::to_bytes(field));
            }
        }
        bytes.extend_from_slice(b")\n");
        let at = |step: &str| fault::fallible(&["journal", entry.direction.word(), &entry.state, step]);
        let open = || {
            OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&new)
        };
        let mut file = at("create")
            .and_then(|()| open())
            .map_err(io_error(&new, "creating the record"))?;
        let written = at("write")
            .and_then(|()| file.write_all(&bytes))
            .and_then(|()| file.sync_all());
        if let Err(source) = written {
            let _ = fs::remove_file(&new);
            return Err(io_error(&new, "writing the record")(source));
        }
        if let Err(source) = at("rename").and_then(|()| fs::rename(&new, &path)) {
            let _ = fs::remove_file(&new);
            let what = "renaming the record";
            return Err(match source.kind() {
                // Refused before anything was changed.
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ReadOnlyFilesystem => {
                    io_error(&path, what)(source)
                }
                // A disk that fails may have taken it.
                _ => JournalError::Unsynced { path, what, source },
            });
        }
        at("sync")
            .and_then(|()| sync(&self.directory))
            .map_err(|source| JournalError::Unsynced {
                path: self.directory.clone(),
                what: "syncing the directory",
                source,
            })?;
        fault::point(&["journal", entry.direction.word(), &entry.state, "synced"]);
        Ok(())
    }

    /// Writes a relocation's first record. If that fails there is no relocation, and shall be no record of one: a write that failed after the rename has
    /// left it there.
    ///
    /// # Errors
    /// As [`Journal::write`].
    pub fn begin(&self, entry: &mut Entry) -> Result<(), JournalError> {
        let written = self.write(entry);
        if written.is_err() {
            // What can't be removed now is settled at the next start, which finds nothing to do.
            let _ = self.remove(entry.id, entry.direction);
        }
        written
    }

    /// Removes a record that nobody needs: of a relocation that touched nothing.
    ///
    /// # Errors
    /// [`JournalError::Io`], also if there is none.
    pub fn remove(&self, id: Uuid, direction: Direction) -> Result<(), JournalError> {
        let path = self.path(id, direction);
        fs::remove_file(&path).map_err(io_error(&path, "removing the record"))?;
        self.sync_directory()
    }

    /// A record; `None` if there is none.
    ///
    /// # Errors
    /// [`JournalError`] if it can't be read.
    pub fn find(&self, id: Uuid, direction: Direction) -> Result<Option<Entry>, JournalError> {
        let path = self.path(id, direction);
        if !path.try_exists().map_err(io_error(&path, "looking for the record"))? {
            return Ok(None);
        }
        read(&path).map(Some)
    }

    /// All records, oldest first, and what could not be read.
    ///
    /// # Errors
    /// [`JournalError::Io`] if the directory itself can't be read.
    pub fn all(&self) -> Result<(Vec<Entry>, Vec<JournalError>), JournalError> {
        let (mut entries, mut faults) = (Vec::new(), Vec::new());
        let reading = "reading the directory";
        for file in fs::read_dir(&self.directory).map_err(io_error(&self.directory, reading))? {
            let path = file.map_err(io_error(&self.directory, reading))?.path();
            // What is beside a record is a write that is under way, or what a crash left of one: the record counts.
            if path.extension().is_none_or(|extension| extension != "sxp") {
                continue;
            }
            match read(&path) {
                Ok(entry) if self.path(entry.id, entry.direction) == path => entries.push(entry),
                Ok(_) => faults.push(JournalError::Foreign {
                    path,
                    what: "the name is not the record's".to_owned(),
                }),
                Err(fault) => faults.push(fault),
            }
        }
        entries.sort_by_key(|entry| (entry.started, entry.id));
        Ok((entries, faults))
    }

    /// Removes old records. `keep`: how long a record is kept; `None` = as long as it says what it says.
    ///
    /// # Errors
    /// [`JournalError::Io`] if the directory can't be read, or a record not removed.
    pub fn expire(&self, keep: impl Fn(&Entry) -> Option<Duration>) -> Result<(), JournalError> {
        let now = unix_seconds();
        let (entries, _) = self.all()?;
        let is_old =
            |entry: &&Entry| keep(entry).is_some_and(|keep| entry.updated < now.saturating_sub(keep.as_secs()));
        entries
            .iter()
            .filter(is_old)
            .try_for_each(|entry| self.remove(entry.id, entry.direction))
    }

    fn path(&self, id: Uuid, direction: Direction) -> PathBuf {
        self.directory.join(format!("{id}.{}.sxp", direction.word()))
    }

    fn sync_directory(&self) -> Result<(), JournalError> {
        sync(&self.directory).map_err(io_error(&self.directory, "syncing the directory"))
    }
}

fn io_error(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { path, what, source }
}

fn read(path: &Path) -> Result<Entry, JournalError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_RECORD).read_to_end(&mut bytes))
        .map_err(io_error(path, "reading the record"))?;
    let foreign = |what: String| JournalError::Foreign {
        path: path.to_owned(),
        what,
    };
    let mut reader = sxp::Reader::new(sxp::Limits::default());
    let (used, value) = reader.feed(&bytes).map_err(|error| foreign(error.to_string()))?;
    // The newline is the last byte of a whole record.
    let fields = match value {
        Some(sexp::Sexp::List(list)) if bytes.get(used..) == Some(b"\n") => list,
        _ => return Err(foreign("the record is torn".to_owned())),
    };
    match fields.split_first() {
        Some((sexp::Sexp::Atom(sexp::Atom::S(word)), fields)) if word == "relocation" => {
            let entry: Entry =
                sxp::from_sexp(&sexp::Sexp::List(fields.to_vec())).map_err(|error| foreign(error.to_string()))?;
            if entry.version != VERSION {
                return Err(foreign(format!(
                    "version {}, this program knows {VERSION}",
                    entry.version
                )));
            }
            Ok(entry)
        }
        _ => Err(foreign("no (relocation ...)".to_owned())),
    }
}

#[cfg(test)]
mod tests;
