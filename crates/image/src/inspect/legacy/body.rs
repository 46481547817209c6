//! The body of a legacy image: batches of pages, and chunks with a negative number.

use std::io::Read;

use super::{Legacy, chunk_name, tmem};
use crate::{
    PageBatch,
    inspect::{
        Tsc, hvm, names,
        pages::{Entry, How},
        scan::{Scan, Step, number},
    },
    legacy::LegacyGuest,
};

/// vcpus that an image can have at most.
const MAX_VCPUS: i32 = 4096;

/// Bytes of a TOOLSTACK chunk at most.
const MAX_TOOLSTACK: u32 = 1 << 20;

/// Everything up to the zero that ends it.
pub(super) fn body<R: Read>(scan: &mut Scan<R>, legacy: &mut Legacy) -> Step {
    let mut last_checkpoint = false;
    let mut seen = [false; 22];
    loop {
        scan.begin("chunk");
        let offset = scan.input.offset();
        let id = i32::from_le_bytes(scan.array()?);
        if id > 0 {
            batch(scan, legacy, id as usize)?;
        } else {
            scan.rename(chunk_name(id));
            scan.report.records += 1;
            if last_checkpoint && id != 0 {
                scan.note(offset, "a chunk behind LAST_CHECKPOINT");
            }
        }
        if let Some(seen) = seen.get_mut(id.unsigned_abs() as usize).filter(|_| id < 0)
            && std::mem::replace(seen, true)
            && !matches!(id, -5 | -6 | -12)
        {
            scan.fault(offset, "this chunk twice", "once")?;
        }
        match id {
            0 => {
                scan.rename("end of the pages");
                scan.end("");
                return end(scan, legacy);
            }
            1.. => {}
            _ => {
                let detail = chunk(scan, legacy, id)?;
                scan.end(detail);
                last_checkpoint |= id == -9;
            }
        }
    }
}

/// What can be said once all pages have come.
fn end<R: Read>(scan: &mut Scan<R>, legacy: &Legacy) -> Step {
    let offset = scan.part_offset();
    if legacy.absent_with_number > 0 {
        let count = legacy.absent_with_number;
        scan.note(
            offset,
            format!("{count} absent pages with a number that is none, as Xen up to 4.0 sends them"),
        );
    }
    if legacy.extended_sign > 0 {
        let count = legacy.extended_sign;
        scan.note(
            offset,
            format!("{count} entries with extended sign, as 64-bit Xen 3.0 sends them"),
        );
    }
    if legacy.verify == Some(scan.report.pages.records) {
        scan.fault(
            offset,
            "verify mode without pages",
            "pages to compare with those before",
        )?;
    }
    if scan.report.pages.with_data == 0 {
        scan.fault(offset, "no pages", "pages")?;
    }
    Ok(())
}

/// Entries, then a page for each whose type has data.
fn batch<R: Read>(scan: &mut Scan<R>, legacy: &mut Legacy, count: usize) -> Step {
    scan.rename("batch of pages");
    let offset = scan.part_offset();
    if count > PageBatch::MAX_PAGES {
        return Err(scan.broken(
            offset,
            format!("{count} pages"),
            "1 to 1024, or a chunk's negative number",
        ));
    }
    let raw = scan.bytes(count * legacy.word)?;
    let mut entries = Vec::with_capacity(count);
    for (raw, at) in raw.chunks_exact(legacy.word).zip((offset + 4..).step_by(legacy.word)) {
        let value = number(raw, 0, legacy.word);
        let nibble = (value >> 28 & 0xf) as u8;
        let pfn = value & 0x0fff_ffff;
        // Up to 3.0.4 the pinned bit was a sign, and 64-bit savers extended it.
        match value >> 32 {
            0 => {}
            0xffff_ffff if nibble >= 8 => legacy.extended_sign += 1,
            upper => scan.fault(at, format!("an entry with {upper:#x} in its upper half"), "zero")?,
        }
        let nibble = match nibble {
            5..=7 => {
                return Err(scan.broken(at, format!("page {pfn:#x} of type {nibble:#x}"), "0 to 4 or 8 to 15"));
            }
            8 => {
                scan.note(at, format!("page {pfn:#x} with the pinned bit alone, read as NOTAB"));
                0
            }
            nibble => nibble,
        };
        if nibble == Entry::ABSENT {
            legacy.absent_with_number += u64::from(pfn != 0);
            // What stands in the place of its number may be anything.
            entries.push(Entry { pfn: u64::MAX, nibble });
            continue;
        }
        if pfn >= legacy.p2m_size {
            scan.fault(
                at,
                format!("page {pfn:#x}"),
                format!("a page below {:#x}", legacy.p2m_size),
            )?;
        }
        let levels = match &legacy.tables {
            Some(tables) => tables.levels,
            None if legacy.guest == LegacyGuest::Hvm => 0,
            None => 3,
        };
        if matches!(nibble, 1..=4 | 9..=12) && nibble & 7 > levels {
            let found = format!("page {pfn:#x} of type {}", names::page_type(nibble));
            scan.fault(at, found, format!("page tables of {levels} levels"))?;
        }
        entries.push(Entry { pfn, nibble });
    }
    scan.batch(
        &entries,
        How {
            name: "batches of pages",
            tables: legacy.tables.as_ref(),
            verify: legacy.verify.is_some(),
        },
    )
}

/// The rest of a chunk: what is in it, in words.
fn chunk<R: Read>(scan: &mut Scan<R>, legacy: &mut Legacy, id: i32) -> Step<String> {
    let offset = scan.part_offset();
    if let Some(index) = names::chunk_parameter(id) {
        if legacy.guest == LegacyGuest::Pv {
            scan.fault(offset, "an HVM guest's chunk", "none in an image of a PV guest")?;
        }
        let (padding, value) = (scan.u32()?, scan.u64()?);
        if padding != 0 {
            scan.note(offset + 4, "padding that is not zero");
        }
        hvm::parameter(scan, offset, index, value)?;
        return Ok(format!("{value:#x}"));
    }
    Ok(match id {
        -1 => {
            legacy.verify = Some(scan.report.pages.records);
            scan.note(offset, "verify mode: the pages that follow repeat those before");
            "what follows is for comparison".to_owned()
        }
        -2 => vcpu_info(scan, legacy)?,
        -5 => tmem::pools(scan)?,
        -6 => tmem::extra(scan)?,
        -7 => {
            let (mode, nsec, khz, incarnation) = (scan.u32()?, scan.u64()?, scan.u32()?, scan.u32()?);
            let tsc = Tsc {
                mode,
                khz,
                nsec,
                incarnation,
            };
            if mode > 3 {
                scan.fault(offset + 4, format!("mode {mode}"), "0 to 3")?;
            }
            scan.report.image.tsc = Some(tsc);
            tsc.to_string()
        }
        -9 => String::new(),
        -12 => {
            let bytes = scan.word(legacy.word)?;
            scan.fault(offset, "compressed pages (Remus)", "none in an image to restore")?;
            scan.skip(bytes)?;
            format!("{bytes} bytes")
        }
        -13 => {
            scan.fault(offset, "a compressed stream (Remus)", "none in an image to restore")?;
            String::new()
        }
        -18 => {
            let bytes = scan.u32()?;
            if bytes > MAX_TOOLSTACK {
                let expected = format!("{MAX_TOOLSTACK} at most");
                return Err(scan.broken(offset + 4, format!("{bytes} bytes"), expected));
            }
            scan.skip(u64::from(bytes))?;
            format!("{bytes} bytes")
        }
        _ => {
            let expected = "a batch of 1 to 1024 pages, a known chunk, or 0";
            return Err(scan.broken(offset, format!("{id}, which no Xen has sent"), expected));
        }
    })
}

/// The highest vcpu, and a bit for each that is online.
fn vcpu_info<R: Read>(scan: &mut Scan<R>, legacy: &mut Legacy) -> Step<String> {
    let offset = scan.part_offset();
    let highest = i32::from_le_bytes(scan.array()?);
    if !(0..MAX_VCPUS).contains(&highest) {
        let expected = format!("0 to {}", MAX_VCPUS - 1);
        return Err(scan.broken(offset + 4, format!("vcpu {highest} as the highest"), expected));
    }
    let highest = highest as u32;
    legacy.online.clear();
    for word in 0..=highest / 64 {
        let bits = scan.u64()?;
        let set = (0..64).filter(|bit| bits >> bit & 1 != 0);
        legacy.online.extend(set.map(|bit| word * 64 + bit));
    }
    if legacy.online.first() != Some(&0) {
        scan.fault(offset + 8, "vcpu 0 offline", "vcpu 0 online")?;
    }
    if let Some(beyond) = legacy.online.iter().find(|id| **id > highest) {
        scan.fault(
            offset + 8,
            format!("vcpu {beyond} online"),
            format!("none above {highest}"),
        )?;
    }
    legacy.vcpu_info = true;
    scan.report.image.online = Some(legacy.online.clone());
    Ok(format!(
        "{} online, the highest possible is {highest}",
        legacy.online.len()
    ))
}
