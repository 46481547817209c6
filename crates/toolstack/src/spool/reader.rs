//! Images come out of the spool.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use image::{
    ImageError, ImageSource, Item,
    save::{SaveHeader, SaveImage},
    v2::V2Reader,
};

use super::{SpoolError, io_error};

/// Bytes of small records read at once; pages pass by this buffer.
const BUFFER: usize = 64 << 10;

/// An entry's image. Ends with an error if the file does.
pub struct SpoolReader<R = File> {
    image: V2Reader<BufReader<R>>,
}

impl SpoolReader {
    /// Opens an image of so many bytes.
    pub(super) fn open(path: &Path, bytes: u64) -> Result<SpoolReader, SpoolError> {
        let file = File::open(path).map_err(io_error(path, "opening the image"))?;
        let length = file.metadata().map_err(io_error(path, "looking at the image"))?.len();
        if length != bytes {
            return Err(SpoolError::Foreign {
                path: path.to_owned(),
                what: format!("{length} bytes, expected {bytes}"),
            });
        }
        SpoolReader::begin(path, file)
    }

    /// Reads the whole image. It is complete if this succeeds: nothing is missing, and nothing stands behind it.
    pub(super) fn check(mut self) -> Result<(), ImageError> {
        while !matches!(self.image.next()?, Item::Finish) {}
        let offset = self.image.read_bytes();
        match self.image.into_inner().read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(ImageError::Format {
                offset,
                what: "something stands behind the image".to_owned(),
            }),
            Err(source) => Err(ImageError::Io {
                stage: "reading the image",
                source,
            }),
        }
    }
}

impl<R: Read> SpoolReader<R> {
    /// Reads the header, behind which the image begins.
    pub(super) fn begin(path: &Path, read: R) -> Result<SpoolReader<R>, SpoolError> {
        let mut read = BufReader::with_capacity(BUFFER, read);
        match SaveHeader::read(&mut read)?.image {
            SaveImage::V2 => Ok(SpoolReader {
                image: V2Reader::new(read),
            }),
            SaveImage::Legacy => Err(SpoolError::Foreign {
                path: path.to_owned(),
                what: "an image of the time before Xen 4.6".to_owned(),
            }),
        }
    }
}

impl<R: Read> ImageSource for SpoolReader<R> {
    fn next(&mut self) -> Result<Item<'_>, ImageError> {
        self.image.next()
    }
}
