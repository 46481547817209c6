//! The spool's calls to the system that change something. In tests each of them can be made to fail.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Makes a file that is not there yet, for its owner only: it holds a guest's memory.
pub(super) fn create(path: &Path) -> io::Result<File> {
    step()?;
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Writes a part of a file.
pub(super) fn write(file: &mut File, bytes: &[u8]) -> io::Result<usize> {
    step()?;
    file.write(bytes)
}

/// Waits until a file is on disk.
pub(super) fn sync(file: &File) -> io::Result<()> {
    step()?;
    file.sync_all()
}

/// Gives a file another name in the same directory.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    step()?;
    fs::rename(from, to)
}

/// Takes a rename back, if it took place.
pub(super) fn undo_rename(from: &Path, to: &Path) {
    if !crashed() && !from.exists() {
        // What can't be taken back is found by the next start.
        let _ = fs::rename(to, from);
    }
}

/// Waits until a directory's names are on disk.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    step()?;
    File::open(path)?.sync_all()
}

/// Writes a small file, synced, in the place of none.
pub(super) fn create_with(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = create(path)?;
    let written = (|| {
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = write(&mut file, rest)?;
            rest = rest.get(count..).unwrap_or_default();
        }
        sync(&file)
    })();
    if written.is_err() {
        remove(path);
    }
    written
}

/// Removes a file that nobody needs. What can't be removed is in nobody's way: a start tries again.
pub(super) fn remove(path: &Path) {
    if crashed() {
        return;
    }
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "a left-over can't be removed");
    }
}

#[cfg(not(test))]
#[inline(always)]
fn step() -> io::Result<()> {
    Ok(())
}

/// Whether nothing more happens.
#[cfg(not(test))]
#[inline(always)]
fn crashed() -> bool {
    false
}

#[cfg(test)]
pub(super) use armed::{After, arm, crashed, step};

#[cfg(test)]
mod armed {
    use std::{cell::Cell, io};

    use nix::errno::Errno;

    /// What happens after a step has failed.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in crate::spool) enum After {
        /// The next one succeeds.
        Well,
        /// All others fail as well, but files can be removed.
        Fails,
        /// Nothing happens any more, as after a crash.
        Crash,
    }

    /// Which step of this thread fails: how many are left, with what, and what follows.
    type Fault = Option<(u32, Errno, After)>;

    thread_local! {
        static FAULT: Cell<Fault> = const { Cell::new(None) };
    }

    /// Lets the `nth` step from now fail. Tells whether the fault before has struck.
    pub(in crate::spool) fn arm(fault: Fault) -> bool {
        FAULT.replace(fault).is_some_and(|(left, _, _)| left == 0)
    }

    pub(in crate::spool) fn crashed() -> bool {
        matches!(FAULT.get(), Some((0, _, After::Crash)))
    }

    pub(in crate::spool) fn step() -> io::Result<()> {
        let Some((left, errno, after)) = FAULT.get() else {
            return Ok(());
        };
        match left {
            0 if after == After::Well => Ok(()),
            0 => Err(errno.into()),
            1 => {
                FAULT.set(Some((0, errno, after)));
                Err(errno.into())
            }
            _ => {
                FAULT.set(Some((left - 1, errno, after)));
                Ok(())
            }
        }
    }
}
