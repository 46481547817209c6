//! What stands behind the pages of a legacy image.

use std::io::Read;

use super::Legacy;
use crate::inspect::{
    Vcpu, hvm as parts,
    scan::{Scan, Step, number},
    tables,
    vcpu::{Gdt, Registers},
};

/// Bytes of the hypervisor's context at most.
const MAX_CONTEXT: u32 = 16 << 20;

/// PV: unmapped pages, vcpus, the shared info.
pub(super) fn pv<R: Read>(scan: &mut Scan<R>, legacy: &mut Legacy) -> Step {
    unmapped(scan, legacy)?;
    for id in std::mem::take(&mut legacy.online) {
        let registers = context(scan, legacy, id)?;
        if id == 0 {
            levels(scan, legacy, &registers)?;
        }
        let levels = scan.report.image.levels.unwrap_or(4) as u8;
        let gdt = Gdt {
            entries: 8192,
            // Xen 3.0, which has no VCPU_INFO, makes pfns of the first frame only.
            frames: if legacy.vcpu_info { 16 } else { 1 },
        };
        registers.check(scan, id, levels, gdt)?;
        if legacy.extended {
            extended(scan, id)?;
        }
        if let Some(bytes) = legacy.xsave {
            xsave(scan, id, bytes)?;
        }
    }
    scan.begin("shared info");
    scan.skip(4096)?;
    scan.end("");
    scan.rename("p2m frames");
    tables::p2m_frames(scan, &legacy.frames, scan.part_offset())
}

/// u32 count, pages that have no frame at the end.
fn unmapped<R: Read>(scan: &mut Scan<R>, legacy: &Legacy) -> Step {
    scan.begin("unmapped pages");
    let offset = scan.input.offset();
    let count = u64::from(scan.u32()?);
    if count > legacy.p2m_size {
        return Err(scan.broken(
            offset,
            format!("{count} pages"),
            format!("{:#x} at most", legacy.p2m_size),
        ));
    }
    let mut range = None;
    for _ in 0..count {
        let at = scan.input.offset();
        let pfn = scan.word(legacy.word)?;
        if pfn >= legacy.p2m_size {
            scan.fault(
                at,
                format!("page {pfn:#x}"),
                format!("a page below {:#x}", legacy.p2m_size),
            )?;
        }
        scan.pages.forget(pfn);
        range = Some((range.map_or(pfn, |(first, _)| first), pfn));
    }
    scan.report.image.unmapped = Some(count);
    scan.end(match range {
        Some((first, last)) => format!("{count} pages: {first:#x} to {last:#x}"),
        None => "none".to_owned(),
    });
    Ok(())
}

fn context<R: Read>(scan: &mut Scan<R>, legacy: &Legacy, id: u32) -> Step<Registers> {
    scan.begin(format!("context of vcpu {id}"));
    let offset = scan.input.offset();
    let bytes = scan.bytes(if legacy.width == 4 { 2800 } else { 5168 })?;
    let registers = Registers::parse(offset, scan.report.image.vcpus.len(), legacy.width, &bytes);
    let mut vcpu = Vcpu {
        id,
        context: Some(bytes.len() as u64),
        ..Vcpu::default()
    };
    registers.tell(&mut vcpu);
    let detail = format!(
        "ip {:#x}, CR3 page {:#x}",
        vcpu.ip.unwrap_or_default(),
        vcpu.cr3.unwrap_or_default()
    );
    scan.report.image.vcpus.push(vcpu);
    scan.end(detail);
    Ok(registers)
}

/// The levels of page tables: the table that CR3 names tells whether a 32-bit guest has two.
fn levels<R: Read>(scan: &mut Scan<R>, legacy: &Legacy, registers: &Registers) -> Step {
    let levels = match (legacy.width, registers.top_level(scan)) {
        (8, _) => 4,
        (_, 2) => {
            scan.note(
                registers.offset,
                "page tables of two levels (no PAE): no Xen since 4.3 runs such a guest",
            );
            2
        }
        _ => 3,
    };
    scan.report.image.levels = Some(levels);
    if levels != 2 {
        scan.rename("page tables");
        scan.bad_tables()?;
    }
    Ok(())
}

/// u32 vcpu, u32 size, and so many of 128 bytes are in use, these 8 included.
fn extended<R: Read>(scan: &mut Scan<R>, id: u32) -> Step {
    scan.begin(format!("extended context of vcpu {id}"));
    let offset = scan.input.offset();
    let bytes = scan.bytes(128)?;
    let (of, size) = (number(&bytes, 0, 4), number(&bytes, 4, 4));
    if of != u64::from(id) {
        scan.fault(offset, format!("vcpu {of}"), format!("vcpu {id}"))?;
    }
    if !(32..=128).contains(&size) {
        scan.fault(offset + 4, format!("{size} bytes in use"), "32 to 128")?;
    }
    if let Some(vcpu) = scan.report.image.vcpus.last_mut() {
        vcpu.extended = Some(size);
    }
    scan.end(format!("{size} bytes in use"));
    Ok(())
}

/// u64 features, u64 size, bytes: as many as the extended information has announced.
fn xsave<R: Read>(scan: &mut Scan<R>, id: u32, announced: u32) -> Step {
    scan.begin(format!("xsave data of vcpu {id}"));
    let offset = scan.input.offset();
    let (mask, size) = (scan.u64()?, scan.u64()?);
    if size != u64::from(announced) - 16 {
        return Err(scan.broken(offset + 8, format!("{size} bytes"), format!("{}", announced - 16)));
    }
    scan.skip(size)?;
    if let Some(vcpu) = scan.report.image.vcpus.last_mut() {
        vcpu.xsave = Some(size);
    }
    scan.end(format!("features {mask:#x}, {size} bytes"));
    Ok(())
}

/// HVM: three pages, the hypervisor's context, a device model's state.
pub(super) fn hvm<R: Read>(scan: &mut Scan<R>) -> Step {
    scan.begin("magic pages");
    for index in [5, 6, 1] {
        let at = scan.input.offset();
        let value = scan.u64()?;
        if value == 0 && index == 1 {
            scan.fault(at, "page 0 for the store", "another page")?;
        }
        parts::parameter(scan, at, index, value)?;
    }
    scan.end("ioreq, bufioreq, store");
    scan.begin("hypervisor's context");
    let offset = scan.input.offset();
    let length = scan.u32()?;
    if !(16..=MAX_CONTEXT).contains(&length) {
        return Err(scan.broken(offset, format!("{length} bytes"), format!("16 to {MAX_CONTEXT}")));
    }
    let detail = parts::context(scan, length)?;
    scan.end(detail);
    parts::device_model(scan, true)
}
