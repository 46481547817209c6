//! Domains on disk: safety copies, and what the [`spool` toolstack](SpoolToolstack) takes in.
//!
//! One directory, one daemon. A domain is two files, `STEM` being its name, made plain, and the id of the relocation that brought it:
//!
//! ```text
//! STEM.save        the image, as xl save writes it: xl restore takes it
//! STEM.sxp         the record: (spooled (id ID) (name NAME) ... (config (domain ...)) (original (domain ...)))
//!
//! STEM.part        an image on its way           STEM.arriving    its record
//! STEM.new         a record being rewritten      STEM.deleting    the record of an entry that is being deleted
//!
//! ID.broken        what came of an image that could not be read to its end, and may be the only copy of its domain: up to there
//! ID.rest          and what came behind that    STEM.remains     the record of both
//! ```
//!
//! An entry is there from the moment that `STEM.sxp` is, which is renamed into place once image and record are on disk; a start that finds it beside
//! `STEM.part` does the second rename. What a crash leaves of an image on its way is removed by the next start, with one exception: an image that is
//! complete, and whose sender may have given up its own copy ([`Purpose::SafetyCopy`]), becomes an entry. Nothing else in the directory is ever
//! touched: files that the spool did not write, or not all of, are reported.

mod departure;
mod envelope;
mod error;
mod files;
mod follow;
mod held;
mod passage;
mod reader;
mod record;
mod remains;
mod stack;
mod sweep;
mod writer;

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use domain::DomainConfig;
use nix::sys::statvfs::{Statvfs, statvfs};
use sexp::Sexp;
use uuid::Uuid;

pub use departure::{depart, find_departed};
pub use error::SpoolError;
pub use follow::Growing;
pub use held::Held;
pub use passage::Taken;
pub use reader::SpoolReader;
pub use record::{Entry, EntryState, Purpose};
pub use stack::SpoolToolstack;
pub use writer::SpoolWriter;

/// What the spool is told of a domain that is to be written to it.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// The relocation that brings it; becomes the entry's id.
    pub id: Uuid,
    /// The domain's configuration.
    pub config: &'a DomainConfig,
    /// `(domain ...)` as an xend sent it.
    pub original: Option<&'a Sexp>,
    /// Who sends it: address and port.
    pub peer: &'a str,
    /// Why it is written.
    pub purpose: Purpose,
}

/// The spool: shared by all who have a clone.
#[derive(Clone, Debug)]
pub struct Spool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    _lock: File,
    books: Mutex<Books>,
    /// Held while files get other names, so that nobody looks at the directory in between.
    names: Mutex<()>,
}

#[derive(Debug, Default)]
struct Books {
    /// Entries that something is being done with.
    held: HashSet<Uuid>,
    /// Images on their way.
    writing: HashMap<Uuid, Writing>,
}

/// An image on its way.
#[derive(Debug)]
struct Writing {
    expected: u64,
    written: Arc<AtomicU64>,
}

impl Spool {
    /// Opens, and makes if need be, the spool in a directory. Puts in order what a crash has left; what it does about that it logs.
    ///
    /// # Errors
    /// [`SpoolError::Io`], [`SpoolError::InUse`].
    pub fn open(directory: &Path) -> Result<Spool, SpoolError> {
        let error = |what| io_error(directory, what);
        let mut make = fs::DirBuilder::new();
        // Guests' memory is not for everyone on this host.
        make.recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(error("making the directory"))?;
        let lock = File::create(directory.join("lock")).map_err(error("making its lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SpoolError::InUse(directory.to_owned())),
            Err(TryLockError::Error(source)) => return Err(error("locking it")(source)),
        }
        let spool = Spool {
            inner: Arc::new(Inner {
                directory: directory.to_owned(),
                _lock: lock,
                books: Mutex::default(),
                names: Mutex::default(),
            }),
        };
        sweep::sweep(&spool)?;
        Ok(spool)
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.inner.directory
    }

    /// Bytes that are free, less what images on their way still need.
    ///
    /// # Errors
    /// [`SpoolError::Io`].
    pub fn room(&self) -> Result<u64, SpoolError> {
        let free = self.free()?;
        let needed: u64 = self.books().writing.values().map(Writing::left).sum();
        Ok(free.saturating_sub(needed))
    }

    /// Bytes that would be free if none of the images on their way had begun.
    fn room_before_arrivals(&self) -> Result<u64, SpoolError> {
        let free = self.free()?;
        let written = |writing: &Writing| writing.written.load(Ordering::Relaxed);
        Ok(free + self.books().writing.values().map(written).sum::<u64>())
    }

    fn free(&self) -> Result<u64, SpoolError> {
        let disk = self.disk()?;
        Ok(disk.blocks_available() * disk.fragment_size())
    }

    /// Bytes of the whole disk.
    fn size(&self) -> Result<u64, SpoolError> {
        let disk = self.disk()?;
        Ok(disk.blocks() * disk.fragment_size())
    }

    fn disk(&self) -> Result<Statvfs, SpoolError> {
        let error = io_error(self.directory(), "asking for its free space");
        statvfs(self.directory()).map_err(io::Error::from).map_err(error)
    }

    /// Bytes that the image of a domain needs, if each page comes once: its memory, 8 bytes for each page, and a little for everything else. A live
    /// relocation may take more, as pages that the guest writes to come again.
    pub fn needed(config: &DomainConfig) -> u64 {
        let memory = config.most_memory_kib().saturating_mul(1024);
        memory.saturating_add(memory / 512).saturating_add(OTHER)
    }

    /// Bytes that the image of any domain needs that only passes through.
    pub const PASSAGE: u64 = passage::ROOM;

    /// The memory, in bytes, of a domain whose image needs this much room: the opposite of [`Spool::needed`].
    fn memory_in(room: u64) -> u64 {
        let room = u128::from(room.saturating_sub(OTHER));
        u64::try_from(room * 512 / 513).unwrap_or(u64::MAX)
    }

    /// Begins to write a domain's image. The record is on disk when this returns.
    ///
    /// # Errors
    /// [`SpoolError::NoRoom`], [`SpoolError::Exists`], [`SpoolError::Config`], [`SpoolError::Io`]; nothing is left.
    pub fn begin(&self, incoming: &Incoming<'_>) -> Result<SpoolWriter, SpoolError> {
        writer::begin(self, incoming)
    }

    /// All entries, oldest first, and what else is in the directory.
    ///
    /// # Errors
    /// [`SpoolError::Io`] if the directory itself can't be read.
    pub fn list(&self) -> Result<(Vec<Entry>, Vec<SpoolError>), SpoolError> {
        let _names = lock(&self.inner.names);
        self.read_all()
    }

    /// As [`Spool::list`], by someone who sees to it that no names change meanwhile.
    fn read_all(&self) -> Result<(Vec<Entry>, Vec<SpoolError>), SpoolError> {
        let (mut entries, mut faults) = (Vec::new(), Vec::new());
        for path in self.paths()? {
            match self.look_at(&path) {
                Ok(Some(entry)) => entries.push(entry),
                Ok(None) => {}
                Err(fault) => faults.push(fault),
            }
        }
        entries.sort_by_key(|entry| (entry.since, entry.id));
        Ok((entries, faults))
    }

    fn paths(&self) -> Result<Vec<PathBuf>, SpoolError> {
        let error = || io_error(self.directory(), "reading the directory");
        let mut paths = fs::read_dir(self.directory())
            .map_err(error())?
            .map(|file| file.map(|file| file.path()).map_err(error()))
            .collect::<Result<Vec<_>, _>>()?;
        paths.sort();
        Ok(paths)
    }

    /// The entry whose record this file is; `None` for what belongs to an entry, or to an image on its way.
    fn look_at(&self, path: &Path) -> Result<Option<Entry>, SpoolError> {
        let foreign = |what: &str| SpoolError::Foreign {
            path: path.to_owned(),
            what: what.to_owned(),
        };
        let Some((id, extension)) = parse(path) else {
            return match path.file_name() {
                Some(name) if name == "lock" || name == INCOMING => Ok(None),
                _ => Err(remains::look_at(path).unwrap_or_else(|| foreign("not a file of the spool's"))),
            };
        };
        match extension {
            "sxp" => self.entry(path).map(Some),
            "save" if !path.with_extension("sxp").exists() => Err(foreign("an image without its record")),
            "arriving" | "part" if !self.books().writing.contains_key(&id) => {
                Err(foreign("an image on its way that nobody writes any more"))
            }
            remains::RECORD if !remains::are_there(path, id) => Err(foreign(
                "the record of an image that could not be read to its end, and is gone",
            )),
            _ => Ok(None),
        }
    }

    /// Reads an entry's record, and looks at its image.
    fn entry(&self, path: &Path) -> Result<Entry, SpoolError> {
        let entry = Entry::read(path)?;
        let image = path.with_extension("save");
        let foreign = |what: String| SpoolError::Foreign {
            path: image.clone(),
            what,
        };
        match fs::metadata(&image) {
            Ok(found) if found.is_file() && found.len() == entry.bytes => Ok(entry),
            Ok(found) => Err(foreign(format!("{} bytes, expected {}", found.len(), entry.bytes))),
            Err(error) => Err(foreign(format!("the image can't be looked at: {error}"))),
        }
    }

    /// The entry that an operator means: by the domain's name, or the entry's id.
    ///
    /// # Errors
    /// [`SpoolError::NotFound`]; [`SpoolError::Ambiguous`] if several have the name.
    pub fn find(&self, wanted: &str) -> Result<Entry, SpoolError> {
        let (entries, _) = self.list()?;
        let id = wanted.parse::<Uuid>().ok();
        if let Some(entry) = entries.iter().find(|entry| Some(entry.id) == id) {
            return Ok(entry.clone());
        }
        let mut named: Vec<Entry> = entries.into_iter().filter(|entry| entry.name == wanted).collect();
        match (named.pop(), named.len()) {
            (None, _) => Err(SpoolError::NotFound(wanted.to_owned())),
            (Some(entry), 0) => Ok(entry),
            (Some(last), _) => Err(SpoolError::Ambiguous {
                name: wanted.to_owned(),
                ids: named.iter().chain([&last]).map(|entry| entry.id).collect(),
            }),
        }
    }

    /// Takes an entry to do something with it: nobody else can until the [`Held`] is dropped.
    ///
    /// # Errors
    /// [`SpoolError::Busy`]; [`SpoolError::NotFound`] if it has gone.
    pub fn hold(&self, id: Uuid) -> Result<Held, SpoolError> {
        // Nothing becomes an entry, or ceases to be one, meanwhile.
        let _names = lock(&self.inner.names);
        // First held, then read: whoever had it may have written its record anew, or deleted it, just now.
        let is_free = self.books().held.insert(id);
        let found = self.read_all().and_then(|(entries, _)| {
            let found = entries.into_iter().find(|entry| entry.id == id);
            found.ok_or_else(|| SpoolError::NotFound(id.to_string()))
        });
        match found {
            Ok(entry) if is_free => Ok(Held::new(self, entry)),
            Ok(entry) => Err(SpoolError::Busy(entry.name)),
            Err(error) => {
                if is_free {
                    self.books().held.remove(&id);
                }
                Err(error)
            }
        }
    }

    /// Opens an entry's image.
    ///
    /// # Errors
    /// [`SpoolError::Io`]; [`SpoolError::Image`] if it is no image.
    pub fn open_image(&self, entry: &Entry) -> Result<SpoolReader, SpoolError> {
        SpoolReader::open(&self.image_path(entry), entry.bytes)
    }

    /// Where an entry's image is.
    pub fn image_path(&self, entry: &Entry) -> PathBuf {
        self.path(entry, "save")
    }

    /// Deletes an entry that nobody holds.
    ///
    /// # Errors
    /// [`SpoolError::Busy`], [`SpoolError::NotFound`], [`SpoolError::Io`].
    pub fn delete(&self, entry: &Entry) -> Result<(), SpoolError> {
        self.hold(entry.id)?.delete().map_err(|(error, _)| error)
    }

    fn path(&self, entry: &Entry, extension: &str) -> PathBuf {
        self.directory().join(format!("{}.{extension}", entry.stem()))
    }

    /// Writes an entry's record in place of the old one.
    fn write(&self, entry: &Entry) -> Result<(), SpoolError> {
        let (new, path) = (self.path(entry, "new"), self.path(entry, "sxp"));
        let bytes = entry.to_bytes()?;
        files::remove(&new);
        files::create_with(&new, &bytes).map_err(io_error(&new, "writing the record"))?;
        let _names = lock(&self.inner.names);
        if let Err(source) = files::rename(&new, &path) {
            files::remove(&new);
            return Err(io_error(&path, "renaming the record")(source));
        }
        self.sync_directory()
    }

    fn sync_directory(&self) -> Result<(), SpoolError> {
        files::sync_directory(self.directory()).map_err(io_error(self.directory(), "syncing the directory"))
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        lock(&self.inner.books)
    }
}

/// A directory in the spool that is left alone: each directory in it is a spool of its own, for one image on its way that another process writes.
pub const INCOMING: &str = "incoming";

/// Bytes of an image beside pages, at most: vcpus, headers, a device model's state.
const OTHER: u64 = 1 << 20;

impl Writing {
    fn left(&self) -> u64 {
        self.expected.saturating_sub(self.written.load(Ordering::Relaxed))
    }
}

/// The id and the extension in the name of a file of the spool's.
fn parse(path: &Path) -> Option<(Uuid, &str)> {
    let extension = path.extension()?.to_str()?;
    let (_, id) = path.file_stem()?.to_str()?.rsplit_once('.')?;
    let parsed = Uuid::try_parse(id).ok().filter(|parsed| parsed.to_string() == id)?;
    let known = ["save", "sxp", "part", "arriving", "new", "deleting", remains::RECORD];
    known.contains(&extension).then_some((parsed, extension))
}

fn io_error(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> SpoolError + use<> {
    let path = path.to_owned();
    move |source| SpoolError::Io { path, what, source }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
