//! What can be checked of a PV guest once its registers have come: whether a Xen would take it.
//!
//! All of it is checked before the image's last bytes are read: an xend destroys its copy as soon as these are out.

use super::prologue::GuestWidth;
use crate::{PageType, legacy::pages::Seen};

/// Entries of a GDT at most, for Xen 4.6 and later.
const MAX_GDT_ENTRIES: u64 = 7168;

/// Where things are in a vcpu's context (public headers, the same from Xen 3.0.3 to 4.17), in bytes.
struct Layout {
    rdx: usize,
    gdt_frames: usize,
    gdt_entries: usize,
    cr1: usize,
    cr3: usize,
    word: usize,
}

const LAYOUT_32: Layout = Layout {
    rdx: 524,
    gdt_frames: 2640,
    gdt_entries: 2704,
    cr1: 2720,
    cr3: 2728,
    word: 4,
};

const LAYOUT_64: Layout = Layout {
    rdx: 616,
    gdt_frames: 4832,
    gdt_entries: 4960,
    cr1: 4992,
    cr3: 5008,
    word: 8,
};

fn field(context: &[u8], at: usize, bytes: usize) -> u64 {
    let bytes = context.get(at..at + bytes).unwrap_or_default();
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The page that a CR3 names.
fn page_of_cr3(width: GuestWidth, value: u64) -> u64 {
    match width {
        GuestWidth::Eight => value >> 12,
        // The frame number's upper bits are in the lower bits of the register.
        GuestWidth::Four => u64::from((value as u32).rotate_right(12)),
    }
}

/// Whether the guest has page tables of two levels: a 32-bit guest without PAE, which no Xen since 4.3 runs.
pub(super) fn has_two_levels(width: GuestWidth, context: &[u8], seen: &Seen) -> bool {
    if width == GuestWidth::Eight {
        return false;
    }
    let top = page_of_cr3(width, field(context, LAYOUT_32.cr3, 4));
    seen.last(top).is_some_and(|kind| kind.table_level() == Some(2))
}

/// Checks a vcpu's registers against the pages that have come.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn vcpu(id: u32, width: GuestWidth, context: &[u8], seen: &Seen) -> Result<(), String> {
    let layout = match width {
        GuestWidth::Four => &LAYOUT_32,
        GuestWidth::Eight => &LAYOUT_64,
    };
    let plain = |pfn: u64, what: &str| match seen.last(pfn) {
        Some(PageType::NORMAL) => Ok(()),
        Some(kind) => Err(format!(
            "vcpu {id}: {what} is page {pfn:#x} of type {:#x}",
            kind.nibble()
        )),
        None => Err(format!("vcpu {id}: {what} is page {pfn:#x}, which has not come")),
    };
    let top = |pfn: u64, what: &str| match seen.last(pfn) {
        Some(kind) if kind.table_level() == Some(width.levels()) => Ok(()),
        Some(kind) => Err(format!(
            "vcpu {id}: {what} names page {pfn:#x} of type {:#x}, which is no page table of level {}",
            kind.nibble(),
            width.levels()
        )),
        None => Err(format!("vcpu {id}: {what} names page {pfn:#x}, which has not come")),
    };
    let word = |at: usize| field(context, at, layout.word);
    if id == 0 {
        plain(word(layout.rdx), "the start info")?;
    }
    let entries = word(layout.gdt_entries);
    if entries > MAX_GDT_ENTRIES {
        return Err(format!(
            "vcpu {id}: a GDT of {entries} entries, more than {MAX_GDT_ENTRIES}"
        ));
    }
    for at in 0..entries.div_ceil(512) as usize {
        plain(word(layout.gdt_frames + at * layout.word), "a frame of the GDT")?;
    }
    top(page_of_cr3(width, word(layout.cr3)), "CR3")?;
    let user = word(layout.cr1);
    if width == GuestWidth::Eight && user & 1 != 0 {
        top(user >> 12, "CR1 (the user page table)")?;
    }
    Ok(())
}

/// Checks the pages that hold the p2m.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn p2m(frames: &[u64], seen: &Seen) -> Result<(), String> {
    let wrong = frames.iter().find(|pfn| seen.last(**pfn) != Some(PageType::NORMAL));
    wrong.map_or(Ok(()), |pfn| {
        Err(format!(
            "page {pfn:#x}, a part of the p2m, has not come, or is no plain page"
        ))
    })
}
