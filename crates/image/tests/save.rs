//! The header of a file of `xl save`.
#![allow(clippy::unwrap_used)] // helpers of tests are not seen as tests

use image::{
    ImageError,
    save::{MAX_OPTIONAL, SaveConfig, SaveHeader, SaveImage},
};
use proptest::prelude::*;

fn written(header: &SaveHeader) -> Vec<u8> {
    let mut bytes = Vec::new();
    header.write(&mut bytes).unwrap();
    bytes
}

/// A header of four numbers and what follows them.
fn file(numbers: [u32; 4], optional: &[u8]) -> Vec<u8> {
    let mut bytes = b"Xen saved domain, xl format\n \0 \r".to_vec();
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    bytes.extend_from_slice(optional);
    bytes
}

fn read(bytes: &[u8]) -> Result<SaveHeader, ImageError> {
    SaveHeader::read(&mut &bytes[..])
}

#[test]
fn the_bytes_are_those_of_xl() {
    let json = SaveHeader {
        config: SaveConfig::Json(b"{}".to_vec()),
        image: SaveImage::V2,
    };
    assert_eq!(written(&json), file([0x0102_0304, 3, 0, 7], b"\x03\0\0\0{}\0"));
    let text = SaveHeader {
        config: SaveConfig::Text(b"name='a'\n".to_vec()),
        image: SaveImage::V2,
    };
    assert_eq!(written(&text), file([0x0102_0304, 2, 0, 13], b"\x09\0\0\0name='a'\n"));
    let none = SaveHeader {
        config: SaveConfig::Absent,
        image: SaveImage::Legacy,
    };
    assert_eq!(written(&none), file([0x0102_0304, 0, 0, 0], b""));
}

#[test]
fn what_follows_is_left_alone_and_later_data_is_skipped() {
    let bytes = file([0x0102_0304, 3, 77, 10], b"\x03\0\0\0{}\0newLibxlFmt");
    let mut rest = &bytes[..];
    let header = SaveHeader::read(&mut rest).unwrap();
    assert_eq!(header.config, SaveConfig::Json(b"{}".to_vec()));
    assert_eq!(rest, b"LibxlFmt");
}

#[test]
fn what_is_malformed_is_named() {
    const ORDER: u32 = 0x0102_0304;
    for (bytes, expected) in [
        (vec![0; 48], "no file of xl save"),
        (file([0x0403_0201, 3, 0, 0], b""), "big-endian"),
        (file([7, 3, 0, 0], b""), "byte order"),
        (file([ORDER, 4, 0, 0], b""), "mandatory flags 0x4"),
        (file([ORDER, 2, 0, MAX_OPTIONAL as u32 + 1], b""), "more than"),
        (file([ORDER, 2, 0, 3], b"abc"), "has 4"),
        (file([ORDER, 2, 0, 5], b"\x02\0\0\0a"), "2 bytes in 5 bytes"),
        (file([ORDER, 3, 0, 6], b"\x02\0\0\0{}"), "NUL at the end"),
        (file([ORDER, 3, 0, 4], b"\0\0\0\0"), "NUL at the end"),
        (file([ORDER, 3, 0, 8], b"\x04\0\0\0{\0}\0"), "byte 53: a NUL"),
    ] {
        let error = read(&bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}, expected {expected}");
    }
    let long = SaveHeader {
        config: SaveConfig::Text(vec![b'a'; MAX_OPTIONAL]),
        image: SaveImage::V2,
    };
    assert!(long.write(&mut Vec::new()).is_err());
}

proptest! {
    #[test]
    fn a_header_comes_back_and_a_cut_is_an_error(config in "[ -~\n]{0,40}", sort in 0..3, v2 in any::<bool>()) {
        let header = SaveHeader {
            config: match sort {
                0 => SaveConfig::Absent,
                1 => SaveConfig::Json(config.into_bytes()),
                _ => SaveConfig::Text(config.into_bytes()),
            },
            image: if v2 { SaveImage::V2 } else { SaveImage::Legacy },
        };
        let bytes = written(&header);
        prop_assert_eq!(read(&bytes).unwrap(), header);
        for length in 0..bytes.len() {
            let error = read(&bytes[..length]).unwrap_err();
            prop_assert!(matches!(error, ImageError::Io { .. }), "at {}: {}", length, error);
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), magic in any::<bool>()) {
        let _ = read(&if magic { file([0x0102_0304, 3, 0, 60], &bytes) } else { bytes });
    }
}
