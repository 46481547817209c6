//! Files that are read: by name, or `-` for standard input.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// The name that means standard input or output.
pub(super) const STREAM: &str = "-";

/// The file's name in messages.
pub(super) fn name(file: &Path) -> String {
    if file == Path::new(STREAM) {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    }
}

/// What can be read.
pub(super) enum Opened {
    /// A regular file.
    File(File),
    /// Standard input, a pipe with a name, or a device.
    Stream(Box<dyn Read>),
}

/// Opens a file to be read.
///
/// # Errors
/// What is wrong, in words, with the file's name.
pub(super) fn open(file: &Path) -> Result<Opened, String> {
    if file == Path::new(STREAM) {
        return Ok(Opened::Stream(Box::new(io::stdin().lock())));
    }
    let wrong = |error: io::Error| format!("{}: {error}", file.display());
    let opened = File::open(file).map_err(wrong)?;
    let kind = opened.metadata().map_err(wrong)?.file_type();
    if kind.is_dir() {
        return Err(format!("{}: it is a directory, not an image", file.display()));
    }
    Ok(if kind.is_file() {
        Opened::File(opened)
    } else {
        Opened::Stream(Box::new(opened))
    })
}

impl Read for Opened {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Opened::File(file) => file.read(buffer),
            Opened::Stream(stream) => stream.read(buffer),
        }
    }
}
