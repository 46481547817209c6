//! Guest pages as they travel.

/// Bytes in a guest page. Every guest that Xen migrates has pages of this size.
pub const PAGE_SIZE: usize = 4096;

/// The type of a page: the upper nibble of an entry in a PAGE_DATA record (libxc stream, Xen 4.6 and later).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageType(u8);

impl PageType {
    /// A plain page: no page table, or a guest for which that does not matter.
    pub const NORMAL: PageType = PageType(0x0);
    /// A page that the hypervisor found broken: no data.
    pub const BROKEN: PageType = PageType(0xd);
    /// Allocated, but its content does not matter: no data.
    pub const ALLOCATE_ONLY: PageType = PageType(0xe);
    /// Not there, or no longer: no data.
    pub const ABSENT: PageType = PageType(0xf);

    /// The type with this nibble; `None` for 5 to 8 and above 15, which no stream may hold.
    pub fn from_nibble(nibble: u8) -> Option<PageType> {
        matches!(nibble, 0..=4 | 9..=15).then_some(PageType(nibble))
    }

    /// The nibble, 0 to 15.
    pub fn nibble(self) -> u8 {
        self.0
    }

    /// The level of a page table of this type, pinned or not: 1 to 4.
    pub fn table_level(self) -> Option<u8> {
        matches!(self.0, 1..=4 | 9..=12).then_some(self.0 & 7)
    }

    /// Whether pages of this type have content: all but broken, allocate-only and absent ones.
    pub fn has_data(self) -> bool {
        self.0 < Self::BROKEN.0
    }
}

/// What travels for a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageContent {
    /// [`PAGE_SIZE`] bytes in the batch's data.
    Data,
    /// All bytes are zero: nothing in the batch's data. Stream v2 has no such thing; a writer of
    /// v2 writes the zeros out, the native wire does not.
    Zero,
    /// The type carries no content: nothing in the batch's data.
    Nothing,
}

/// One page of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageEntry {
    /// Page frame number: the guest's own numbering of its memory.
    pub pfn: u64,
    /// The page's type.
    pub kind: PageType,
    /// What travels for it. [`PageContent::Nothing`] exactly when the type has no data.
    pub content: PageContent,
}

/// Pages that travel together. A pfn may come again in a later batch: the last one counts.
#[derive(Clone, Copy, Debug)]
pub struct PageBatch<'a> {
    /// The pages, in the order of their data.
    pub entries: &'a [PageEntry],
    /// [`PAGE_SIZE`] bytes for each entry with [`PageContent::Data`], in the order of the entries.
    pub data: &'a [u8],
}

impl<'a> PageBatch<'a> {
    /// Pages in one batch at most: what a saver of Xen sends in one PAGE_DATA record.
    pub const MAX_PAGES: usize = 1024;

    /// Each entry with its page of data, if it has one. Stops early if `data` is too short.
    pub fn pages(&self) -> impl Iterator<Item = (PageEntry, Option<&'a [u8]>)> + use<'a> {
        let mut data = self.data.chunks_exact(PAGE_SIZE);
        self.entries.iter().map_while(move |entry| match entry.content {
            PageContent::Data => data.next().map(|page| (*entry, Some(page))),
            PageContent::Zero | PageContent::Nothing => Some((*entry, None)),
        })
    }

    /// Entries that have data.
    pub fn data_pages(&self) -> usize {
        data_pages(self.entries)
    }
}

/// Entries that have data.
pub(crate) fn data_pages(entries: &[PageEntry]) -> usize {
    let with_data = entries.iter().filter(|entry| entry.content == PageContent::Data);
    with_data.count()
}

/// Whether all bytes are zero. A page with content shows it within its first bytes, mostly.
pub fn is_zero(page: &[u8]) -> bool {
    page.chunks(64)
        .all(|line| line.iter().fold(0, |any, byte| any | byte) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_makes_a_page() {
        let mut page = [0; PAGE_SIZE];
        assert!(is_zero(&page));
        for at in [0, 1, 63, 64, 2048, PAGE_SIZE - 1] {
            page[at] = 0x80;
            assert!(!is_zero(&page), "{at}");
            page[at] = 0;
        }
    }
}
