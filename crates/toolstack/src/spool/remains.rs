//! What came of images that could not be read to their end, when their senders may have given up their own copies: perhaps all that there is of a domain.

use std::{fs, path::Path};

use uuid::Uuid;

use super::{Entry, SpoolError, parse};

/// The end of the name of their record, which is that of the image on its way.
pub(super) const RECORD: &str = "remains";

/// The ends of the files' names, and what is in them.
const PARTS: [(&str, &str); 2] = [
    ("broken", "its image, up to where that could not be understood"),
    ("rest", "what came behind that"),
];

/// What is told of such a file; `None` if it is none.
pub(super) fn look_at(path: &Path) -> Option<SpoolError> {
    let extension = path.extension()?.to_str()?;
    let (_, what) = PARTS.iter().find(|(part, _)| *part == extension)?;
    let id = path.file_stem()?.to_str()?.parse().ok()?;
    Some(SpoolError::Remains {
        path: path.to_owned(),
        what,
        domain: record(path, id).map(|record| (record.name, record.peer)),
    })
}

/// The record that lies beside them.
fn record(path: &Path, id: Uuid) -> Option<Entry> {
    let files = fs::read_dir(path.parent()?).ok()?.flatten().map(|file| file.path());
    let mut records = files.filter(|path| parse(path) == Some((id, RECORD)));
    Entry::read(&records.next()?).ok()
}

/// Whether what a record is of is there.
pub(super) fn are_there(record: &Path, id: Uuid) -> bool {
    PARTS
        .iter()
        .any(|(part, _)| record.with_file_name(format!("{id}.{part}")).exists())
}
