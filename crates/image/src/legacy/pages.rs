//! Batches of pages.

use std::io::Read;

use super::{
    chunk::MAX_BATCH,
    input::{Input, Word},
};
use crate::{ImageError, PAGE_SIZE, PageContent, PageEntry, PageType};

/// The last type of each page that has come. Four bytes for each page of the guest: the only thing here that grows with it.
pub(super) struct Seen {
    /// Number of the batch that the page came in last, from 1, above the four bits of its type.
    pages: Vec<u32>,
    batch: u32,
}

impl Seen {
    pub(super) fn new(p2m_size: u64) -> Seen {
        Seen {
            pages: vec![0; p2m_size as usize],
            batch: 0,
        }
    }

    /// The type that a page had when it came last; `None` if it has not come.
    pub(super) fn last(&self, pfn: u64) -> Option<PageType> {
        let page = *self.pages.get(usize::try_from(pfn).ok()?)?;
        if page == 0 {
            None
        } else {
            PageType::from_nibble(page as u8 & 0xf)
        }
    }

    /// Whether a page has come, and not as an absent one since.
    pub(super) fn is_there(&self, pfn: u64) -> bool {
        self.last(pfn).is_some_and(|kind| kind != PageType::ABSENT)
    }

    /// A batch begins.
    pub(super) fn begin(&mut self) {
        // It only has to differ from its neighbours'.
        self.batch = self.batch % 0x0fff_fff0 + 1;
    }

    /// Notes a page; whether it is the first time in this batch. `None`: the guest has no such page.
    pub(super) fn note(&mut self, pfn: u64, kind: PageType) -> Option<bool> {
        let page = self.pages.get_mut(usize::try_from(pfn).ok()?)?;
        let again = *page >> 4 == self.batch;
        *page = self.batch << 4 | u32::from(kind.nibble());
        Some(!again)
    }
}

/// Buffers of a batch.
pub(super) struct Batch {
    pub(super) entries: Vec<PageEntry>,
    /// As long as the longest batch yet.
    data: Vec<u8>,
    /// Bytes of `data` that are the batch's.
    length: usize,
    raw: Vec<u8>,
}

impl Batch {
    pub(super) fn new() -> Batch {
        Batch {
            entries: Vec::new(),
            data: Vec::new(),
            length: 0,
            raw: vec![0; MAX_BATCH * 8],
        }
    }

    /// The data that has come.
    pub(super) fn data(&self) -> &[u8] {
        self.data.get(..self.length).unwrap_or_default()
    }

    /// Reads a batch of `count` pages. With `verify` they repeat what has come before, and leave no trace: the batch is empty then.
    pub(super) fn read<R: Read>(
        &mut self,
        input: &mut Input<R>,
        word: Word,
        count: usize,
        seen: &mut Seen,
        verify: bool,
    ) -> Result<(), ImageError> {
        self.entries.clear();
        seen.begin();
        let raw = self.raw.get_mut(..count * word.bytes()).unwrap_or_default();
        input.exact(raw, "a batch's entries")?;
        for bytes in raw.chunks_exact(word.bytes()) {
            // Only the lower half counts: 64-bit savers up to 3.0.4 extended the sign of entries with the pinned bit.
            let &[b0, b1, b2, b3, ..] = bytes else { continue };
            let entry = u32::from_le_bytes([b0, b1, b2, b3]);
            let pfn = u64::from(entry & 0x0fff_ffff);
            let kind = match (entry >> 28) as u8 {
                // No page. What stands for its number is no number: up to 3.4 a part of an mfn.
                0xf => continue,
                // The pinned bit alone, on a plain page.
                8 => PageType::NORMAL,
                nibble => {
                    PageType::from_nibble(nibble).ok_or_else(|| input.wrong(format!("a page of type {nibble:#x}")))?
                }
            };
            let content = if kind.has_data() {
                PageContent::Data
            } else {
                PageContent::Nothing
            };
            let first = if verify {
                (pfn < seen.pages.len() as u64).then_some(true)
            } else {
                seen.note(pfn, kind)
            };
            match first {
                Some(true) => self.entries.push(PageEntry { pfn, kind, content }),
                Some(false) => return Err(input.wrong(format!("page {pfn:#x} twice in one batch"))),
                None => {
                    let pages = seen.pages.len();
                    return Err(input.wrong(format!("page {pfn:#x} of a guest with {pages:#x} pages")));
                }
            }
        }
        let pages = self.entries.iter().filter(|entry| entry.content == PageContent::Data);
        self.length = pages.count() * PAGE_SIZE;
        if self.data.len() < self.length {
            self.data.resize(self.length, 0);
        }
        let data = self.data.get_mut(..self.length).unwrap_or_default();
        input.exact(data, "a batch's pages")?;
        if verify {
            self.entries.clear();
            self.length = 0;
        }
        Ok(())
    }
}
