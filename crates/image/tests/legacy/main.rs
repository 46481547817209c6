//! Legacy images: what is made of them, what is refused, and that nothing breaks the reader.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../../../tests/images/mod.rs"]
mod images;
mod properties;
mod refusals;
mod sink;

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use image::{
    ImageError, ImageSink as _, ImageSource as _, Item,
    legacy::{GuestWidth, LegacyGuest, LegacyOptions, LegacySource, Word},
    v2::V2Writer,
};
use images::{Kind, Legacy, XEND_MODEL, variants, vectors};

const PAGES: u64 = 1 << 16;

fn options(hvm: bool, check_registers: bool) -> LegacyOptions {
    LegacyOptions {
        guest: if hvm { LegacyGuest::Hvm } else { LegacyGuest::Pv },
        max_pages: PAGES,
        check_registers,
    }
}

/// The libxl stream that is made of an image, and whether the image was read to its end.
fn convert(bytes: &[u8], options: LegacyOptions) -> Result<(Vec<u8>, u64), ImageError> {
    let mut source = LegacySource::new(bytes, options);
    let mut writer = V2Writer::new(Vec::new());
    loop {
        let item = source.next()?;
        writer.put(item)?;
        if matches!(item, Item::Finish) {
            break;
        }
    }
    Ok((writer.into_inner(), source.offset()))
}

fn sha256(bytes: &[u8]) -> String {
    let mut child = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

#[test]
fn the_test_vectors_become_what_xens_converter_makes_of_them() {
    for vector in vectors() {
        assert_eq!(sha256(&vector.bytes), vector.digest, "vector {}", vector.name);
        let (made, read) = convert(&vector.bytes, options(vector.hvm, false)).unwrap();
        assert_eq!(read, vector.bytes.len() as u64, "vector {}", vector.name);
        assert_eq!(made.len() as u64, vector.libxl_length, "vector {}", vector.name);
        assert_eq!(sha256(&made), vector.libxl_digest, "vector {}", vector.name);
    }
}

#[test]
fn every_variant_becomes_what_it_should() {
    for variant in variants() {
        let bytes = variant.image.bytes();
        let (made, read) = convert(&bytes, options(!variant.image.is_pv(), true))
            .unwrap_or_else(|error| panic!("{}: {error}", variant.name));
        assert_eq!(read, bytes.len() as u64, "{}", variant.name);
        assert!(made == variant.image.today(), "{}", variant.name);
    }
}

#[test]
fn what_an_image_is_shows_in_its_first_bytes() {
    let facts = |image: Legacy| {
        let bytes = image.bytes();
        let mut source = LegacySource::new(&bytes[..], options(!image.is_pv(), true));
        assert_eq!(source.facts(), None);
        source.next().unwrap();
        let facts = source.facts().unwrap();
        assert_eq!(facts.p2m_size, image.pages);
        (facts.word, facts.width, facts.extended_info)
    };
    let (four, eight) = (Some(GuestWidth::Four), Some(GuestWidth::Eight));
    assert_eq!(facts(Legacy::pv64()), (Word::Eight, eight, true));
    assert_eq!(facts(Legacy::pae(8)), (Word::Eight, four, true));
    assert_eq!(facts(Legacy::pae(4)), (Word::Four, four, true));
    assert_eq!(facts(Legacy::xen_3_0_3(Kind::Pv64, 8)), (Word::Eight, eight, false));
    assert_eq!(facts(Legacy::xen_3_0_3(Kind::Pae, 4)), (Word::Four, four, false));
    assert_eq!(facts(Legacy::hvm(4)), (Word::Four, None, false));
    assert_eq!(facts(Legacy::hvm(8)), (Word::Eight, None, false));
}

/// Reads an image and throws it away.
fn read(bytes: &[u8], options: LegacyOptions) -> Result<(), ImageError> {
    let mut source = LegacySource::new(bytes, options);
    while !matches!(source.next()?, Item::Finish) {}
    Ok(())
}

fn small(image: Legacy) -> Legacy {
    Legacy { pages: 11, ..image }
}

#[test]
fn an_image_that_is_cut_at_any_byte_is_an_error() {
    let images = [
        Legacy {
            xsave: Some(608),
            rounds: 2,
            ..small(Legacy::pv64())
        },
        small(Legacy::pae(4)),
        small(Legacy::xen_3_0_3(Kind::Pv64, 8)),
        Legacy {
            verify: true,
            ..small(Legacy::pae(8))
        },
        Legacy {
            mappings: Some(vec![(1, 2, 3, "vga")]),
            ..small(Legacy::hvm(8))
        },
    ];
    for image in images {
        let (bytes, options) = (image.bytes(), options(!image.is_pv(), true));
        read(&bytes, options).unwrap();
        // A guest without a device model has nothing behind its context.
        let whole = Legacy {
            model: None,
            ..image.clone()
        }
        .bytes()
        .len();
        for length in (0..bytes.len()).filter(|length| *length != whole) {
            let error = read(&bytes[..length], options).unwrap_err();
            assert!(
                matches!(error, ImageError::Format { .. }),
                "{image:?} cut at {length}: {error}"
            );
        }
    }
}

/// An xend gives the state of a device model no length: of it only the beginning can be missed.
#[test]
fn the_state_of_an_xends_device_model_has_to_begin_as_one() {
    let image = small(Legacy {
        model: Some((XEND_MODEL, b"QEVM and more".to_vec())),
        ..Legacy::hvm(8)
    });
    let bytes = image.bytes();
    let begin = bytes.len() - b"QEVM and more".len();
    for length in begin - XEND_MODEL.len() + 1..begin + 4 {
        read(&bytes[..length], options(true, true)).unwrap_err();
    }
    read(&bytes[..begin + 4], options(true, true)).unwrap();
}
