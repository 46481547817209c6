//! What a crash has left is put in order. Only at the start: later, an image may be on its way.

use std::{fs, path::Path};

use super::{Entry, EntryState, Purpose, Spool, SpoolError, files, io_error, parse, reader::SpoolReader};

/// What is told of a copy that was complete, but had not become an entry.
const FOUND: &str = "relocd ended before the domain ran here; the copy is complete. Make sure that the domain does not run where it came from";

pub(super) fn sweep(spool: &Spool) -> Result<(), SpoolError> {
    let paths = spool.paths()?;
    let of = |wanted: &'static str| {
        paths
            .iter()
            .filter(move |path| parse(path).is_some_and(|(_, extension)| extension == wanted))
    };
    of("new").for_each(|path| files::remove(path));
    for path in of("deleting") {
        files::remove(&path.with_extension("save"));
        files::remove(path);
    }
    for path in of("sxp") {
        let (part, image) = (path.with_extension("part"), path.with_extension("save"));
        if part.exists() && !image.exists() {
            // The record comes second, so the image is on disk.
            files::rename(&part, &image).map_err(io_error(&part, "renaming the image"))?;
        }
    }
    for path in of("arriving") {
        let is_entry = path.with_extension("sxp").exists();
        if !is_entry && is_needed(path) {
            continue;
        }
        if !is_entry {
            tracing::warn!(path = %path.display(), "removed: what a crash left of an image on its way");
            files::remove(&path.with_extension("part"));
        }
        files::remove(path);
    }
    spool.sync_directory()?;
    for fault in spool.list()?.1 {
        tracing::error!("{fault}");
    }
    Ok(())
}

/// Whether an image on its way may not be removed. Makes an entry of a complete safety copy.
fn is_needed(path: &Path) -> bool {
    let part = path.with_extension("part");
    let mut entry = match Entry::read(path) {
        Ok(entry) => entry,
        // The record was on disk before the image began: this one is of another version, or was damaged.
        Err(_) => return part.exists(),
    };
    if entry.purpose != Purpose::SafetyCopy {
        return false;
    }
    let Ok(found) = fs::metadata(&part) else { return false };
    let checked = SpoolReader::open(&part, found.len()).and_then(|image| Ok(image.check()?));
    match checked {
        Ok(()) => {}
        // A disk that can't be read says nothing about the image.
        Err(error @ (SpoolError::Io { .. } | SpoolError::Image(image::ImageError::Io { .. }))) if !is_cut(&error) => {
            tracing::error!(%error, path = %part.display(), "left alone: whether it is complete can't be told");
            return true;
        }
        Err(_) => return false,
    }
    entry.bytes = found.len();
    entry.state = EntryState::Kept;
    entry.reason = Some(FOUND.to_owned());
    let made = fs::File::open(&part)
        .and_then(|file| files::sync(&file))
        .map_err(io_error(&part, "syncing the image"))
        .and_then(|()| entry.to_bytes())
        .and_then(|bytes| {
            let new = path.with_extension("new");
            files::create_with(&new, &bytes)
                .and_then(|()| files::rename(&new, &path.with_extension("sxp")))
                .and_then(|()| files::rename(&part, &path.with_extension("save")))
                .map_err(io_error(&new, "writing the record"))
        });
    match made {
        Ok(()) => {
            files::remove(path);
            tracing::warn!(id = %entry.id, domain = entry.name, "a complete safety copy was found: {FOUND}");
        }
        Err(error) => tracing::error!(%error, "a complete safety copy was found, but can't be made an entry"),
    }
    true
}

/// Whether the file is simply too short.
fn is_cut(error: &SpoolError) -> bool {
    match error {
        SpoolError::Image(image::ImageError::Io { source, .. }) => source.kind() == std::io::ErrorKind::UnexpectedEof,
        _ => false,
    }
}
