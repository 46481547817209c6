//! What is said of images: of sound ones, of cut ones, of changed ones, of anything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod changes;
mod files;
#[path = "../../../../tests/images/mod.rs"]
mod images;
mod random;

use files::{libxc, pv_today, small, xend, xl_save};
use image::{
    Certainty, Format,
    inspect::{ConfigFacts, ConfigLanguage, InspectError, Report, inspect, no_config, verify},
    legacy::LegacyGuest,
};
use images::{Kind, Legacy, variants, vectors};

/// What a configuration of these tests says.
fn config(_: ConfigLanguage, text: &[u8]) -> ConfigFacts {
    ConfigFacts {
        guest: Some(match text.windows(3).any(|word| word == b"hvm") {
            true => LegacyGuest::Hvm,
            false => LegacyGuest::Pv,
        }),
        wrong: None,
    }
}

fn shown(bytes: &[u8]) -> Report {
    inspect(bytes, &config).unwrap()
}

#[track_caller]
fn right(bytes: &[u8], what: &str) -> Report {
    verify(bytes, &config).unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// What is wrong, in words.
#[track_caller]
fn wrong(bytes: &[u8], what: &str) -> String {
    match verify(bytes, &config) {
        Err(error) => error.to_string(),
        Ok(report) => panic!("{what}: taken for right: {}", report.what()),
    }
}

#[test]
fn every_variant_is_right_before_and_after_its_conversion() {
    for variant in variants() {
        let name = variant.name;
        let legacy = xend(&variant.image);
        let report = right(&legacy, name);
        assert_eq!(report.bytes, legacy.len() as u64, "{name}");
        let kind = if variant.image.is_pv() {
            Format::LegacyPv
        } else {
            Format::LegacyHvm
        };
        assert_eq!(report.formats, [Format::Xend, kind], "{name}");
        let today = variant.image.today();
        let report = right(&today, name);
        assert_eq!(report.formats, [Format::Libxl, Format::Libxc], "{name}");
        assert!(report.complete && report.image.converted, "{name}");
        let report = right(&xl_save(&variant.image), name);
        assert_eq!(report.formats, [Format::XlSave, Format::Libxl, Format::Libxc], "{name}");
        // The bare image, which does not say what it is.
        let report = inspect(&variant.image.bytes()[..], &no_config).unwrap();
        assert_eq!((report.formats[0], report.complete), (kind, true), "{name}");
        assert!(report.first_fault().is_none(), "{name}: {:?}", report.first_fault());
        let sure = report.certainty == Certainty::Certain;
        assert_eq!(sure, report.image.extended_info.is_some(), "{name}");
    }
}

#[test]
fn the_same_is_said_of_an_image_and_of_what_it_becomes() {
    for variant in variants() {
        let name = variant.name;
        let (old, new) = (shown(&xend(&variant.image)), shown(&variant.image.today()));
        assert_eq!(old.pages.distinct, new.pages.distinct, "{name}");
        assert_eq!(old.pages.again, new.pages.again, "{name}");
        assert_eq!(old.pages.highest, new.pages.highest, "{name}");
        assert_eq!(old.rounds.len(), new.rounds.len(), "{name}");
        assert_eq!(old.rounds.len(), variant.image.rounds as usize, "{name}");
        assert_eq!(old.image.tsc, new.image.tsc, "{name}");
        assert_eq!(old.image.device_model, new.image.device_model, "{name}");
        assert_eq!(old.image.hvm_vcpus, new.image.hvm_vcpus, "{name}");
        if variant.image.is_pv() {
            assert_eq!(old.image.levels, new.image.levels, "{name}");
            assert_eq!(old.image.p2m_size, new.image.p2m_size, "{name}");
            assert_eq!(old.image.guest_width, new.image.guest_width, "{name}");
            let registers = |report: &Report| {
                let of = |vcpu: &image::inspect::Vcpu| {
                    (vcpu.id, vcpu.ip, vcpu.cr3, vcpu.cr1, vcpu.start_info, vcpu.gdt_entries)
                };
                report.image.vcpus.iter().map(of).collect::<Vec<_>>()
            };
            assert_eq!(registers(&old), registers(&new), "{name}");
            assert_eq!(old.image.vcpus.len(), variant.image.vcpus.len(), "{name}");
        }
    }
}

#[test]
fn parts_fill_the_file_without_gaps() {
    for variant in variants() {
        for bytes in [
            xend(&variant.image),
            variant.image.bytes(),
            variant.image.today(),
            xl_save(&variant.image),
        ] {
            let report = shown(&bytes);
            let mut at = 0;
            for part in &report.parts {
                assert_eq!(part.offset, at, "{}: {part:?}", variant.name);
                at += part.bytes;
            }
            assert_eq!(at, bytes.len() as u64, "{}", variant.name);
            assert_eq!(report.parts_left_out, 0);
        }
    }
}

#[test]
fn images_of_fill_bytes_are_followed_and_their_page_tables_found_wrong() {
    for vector in vectors() {
        let report = inspect(&vector.bytes[..], &no_config).unwrap();
        assert!(report.complete, "vector {}", vector.name);
        assert_eq!(report.bytes, vector.bytes.len() as u64);
        let said = verify(&vector.bytes[..], &no_config);
        match (vector.hvm, said) {
            (true, Ok(_)) => {}
            (false, Err(InspectError::Wrong(finding))) => {
                assert!(finding.found.starts_with("1 page tables"), "{finding}")
            }
            (_, said) => panic!("vector {}: {said:?}", vector.name),
        }
    }
}

#[test]
fn an_image_of_version_2_has_no_static_data_end() {
    let image = small(Kind::Pv64);
    let mut bytes = libxc(&image);
    bytes[15] = 2;
    assert!(wrong(&bytes, "version 2").contains("record of version 3"));
    // Its record has 8 bytes, behind the headers and X86_PV_INFO.
    bytes.drain(56..64);
    assert_eq!(right(&bytes, "version 2").image.version, Some(2));
}

#[test]
fn the_first_thing_that_is_wrong_is_told_with_its_place() {
    let image = small(Kind::Pv64);
    let bytes = libxc(&image);
    let report = shown(&bytes);
    let place = |name: &str| report.parts.iter().find(|part| part.name == name).unwrap().offset as usize;
    let changed = |at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        wrong(&bytes, "a change")
    };
    let frames = place("X86_PV_P2M_FRAMES");
    assert_eq!(
        changed(frames, 0x42),
        format!(
            "offset {frames:#x}, record 0x42, which is not known: found a record of type 0x42; expected a known type"
        )
    );
    let tsc = place("X86_TSC_INFO");
    assert_eq!(
        changed(tsc + 4, 25),
        format!("offset {:#x}, X86_TSC_INFO: found 25 bytes; expected 24", tsc + 4)
    );
    assert_eq!(
        changed(tsc + 28, 1),
        format!(
            "offset {:#x}, X86_TSC_INFO: found reserved bytes that are not zero; expected zeros",
            tsc + 28
        )
    );
    let pages = place("PAGE_DATA");
    assert_eq!(
        changed(pages + 16, 12),
        format!(
            "offset {:#x}, PAGE_DATA: found page 0xc; expected a page below 0xc",
            pages + 16
        )
    );
    assert_eq!(
        changed(pages + 23, 0x70),
        format!(
            "offset {:#x}, PAGE_DATA: found page 0x0 of type 0x7; expected 0 to 4 or 9 to 15",
            pages + 16
        )
    );
    let said = changed(pages + 23, 0xf0);
    assert!(
        said.starts_with(&format!("offset {:#x}, PAGE_DATA: found ", pages + 4)),
        "{said}"
    );
    let vcpu = place("X86_PV_VCPU_BASIC");
    // CR3.
    let said = changed(vcpu + 16 + 5008 + 1, 0x10);
    assert_eq!(
        said,
        format!(
            "offset {vcpu:#x}, context of vcpu 0: found CR3, page 0x1, of type NOTAB; expected it among the pages, last of type L4TAB"
        )
    );
    let mut longer = bytes.clone();
    longer.extend(b"more");
    assert_eq!(
        wrong(&longer, "longer"),
        format!(
            "offset {:#x}, the end of the image: found 4 bytes more; expected the end of the file",
            bytes.len()
        )
    );
}

#[test]
fn pages_that_a_restorer_needs_have_to_be_there_and_plain_at_the_end() {
    let image = Legacy {
        absent: Some(0),
        ..small(Kind::Pv64)
    };
    let bytes = image.bytes();
    let report = inspect(&bytes[..], &no_config).unwrap();
    let batch = report
        .parts
        .iter()
        .find(|part| part.name.starts_with("batch"))
        .unwrap()
        .offset as usize;
    // Pages 1 (start info), 2 (GDT), 3 (top table), 7 (user table), 8 (p2m) become table or plain pages.
    for (page, nibble, what) in [
        (1, 0x10, "the start info"),
        (2, 0x10, "GDT frame 0"),
        (3, 0x30, "CR3"),
        (7, 0x00, "CR1"),
        (8, 0x10, "frame 0 of the p2m"),
    ] {
        let mut bytes = bytes.clone();
        let at = batch + 4 + 8 * page + 3;
        bytes[at] = nibble | bytes[at] & 0xf;
        let said = wrong(&bytes, what);
        assert!(said.contains(what) || said.contains("out of bounds"), "{what}: {said}");
    }
    // A page that came and has gone since: it is on the list of unmapped ones.
    let list = report
        .parts
        .iter()
        .find(|part| part.name == "unmapped pages")
        .unwrap()
        .offset as usize;
    for (page, what) in [
        (1, "the start info"),
        (2, "GDT frame 0"),
        (3, "CR3"),
        (8, "frame 0 of the p2m"),
    ] {
        let mut bytes = bytes.clone();
        bytes[list + 4] = page;
        let said = wrong(&bytes, what);
        assert!(said.contains(what) && said.contains("XTAB"), "{what}: {said}");
    }
}

#[test]
fn what_is_no_image() {
    assert!(matches!(inspect(&b""[..], &no_config), Err(InspectError::Empty)));
    let junk: Vec<u8> = (0..5000_u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    assert!(matches!(
        inspect(&junk[..], &no_config),
        Err(InspectError::NoImage(None))
    ));
    let packed = inspect(&b"\x28\xb5\x2f\xfd and so on"[..], &no_config).unwrap_err();
    assert!(packed.to_string().contains("zstd -dc"), "{packed}");
}

#[test]
fn a_file_that_trickles_in_reads_the_same() {
    struct Trickle<'a>(&'a [u8], usize);
    impl std::io::Read for Trickle<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            self.1 = self.1 % 97 + 1;
            let count = self.1.min(out.len()).min(self.0.len());
            out[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }
    for bytes in [xend(&Legacy::pv64()), xl_save(&Legacy::hvm(8)), pv_today(Kind::Pae)] {
        assert_eq!(inspect(Trickle(&bytes, 0), &config).unwrap(), shown(&bytes));
    }
}
