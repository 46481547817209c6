//! From one file format to another.

use std::io::{Read, Write};

use crate::{
    ImageError, ImageSink, ImageSource, Item,
    legacy::LegacySource,
    save::{SaveConfig, SaveHeader, SaveImage},
    v2::V2Writer,
};

/// What a conversion made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Converted {
    /// Pages that were written, a page each time that it came.
    pub pages: u64,
    /// Bytes that were written, the header not counted.
    pub bytes: u64,
}

/// Writes a legacy image as a file that `xl restore` takes, while it is read. Flushes `write` at the end.
///
/// # Errors
/// [`ImageError`] of the source or of the file. What has been written by then is no file that anything takes.
pub fn legacy_to_xl_save<R: Read, W: Write>(
    source: &mut LegacySource<R>,
    config: SaveConfig,
    mut write: W,
) -> Result<Converted, ImageError> {
    let header = SaveHeader {
        config,
        image: SaveImage::V2,
    };
    header.write(&mut write)?;
    let mut writer = V2Writer::new(write);
    let mut pages = 0;
    loop {
        let item = source.next()?;
        if let Item::Pages(batch) = &item {
            pages += batch.entries.len() as u64;
        }
        writer.put(item)?;
        if matches!(item, Item::Finish) {
            return Ok(Converted {
                pages,
                bytes: writer.written(),
            });
        }
    }
}
