//! What stands before the pages: the size of the p2m, the extended information, the frames of the p2m.

use std::io::Read;

use super::input::{Input, Word};
use crate::{ImageError, PAGE_SIZE};

/// Entries of a p2m at most: what savers since 4.1 refuse to pass.
pub(super) const MAX_P2M: u64 = 0x0fff_ffff;

/// Bytes of extended information at most.
const MAX_EXTENDED: u64 = 64 << 10;

/// Bytes of an XSAVE item, its prefix included (spec, section 8: sanity limits).
const XSAVE_ITEM: std::ops::RangeInclusive<u32> = 592..=16_384;

/// Width of a PV guest, and its levels of page tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestWidth {
    /// 32 bits, PAE: 3 levels.
    Four,
    /// 64 bits: 4 levels.
    Eight,
}

impl GuestWidth {
    /// Bytes of a guest word.
    pub fn bytes(self) -> usize {
        match self {
            GuestWidth::Four => 4,
            GuestWidth::Eight => 8,
        }
    }

    /// Levels of page tables.
    pub fn levels(self) -> u8 {
        match self {
            GuestWidth::Four => 3,
            GuestWidth::Eight => 4,
        }
    }

    /// Bytes of a vcpu's context (`vcpu_guest_context`, the same from Xen 3.0.3 on).
    pub fn context_bytes(self) -> usize {
        match self {
            GuestWidth::Four => 2800,
            GuestWidth::Eight => 5168,
        }
    }
}

/// What a PV image says of itself before its pages.
#[derive(Clone, Debug)]
pub(super) struct PvPrologue {
    pub(super) width: GuestWidth,
    /// Each vcpu in the tail is followed by 128 bytes of extended context.
    pub(super) extended: bool,
    /// Bytes of the XSAVE item of each vcpu in the tail, its 16 bytes of prefix included.
    pub(super) xsave: Option<u32>,
    /// Whether there was extended information at all: before 3.2 mostly not.
    pub(super) has_extended_info: bool,
    /// The pfns of the pages that hold the guest's p2m.
    pub(super) frames: Vec<u64>,
}

/// The width of the saving toolstack's words, and the size of the p2m in entries.
///
/// Bytes 4 to 7 are the upper half of a 64-bit size, always zero; from a 32-bit toolstack they are the next field, which is never zero.
pub(super) fn p2m_size<R: Read>(input: &mut Input<R>) -> Result<(Word, u64), ImageError> {
    let bytes: [u8; 8] = input.array("the size of the p2m")?;
    let value = u64::from_le_bytes(bytes);
    let (word, size) = match value >> 32 {
        0 => (Word::Eight, value),
        _ => {
            input.unread(&bytes[4..]);
            (Word::Four, value & 0xffff_ffff)
        }
    };
    if size == 0 || size > MAX_P2M {
        return Err(input.wrong(format!("a p2m of {size:#x} entries, 1 to {MAX_P2M:#x} are possible")));
    }
    Ok((word, size))
}

/// The rest of what stands before the pages of a PV image.
pub(super) fn pv<R: Read>(input: &mut Input<R>, word: Word, p2m_size: u64) -> Result<PvPrologue, ImageError> {
    let mut prologue = PvPrologue {
        // Without extended information (3.0.x, 3.1) guest and toolstack have the same width.
        width: match word {
            Word::Four => GuestWidth::Four,
            Word::Eight => GuestWidth::Eight,
        },
        extended: false,
        xsave: None,
        has_extended_info: false,
        frames: Vec::new(),
    };
    let mut first = input.word(word, "the frames of the p2m")?;
    let ones = match word {
        Word::Four => u64::from(u32::MAX),
        Word::Eight => u64::MAX,
    };
    if first == ones {
        extended_info(input, &mut prologue)?;
        first = input.word(word, "the frames of the p2m")?;
    }
    let per_page = (PAGE_SIZE / prologue.width.bytes()) as u64;
    // In one read: from a socket each one is a system call.
    let count = p2m_size.div_ceil(per_page) as usize;
    let mut rest = Vec::new();
    input.append((count - 1) * word.bytes(), &mut rest, "the frames of the p2m")?;
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
    let frames = std::iter::once(first).chain(rest.chunks_exact(word.bytes()).map(number));
    for (at, frame) in frames.enumerate() {
        if frame >= p2m_size {
            return Err(input.wrong(format!(
                "p2m frame {at} is page {frame:#x} of a guest with {p2m_size:#x} pages"
            )));
        }
        prologue.frames.push(frame);
    }
    Ok(prologue)
}

fn extended_info<R: Read>(input: &mut Input<R>, prologue: &mut PvPrologue) -> Result<(), ImageError> {
    const WHAT: &str = "the extended information";
    let mut left = u64::from(input.u32(WHAT)?);
    if left > MAX_EXTENDED {
        return Err(input.wrong(format!(
            "extended information of {left} bytes, more than {MAX_EXTENDED}"
        )));
    }
    prologue.has_extended_info = true;
    let mut context = false;
    while left > 0 {
        let id: [u8; 4] = input.array(WHAT)?;
        let size = input.u32(WHAT)?;
        left = left
            .checked_sub(8 + u64::from(size))
            .ok_or_else(|| input.wrong("a block of extended information that is longer than all of it"))?;
        match &id {
            b"vcpu" => {
                prologue.width = match size {
                    2800 => GuestWidth::Four,
                    5168 => GuestWidth::Eight,
                    _ => return Err(input.wrong(format!("a vcpu context of {size} bytes; 2800 and 5168 are known"))),
                };
                context = true;
                // Taken when the save began: its registers are stale, and those that count come at the end.
                input.skip(u64::from(size), WHAT)?;
            }
            b"extv" => {
                prologue.extended = true;
                input.skip(u64::from(size), WHAT)?;
            }
            b"xcnt" => {
                let Some(rest) = size.checked_sub(4) else {
                    return Err(input.wrong(format!("an xcnt block of {size} bytes")));
                };
                let bytes = input.u32(WHAT)?;
                if !XSAVE_ITEM.contains(&bytes) {
                    return Err(input.wrong(format!("xsave data of {bytes} bytes for each vcpu")));
                }
                prologue.xsave = Some(bytes);
                input.skip(u64::from(rest), WHAT)?;
            }
            _ => input.skip(u64::from(size), WHAT)?,
        }
    }
    if context {
        Ok(())
    } else {
        Err(input.wrong("extended information without a vcpu context: the guest's width is not known"))
    }
}
