//! A file that appears when it is complete, and not before: whatever happens, there is the old one, or none.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

/// Bytes that are gathered before they are written.
const BUFFER: usize = 64 << 10;

/// The temporary file, as long as it is there.
type Temporary = Arc<Mutex<Option<PathBuf>>>;

/// A file in the making. Dropped before it is finished, it leaves nothing.
pub(super) struct Output {
    path: PathBuf,
    temporary: Temporary,
    write: BufWriter<File>,
    force: bool,
}

impl Output {
    /// Begins a file beside `path`, under a temporary name. From now on SIGINT, SIGTERM and SIGHUP remove it and end the program.
    ///
    /// # Errors
    /// What is wrong, in words: `path` is there and not to be replaced, or can't be made.
    pub(super) fn begin(path: &Path, force: bool) -> Result<Output, String> {
        let wrong = |error: io::Error| format!("{}: {error}", path.display());
        let path = match fs::symlink_metadata(path) {
            Ok(_) => replaceable(path, force)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(wrong(error)),
        };
        let Some(name) = path.file_name() else {
            return Err(format!("{}: it is no name of a file", path.display()));
        };
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.tmp", process::id()));
        let beside = path.with_file_name(hidden);
        let temporary = Temporary::default();
        watch(Arc::clone(&temporary)).map_err(wrong)?;
        let mut there = lock(&temporary);
        // All of a guest's memory is in it: for its owner's eyes only.
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside);
        let file = made.map_err(|error| format!("{}: {error}", beside.display()))?;
        *there = Some(beside);
        drop(there);
        Ok(Output {
            path,
            temporary,
            write: BufWriter::with_capacity(BUFFER, file),
            force,
        })
    }

    /// Gives the file, which is complete, its name.
    ///
    /// # Errors
    /// What is wrong, in words. Then there is no file, or the old one.
    pub(super) fn finish(mut self) -> Result<(), String> {
        let wrong = |error: io::Error| format!("{}: {error}", self.path.display());
        self.write.flush().map_err(wrong)?;
        self.write.get_ref().sync_all().map_err(wrong)?;
        let mut there = lock(&self.temporary);
        if let Some(beside) = there.as_deref() {
            if self.force {
                fs::rename(beside, &self.path).map_err(wrong)?;
            } else {
                name_new(beside, &self.path).map_err(wrong)?;
            }
        }
        *there = None;
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))
            .and_then(|directory| directory.sync_all())
            .map_err(wrong)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write.flush()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(beside) = lock(&self.temporary).take() {
            let _ = fs::remove_file(beside);
        }
    }
}

fn lock(temporary: &Temporary) -> MutexGuard<'_, Option<PathBuf>> {
    temporary.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The file that is to be replaced: what a link leads to, if it is one.
fn replaceable(path: &Path, force: bool) -> Result<PathBuf, String> {
    let name = path.display();
    let wrong = |error: io::Error| format!("{name}: {error}");
    let real = fs::canonicalize(path).map_err(wrong)?;
    let kind = fs::metadata(&real).map_err(wrong)?.file_type();
    if kind.is_dir() {
        return Err(format!("{name}: it is a directory; name a file in it"));
    }
    if !kind.is_file() {
        return Err(format!("{name}: it is no regular file; - is standard output"));
    }
    if force {
        Ok(real)
    } else {
        Err(format!("{name}: it is there already; --force replaces it"))
    }
}

/// Gives a file a name that nothing has, also if something took it a moment ago.
fn name_new(beside: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(beside, path) {
        Ok(()) => fs::remove_file(beside),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // A file system without links.
        Err(_) if fs::symlink_metadata(path).is_err() => fs::rename(beside, path),
        Err(_) => Err(io::ErrorKind::AlreadyExists.into()),
    }
}

/// Ends the program at a signal, without leaving half a file. A file that has its name stays.
fn watch(temporary: Temporary) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // Whoever gives the file its name holds this lock: the name is given, or not.
            if let Some(beside) = lock(&temporary).take() {
                let _ = fs::remove_file(beside);
            }
            eprintln!("relocd image: interrupted");
            process::exit(128 + signal);
        }
    })?;
    Ok(())
}
