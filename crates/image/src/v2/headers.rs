//! The three headers at the beginning of a stream. Errors are what is wrong, in words.

use crate::{DomainHeader, PAGE_SIZE};

/// Bytes in the libxl header: u64 ident, u32 version, u32 options, all big-endian.
pub(super) const LIBXL: usize = 16;
/// Bytes in the image header: u64 marker, u32 id, u32 version, u16 options, 6 zeros, all big-endian.
pub(super) const IMAGE: usize = 24;
/// Bytes in the domain header: u32 guest type, u16 page shift, u16 zero, u32 Xen major, u32 Xen minor, all little-endian.
pub(super) const DOMAIN: usize = 16;

/// `LibxlFmt` in two words.
const LIBXL_IDENT: [u32; 2] = [0x4c69_6278, 0x6c46_6d74];
/// The only version of the libxl stream.
const LIBXL_VERSION: u32 = 2;
/// Option of both streams: what follows is big-endian. No Xen writes that, and 4.17 refuses it.
const BIG_ENDIAN: u32 = 1;
/// Option of the libxl stream: the image was converted from the legacy format.
const CONVERTED: u32 = 2;
/// The marker, which no legacy image can begin with, and `XENF`.
const IMAGE_IDENT: [u32; 3] = [u32::MAX, u32::MAX, 0x5845_4e46];

/// The libxl header for an image with this domain header.
pub(super) fn libxl(header: &DomainHeader) -> [u8; LIBXL] {
    let guest_of_xen = header.guest != DomainHeader::EMBEDDED;
    let options = if guest_of_xen && header.xen_major == 0 {
        CONVERTED
    } else {
        0
    };
    let [a, b] = LIBXL_IDENT;
    bytes([a, b, LIBXL_VERSION, options].map(u32::to_be_bytes))
}

/// Checks a libxl header.
pub(super) fn check_libxl(header: &[u8; LIBXL]) -> Result<(), String> {
    let [a, b, version, options] = words(header).map(u32::from_be_bytes);
    if [a, b] != LIBXL_IDENT {
        return Err(format!(
            "found {a:08x}{b:08x} where a libxl stream begins with LibxlFmt"
        ));
    }
    if version != LIBXL_VERSION {
        return Err(format!(
            "version {version} of the libxl stream, known is {LIBXL_VERSION}"
        ));
    }
    check_options(options, CONVERTED)
}

/// The image header of a libxc image of this version.
pub(super) fn image(version: u32) -> [u8; IMAGE] {
    let [a, b, c] = IMAGE_IDENT;
    bytes([a, b, c, version, 0, 0].map(u32::to_be_bytes))
}

/// The version in an image header.
pub(super) fn check_image(header: &[u8; IMAGE]) -> Result<u32, String> {
    let [a, b, c, version, d, reserved] = words(header).map(u32::from_be_bytes);
    if [a, b, c] != IMAGE_IDENT {
        return Err(format!(
            "found {a:08x}{b:08x}{c:08x} where a libxc image begins with ffffffffffffffff and XENF"
        ));
    }
    if !matches!(version, 2 | 3) {
        return Err(format!("version {version} of the libxc image, known are 2 and 3"));
    }
    check_options(d >> 16, 0)?;
    if d & 0xffff != 0 || reserved != 0 {
        return Err("reserved bytes of the image header are not zero".to_owned());
    }
    Ok(version)
}

/// The bytes of a domain header.
pub(super) fn domain(header: &DomainHeader) -> [u8; DOMAIN] {
    let page_shift = PAGE_SIZE.trailing_zeros();
    bytes([header.guest, page_shift, header.xen_major, header.xen_minor].map(u32::to_le_bytes))
}

/// A domain header in an image of this version.
pub(super) fn parse_domain(header: &[u8; DOMAIN], version: u32) -> Result<DomainHeader, String> {
    let [guest, shift, xen_major, xen_minor] = words(header).map(u32::from_le_bytes);
    if !matches!(guest, DomainHeader::PV | DomainHeader::HVM | DomainHeader::EMBEDDED) {
        return Err(format!("guest type {guest:#x}, known are 1 (PV) and 2 (HVM)"));
    }
    // The upper half is reserved, and zero.
    if shift != PAGE_SIZE.trailing_zeros() {
        return Err(format!("page shift {shift:#x}, expected 12: pages of 4096 bytes"));
    }
    Ok(DomainHeader {
        version,
        guest,
        xen_major,
        xen_minor,
    })
}

fn check_options(options: u32, known: u32) -> Result<(), String> {
    if options & BIG_ENDIAN != 0 {
        return Err("the stream is big-endian, which no Xen takes".to_owned());
    }
    if options & !known != 0 {
        return Err(format!("unknown options {options:#x} in a header"));
    }
    Ok(())
}

/// Cuts a header into its words. N words of 4 bytes are M bytes.
fn words<const N: usize, const M: usize>(bytes: &[u8; M]) -> [[u8; 4]; N] {
    const { assert!(N * 4 == M) }
    let mut words = [[0; 4]; N];
    words.as_flattened_mut().copy_from_slice(bytes);
    words
}

/// The opposite of [`words`].
fn bytes<const N: usize, const M: usize>(words: [[u8; 4]; N]) -> [u8; M] {
    const { assert!(N * 4 == M) }
    let mut bytes = [0; M];
    bytes.copy_from_slice(words.as_flattened());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: DomainHeader = DomainHeader {
        version: 3,
        guest: DomainHeader::PV,
        xen_major: 4,
        xen_minor: 17,
    };

    #[test]
    fn the_bytes_are_those_of_the_specifications() {
        assert_eq!(libxl(&HEADER), *b"LibxlFmt\0\0\0\x02\0\0\0\0");
        let converted = DomainHeader { xen_major: 0, ..HEADER };
        assert_eq!(libxl(&converted), *b"LibxlFmt\0\0\0\x02\0\0\0\x02");
        assert_eq!(
            image(3),
            *b"\xff\xff\xff\xff\xff\xff\xff\xffXENF\0\0\0\x03\0\0\0\0\0\0\0\0"
        );
        assert_eq!(domain(&HEADER), *b"\x01\0\0\0\x0c\0\0\0\x04\0\0\0\x11\0\0\0");
    }

    #[test]
    fn headers_come_back_and_every_other_bit_is_refused() {
        check_libxl(&libxl(&HEADER)).unwrap();
        assert_eq!(check_image(&image(2)), Ok(2));
        assert_eq!(parse_domain(&domain(&HEADER), 3), Ok(HEADER));
        for bit in 0..LIBXL * 8 {
            let mut header = libxl(&HEADER);
            header[bit / 8] ^= 1 << (bit % 8);
            // Bit 1 of the options says where the image is from, which changes nothing.
            assert_eq!(check_libxl(&header).is_ok(), bit == 15 * 8 + 1, "bit {bit}");
        }
        for bit in 0..IMAGE * 8 {
            let mut header = image(2);
            header[bit / 8] ^= 1 << (bit % 8);
            // Version 2 and version 3 differ in one bit.
            assert_eq!(check_image(&header).is_ok(), bit == 15 * 8, "bit {bit}");
        }
    }

    #[test]
    fn a_big_endian_stream_is_named() {
        let mut header = libxl(&HEADER);
        header[15] = 1;
        assert!(check_libxl(&header).unwrap_err().contains("big-endian"));
    }
}
