//! An image that another process is still writing to the spool is read while it grows.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use image::ImageError;
use nix::fcntl::{FallocateFlags, fallocate};
use uuid::Uuid;

use super::{SpoolError, SpoolReader, io_error, parse};

/// Bytes that are given back to the disk at once.
const STRETCH: u64 = 4 << 20;

/// Between two looks at a file that has nothing new, at first and at most: what comes last is waited for by a domain that stands still.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// The file of an image on its way. It stays the same file whatever name it gets, and can be read as long as this is there.
#[derive(Debug)]
pub struct Growing {
    path: PathBuf,
    file: File,
    /// What has been read is given back to the disk; up to where.
    passes: Option<Arc<AtomicU64>>,
}

impl Growing {
    /// Finds the image on its way that has this id, in the directory of a spool that another process has.
    ///
    /// # Errors
    /// [`SpoolError::NotFound`], [`SpoolError::Io`].
    pub fn find(directory: &Path, id: Uuid) -> Result<Growing, SpoolError> {
        Growing::open_file(directory, id, false)
    }

    /// The same, of one that only passes through ([`Purpose::Passage`](super::Purpose::Passage)): it can be read once, and what has been read of it goes from the
    /// disk.
    ///
    /// # Errors
    /// As [`Growing::find`].
    pub fn take(directory: &Path, id: Uuid) -> Result<Growing, SpoolError> {
        Growing::open_file(directory, id, true)
    }

    /// Bytes that have been read for good; `None` unless it only passes through.
    pub fn taken(&self) -> Option<Arc<AtomicU64>> {
        self.passes.clone()
    }

    fn open_file(directory: &Path, id: Uuid, passes: bool) -> Result<Growing, SpoolError> {
        let files = directory
            .read_dir()
            .map_err(io_error(directory, "looking for an image on its way"))?;
        let part = files
            .flatten()
            .map(|file| file.path())
            .find(|path| parse(path) == Some((id, "part")))
            .ok_or_else(|| SpoolError::NotFound(id.to_string()))?;
        let file = OpenOptions::new()
            .read(true)
            .write(passes)
            .open(&part)
            .map_err(io_error(&part, "opening the image on its way"))?;
        Ok(Growing {
            path: part,
            file,
            passes: passes.then(Arc::default),
        })
    }

    /// Reads the image from its beginning, and waits for what has not come yet: nothing is missed, however slow the reader, and it keeps nothing in
    /// memory. It knows the image's end by its last record. `watch` is asked again and again while there is nothing new: an error ends the wait.
    ///
    /// # Errors
    /// As [`Spool::open_image`](super::Spool::open_image); and what `watch` says.
    pub fn open(
        &self,
        watch: impl FnMut() -> Result<(), ImageError> + Send,
    ) -> Result<SpoolReader<impl Read + Send>, SpoolError> {
        let tail = Tail {
            file: &self.file,
            at: 0,
            passes: self.passes.as_deref(),
            watch,
        };
        SpoolReader::begin(&self.path, tail)
    }
}

struct Tail<'a, W> {
    file: &'a File,
    at: u64,
    passes: Option<&'a AtomicU64>,
    watch: W,
}

impl<W> Tail<'_, W> {
    /// Gives back what has been read, unless it may be read again or is little.
    fn give_back(&self) -> io::Result<()> {
        let Some(passes) = self.passes else { return Ok(()) };
        let gone = passes.load(Ordering::SeqCst);
        if self.at.saturating_sub(gone) < STRETCH {
            return Ok(());
        }
        let number = |bytes: u64| i64::try_from(bytes).map_err(io::Error::other);
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(self.file, flags, number(gone)?, number(self.at - gone)?)?;
        passes.store(self.at, Ordering::SeqCst);
        Ok(())
    }
}

impl<W: FnMut() -> Result<(), ImageError>> Read for Tail<'_, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (mut pause, longest) = PAUSES;
        loop {
            match self.file.read_at(buffer, self.at) {
                Ok(0) if !buffer.is_empty() => {}
                Ok(count) => {
                    self.at += count as u64;
                    self.give_back()?;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            (self.watch)().map_err(io::Error::other)?;
            thread::sleep(pause);
            pause = (pause * 2).min(longest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::OpenOptions,
        io::Write,
        sync::atomic::{AtomicBool, Ordering},
    };

    use image::{
        ImageSource, Item,
        save::{SaveConfig, SaveHeader, SaveImage},
        v2::V2Writer,
    };

    use super::*;

    /// A file as the spool writes it, of a guest without a page.
    fn image() -> Vec<u8> {
        let mut bytes = Vec::new();
        let header = SaveHeader {
            config: SaveConfig::Text(b"name = 'web'\n".to_vec()),
            image: SaveImage::V2,
        };
        header.write(&mut bytes).unwrap();
        let mut writer = V2Writer::new(&mut bytes);
        super::super::tests::put(&mut writer).unwrap();
        bytes
    }

    #[test]
    fn an_image_is_read_while_it_grows_whatever_it_is_called_by_then() {
        let directory = tempfile::tempdir().unwrap();
        let id = Uuid::new_v4();
        assert!(matches!(
            Growing::find(directory.path(), id),
            Err(SpoolError::NotFound(_))
        ));
        let part = directory.path().join(format!("web.{id}.part"));
        let mut file = OpenOptions::new().create_new(true).append(true).open(&part).unwrap();
        let growing = Growing::find(directory.path(), id).unwrap();
        let bytes = image();
        let waited = AtomicBool::new(false);
        thread::scope(|scope| {
            let follower = scope.spawn(|| {
                let mut image = growing.open(|| {
                    waited.store(true, Ordering::SeqCst);
                    Ok(())
                })?;
                let mut items = 0;
                loop {
                    items += 1;
                    if matches!(image.next()?, Item::Finish) {
                        return Ok::<_, SpoolError>(items);
                    }
                }
            });
            for (at, piece) in bytes.chunks(7).enumerate() {
                file.write_all(piece).unwrap();
                if at == 3 {
                    std::fs::rename(&part, part.with_extension("save")).unwrap();
                }
                thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(follower.join().unwrap().unwrap(), 8);
        });
        assert!(waited.load(Ordering::SeqCst));
        // From the beginning, as often as one likes.
        assert!(growing.open(|| Err(ImageError::Cancelled("no".to_owned()))).is_ok());
    }

    #[test]
    fn who_waits_can_be_told_to_stop() {
        let directory = tempfile::tempdir().unwrap();
        let id = Uuid::new_v4();
        let bytes = image();
        for cut in [0, 40, bytes.len() - 1] {
            std::fs::write(directory.path().join(format!("web.{id}.part")), &bytes[..cut]).unwrap();
            let growing = Growing::find(directory.path(), id).unwrap();
            let stopped = growing
                .open(|| Err(ImageError::Cancelled("enough".to_owned())))
                .and_then(|mut image| {
                    loop {
                        if matches!(image.next()?, Item::Finish) {
                            return Ok(());
                        }
                    }
                });
            let said = stopped.unwrap_err().to_string();
            assert!(said.contains("enough"), "{cut}: {said}");
        }
    }
}
