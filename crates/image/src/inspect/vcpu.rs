//! A PV vcpu's context (`vcpu_guest_context` of Xen's public headers; the same layout from Xen 3.0.3 to 4.17), as an image has it: with pfns.

use std::io::Read;

use super::{
    Vcpu, names,
    scan::{Scan, Step, number},
};

/// What is needed of a vcpu's registers.
pub(super) struct Registers {
    /// Where the record or context begins.
    pub(super) offset: u64,
    /// Whether the context has come, or only something else of this vcpu.
    pub(super) came: bool,
    /// Its place among the report's vcpus.
    pub(super) listed: usize,
    cr3: u64,
    cr1: Option<u64>,
    ip: u64,
    gdt_entries: u64,
    gdt_frames: [u64; 16],
    start_info: u64,
}

/// What may be in a GDT, and what can be checked.
#[derive(Clone, Copy)]
pub(super) struct Gdt {
    /// Entries at most.
    pub(super) entries: u64,
    /// Frames that are right in the image; each has 512 entries.
    pub(super) frames: u64,
}

impl Registers {
    /// Of a vcpu whose context has not come.
    pub(super) fn missing(offset: u64, listed: usize) -> Registers {
        Registers {
            offset,
            came: false,
            listed,
            cr3: 0,
            cr1: None,
            ip: 0,
            gdt_entries: 0,
            gdt_frames: [0; 16],
            start_info: 0,
        }
    }

    /// Of a context of a guest with words of `width` bytes.
    pub(super) fn parse(offset: u64, listed: usize, width: u64, context: &[u8]) -> Registers {
        let wide = width == 8;
        let size = if wide { 8 } else { 4 };
        let at = |narrow_offset, wide_offset| number(context, if wide { wide_offset } else { narrow_offset }, size);
        let mut gdt_frames = [0; 16];
        for (frame, place) in gdt_frames.iter_mut().zip(0..) {
            *frame = at(2640 + place * 4, 4832 + place * 8);
        }
        let cr3 = at(2728, 5008);
        let cr1 = at(2720, 4992);
        Registers {
            offset,
            came: true,
            listed,
            // A 32-bit CR3 has the upper bits of the frame's number in its lower bits.
            cr3: if wide {
                cr3 >> 12
            } else {
                cr3 >> 12 | (cr3 & 0xfff) << 20
            },
            cr1: (wide && cr1 & 1 != 0).then_some(cr1 >> 12),
            ip: at(516 + 32, 520 + 128),
            gdt_entries: at(2704, 4960),
            gdt_frames,
            start_info: at(516 + 8, 520 + 96),
        }
    }

    /// Puts the registers into a report.
    pub(super) fn tell(&self, vcpu: &mut Vcpu) {
        vcpu.cr3 = Some(self.cr3);
        vcpu.cr1 = self.cr1;
        vcpu.ip = Some(self.ip);
        vcpu.gdt_entries = Some(self.gdt_entries);
        vcpu.start_info = (vcpu.id == 0).then_some(self.start_info);
    }

    /// The level of the page table that CR3 names, as it came last; 0 if it is none.
    pub(super) fn top_level<R: Read>(&self, scan: &Scan<R>) -> u8 {
        match scan.pages.last(self.cr3) {
            Some(nibble @ (1..=4 | 9..=12)) => nibble & 7,
            _ => 0,
        }
    }

    /// Checks what a restorer needs of the pages that the registers name.
    pub(super) fn check<R: Read>(&self, scan: &mut Scan<R>, id: u32, levels: u8, gdt: Gdt) -> Step {
        scan.rename(format!("context of vcpu {id}"));
        let top = |nibble| matches!(nibble, 1..=4 | 9..=12) && nibble & 7 == levels;
        let table = format!("it among the pages, last of type L{levels}TAB");
        self.page(scan, "CR3", self.cr3, top, &table)?;
        if let Some(cr1) = self.cr1 {
            self.page(scan, "CR1 (the user page table)", cr1, top, &table)?;
        }
        if self.gdt_entries > gdt.entries {
            let found = format!("a GDT of {} entries", self.gdt_entries);
            scan.fault(self.offset, found, format!("{} at most", gdt.entries))?;
        }
        let plain = "it among the pages, last of type NOTAB";
        let frames = self.gdt_entries.div_ceil(512).min(gdt.frames) as usize;
        for (frame, at) in self.gdt_frames.iter().take(frames).zip(0..) {
            self.page(scan, &format!("GDT frame {at}"), *frame, |nibble| nibble == 0, plain)?;
        }
        if id == 0 {
            self.page(scan, "the start info", self.start_info, |nibble| nibble == 0, plain)?;
        }
        Ok(())
    }

    fn page<R: Read>(
        &self,
        scan: &mut Scan<R>,
        what: &str,
        pfn: u64,
        right: impl Fn(u8) -> bool,
        expected: &str,
    ) -> Step {
        let found = match scan.pages.last(pfn) {
            Some(nibble) if right(nibble) => return Ok(()),
            Some(nibble) => format!("{what}, page {pfn:#x}, of type {}", names::page_type(nibble)),
            None => format!("{what}, page {pfn:#x}, missing"),
        };
        scan.fault(self.offset, found, expected)
    }
}
