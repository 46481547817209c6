//! Anything at all: never a panic, never without an end.

use image::inspect::{InspectError, inspect, no_config, verify};
use proptest::prelude::*;

use crate::{
    config,
    files::{small, xend, xl_save},
    images::{Kind, Legacy},
};

/// What every reading has to hold to.
fn sane(bytes: &[u8]) -> Result<(), TestCaseError> {
    let report = match inspect(bytes, &config) {
        Ok(report) => report,
        Err(InspectError::Empty) => {
            prop_assert!(bytes.is_empty());
            return Ok(());
        }
        Err(InspectError::NoImage(_)) => return Ok(()),
        Err(other) => return Err(TestCaseError::fail(other.to_string())),
    };
    prop_assert!(report.bytes <= bytes.len() as u64);
    prop_assert!(!report.complete || report.bytes == bytes.len() as u64);
    prop_assert!(report.complete || report.first_fault().is_some());
    prop_assert!(
        report
            .findings
            .iter()
            .all(|finding| finding.offset <= bytes.len() as u64)
    );
    // Strict and not, they see the same first.
    match verify(bytes, &config) {
        Ok(strict) => prop_assert_eq!(strict, report),
        Err(InspectError::Wrong(finding)) => prop_assert_eq!(Some(&finding), report.first_fault()),
        Err(other) => return Err(TestCaseError::fail(other.to_string())),
    }
    let _ = inspect(bytes, &no_config);
    Ok(())
}

/// Small images of all formats.
fn sound() -> impl Strategy<Value = Vec<u8>> {
    let kinds = prop::sample::select(vec![Kind::Pv64, Kind::Pae, Kind::Hvm]);
    (kinds, 0..3_u8, 1..4_u32).prop_map(|(kind, format, rounds)| {
        let image = Legacy { rounds, ..small(kind) };
        match format {
            0 => xend(&image),
            1 => image.bytes(),
            _ => xl_save(&image),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        sane(&bytes)?;
    }

    #[test]
    fn random_bytes_behind_a_mark(mark in 0..5_usize, bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let marks: [&[u8]; 5] = [
            b"LinuxGuestRecord\0\0\0\x08(domain)",
            b"Xen saved domain, xl format\n \0 \r\x04\x03\x02\x01\x02\0\0\0\0\0\0\0\0\0\0\0",
            b"LibxlFmt\0\0\0\x02\0\0\0\0\x01\0\0\0\0\0\0\0",
            b"\xff\xff\xff\xff\xff\xff\xff\xffXENF\0\0\0\x03\0\0\0\0\0\0\0\0\x01\0\0\0\x0c\0\0\0\x04\0\0\0\x11\0\0\0",
            b"\x00\x00\x01\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\x40\x14\x00\x00vcpu\x30\x14\x00\x00",
        ];
        sane(&[marks[mark], &bytes].concat())?;
    }

    #[test]
    fn changed_images(
        mut bytes in sound(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        heads in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        // Most bytes are pages: some changes where the structure is.
        for (at, value) in heads {
            let at = at.index(600.min(bytes.len()));
            bytes[at] = value;
        }
        sane(&bytes)?;
    }

    #[test]
    fn images_put_together(a in sound(), b in sound(), cut in any::<prop::sample::Index>()) {
        let cut = cut.index(a.len());
        sane(&[&a[..cut], &b].concat())?;
    }
}
