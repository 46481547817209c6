//! The pages' entries in a PAGE_DATA record: u64 each, bits 63 to 60 type, 59 to 52 zero, 51 to 0 pfn.

use crate::{PageContent, PageEntry, PageType};

/// Bits of a pfn.
const PFN_BITS: u32 = 52;

/// Reads one entry. What has data has it in the record.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn parse(bytes: [u8; 8]) -> Result<PageEntry, String> {
    let value = u64::from_le_bytes(bytes);
    let pfn = value & ((1 << PFN_BITS) - 1);
    let nibble = (value >> 60) as u8;
    let kind = PageType::from_nibble(nibble).ok_or_else(|| format!("page {pfn:#x} of type {nibble:#x}"))?;
    if value >> PFN_BITS & 0xff != 0 {
        return Err(format!("page entry {value:#018x} with bits set that must be zero"));
    }
    let content = if kind.has_data() {
        PageContent::Data
    } else {
        PageContent::Nothing
    };
    Ok(PageEntry { pfn, kind, content })
}

/// The bytes of an entry.
///
/// # Errors
/// What is wrong with it, in words: a pfn of more than 52 bits, or content that the type does not have.
pub(super) fn bytes(entry: &PageEntry) -> Result<[u8; 8], String> {
    if entry.pfn >> PFN_BITS != 0 {
        return Err(format!("pfn {:#x}, which has more than 52 bits", entry.pfn));
    }
    if entry.kind.has_data() == (entry.content == PageContent::Nothing) {
        return Err(format!(
            "page {:#x} of type {:#x} with content {:?}",
            entry.pfn,
            entry.kind.nibble(),
            entry.content
        ));
    }
    Ok((u64::from(entry.kind.nibble()) << 60 | entry.pfn).to_le_bytes())
}
