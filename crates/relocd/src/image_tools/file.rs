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

/// Opens a file to be read.
///
/// # Errors
/// What is wrong, in words, with the file's name.
pub(super) fn open(file: &Path) -> Result<Box<dyn Read>, String> {
    if file == Path::new(STREAM) {
        return Ok(Box::new(io::stdin().lock()));
    }
    let wrong = |error: io::Error| format!("{}: {error}", file.display());
    let opened = File::open(file).map_err(wrong)?;
    if opened.metadata().map_err(wrong)?.is_dir() {
        return Err(format!("{}: it is a directory, not an image", file.display()));
    }
    Ok(Box::new(opened))
}
