//! Pages whose contents go from the input to an output without a stop in a buffer.

use std::io::{Read, Write};

use super::LegacySource;
use crate::{
    ImageError, Item, PAGE_SIZE, PageEntry,
    legacy::{input::Input, pages::CONTENTS},
};

/// Bytes of pages from which on the way around the buffer is worth its system calls.
const LEAST: usize = 16 * PAGE_SIZE;

/// What comes next in an image.
pub enum Ahead<'a, R> {
    /// An item as any other; also pages, if they are few.
    Item(Item<'a>),
    /// Pages whose contents have not been read.
    Pages(PagesAhead<'a, R>),
}

/// Pages whose contents are the next that the input has. They have to be taken before the source can go on.
pub struct PagesAhead<'a, R> {
    entries: &'a [PageEntry],
    input: &'a mut Input<R>,
    pending: &'a mut usize,
}

impl<'a, R: Read> PagesAhead<'a, R> {
    /// The pages, in the order of their contents.
    pub fn entries(&self) -> &'a [PageEntry] {
        self.entries
    }

    /// Lets the contents through, [`PAGE_SIZE`] bytes for each page that has any. If `R` and `W` are files, or a [`BufReader`](std::io::BufReader) and a
    /// [`BufWriter`](std::io::BufWriter) of one, the system copies from one to the other ([`std::io::copy`]), so far as it can with these files.
    ///
    /// # Errors
    /// [`ImageError::Format`] if the image ends in their middle, [`ImageError::Io`] of the input or the output. Some may have gone through by then.
    pub fn copy<W: Write>(self, out: &mut W) -> Result<(), ImageError> {
        self.input.copy(*self.pending, out, CONTENTS)?;
        *self.pending = 0;
        Ok(())
    }
}

impl<R: Read> LegacySource<R> {
    /// Like [`next`](crate::ImageSource::next), but leaves the contents of pages where they are, if they are many: whoever asks takes them from there.
    ///
    /// # Errors
    /// Those of [`next`](crate::ImageSource::next); [`ImageError::Order`] if contents have been left.
    pub fn next_ahead(&mut self) -> Result<Ahead<'_, R>, ImageError> {
        let made = self.make(LEAST)?;
        if self.pending == 0 {
            return Ok(Ahead::Item(self.item(made)));
        }
        Ok(Ahead::Pages(PagesAhead {
            entries: &self.batch.entries,
            input: &mut self.input,
            pending: &mut self.pending,
        }))
    }
}
