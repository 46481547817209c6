//! Which pages are sent in which batch.

use super::{Kind, Legacy};

/// A page in a batch.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// The upper four bits of its entry.
    pub nibble: u8,
    pub pfn: u64,
    /// For its content.
    pub round: u32,
}

impl Page {
    /// Whether data follow its entry: all but broken, allocate-only and absent pages.
    pub fn has_data(self) -> bool {
        self.nibble < 0xd
    }
}

/// A part of the body.
pub enum Part {
    Batch(Vec<Page>),
    Tsc,
    Verify,
}

/// The round of the pages that come for comparison.
const VERIFY_ROUND: u32 = 99;

impl Legacy {
    /// The body, up to the chunks at its end.
    pub fn parts(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        for round in 0..self.rounds {
            if round + 1 == self.rounds && self.tsc {
                parts.push(Part::Tsc);
            }
            let pages = self
                .round(round)
                .into_iter()
                .filter(|page| round == 0 || page.pfn % 3 == 0);
            self.batches(pages.collect(), &mut parts);
            if round == 0 && self.absent_batch && self.absent.is_some() {
                parts.push(Part::Batch(self.marked(round)));
            }
        }
        if self.verify {
            parts.push(Part::Verify);
            self.batches(self.round(VERIFY_ROUND), &mut parts);
        }
        parts
    }

    fn batches(&self, pages: Vec<Page>, parts: &mut Vec<Part>) {
        parts.extend(pages.chunks(self.batch).map(|batch| Part::Batch(batch.to_vec())));
    }

    /// All pages, as a round sends them.
    fn round(&self, round: u32) -> Vec<Page> {
        let there = self.pages - 2;
        let mut pages: Vec<Page> = (0..there)
            .map(|pfn| Page {
                nibble: self.nibble(pfn, round),
                pfn,
                round,
            })
            .collect();
        if self.permuted {
            // Neighbours are far apart, and each comes once.
            let length = pages.len();
            pages = (0..length)
                .map(|at| pages[(at * self.stride(length)) % length])
                .collect();
        }
        pages.extend(self.marked(round));
        pages
    }

    fn stride(&self, length: usize) -> usize {
        let common = |mut a: usize, mut b: usize| {
            while b != 0 {
                (a, b) = (b, a % b);
            }
            a
        };
        (7..).find(|stride| common(*stride, length) == 1).unwrap()
    }

    /// The pages that are not there, if the image has entries for them.
    fn marked(&self, round: u32) -> Vec<Page> {
        let page = |at| Page {
            nibble: 0xf,
            // Above the first, numbers would be the same twice, which the converter of Xen takes ill unless they are zero.
            pfn: self
                .absent
                .map_or(0, |number| if number == 0 { 0 } else { u64::from(number) + at }),
            round,
        };
        if self.absent.is_some() {
            vec![page(0), page(1)]
        } else {
            Vec::new()
        }
    }

    /// The type of a page.
    fn nibble(&self, pfn: u64, round: u32) -> u8 {
        let tables: &[u8] = match self.kind {
            Kind::Pv64 => &[0xc, 3, 2, 9, 0xc],
            Kind::Pae => &[0xb, 2, 2, 9, 1],
            Kind::TwoLevels => &[0xa, 1, 9, 1, 1],
            Kind::Hvm => &[],
        };
        let last = self.pages - 3;
        match pfn
            .checked_sub(super::guest::TABLES)
            .and_then(|at| tables.get(at as usize))
        {
            Some(nibble) => *nibble,
            _ if self.pinned_plain && pfn == 0 => 8,
            _ if self.no_data && pfn == last => 0xe,
            _ if self.no_data && pfn == last - 1 => 0xd,
            // A page table when it is sent first, which is a plain page later.
            None if round == 0 && self.rounds > 1 && self.is_pv() && pfn == (last - 2) / 3 * 3 => 1,
            None => 0,
        }
    }
}
