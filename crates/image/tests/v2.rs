//! Streams v2: what comes back, what is refused, and that nothing breaks the reader.

#![allow(clippy::unwrap_used)] // helpers of tests are not seen as tests

mod support;

use image::{
    ImageError, ImageSink, ImageSource, Item, PAGE_SIZE, PageBatch, PageContent, PageEntry, PageType,
    v2::{MAX_RECORD, V2Reader, V2Writer},
};
use proptest::prelude::*;
use support::{Owned, images, put_all, small_image, take_all};

fn written(items: &[Owned]) -> Vec<u8> {
    let mut writer = V2Writer::new(Vec::new());
    put_all(&mut writer, items).unwrap();
    let length = writer.written();
    let bytes = writer.into_inner();
    assert_eq!(bytes.len() as u64, length);
    bytes
}

fn read(bytes: &[u8]) -> Result<Vec<Owned>, ImageError> {
    take_all(&mut V2Reader::new(bytes))
}

/// The bytes up to the first libxc record, for version 3 and HVM.
fn headers() -> Vec<u8> {
    let mut bytes = b"LibxlFmt\0\0\0\x02\0\0\0\0".to_vec();
    bytes.extend_from_slice(b"\x01\0\0\0\0\0\0\0");
    bytes.extend_from_slice(b"\xff\xff\xff\xff\xff\xff\xff\xffXENF\0\0\0\x03\0\0\0\0\0\0\0\0");
    bytes.extend_from_slice(b"\x02\0\0\0\x0c\0\0\0\x04\0\0\0\x11\0\0\0");
    bytes
}

fn record(kind: u32, length: u32, body: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes(), &length.to_le_bytes(), body].concat()
}

fn error_of(parts: &[Vec<u8>]) -> String {
    read(&[&headers()[..], &parts.concat()].concat())
        .unwrap_err()
        .to_string()
}

#[test]
fn the_bytes_are_those_of_the_specification() {
    let items = [
        small_image()[0].clone(),
        Owned::Record(0x10, Vec::new()),
        Owned::Record(0x08, vec![9; 3]),
        Owned::End,
        Owned::Finish,
    ];
    let expected = [
        headers(),
        record(0x10, 0, b""),
        record(0x08, 3, b"\x09\x09\x09\0\0\0\0\0"),
        record(0, 0, b""),
        record(0, 0, b""),
    ];
    assert_eq!(written(&items), expected.concat());
}

#[test]
fn pages_as_the_specification_has_them() {
    let bytes = written(&small_image());
    let body = [
        &b"\x02\0\0\0\0\0\0\0"[..],
        b"\x07\0\0\0\0\0\0\0",
        b"\x08\0\0\0\0\0\0\xf0",
        b"\x00\x01\x02",
    ];
    let start = record(1, 8 + 16 + 4096, &body.concat());
    assert_eq!(bytes.windows(start.len()).filter(|window| *window == start).count(), 1);
}

#[test]
fn an_image_cut_off_anywhere_is_an_error() {
    let bytes = written(&small_image());
    for length in 0..bytes.len() {
        let error = read(&bytes[..length]).unwrap_err();
        assert!(matches!(error, ImageError::Io { .. }), "at {length}: {error}");
    }
    assert_eq!(read(&bytes).unwrap(), small_image());
}

#[test]
fn what_follows_the_stream_is_left_alone() {
    let mut bytes = written(&small_image());
    let length = bytes.len() as u64;
    bytes.extend_from_slice(b"more");
    let mut reader = V2Reader::new(&bytes[..]);
    take_all(&mut reader).unwrap();
    assert_eq!(reader.read_bytes(), length);
    assert!(matches!(reader.next(), Err(ImageError::Order(_))));
    assert_eq!(reader.into_inner(), b"more");
}

#[test]
fn every_flipped_bit_of_a_small_image_is_read_or_refused() {
    let bytes = written(&small_image());
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let _ = read(&flipped);
    }
}

#[test]
fn a_long_record_of_pages_comes_in_batches() {
    let count = 2 * PageBatch::MAX_PAGES + 5;
    // Every third has no data.
    let entries: Vec<u64> = (0..count as u64)
        .map(|pfn| pfn | if pfn % 3 == 0 { 0xf << 60 } else { 0 })
        .collect();
    let with_data = entries.iter().filter(|entry| **entry >> 60 == 0).count();
    let mut body = (count as u64).to_le_bytes().to_vec();
    body.extend(entries.iter().flat_map(|entry| entry.to_le_bytes()));
    for at in 0..with_data {
        body.extend_from_slice(&[at as u8; PAGE_SIZE]);
    }
    let bytes = [
        headers(),
        record(0x10, 0, b""),
        record(1, body.len() as u32, &body),
        record(0, 0, b""),
        record(0, 0, b""),
    ];
    let items = read(&bytes.concat()).unwrap();
    let mut sizes = Vec::new();
    let (mut pfn, mut at) = (0, 0);
    for item in &items {
        let Owned::Pages(entries, data) = item else { continue };
        sizes.push(entries.len());
        for (entry, page) in (PageBatch { entries, data }).pages() {
            assert_eq!(entry.pfn, pfn);
            assert_eq!(entry.kind == PageType::ABSENT, pfn % 3 == 0);
            if let Some(page) = page {
                assert_eq!(page[0], at as u8);
                at += 1;
            }
            pfn += 1;
        }
    }
    assert_eq!(sizes, [PageBatch::MAX_PAGES, PageBatch::MAX_PAGES, 5]);
    assert_eq!((pfn, at), (count as u64, with_data));
}

#[test]
fn unknown_records() {
    let static_end = || record(0x10, 0, b"");
    let end = || record(0, 0, b"");
    let error = error_of(&[record(0x13, 0, b"")]);
    assert_eq!(
        error,
        "image at byte 64: record of unknown type 0x13, which is mandatory"
    );
    assert!(error_of(&[static_end(), record(0x5256_0001, 0, b"")]).contains("0x52560001"));
    assert!(error_of(&[record(0x0e, 0, b"")]).contains("Remus"));
    assert!(error_of(&[static_end(), end(), record(6, 0, b"")]).contains("libxl record of unknown type 0x6"));
    assert!(error_of(&[static_end(), end(), record(5, 8, &[0; 8])]).contains("Remus"));
    assert!(error_of(&[static_end(), end(), record(1, 0, b"")]).contains("second"));
    let items = [
        headers(),
        static_end(),
        record(0x8000_0013, 1, b"x\0\0\0\0\0\0\0"),
        end(),
        record(0x8000_0006, 2, b"yz\0\0\0\0\0\0"),
        end(),
    ];
    let items = read(&items.concat()).unwrap();
    assert_eq!(
        items[2..],
        [Owned::Record(0x8000_0013, b"x".to_vec()), Owned::End, Owned::Finish]
    );
}

#[test]
fn what_is_malformed_is_named() {
    let pages = |length, count: u64, entries: &[u64]| {
        let entries: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        vec![
            record(0x10, 0, b""),
            record(1, length, &[&count.to_le_bytes()[..], &entries].concat()),
        ]
    };
    for (parts, expected) in [
        (vec![record(0x02, 3, b"abc\0\0\0\0x")], "padding"),
        (vec![record(0x02, MAX_RECORD as u32 + 1, b"")], "more than 134217728"),
        (vec![record(0x10, 8, &[0; 8])], "expected none"),
        (pages(4, 0, &[]), "without its count"),
        (pages(8, 0, &[]), "for 0 pages"),
        (pages(8, 1, &[]), "for 1 pages"),
        (pages(16, u64::from(u32::MAX), &[1]), "for 4294967295 pages"),
        (pages(16, 1 << 32 | 1, &[1]), "reserved"),
        (pages(16, 1, &[1]), "expected 4112"),
        (pages(4112, 1, &[0xf << 60]), "expected 16"),
        (pages(4112, 1, &[5 << 60]), "page 0x0 of type 0x5"),
        (pages(4112, 1, &[1 << 52]), "must be zero"),
        (
            vec![record(
                1,
                16,
                &[1_u64.to_le_bytes(), (0xf_u64 << 60).to_le_bytes()].concat(),
            )],
            "STATIC_DATA_END",
        ),
    ] {
        let error = error_of(&parts);
        assert!(error.contains(expected), "{error}, expected {expected}");
    }
}

#[test]
fn a_length_costs_no_memory_before_its_bytes_come() {
    /// Remembers the largest buffer that it was asked to fill.
    struct Asked<'a>(&'a [u8], usize);
    impl std::io::Read for Asked<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.1 = self.1.max(buffer.len());
            std::io::Read::read(&mut self.0, buffer)
        }
    }
    for kind in [0x09, 0x01] {
        let body = [&((16_u64 << 20) - 1).to_le_bytes()[..], b"short"].concat();
        let bytes = [headers(), record(0x10, 0, b""), record(kind, MAX_RECORD as u32, &body)].concat();
        let mut reader = V2Reader::new(Asked(&bytes, 0));
        assert!(take_all(&mut reader).is_err());
        assert!(reader.into_inner().1 <= 1 << 20);
    }
}

#[test]
fn the_writer_refuses_what_no_reader_takes() {
    let start = small_image()[0].clone();
    let page = |pfn, kind, content| Owned::Pages(vec![PageEntry { pfn, kind, content }], Vec::new());
    for (item, expected) in [
        (Owned::Record(0x13, Vec::new()), "0x13"),
        (Owned::Record(0x5256_0001, Vec::new()), "0x52560001"),
        (Owned::Record(0x09, vec![0; MAX_RECORD + 1]), "more than"),
        (page(1 << 52, PageType::ABSENT, PageContent::Nothing), "52 bits"),
        (page(1, PageType::NORMAL, PageContent::Nothing), "content Nothing"),
        (page(1, PageType::ABSENT, PageContent::Zero), "content Zero"),
    ] {
        let mut writer = V2Writer::new(Vec::new());
        put_all(&mut writer, &[start.clone(), Owned::Record(0x10, Vec::new())]).unwrap();
        let before = writer.written();
        let error = writer.put(item.item()).unwrap_err();
        assert!(
            matches!(&error, ImageError::Order(what) if what.contains(expected)),
            "{error}"
        );
        assert_eq!(writer.written(), before);
    }
    let mut writer = V2Writer::new(Vec::new());
    assert!(writer.put(Item::End).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn an_image_comes_back(items in images()) {
        let bytes = written(&items);
        let expected: Vec<Owned> = items.iter().map(Owned::with_zeros).collect();
        prop_assert_eq!(read(&bytes).unwrap(), expected.clone());
        // And what comes back is written in the same bytes.
        prop_assert_eq!(written(&expected), bytes);
    }

    #[test]
    fn an_image_in_crumbs_is_the_same(items in images(), size in 1..700_usize) {
        struct Crumbs<'a>(&'a [u8], usize);
        impl std::io::Read for Crumbs<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                let size = buffer.len().min(self.1);
                std::io::Read::read(&mut self.0, &mut buffer[..size])
            }
        }
        let bytes = written(&items);
        let read = take_all(&mut V2Reader::new(Crumbs(&bytes, size))).unwrap();
        prop_assert_eq!(read, items.iter().map(Owned::with_zeros).collect::<Vec<_>>());
    }

    #[test]
    fn a_cut_is_an_error(items in images(), cut in any::<prop::sample::Index>()) {
        let bytes = written(&items);
        prop_assert!(read(&bytes[..cut.index(bytes.len())]).is_err());
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), behind_headers in any::<bool>()) {
        let begin = if behind_headers { headers() } else { Vec::new() };
        let _ = read(&[begin, bytes].concat());
    }

    #[test]
    fn changed_bytes_never_panic(items in images(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut bytes = written(&items);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = read(&bytes);
    }
}
