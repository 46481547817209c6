//! The bodies of libxc records.

use std::io::Read;

use super::{
    Tsc, Vcpu, hvm,
    libxc::{Guest, State},
    names,
    pages::{Entry, How},
    scan::{Scan, Step, number},
    tables::Tables,
    vcpu::Registers,
};

/// Pages that an HVM guest can have at most: its addresses have 52 bits at most on any processor.
const MAX_HVM_PFN: u64 = 1 << 40;

/// Entries of the p2m at most.
const MAX_P2M: u64 = 0x1000_0000;

/// vcpus that a PV guest can have at most.
const MAX_VCPUS: u32 = 8192;

/// Passes over a body and its padding.
pub(super) fn skip<R: Read>(scan: &mut Scan<R>, length: u32) -> Step {
    skip_rest(scan, length, 0)
}

/// Passes over the rest of a body of which `taken` bytes have been read, and its padding.
pub(super) fn skip_rest<R: Read>(scan: &mut Scan<R>, length: u32, taken: u32) -> Step {
    scan.skip(u64::from(length.saturating_sub(taken)))?;
    scan.padding(u64::from(length))
}

/// A body that has to be empty.
pub(super) fn empty<R: Read>(scan: &mut Scan<R>, length: u32) -> Step {
    has_length(scan, length, length == 0, "none")?;
    skip(scan, length)
}

/// Says that a body has a wrong length.
fn has_length<R: Read>(scan: &mut Scan<R>, length: u32, right: bool, expected: &str) -> Step<bool> {
    if !right {
        scan.fault(scan.part_offset() + 4, format!("{length} bytes"), expected)?;
    }
    Ok(right)
}

fn zero<R: Read>(scan: &mut Scan<R>, value: u64, offset: u64) -> Step {
    if value != 0 {
        scan.fault(offset, "reserved bytes that are not zero", "zeros")?;
    }
    Ok(())
}

/// PAGE_DATA: u32 count, u32 zero, entries, pages.
pub(super) fn page_data<R: Read>(scan: &mut Scan<R>, state: &mut State, length: u32) -> Step {
    let offset = scan.part_offset();
    if length < 16 {
        return Err(scan.broken(
            offset + 4,
            format!("{length} bytes"),
            "16 at least: a count and an entry",
        ));
    }
    let (count, reserved) = (scan.u32()?, scan.u32()?);
    zero(scan, u64::from(reserved), offset + 12)?;
    if count == 0 || u64::from(count) * 8 > u64::from(length) - 8 {
        let found = format!("{count} pages in {length} bytes");
        return Err(scan.broken(offset + 8, found, "at least one, and not more than fit"));
    }
    let bound = match (state.guest, state.p2m_size) {
        (Guest::Pv, Some(size)) => size,
        _ => MAX_HVM_PFN,
    };
    let raw = scan.bytes(count as usize * 8)?;
    let mut entries = Vec::with_capacity(count as usize);
    for (value, at) in raw.as_chunks::<8>().0.iter().zip((offset + 16..).step_by(8)) {
        let value = u64::from_le_bytes(*value);
        let entry = Entry {
            pfn: value & 0x000f_ffff_ffff_ffff,
            nibble: (value >> 60) as u8,
        };
        if value >> 52 & 0xff != 0 {
            scan.fault(
                at,
                format!("entry {value:#018x}, with reserved bits set"),
                "bits 52 to 59 zero",
            )?;
        }
        if matches!(entry.nibble, 5..=8) {
            return Err(scan.broken(
                at,
                format!("page {:#x} of type {:#x}", entry.pfn, entry.nibble),
                "0 to 4 or 9 to 15",
            ));
        }
        if entry.pfn >= bound {
            scan.fault(at, format!("page {:#x}", entry.pfn), format!("a page below {bound:#x}"))?;
        }
        let level = match &state.tables {
            Some(tables) => tables.levels,
            None => 0,
        };
        if matches!(entry.nibble, 1..=4 | 9..=12) && entry.nibble & 7 > level {
            let name = names::page_type(entry.nibble);
            let expected = match level {
                0 => "no page tables: the guest is not PV".to_owned(),
                _ => format!("page tables of {level} levels"),
            };
            scan.fault(at, format!("page {:#x} of type {name}", entry.pfn), expected)?;
        }
        entries.push(entry);
    }
    let data = entries.iter().filter(|entry| entry.has_data()).count() as u64 * 4096;
    let expected = 8 + u64::from(count) * 8 + data;
    if u64::from(length) != expected {
        let found = format!("{length} bytes");
        return Err(scan.broken(
            offset + 4,
            found,
            format!("{expected} for {count} pages, {data} bytes of data"),
        ));
    }
    scan.batch(
        &entries,
        How {
            name: "PAGE_DATA",
            tables: state.tables.as_ref(),
            verify: state.verify.is_some(),
        },
    )
}

/// Any other record.
pub(super) fn record<R: Read>(scan: &mut Scan<R>, state: &mut State, kind: u32, length: u32) -> Step {
    let offset = scan.part_offset();
    let detail = match kind {
        0x02 => return pv_info(scan, state, length),
        0x03 => return p2m_frames(scan, state, length),
        0x04..=0x06 | 0x0c => return vcpu(scan, state, kind, length),
        0x07 => {
            state.shared_info = true;
            has_length(scan, length, length == 4096, "4096")?;
            String::new()
        }
        0x08 => return tsc(scan, state, length),
        0x09 => {
            state.hvm_context = true;
            let detail = hvm::context(scan, length)?;
            scan.padding(u64::from(length))?;
            scan.end(detail);
            return Ok(());
        }
        0x0a => {
            state.hvm_params = true;
            return hvm_params(scan, length);
        }
        0x0d => {
            state.verify = Some(scan.report.pages.records);
            has_length(scan, length, length == 0, "none")?;
            scan.note(offset, "verify mode: the pages that follow repeat those before");
            "what follows is for comparison".to_owned()
        }
        0x10 => {
            state.static_data_end = true;
            has_length(scan, length, length == 0, "none")?;
            String::new()
        }
        0x11 | 0x12 => {
            let (size, what) = if kind == 0x11 {
                (24, "leaves")
            } else {
                (16, "registers")
            };
            state.policies[(kind - 0x11) as usize] = true;
            let expected = format!("{size} or a multiple of it");
            has_length(scan, length, length != 0 && length.is_multiple_of(size), &expected)?;
            format!("{} {what}", length / size)
        }
        0x0b => {
            scan.fault(offset, "a record TOOLSTACK, which is obsolete", "none")?;
            format!("{length} bytes")
        }
        0x0e | 0x0f => {
            scan.fault(
                offset,
                "a record of a checkpointed stream (Remus, COLO)",
                "none in an image to restore",
            )?;
            format!("{length} bytes")
        }
        _ => {
            let optional = if kind >> 31 != 0 { ", optional," } else { "" };
            scan.fault(offset, format!("a record{optional} of type {kind:#x}"), "a known type")?;
            format!("{length} bytes")
        }
    };
    skip(scan, length)?;
    scan.end(detail);
    Ok(())
}

/// Width, levels, zeros.
fn pv_info<R: Read>(scan: &mut Scan<R>, state: &mut State, length: u32) -> Step {
    let offset = scan.part_offset();
    if length != 8 {
        return Err(scan.broken(offset + 4, format!("{length} bytes"), "8"));
    }
    let [width, levels, reserved @ ..] = scan.array::<8>()?;
    if !matches!((width, levels), (4, 3) | (8, 4)) {
        let found = format!("a guest of {width} bytes and {levels} levels");
        return Err(scan.broken(offset + 8, found, "4 bytes and 3 levels, or 8 and 4"));
    }
    zero(scan, number(&reserved, 0, 6), offset + 10)?;
    state.width = u64::from(width);
    state.tables = Some(Tables {
        entry: 8,
        levels,
        p2m_size: u64::MAX,
        last_copy_counts: false,
    });
    scan.report.image.guest_width = Some(state.width);
    scan.report.image.levels = Some(u64::from(levels));
    scan.end(format!("{} bits, page tables of {levels} levels", state.width * 8));
    Ok(())
}

/// First page, last page, the pages that hold this part of the p2m.
fn p2m_frames<R: Read>(scan: &mut Scan<R>, state: &mut State, length: u32) -> Step {
    let offset = scan.part_offset();
    if length < 16 || !length.is_multiple_of(8) || state.width == 0 {
        let expected = if state.width == 0 {
            "X86_PV_INFO before"
        } else {
            "16 at least, and a multiple of 8"
        };
        return Err(scan.broken(offset + 4, format!("{length} bytes"), expected));
    }
    let (start, end) = (u64::from(scan.u32()?), u64::from(scan.u32()?));
    let per_page = 4096 / state.width;
    if start > end || end >= MAX_P2M {
        let found = format!("pages {start:#x} to {end:#x}");
        return Err(scan.broken(offset + 8, found, format!("an ascending range below {MAX_P2M:#x}")));
    }
    let (from, frames) = (start / per_page, end / per_page - start / per_page + 1);
    if frames != (u64::from(length) - 8) / 8 {
        let found = format!("{length} bytes for pages {start:#x} to {end:#x}");
        return Err(scan.broken(offset + 4, found, format!("{}", 8 + frames * 8)));
    }
    if from > state.frames.len() as u64 {
        return Err(scan.broken(
            offset + 8,
            format!("frames from page {start:#x}"),
            "those before it first",
        ));
    }
    let size = state.p2m_size.unwrap_or(0).max(end + 1);
    let raw = scan.bytes(frames as usize * 8)?;
    state.frames.truncate(from as usize);
    for (at, frame) in raw.as_chunks::<8>().0.iter().enumerate() {
        let frame = u64::from_le_bytes(*frame);
        if frame >= size {
            let at = offset + 16 + at as u64 * 8;
            scan.fault(at, format!("frame {frame:#x}"), format!("a page below {size:#x}"))?;
        }
        state.frames.push(frame);
    }
    state.p2m_size = Some(size);
    if let Some(tables) = &mut state.tables {
        tables.p2m_size = size;
    }
    scan.report.image.p2m_size = Some(size);
    scan.report.image.p2m_frames = Some(state.frames.len() as u64);
    scan.end(format!("pages {start:#x} to {end:#x}, {frames} frames"));
    Ok(())
}

/// A record of a vcpu: u32 number, u32 zero, a blob.
fn vcpu<R: Read>(scan: &mut Scan<R>, state: &mut State, kind: u32, length: u32) -> Step {
    let offset = scan.part_offset();
    if length < 8 {
        return Err(scan.broken(offset + 4, format!("{length} bytes"), "8 at least"));
    }
    let (id, reserved) = (scan.u32()?, scan.u32()?);
    zero(scan, u64::from(reserved), offset + 12)?;
    if id >= MAX_VCPUS {
        return Err(scan.broken(offset + 8, format!("vcpu {id}"), format!("a number below {MAX_VCPUS}")));
    }
    let blob = length - 8;
    let vcpus = &mut scan.report.image.vcpus;
    let known = state.vcpus.entry(id).or_insert_with(|| {
        vcpus.push(Vcpu { id, ..Vcpu::default() });
        Registers::missing(offset, vcpus.len() - 1)
    });
    let listed = known.listed;
    let bytes = Some(u64::from(blob));
    let context = if state.width == 4 { 2800 } else { 5168 };
    let (right, expected) = match kind {
        _ if blob == 0 => (true, String::new()),
        0x04 => (blob == context, format!("{}", context + 8)),
        0x05 => (blob <= 128, "136 at most".to_owned()),
        0x06 => (blob >= 16, "24 at least".to_owned()),
        _ => (blob.is_multiple_of(16), "8 and a multiple of 16".to_owned()),
    };
    if let Some(vcpu) = vcpus.get_mut(listed) {
        let field = match kind {
            0x04 => &mut vcpu.context,
            0x05 => &mut vcpu.extended,
            0x06 => &mut vcpu.xsave,
            _ => &mut vcpu.msrs,
        };
        let value = if kind == 0x0c {
            Some(u64::from(blob / 16))
        } else {
            bytes
        };
        if field.replace(value.unwrap_or(0)).is_some() {
            scan.fault(offset, format!("this record twice for vcpu {id}"), "once")?;
        }
    }
    has_length(scan, length, right, &expected)?;
    if kind == 0x04 && blob == context {
        let bytes = scan.bytes(blob as usize)?;
        *known = Registers::parse(offset, listed, state.width, &bytes);
        if let Some(vcpu) = scan.report.image.vcpus.get_mut(listed) {
            known.tell(vcpu);
        }
        scan.padding(u64::from(length))?;
    } else {
        if blob == 0 {
            scan.note(offset, format!("an empty record for vcpu {id}"));
        }
        skip_rest(scan, length, 8)?;
    }
    scan.end(format!("vcpu {id}, {blob} bytes"));
    Ok(())
}

/// mode, kHz, nanoseconds, incarnation, zero.
fn tsc<R: Read>(scan: &mut Scan<R>, state: &mut State, length: u32) -> Step {
    let offset = scan.part_offset();
    state.tsc = true;
    if length != 24 {
        return Err(scan.broken(offset + 4, format!("{length} bytes"), "24"));
    }
    let tsc = Tsc {
        mode: scan.u32()?,
        khz: scan.u32()?,
        nsec: scan.u64()?,
        incarnation: scan.u32()?,
    };
    let reserved = scan.u32()?;
    zero(scan, u64::from(reserved), offset + 28)?;
    if tsc.mode > 3 {
        scan.fault(offset + 8, format!("mode {}", tsc.mode), "0 to 3")?;
    }
    scan.report.image.tsc = Some(tsc);
    scan.end(tsc.to_string());
    Ok(())
}

/// u32 count, u32 zero, numbers and values.
fn hvm_params<R: Read>(scan: &mut Scan<R>, length: u32) -> Step {
    let offset = scan.part_offset();
    if length < 8 {
        return Err(scan.broken(offset + 4, format!("{length} bytes"), "8 at least"));
    }
    let (count, reserved) = (scan.u32()?, scan.u32()?);
    zero(scan, u64::from(reserved), offset + 12)?;
    if u64::from(length) != 8 + u64::from(count) * 16 {
        let expected = format!("{} for {count} parameters", 8 + u64::from(count) * 16);
        return Err(scan.broken(offset + 4, format!("{length} bytes"), expected));
    }
    if count == 0 {
        scan.note(offset, "no parameters");
    }
    for _ in 0..count {
        let at = scan.input.offset();
        let (index, value) = (scan.u64()?, scan.u64()?);
        hvm::parameter(scan, at, index, value)?;
    }
    scan.end(format!("{count} parameters"));
    Ok(())
}
