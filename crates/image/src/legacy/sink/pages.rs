//! Batches of pages.

use std::io::Write;

use super::{LegacySink, wrong};
use crate::{ImageError, PAGE_SIZE, PageContent, PageEntry, PageType};

/// Pages of zeros, as many as are written at once.
static ZEROS: [u8; 16 * PAGE_SIZE] = [0; 16 * PAGE_SIZE];

/// What is written for an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The entry, and data of the batch.
    Data,
    /// The entry, and zeros.
    Zeros,
    /// The entry alone.
    Entry,
    /// Nothing: an xend of 3.0 would mistake the entry of an absent page, and none misses it.
    Nothing,
}

impl<W: Write> LegacySink<W> {
    /// Writes one batch, whose data are the first of `data`; gives the rest of the data.
    pub(super) fn pages<'a>(&mut self, entries: &[PageEntry], data: &'a [u8]) -> Result<&'a [u8], ImageError> {
        let mut out = std::mem::take(&mut self.scratch);
        let result = self.head(entries, &mut out).and_then(|()| {
            if !out.is_empty() {
                self.bytes(&out)?;
            }
            self.data(entries, data)
        });
        self.scratch = out;
        result
    }

    /// Puts a batch up to its data into `out`; nothing if none of its entries is written.
    fn head(&mut self, entries: &[PageEntry], out: &mut Vec<u8>) -> Result<(), ImageError> {
        if self.p2m_size == 0 {
            return Err(wrong("pages before the frames of the p2m"));
        }
        out.clear();
        out.extend([0; 4]);
        self.seen.begin();
        for entry in entries {
            match self.seen.note(entry.pfn, entry.kind) {
                Some(true) => {}
                Some(false) => return Err(wrong(format!("page {:#x} twice in one batch", entry.pfn))),
                None => {
                    return Err(wrong(format!(
                        "page {:#x} of a guest with {:#x} pages",
                        entry.pfn, self.p2m_size
                    )));
                }
            }
            let kind = match self.fate(entry)? {
                Fate::Nothing => continue,
                Fate::Zeros if entry.kind == PageType::ALLOCATE_ONLY => PageType::NORMAL,
                _ => entry.kind,
            };
            // The p2m has less than 2^28 entries.
            out.extend((u64::from(kind.nibble()) << 28 | entry.pfn).to_le_bytes());
        }
        let count = (out.len() / 8) as u32;
        if count == 0 {
            out.clear();
        } else if let Some(place) = out.first_chunk_mut::<4>() {
            *place = count.to_le_bytes();
        }
        Ok(())
    }

    fn fate(&self, entry: &PageEntry) -> Result<Fate, ImageError> {
        let target = self.options.target;
        Ok(match entry.kind {
            PageType::ABSENT => Fate::Nothing,
            PageType::ALLOCATE_ONLY if target.has_allocate_only() => Fate::Entry,
            // Its content does not matter, but it has to be there.
            PageType::ALLOCATE_ONLY => Fate::Zeros,
            PageType::BROKEN if target.has_broken() => Fate::Entry,
            PageType::BROKEN => return Err(self.refuse(format_args!("page {:#x} is broken", entry.pfn))),
            _ if entry.content == PageContent::Zero => Fate::Zeros,
            _ => Fate::Data,
        })
    }

    /// Writes the data of a batch, in runs.
    fn data<'a>(&mut self, entries: &[PageEntry], data: &'a [u8]) -> Result<&'a [u8], ImageError> {
        let mut rest = data;
        let mut entries = entries;
        while let Some(entry) = entries.first() {
            let fate = self.fate(entry)?;
            let mut run = 0;
            for entry in entries {
                if self.fate(entry)? != fate {
                    break;
                }
                run += 1;
            }
            let length = run * PAGE_SIZE;
            match fate {
                Fate::Data => {
                    // The order check has seen that the data is as long as the entries say.
                    let (part, later) = rest.split_at_checked(length).unwrap_or((rest, &[]));
                    self.bytes(part)?;
                    rest = later;
                }
                Fate::Zeros => {
                    let mut left = length;
                    while left > 0 {
                        let part = ZEROS.get(..left).unwrap_or(&ZEROS);
                        self.bytes(part)?;
                        left -= part.len();
                    }
                }
                Fate::Entry | Fate::Nothing => {}
            }
            entries = entries.get(run..).unwrap_or_default();
        }
        Ok(rest)
    }
}
