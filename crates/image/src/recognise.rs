//! What a file is, from its first bytes.

use std::fmt;

use serde::Serialize;

/// Bytes that [`recognise`] likes to see. Fewer do for all but a bare legacy image, which becomes a worse guess.
pub const FIRST_BYTES: usize = 4096;

/// The most entries that the p2m of a legacy image can have (savers since Xen 4.1 refuse more).
const MAX_P2M: u64 = 0x0fff_ffff;

/// A format of a domain's image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// What an xend sends and saves: `LinuxGuestRecord`, its configuration, a legacy image.
    Xend,
    /// A file of `xl save`; `xl migrate` sends the same.
    XlSave,
    /// A libxl stream: libxl records around a libxc image.
    Libxl,
    /// A libxc image of version 2 or 3 (Xen 4.6 and later).
    Libxc,
    /// A libxc image of Xen 3.0 to 4.5, of a paravirtualized guest.
    LegacyPv,
    /// A libxc image of Xen 3.1 to 4.5, of a fully virtualized guest.
    LegacyHvm,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Xend => "xend envelope",
            Format::XlSave => "xl save file",
            Format::Libxl => "libxl stream",
            Format::Libxc => "libxc image",
            Format::LegacyPv => "legacy libxc image (PV)",
            Format::LegacyHvm => "legacy libxc image (HVM)",
        })
    }
}

/// How sure a recognition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Certainty {
    /// The format has a mark of its own, and it is there.
    Certain,
    /// The format has no mark, and little else looks like this.
    Likely,
    /// It may be this; it may be something else.
    Guess,
}

impl fmt::Display for Certainty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Certainty::Certain => "certain",
            Certainty::Likely => "likely",
            Certainty::Guess => "a guess",
        })
    }
}

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recognised {
    /// Its format.
    pub format: Format,
    /// How sure that is.
    pub certainty: Certainty,
    /// What it has been recognised by.
    pub why: &'static str,
}

/// Recognises a file by its first bytes: [`FIRST_BYTES`] of them, or all if it is shorter. `None` if it is no image.
///
/// All formats but the legacy image have a mark. That one begins with a number, the size of the p2m, so whether it is one can only be more or less likely.
pub fn recognise(first: &[u8]) -> Option<Recognised> {
    let certain = |format, why| {
        Some(Recognised {
            format,
            certainty: Certainty::Certain,
            why,
        })
    };
    if first.starts_with(b"LinuxGuestRecord") {
        return certain(Format::Xend, "it begins with LinuxGuestRecord");
    }
    if first.starts_with(b"Xen saved domain, xl format\n \0 \r") {
        return certain(Format::XlSave, "it begins with the mark of xl save");
    }
    if first.starts_with(b"LibxlFmt") {
        return certain(Format::Libxl, "it begins with LibxlFmt");
    }
    if first.starts_with(b"\xff\xff\xff\xff\xff\xff\xff\xffXENF") {
        return certain(Format::Libxc, "it begins with the mark of a libxc image, XENF");
    }
    legacy(first)
}

/// What a file that is no image may be instead, for a message; `None` if that is not known.
pub fn not_an_image(first: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], &str); 12] = [
        (
            b"\x28\xb5\x2f\xfd",
            "compressed with zstd: unpack it first (zstd -dc FILE)",
        ),
        (b"\x1f\x8b", "compressed with gzip: unpack it first (gzip -dc FILE)"),
        (b"\xfd7zXZ\0", "compressed with xz: unpack it first (xz -dc FILE)"),
        (b"BZh", "compressed with bzip2: unpack it first (bzip2 -dc FILE)"),
        (
            b"receive",
            "the beginning of a connection from an xend: cut off the line receive first",
        ),
        (
            b"QemuDeviceModelRecord",
            "a device model's state, without the image that it belongs to",
        ),
        (b"QEVM", "a device model's state, without the image that it belongs to"),
        (b"\x7fELF", "an ELF file: a core dump of a domain can't be restored"),
        (b"(domain", "an xend configuration, not an image"),
        (b"{", "JSON, not an image"),
        (b"QFI\xfb", "a disk image, qcow"),
        (b"conectix", "a disk image, VHD"),
    ];
    known
        .iter()
        .find(|(mark, _)| first.starts_with(mark))
        .map(|(_, what)| *what)
}

fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(size)?)?;
    Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// Recognises a legacy image by what its beginning has to be like.
pub(crate) fn legacy(first: &[u8]) -> Option<Recognised> {
    // The upper half of a 64-bit size is zero; a 32-bit toolstack has the next field there, which never is.
    let word = if number(first, 4, 4)? == 0 { 8 } else { 4 };
    let size = number(first, 0, word)?;
    if size == 0 || size > MAX_P2M {
        return None;
    }
    let found = |format, certainty, why| Some(Recognised { format, certainty, why });
    if number(first, word, word)? == u64::MAX >> (64 - 8 * word) {
        let total = number(first, 2 * word, 4)?;
        let context = first.get(2 * word + 4..2 * word + 8) == Some(b"vcpu");
        return match number(first, 2 * word + 8, 4) {
            Some(2800 | 5168) if context => found(
                Format::LegacyPv,
                Certainty::Certain,
                "a p2m size and extended information with a vcpu context",
            ),
            _ if (8..=65536).contains(&total) => found(
                Format::LegacyPv,
                Certainty::Guess,
                "a p2m size and what may be extended information",
            ),
            _ => None,
        };
    }
    let (pv, hvm) = (like_pv(first, word, size), like_hvm(first, word, size));
    match (pv, hvm) {
        (false, false) => None,
        (true, true) => found(
            Format::LegacyPv,
            Certainty::Guess,
            "a p2m size, and what may be p2m frames as well as a batch of pages",
        ),
        (true, false) => found(Format::LegacyPv, Certainty::Likely, "a p2m size and p2m frames"),
        (false, true) => found(Format::LegacyHvm, Certainty::Likely, "a p2m size and a batch of pages"),
    }
}

/// Frames of the p2m, each a page of the guest, and a chunk behind them.
fn like_pv(first: &[u8], word: usize, size: u64) -> bool {
    let count = size.div_ceil((4096 / word) as u64);
    let mut at = word;
    for _ in 0..count {
        match number(first, at, word) {
            Some(frame) if frame < size && frame != 0 => at += word,
            Some(_) => return false,
            // More of them than can be seen here.
            None => return at >= 8 * word,
        }
    }
    like_chunk(first, at)
}

/// A chunk, and if it is a batch, entries of an HVM guest's pages.
fn like_hvm(first: &[u8], word: usize, size: u64) -> bool {
    let Some(count) = number(first, word, 4) else {
        return false;
    };
    if !(1..=1024).contains(&count) {
        return like_chunk(first, word);
    }
    let entries = (0..count as usize).map_while(|entry| number(first, word + 4 + entry * word, word));
    let mut seen = 0;
    for entry in entries {
        match entry >> 28 {
            0 | 0xd | 0xe if entry & 0x0fff_ffff < size => {}
            0xf => {}
            // Also what has an upper half: HVM came with Xen 3.1, which does not extend a sign any more.
            _ => return false,
        }
        seen += 1;
    }
    seen > 0
}

fn like_chunk(first: &[u8], at: usize) -> bool {
    match number(first, at, 4) {
        Some(id) => (1..=1024).contains(&id) || (-21..0).contains(&(id as u32 as i32)),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[&[u8]]) -> Option<(Format, Certainty)> {
        recognise(&parts.concat()).map(|found| (found.format, found.certainty))
    }

    #[test]
    fn marks_are_certain() {
        let certain = |format| Some((format, Certainty::Certain));
        assert_eq!(of(&[b"LinuxGuestRecord"]), certain(Format::Xend));
        assert_eq!(of(&[b"Xen saved domain, xl format\n \0 \r"]), certain(Format::XlSave));
        assert_eq!(of(&[b"LibxlFmt"]), certain(Format::Libxl));
        assert_eq!(of(&[&[0xff; 8], b"XENF"]), certain(Format::Libxc));
        let vcpu = [&5184_u32.to_le_bytes()[..], b"vcpu", &5168_u32.to_le_bytes()].concat();
        assert_eq!(
            of(&[&0x1_0000_u64.to_le_bytes(), &[0xff; 8], &vcpu]),
            certain(Format::LegacyPv)
        );
        assert_eq!(
            of(&[&0x1_0000_u32.to_le_bytes(), &[0xff; 4], &vcpu]),
            certain(Format::LegacyPv)
        );
    }

    #[test]
    fn what_has_no_mark_is_likely_at_most() {
        // A 64-bit PV image of Xen 3.1: 2 frames, then a batch.
        let pv = [1024_u64, 9, 10, 3 | 5 << 32].map(u64::to_le_bytes).concat();
        assert_eq!(of(&[&pv]), Some((Format::LegacyPv, Certainty::Likely)));
        // HVM, both widths: a batch of pages 0, 1, 2.
        let wide: Vec<u8> = [0_u64, 1, 2].iter().flat_map(|pfn| pfn.to_le_bytes()).collect();
        let narrow: Vec<u8> = [0_u32, 1, 2].iter().flat_map(|pfn| pfn.to_le_bytes()).collect();
        let three = 3_u32.to_le_bytes();
        let hvm = Some((Format::LegacyHvm, Certainty::Likely));
        assert_eq!(of(&[&0x1000_u64.to_le_bytes(), &three, &wide]), hvm);
        assert_eq!(of(&[&0x1000_u32.to_le_bytes(), &three, &narrow]), hvm);
    }

    #[test]
    fn what_is_no_image() {
        for junk in [
            &b""[..],
            &[0; 4096],
            &[0xff; 4096],
            b"hello world, this is a text",
            &[1, 2, 3],
        ] {
            assert_eq!(recognise(junk), None, "{junk:x?}");
        }
        assert!(not_an_image(b"\x28\xb5\x2f\xfd....").is_some_and(|what| what.contains("zstd")));
        assert_eq!(not_an_image(b"hello"), None);
    }
}
