//! Images go into the spool. Bulk path.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use image::{
    ImageError, ImageSink, Item,
    save::{SaveHeader, SaveImage},
    v2::V2Writer,
};
use nix::errno::Errno;

use super::{
    Entry, EntryState, Held, Incoming, Purpose, Spool, SpoolError, Writing, envelope, files, io_error, lock,
    passage::{self, Taken},
    remains,
};

/// Bytes that are gathered; a batch of pages is larger and passes by.
const BUFFER: usize = 1 << 20;

/// How much larger than reckoned an image may become: a live one has pages again and again. libxc stops a guest after three times its memory.
const MOST: u64 = 5;

/// How long a full disk is waited for, once the sender may have given up its own copy: as long as a sender's kernel goes on sending.
const PATIENCE: Duration = Duration::from_secs(16 * 60);

/// Bytes after which the disk is told to begin with them, so that little is left to wait for at the end, when the domain stands still.
const STRETCH: u64 = 64 << 20;

/// An image on its way into the spool. Dropped before [`SpoolWriter::finish`] it leaves nothing, but for a safety copy that has all of the image: its
/// files stay, and the next start makes an entry of them.
pub struct SpoolWriter {
    spool: Spool,
    entry: Entry,
    image: V2Writer<BufWriter<Counted>>,
    /// All items have come.
    complete: bool,
    /// It has become an entry.
    finished: bool,
    /// What has come of it stays, wherever it is.
    stays: bool,
}

pub(super) fn begin(spool: &Spool, incoming: &Incoming<'_>) -> Result<SpoolWriter, SpoolError> {
    let entry = Entry::new(
        incoming.id,
        incoming.config,
        incoming.original,
        incoming.peer,
        incoming.purpose,
    );
    let bytes = entry.to_bytes()?;
    // What could not be read again would be lost.
    let readable = Entry::parse(&spool.path(&entry, "sxp"), &bytes)?.config();
    readable?;
    let written = Arc::new(AtomicU64::new(0));
    let passes = incoming.purpose == Purpose::Passage;
    let expected = if passes {
        passage::ROOM
    } else {
        Spool::needed(incoming.config)
    };
    let booked = reserve(spool, &entry, expected, &written)?;
    let [record, part] = ["arriving", "part"].map(|extension| spool.path(&entry, extension));
    files::create_with(&record, &bytes).map_err(io_error(&record, "writing the record"))?;
    // The record comes first, also after a power cut: without it nobody would know what the image is.
    let file = files::sync_directory(spool.directory())
        .and_then(|()| files::create(&part))
        .and_then(|file| {
            Counted::new(
                file,
                written,
                Spool::needed(incoming.config).saturating_mul(MOST),
                passes,
            )
        });
    let file = file.map_err(|source| {
        files::remove(&part);
        files::remove(&record);
        io_error(&part, "making the image's file")(source)
    })?;
    mem::forget(booked);
    // From here on dropping it is what removes the files.
    let mut writer = SpoolWriter {
        spool: spool.clone(),
        entry,
        image: V2Writer::new(BufWriter::with_capacity(BUFFER, file)),
        complete: false,
        finished: false,
        stays: false,
    };
    let header = SaveHeader {
        config: envelope::config(incoming.config),
        image: SaveImage::V2,
    };
    header.write(writer.image.get_mut())?;
    Ok(writer)
}

/// Gives room back if the writer does not come about.
struct Booked<'a>(&'a Spool, uuid::Uuid);

impl Drop for Booked<'_> {
    fn drop(&mut self) {
        self.0.books().writing.remove(&self.1);
    }
}

fn reserve<'a>(
    spool: &'a Spool,
    entry: &Entry,
    expected: u64,
    written: &Arc<AtomicU64>,
) -> Result<Booked<'a>, SpoolError> {
    let free = spool.free()?;
    let mut books = spool.books();
    let taken = ["sxp", "arriving", "part", "save"]
        .iter()
        .any(|extension| spool.path(entry, extension).exists());
    if taken || books.writing.contains_key(&entry.id) {
        return Err(SpoolError::Exists(entry.id));
    }
    let free = free.saturating_sub(books.writing.values().map(Writing::left).sum());
    if expected > free {
        return Err(SpoolError::NoRoom {
            directory: spool.directory().to_owned(),
            needed: expected,
            free,
        });
    }
    let writing = Writing {
        expected,
        written: Arc::clone(written),
    };
    books.writing.insert(entry.id, writing);
    Ok(Booked(spool, entry.id))
}

impl SpoolWriter {
    /// The relocation that it is written for.
    pub fn id(&self) -> uuid::Uuid {
        self.entry.id
    }

    /// Bytes written up to now.
    pub fn written(&self) -> u64 {
        self.image.written()
    }

    /// From here on a disk that is full, or fails, is waited for, as nobody else may have the domain: whoever sends feels that as a slow reader. To be set to `true`, from any thread.
    pub fn patience(&mut self) -> Arc<AtomicBool> {
        Arc::clone(&self.image.get_mut().get_ref().patient)
    }

    /// Of an image that only passes through ([`Purpose::Passage`]): whoever reads it says here how far it is. The writer waits for it, so that little is on disk.
    pub fn taken(&mut self) -> Option<Arc<Taken>> {
        self.image.get_mut().get_ref().taken.clone()
    }

    /// After the last item of an image that only passes through: whoever reads it finds all of it in the file. When this is dropped its names go, and the
    /// rest with the last reader.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn pass(&mut self) -> Result<(), SpoolError> {
        if !self.complete {
            return Err(ImageError::Order("an image without its end".to_owned()).into());
        }
        let part = self.spool.path(&self.entry, "part");
        let flushed = self.image.get_mut().flush();
        flushed.map_err(io_error(&part, "writing the image"))
    }

    /// An image that does not come to its end, and may be the only copy all the same: what has come of it is moved to a file of its own, in the same file
    /// system, its record beside it, and synced. It is no entry, and never becomes one.
    ///
    /// # Errors
    /// [`SpoolError::Io`].
    pub fn salvage(mut self, to: &std::path::Path) -> Result<(), SpoolError> {
        let [part, arriving] = ["part", "arriving"].map(|extension| self.spool.path(&self.entry, extension));
        let failed = || io_error(&part, "keeping what came of the image");
        // Whatever fails now, and whenever this process ends: what there is of it is not removed.
        self.stays = true;
        let moved = files::rename(&part, to);
        let record = to.with_file_name(format!("{}.{}", self.entry.stem(), remains::RECORD));
        if let Err(error) = files::rename(&arriving, &record) {
            tracing::error!(%error, path = %record.display(), "the record can't be kept beside what came of the image of domain '{}'", self.entry.name);
        }
        moved.map_err(failed())?;
        // The names are on disk before what may take its time: a start must not find the old ones.
        let directories = [to.parent(), Some(self.spool.directory())];
        let named = directories.into_iter().flatten().try_for_each(files::sync_directory);
        let flushed = self.image.get_mut().flush();
        let file = self.image.get_mut().get_mut();
        // What could not be written now is not waited for once more when this is dropped.
        file.patient.store(false, Ordering::Relaxed);
        let ended = file.end_of_stretches();
        let synced = files::sync(&file.file);
        flushed.and(ended).and(synced).and(named).map_err(failed())
    }

    /// After the last item: the image becomes an entry, [`EntryState::Complete`] until the [`Held`] is used or dropped. On disk when this returns.
    ///
    /// # Errors
    /// [`SpoolError`]. Nothing is listed then. The files of a safety copy that has the whole image stay all the same: see [`SpoolWriter`].
    pub fn finish(mut self) -> Result<Held, SpoolError> {
        if !self.complete {
            return Err(ImageError::Order("an image without its end".to_owned()).into());
        }
        let [part, image, arriving] =
            ["part", "save", "arriving"].map(|extension| self.spool.path(&self.entry, extension));
        let syncing = || io_error(&part, "syncing the image");
        self.image
            .get_mut()
            .flush()
            .map_err(io_error(&part, "writing the image"))?;
        let file = self.image.get_mut().get_mut();
        file.end_of_stretches().map_err(syncing())?;
        files::sync(&file.file).map_err(syncing())?;
        self.entry.bytes = file.written.load(Ordering::Relaxed);
        self.entry.state = EntryState::Complete;
        let record = self.spool.path(&self.entry, "sxp");
        let new = self.spool.path(&self.entry, "new");
        files::create_with(&new, &self.entry.to_bytes()?).map_err(io_error(&new, "writing the record"))?;
        let spool = self.spool.clone();
        let _names = lock(&spool.inner.names);
        let renamed = files::rename(&new, &record).and_then(|()| files::rename(&part, &image));
        if let Err(source) = renamed.and_then(|()| files::sync_directory(spool.directory())) {
            // Back to where it was: on its way.
            files::undo_rename(&part, &image);
            files::remove(&record);
            files::remove(&new);
            return Err(io_error(&record, "giving the files their names")(source));
        }
        files::remove(&arriving);
        self.finished = true;
        spool.books().held.insert(self.entry.id);
        Ok(Held::new(&spool, self.entry.clone()))
    }
}

impl ImageSink for SpoolWriter {
    fn put(&mut self, item: Item<'_>) -> Result<(), ImageError> {
        self.image.put(item)?;
        self.complete = matches!(item, Item::Finish);
        Ok(())
    }
}

impl Drop for SpoolWriter {
    fn drop(&mut self) {
        let only_copy = self.complete && self.entry.purpose == Purpose::SafetyCopy;
        if self.stays {
            // Under its new name, or, if it could not get that, here: with its record the next start would remove it.
            files::remove(&self.spool.path(&self.entry, "arriving"));
        } else if self.finished || only_copy {
            if !self.finished {
                tracing::error!(
                    id = %self.entry.id, domain = self.entry.name, image = %self.spool.path(&self.entry, "part").display(),
                    "a safety copy that could not be finished: its files stay, and the next start of relocd makes an entry of them"
                );
            }
        } else {
            files::remove(&self.spool.path(&self.entry, "part"));
            files::remove(&self.spool.path(&self.entry, "arriving"));
        }
        self.spool.books().writing.remove(&self.entry.id);
    }
}

/// The image's file, and a thread that waits for the disk every now and then, beside the bulk path.
struct Counted {
    file: File,
    written: Arc<AtomicU64>,
    begun: u64,
    /// More than this is no image of the domain.
    most: u64,
    /// See [`SpoolWriter::patience`].
    patient: Arc<AtomicBool>,
    flusher: Option<(SyncSender<()>, JoinHandle<io::Result<()>>)>,
    /// It only passes through.
    taken: Option<Arc<Taken>>,
}

impl Counted {
    fn new(file: File, written: Arc<AtomicU64>, most: u64, passes: bool) -> io::Result<Counted> {
        if passes {
            return Ok(Counted {
                file,
                written,
                begun: 0,
                most,
                patient: Arc::default(),
                flusher: None,
                taken: Some(Arc::default()),
            });
        }
        let (poke, poked) = sync_channel::<()>(1);
        let same = file.try_clone()?;
        let flush = move || poked.iter().try_for_each(|()| same.sync_data());
        let thread = thread::Builder::new().name("spool".to_owned()).spawn(flush)?;
        Ok(Counted {
            file,
            written,
            begun: 0,
            most,
            patient: Arc::default(),
            flusher: Some((poke, thread)),
            taken: None,
        })
    }

    /// Writes; waits for a disk that is full, or fails, if that is better than to give up.
    fn write_patiently(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut since = None;
        loop {
            let error = match files::write(&mut self.file, bytes) {
                Err(error) if may_pass(&error) => error,
                written => return written,
            };
            let begun = *since.get_or_insert_with(|| {
                if self.patient.load(Ordering::Relaxed) {
                    tracing::error!(%error, "the disk takes nothing, and there may be no other copy of the domain: waiting for room, {} s at most", PATIENCE.as_secs());
                }
                Instant::now()
            });
            if !self.patient.load(Ordering::Relaxed) || begun.elapsed() > PATIENCE {
                // Who tries again has waited already.
                self.patient.store(false, Ordering::Relaxed);
                return Err(error);
            }
            thread::sleep(Duration::from_secs(1));
        }
    }

    /// What the disk said of the bytes before: an error is told once, to whoever waited for them.
    fn end_of_stretches(&mut self) -> io::Result<()> {
        let Some((poke, thread)) = self.flusher.take() else {
            return Ok(());
        };
        drop(poke);
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread that syncs the image has failed")))
    }
}

/// Whether an operator, or the storage below, may put an end to a disk's error.
fn may_pass(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        || error.raw_os_error() == Some(Errno::EIO as i32)
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written.load(Ordering::Relaxed) > self.most {
            return Err(io::Error::other(format!(
                "an image of more than {} bytes, {MOST} times what the domain needs",
                self.most
            )));
        }
        if let Some(taken) = &self.taken {
            taken.wait(self.written.load(Ordering::Relaxed))?;
        }
        let count = self.write_patiently(bytes)?;
        let now = self.written.fetch_add(count as u64, Ordering::Relaxed) + count as u64;
        if now - self.begun >= STRETCH {
            self.begun = now;
            if let Some((poke, _)) = &self.flusher
                && let Err(TrySendError::Disconnected(())) = poke.try_send(())
            {
                // It only ends by itself after an error.
                self.end_of_stretches()?;
            }
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // Whoever drops it has no use for what the disk says.
        let _ = self.end_of_stretches();
    }
}
