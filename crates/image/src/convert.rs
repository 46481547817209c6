//! From one file format to another.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Read, Write},
};

use crate::{
    ImageError, ImageSink, ImageSource, Item,
    legacy::{Ahead, LegacySource},
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
    write: W,
) -> Result<Converted, ImageError> {
    let mut writer = begin(config, write)?;
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

/// [`legacy_to_xl_save`] from one file to another: the system copies the contents of pages, which this program never sees. It does not so with every
/// file; then they go through a buffer of the program's. What comes out is the same.
///
/// `source` reads forward from where its file stands, which has to be a regular one. Its buffer had better be small: what of pages is in there goes
/// the long way.
///
/// # Errors
/// As for [`legacy_to_xl_save`]. A file that becomes shorter meanwhile is one that ends too soon.
pub fn legacy_file_to_xl_save(
    source: &mut LegacySource<&mut BufReader<File>>,
    config: SaveConfig,
    write: &mut BufWriter<File>,
) -> Result<Converted, ImageError> {
    let mut writer = begin(config, write)?;
    let mut pages = 0;
    loop {
        match source.next_ahead()? {
            Ahead::Pages(ahead) => {
                let entries = ahead.entries();
                pages += entries.len() as u64;
                writer.put_pages_with(entries, |write| ahead.copy(write))?;
            }
            Ahead::Item(item) => {
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
    }
}

fn begin<W: Write>(config: SaveConfig, mut write: W) -> Result<V2Writer<W>, ImageError> {
    let header = SaveHeader {
        config,
        image: SaveImage::V2,
    };
    header.write(&mut write)?;
    Ok(V2Writer::new(write))
}
