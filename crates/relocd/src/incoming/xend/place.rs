//! Where an image from a xend is while it arrives: `SPOOL/incoming/ID`, a spool of its own for one image. Its lock tells whether a receiver is at it.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use peer::xend::ImageBytes;
use toolstack::spool::{EntryState, Growing, INCOMING, Spool, SpoolError, SpoolWriter};
use uuid::Uuid;

use super::orders::Said;
use crate::fault;

fn place(spool: &Path, id: Uuid) -> PathBuf {
    spool.join(INCOMING).join(id.to_string())
}

/// Bytes behind what could not be understood that are kept, beside as many as the image had up to there.
const REST: u64 = 1 << 30;

/// Bytes that these must leave free: the journal, and what others on this disk write, come first.
const FLOOR: u64 = 64 << 20;

/// Bytes between two looks at what is free.
const LOOK: u64 = 8 << 20;

/// Makes the place, and locks it.
///
/// # Errors
/// The spool's.
pub(super) fn take(spool: &Path, id: Uuid) -> Result<Spool, SpoolError> {
    Spool::open(&place(spool, id))
}

/// The image that a receiver has begun to write.
///
/// # Errors
/// The spool's.
pub(super) fn growing(spool: &Path, id: Uuid, passes: bool) -> Result<Growing, SpoolError> {
    let place = place(spool, id);
    if passes {
        Growing::take(&place, id)
    } else {
        Growing::find(&place, id)
    }
}

fn whole(spool: &Path, id: Uuid) -> PathBuf {
    spool.join(INCOMING).join(format!("{id}.whole"))
}

/// Notes, for a daemon that does not hear of it, that an image that only passes through has come whole: its sender has no reason to keep its domain.
pub(super) fn note_whole(spool: &Path, id: Uuid) -> io::Result<()> {
    create(&whole(spool, id)).map(drop)
}

/// Whether that has been noted.
pub(super) fn was_whole(spool: &Path, id: Uuid) -> bool {
    whole(spool, id).exists()
}

/// All of which that has been noted.
pub(super) fn noted_whole(spool: &Path) -> Vec<Uuid> {
    let files = fs::read_dir(spool.join(INCOMING)).into_iter().flatten().flatten();
    files
        .filter_map(|file| file.file_name().to_str()?.strip_suffix(".whole")?.parse().ok())
        .collect()
}

/// Forgets it: what became of the domain has been written down.
pub(super) fn forget(spool: &Path, id: Uuid) {
    // A receiver that was killed may have left its files. The note goes last: by it the next start finds them.
    if let Err(error) = look(spool, id) {
        tracing::warn!(%error, %id, "what is left of an image that has passed can't be removed");
        return;
    }
    let _ = fs::remove_file(whole(spool, id));
    let _ = fs::remove_dir(spool.join(INCOMING));
}

/// An image has come to its end: it becomes an entry, and goes to the others. On disk when this returns.
pub(super) fn finish(spool: &Path, place: Spool, writer: SpoolWriter, keep: &str) -> Said {
    let (id, directory) = (writer.id(), place.directory().to_owned());
    fault::point(&["receiver", "finish", "before"]);
    match writer.finish() {
        Ok(mut held) => {
            if let Err(error) = held.set(EntryState::Kept, None, Some(keep.to_owned())) {
                tracing::error!(%error, "the copy's record can't be rewritten; it is kept all the same");
            }
        }
        Err(error) => {
            // The files stay. Opened anew, the place makes an entry of them, which spares what may have failed.
            tracing::error!(%error, "the copy is complete, but can't be finished; trying again");
            drop(place);
            if let Err(error) = Spool::open(&directory) {
                tracing::error!(%error, "that failed as well; the next start of relocd tries again");
            }
        }
    }
    fault::point(&["receiver", "finish", "after"]);
    match adopt(spool, id) {
        Ok(true) => {
            tracing::info!(spool = %spool.display(), "the copy is complete and on disk: {keep}");
            Said::Kept
        }
        Ok(false) => Said::Broken(format!(
            "the image is complete in {}, but is no entry of the spool yet: restart relocd",
            directory.display()
        )),
        Err(error) => Said::Broken(format!(
            "the image is complete in {}, but could not be moved: {error}; restart relocd",
            directory.display()
        )),
    }
}

/// Moves an entry from its place to the others: first the image, then the record, which is what makes it an entry. Whether there was one.
///
/// # Errors
/// The system's; it can be done again.
pub(super) fn adopt(spool: &Path, id: Uuid) -> io::Result<bool> {
    let place = place(spool, id);
    let mut records = Vec::new();
    for file in fs::read_dir(&place)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "sxp") {
            records.push(path);
        }
    }
    for record in &records {
        let image = record.with_extension("save");
        for (step, from) in [("image", &image), ("record", record)] {
            let Some(name) = from.file_name() else { continue };
            fault::point(&["receiver", "adopt", step]);
            match fs::rename(from, spool.join(name)) {
                // A crash came in between.
                Err(error) if error.kind() == io::ErrorKind::NotFound && spool.join(name).exists() => {}
                renamed => renamed?,
            }
            File::open(spool)?.sync_all()?;
        }
        File::open(&place)?.sync_all()?;
    }
    Ok(!records.is_empty())
}

/// What [`salvage`] could not give its name. Nothing else leaves a part without its record.
fn rescue(spool: &Path, id: Uuid) -> io::Result<()> {
    for file in fs::read_dir(place(spool, id))? {
        let path = file?.path();
        let is_part = path.extension().is_some_and(|extension| extension == "part");
        if is_part && !path.with_extension("arriving").exists() {
            fs::rename(&path, spool.join(format!("{id}.broken")))?;
            File::open(spool)?.sync_all()?;
        }
    }
    Ok(())
}

/// Removes a place with nothing in it. One that has something stays for the next start.
pub(super) fn leave(spool: &Path, id: Uuid) {
    let place = place(spool, id);
    let empty = |path: &Path| {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name() != "lock").count() == 0
    };
    if empty(&place) {
        let _ = fs::remove_file(place.join("lock"));
        let _ = fs::remove_dir(&place);
    }
    let _ = fs::remove_dir(spool.join(INCOMING));
}

/// What could not be read to its end, and may be the only copy: the image up to there as `ID.broken`, and everything behind that as it comes, as `ID.rest`.
/// `place`: where it was on its way.
///
/// # Errors
/// If it can't be kept.
pub(super) fn salvage<R: Read>(
    spool: &Path,
    place: &Spool,
    domain: &str,
    writer: SpoolWriter,
    bytes: &ImageBytes<'_, R>,
) -> Result<String, String> {
    let id = writer.id();
    let [broken, rest] = ["broken", "rest"].map(|extension| spool.join(format!("{id}.{extension}")));
    let most = writer.written().saturating_add(REST);
    // The image gets its name first: from then on nothing removes it, whatever becomes of the rest.
    let image = writer.salvage(&broken).map_err(|error| error.to_string());
    let write = || -> io::Result<u64> {
        let mut file = Floored {
            file: create(&rest)?,
            room: || place.room().map_err(io::Error::other),
            next: 0,
            written: 0,
        };
        let written = bytes.rest(&mut file, most)?;
        file.flush()?;
        file.file.sync_all()?;
        Ok(written)
    };
    let written = write().map_err(|error| format!("{}: {error}", rest.display()));
    File::open(spool)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| error.to_string())?;
    image?;
    let written = written?;
    Ok(format!(
        "domain '{domain}' in {} and {} ({written} bytes)",
        broken.display(),
        rest.display()
    ))
}

/// A file that is not written on when the disk is about to be full.
struct Floored<F> {
    file: File,
    /// Bytes that are free.
    room: F,
    /// Bytes written after which to look again.
    next: u64,
    written: u64,
}

impl<F: FnMut() -> io::Result<u64>> Write for Floored<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written >= self.next {
            let free = (self.room)()?;
            if free < FLOOR + LOOK {
                let why = format!("{free} bytes are free, and {FLOOR} are left to others: the rest is cut off here");
                return Err(io::Error::new(io::ErrorKind::StorageFull, why));
            }
            self.next = self.written + LOOK;
        }
        let count = self.file.write(bytes)?;
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn create(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Whether somebody is at an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A receiver is.
    Receiving,
    /// Nobody is, and it is not whole: nothing is left of it.
    Nothing,
    /// It is an entry of the spool.
    Entry,
    /// What could not be read to its end has been kept.
    Broken,
}

/// Looks at a place that may be left from before, and puts it in order if nobody is there.
///
/// # Errors
/// If that fails: then nothing is known.
pub fn look(spool: &Path, id: Uuid) -> Result<Found, SpoolError> {
    let place = place(spool, id);
    if place.exists() {
        let tidied = Spool::open(&place).and_then(|opened| {
            let adopted = adopt(spool, id).map_err(|source| SpoolError::Io {
                path: place.clone(),
                what: "moving the image to the others",
                source,
            });
            let moved = adopted.and_then(|found| {
                rescue(spool, id).map(|()| found).map_err(|source| SpoolError::Io {
                    path: place.clone(),
                    what: "moving what came of the image",
                    source,
                })
            });
            drop(opened);
            moved
        });
        match tidied {
            Err(SpoolError::InUse(_)) => return Ok(Found::Receiving),
            // Its receiver has left just now, and everything is where it belongs.
            Err(_) if !place.exists() => {}
            Err(error) => return Err(error),
            Ok(_) => {}
        }
    }
    leave(spool, id);
    let ends_so = |path: &Path| path.to_str().is_some_and(|name| name.ends_with(&format!("{id}.sxp")));
    let found = fs::read_dir(spool)
        .into_iter()
        .flatten()
        .flatten()
        .any(|file| ends_so(&file.path()));
    Ok(if found {
        Found::Entry
    } else if ["broken", "rest"]
        .iter()
        .any(|extension| spool.join(format!("{id}.{extension}")).exists())
    {
        Found::Broken
    } else {
        Found::Nothing
    })
}

/// All places: of receivers that are at work, or that were.
pub fn all(spool: &Path) -> Vec<Uuid> {
    let places = fs::read_dir(spool.join(INCOMING)).into_iter().flatten().flatten();
    places
        .filter_map(|place| place.file_name().to_str()?.parse().ok())
        .collect()
}

/// Makes the directory of places.
///
/// # Errors
/// The system's.
pub(super) fn prepare(spool: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(spool.join(INCOMING))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_leaves_room_to_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rest");
        let mut free = FLOOR + 3 * LOOK;
        let mut file = Floored {
            file: create(&path).unwrap(),
            room: || {
                free -= LOOK;
                Ok(free)
            },
            next: 0,
            written: 0,
        };
        let error = io::copy(&mut io::repeat(1), &mut file).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::metadata(&path).unwrap().len(), 2 * LOOK);
    }

    #[test]
    fn what_could_not_be_given_its_name_gets_it_later() {
        let directory = tempfile::tempdir().unwrap();
        let (spool, id) = (directory.path(), Uuid::new_v4());
        drop(take(spool, id).unwrap());
        fs::write(place(spool, id).join(format!("web.{id}.part")), "memory").unwrap();
        assert_eq!(look(spool, id).unwrap(), Found::Broken);
        assert_eq!(fs::read(spool.join(format!("{id}.broken"))).unwrap(), b"memory");
        assert!(!spool.join(INCOMING).exists());
        assert_eq!(look(spool, id).unwrap(), Found::Broken);
    }
}
