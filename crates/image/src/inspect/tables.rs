//! The content of a PV guest's page tables, as an image has it: with pfns in place of frame numbers; and the pages of its p2m.

use std::io::Read;

use super::{
    names,
    scan::{Scan, Step, number},
};
use crate::PAGE_SIZE;

/// How page tables are checked.
pub(super) struct Tables {
    /// Bytes in an entry.
    pub(super) entry: usize,
    /// Levels of tables that the guest has.
    pub(super) levels: u8,
    /// Entries of the p2m.
    pub(super) p2m_size: u64,
    /// Whether only the last copy of a page counts: so it is in legacy images.
    pub(super) last_copy_counts: bool,
}

/// What is wrong with a table.
pub(super) struct Problem {
    /// Bytes from the start of the page.
    pub(super) at: usize,
    pub(super) found: String,
    pub(super) expected: String,
}

impl Tables {
    /// Whether a page of this type is a table.
    pub(super) fn applies(&self, nibble: u8) -> bool {
        matches!(nibble, 1..=4 | 9..=12)
    }

    /// What is wrong with the table of this type in a page: a present entry for a page that the guest does not have, or anything in a slot of the hypervisor's.
    pub(super) fn problem(&self, nibble: u8, page: &[u8; PAGE_SIZE]) -> Option<Problem> {
        let level = nibble & 7;
        let own = match (self.levels, level) {
            (4, 4) => 256..272,
            (3, 3) => 4..512,
            _ => 0..0,
        };
        for slot in 0..PAGE_SIZE / self.entry {
            let at = slot * self.entry;
            let value = number(page, at, self.entry);
            if own.contains(&slot) {
                if value != 0 {
                    return Some(Problem {
                        at,
                        found: format!("{value:#x} in slot {slot}"),
                        expected: "0: the slot is the hypervisor's".to_owned(),
                    });
                }
                continue;
            }
            let pfn = (value & 0x000f_ffff_ffff_ffff) >> 12;
            if value & 1 != 0 && pfn >= self.p2m_size {
                return Some(Problem {
                    at,
                    found: format!("page {pfn:#x} in slot {slot}"),
                    expected: format!("a page below {:#x}", self.p2m_size),
                });
            }
        }
        None
    }
}

/// The pages that hold the p2m have to be there: a restorer writes the new one into them. `offset`: where it is noticed.
pub(super) fn p2m_frames<R: Read>(scan: &mut Scan<R>, frames: &[u64], offset: u64) -> Step {
    for (at, pfn) in frames.iter().enumerate() {
        let found = match scan.pages.last(*pfn) {
            Some(0) => continue,
            Some(nibble) => format!(
                "page {pfn:#x}, frame {at} of the p2m, of type {}",
                names::page_type(nibble)
            ),
            None => format!("page {pfn:#x}, frame {at} of the p2m, missing"),
        };
        scan.fault(offset, found, "it among the pages, last of type NOTAB")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(entries: &[(usize, u64)]) -> [u8; PAGE_SIZE] {
        let mut page = [0; PAGE_SIZE];
        for (slot, value) in entries {
            page[slot * 8..slot * 8 + 8].copy_from_slice(&value.to_le_bytes());
        }
        page
    }

    #[test]
    fn bounds_and_slots() {
        let tables = Tables {
            entry: 8,
            levels: 4,
            p2m_size: 16,
            last_copy_counts: false,
        };
        let at = |nibble, entries: &[(usize, u64)]| tables.problem(nibble, &page(entries)).map(|problem| problem.at);
        assert_eq!(at(1, &[(0, 0xf067), (511, 0x8000_0000_0000_f001)]), None);
        assert_eq!(at(1, &[(3, 0x10001)]), Some(24));
        // Not present: anything goes.
        assert_eq!(at(1, &[(3, 0x10000)]), None);
        assert_eq!(at(1, &[(256, 0xf001)]), None);
        assert_eq!(at(12, &[(256, 0xf001)]), Some(2048));
        assert_eq!(at(4, &[(271, 2)]), Some(271 * 8));
        assert_eq!(at(4, &[(272, 0xf001)]), None);
    }
}
