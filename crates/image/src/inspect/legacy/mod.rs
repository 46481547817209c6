//! A libxc image of Xen 3.0.2 to 4.5 (`xc_linux_save.c`, `xc_domain_save.c`): no magic, no version, no lengths.

mod body;
mod tail;
mod tmem;

use std::io::Read;

use super::{
    Block, names,
    scan::{Scan, Step, number},
    tables::Tables,
};
use crate::{Format, legacy::LegacyGuest};

/// Entries of the p2m at most: what savers since 4.1 refuse to pass.
const MAX_P2M: u64 = 0x0fff_ffff;

/// Bytes of extended information at most.
const MAX_EXTENDED_INFO: u32 = 64 << 10;

/// What is known of an image.
struct Legacy {
    guest: LegacyGuest,
    /// Bytes in a word of the saving toolstack.
    word: usize,
    p2m_size: u64,
    /// Bytes in a word of a PV guest.
    width: u64,
    /// How page tables are checked; `None` for HVM, and where it is not known whether they have two levels or three.
    tables: Option<Tables>,
    /// The pages that hold the p2m.
    frames: Vec<u64>,
    extended: bool,
    xsave: Option<u32>,
    /// In verify mode: batches that had come when it began.
    verify: Option<u64>,
    online: Vec<u32>,
    vcpu_info: bool,
    absent_with_number: u64,
    extended_sign: u64,
}

/// The whole image.
pub(super) fn image<R: Read>(scan: &mut Scan<R>, guest: LegacyGuest) -> Step {
    scan.report.formats.push(match guest {
        LegacyGuest::Pv => Format::LegacyPv,
        LegacyGuest::Hvm => Format::LegacyHvm,
    });
    scan.report.image.guest = Some(match guest {
        LegacyGuest::Pv => "pv",
        LegacyGuest::Hvm => "hvm",
    });
    let mut legacy = p2m_size(scan, guest)?;
    if guest == LegacyGuest::Pv {
        prologue(scan, &mut legacy)?;
    }
    body::body(scan, &mut legacy)?;
    match guest {
        LegacyGuest::Pv => tail::pv(scan, &mut legacy),
        LegacyGuest::Hvm => tail::hvm(scan),
    }
}

impl<R: Read> Scan<R> {
    /// A word of the saving toolstack.
    fn word(&mut self, word: usize) -> Step<u64> {
        match word {
            8 => self.u64(),
            _ => self.u32().map(u64::from),
        }
    }
}

/// The size of the p2m, which also tells the width of the saving toolstack: the upper half of a 64-bit one is zero, and the field behind a 32-bit one is not.
fn p2m_size<R: Read>(scan: &mut Scan<R>, guest: LegacyGuest) -> Step<Legacy> {
    scan.begin("p2m size");
    let offset = scan.input.offset();
    let first = scan.input.peek(8).map_err(super::Fail::Io)?;
    let word = if number(first, 4, 4) == 0 { 8 } else { 4 };
    let p2m_size = scan.word(word)?;
    if p2m_size == 0 || p2m_size > MAX_P2M {
        return Err(scan.broken(offset, format!("{p2m_size:#x} entries"), format!("1 to {MAX_P2M:#x}")));
    }
    scan.report.image.toolstack_width = Some(word as u64);
    scan.report.image.p2m_size = Some(p2m_size);
    scan.end(format!("{p2m_size} entries ({p2m_size:#x}), in a word of {word} bytes"));
    Ok(Legacy {
        guest,
        word,
        p2m_size,
        // Without extended information guest and toolstack are of the same width.
        width: word as u64,
        tables: None,
        frames: Vec::new(),
        extended: false,
        xsave: None,
        verify: None,
        online: vec![0],
        vcpu_info: false,
        absent_with_number: 0,
        extended_sign: 0,
    })
}

/// PV: the extended information, if there is some, and the frames of the p2m.
fn prologue<R: Read>(scan: &mut Scan<R>, legacy: &mut Legacy) -> Step {
    let first = scan.input.peek(legacy.word).map_err(super::Fail::Io)?;
    let ones = first.len() == legacy.word && first.iter().all(|byte| *byte == 0xff);
    if ones {
        extended_info(scan, legacy)?;
    }
    if legacy.width == 8 || ones {
        legacy.tables = Some(Tables {
            entry: 8,
            levels: if legacy.width == 8 { 4 } else { 3 },
            p2m_size: legacy.p2m_size,
            last_copy_counts: true,
        });
    }
    scan.report.image.guest_width = Some(legacy.width);
    scan.begin("p2m frames");
    let count = legacy.p2m_size.div_ceil(4096 / legacy.width);
    for _ in 0..count {
        let at = scan.input.offset();
        let frame = scan.word(legacy.word)?;
        if frame >= legacy.p2m_size {
            scan.fault(
                at,
                format!("page {frame:#x}"),
                format!("a page below {:#x}", legacy.p2m_size),
            )?;
        }
        legacy.frames.push(frame);
    }
    scan.report.image.p2m_frames = Some(count);
    let [first, .., last] = legacy.frames[..] else {
        let only = legacy.frames.first().copied().unwrap_or_default();
        scan.end(format!("1 frame: {only:#x}"));
        return Ok(());
    };
    scan.end(format!("{count} frames: {first:#x} to {last:#x}"));
    Ok(())
}

/// Blocks: four letters, u32 size, bytes.
fn extended_info<R: Read>(scan: &mut Scan<R>, legacy: &mut Legacy) -> Step {
    scan.begin("extended information");
    scan.skip(legacy.word as u64)?;
    let offset = scan.input.offset();
    let total = scan.u32()?;
    if !(8..=MAX_EXTENDED_INFO).contains(&total) {
        return Err(scan.broken(offset, format!("{total} bytes"), format!("8 to {MAX_EXTENDED_INFO}")));
    }
    scan.end(format!("{total} bytes"));
    let (mut left, mut blocks, mut width) = (total, Vec::new(), None);
    while left > 0 {
        scan.begin("block of extended information");
        let offset = scan.input.offset();
        if left < 8 {
            return Err(scan.broken(offset, format!("{left} bytes of a block"), "8 at least"));
        }
        let id: [u8; 4] = scan.array()?;
        let size = scan.u32()?;
        let name = id.escape_ascii().to_string();
        scan.rename(format!("block {name}"));
        if size > left - 8 {
            return Err(scan.broken(offset + 4, format!("{size} bytes"), format!("{} at most", left - 8)));
        }
        left -= 8 + size;
        let mut detail = format!("{size} bytes");
        if blocks.iter().any(|block: &Block| block.id == name) {
            scan.fault(offset, "this block twice", "once")?;
        }
        let mut taken = 0;
        match &id {
            b"vcpu" => {
                width = match size {
                    2800 => Some(4),
                    5168 => Some(8),
                    _ => return Err(scan.broken(offset + 4, format!("a context of {size} bytes"), "2800 or 5168")),
                };
                detail += ", a context as it was when the save began: only its size counts";
            }
            b"extv" => {
                legacy.extended = true;
                if size != 0 {
                    scan.fault(offset + 4, format!("{size} bytes"), "none")?;
                }
                detail = "each vcpu has an extended context".to_owned();
            }
            b"xcnt" => {
                if size < 4 {
                    return Err(scan.broken(offset + 4, format!("{size} bytes"), "4"));
                }
                let bytes = scan.u32()?;
                taken = 4;
                if size != 4 {
                    scan.fault(offset + 4, format!("{size} bytes"), "4")?;
                }
                if !(592..=16_384).contains(&bytes) {
                    return Err(scan.broken(offset + 8, format!("{bytes} bytes for each vcpu"), "592 to 16384"));
                }
                legacy.xsave = Some(bytes);
                scan.report.image.xsave_announced = Some(bytes);
                detail = format!("{bytes} bytes of xsave data for each vcpu");
            }
            _ => scan.fault(offset, format!("a block {name}"), "vcpu, extv or xcnt")?,
        }
        scan.skip(u64::from(size - taken))?;
        blocks.push(Block { id: name, bytes: size });
        scan.end(detail);
    }
    match width {
        Some(width) => legacy.width = width,
        None => scan.fault(offset, "no block vcpu", "one: it tells the guest's width")?,
    }
    scan.report.image.extended_info = Some(blocks);
    Ok(())
}

/// The name of a chunk, with its number.
fn chunk_name(id: i32) -> String {
    match names::chunk(id) {
        Some(name) => format!("chunk {id} {name}"),
        None => format!("chunk {id}"),
    }
}
