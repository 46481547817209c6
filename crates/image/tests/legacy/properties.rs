//! What holds for all images, and for all bytes.

use image::ImageError;
use proptest::prelude::*;

use crate::{
    convert,
    images::{Extended, Kind, LIBXL_MODEL, Legacy},
    options, read,
};

/// An image of any variant that can be.
pub fn any_image() -> impl Strategy<Value = Legacy> {
    images_of(vec![
        (Kind::Pv64, 8),
        (Kind::Pv64, 4),
        (Kind::Pae, 8),
        (Kind::Pae, 4),
        (Kind::Hvm, 8),
        (Kind::Hvm, 4),
    ])
}

/// As [`any_image`], of one of these kinds with words of so many bytes.
pub fn images_of(kinds: Vec<(Kind, usize)>) -> impl Strategy<Value = Legacy> {
    let kind = prop::sample::select(kinds);
    let shape = (kind, 11..60_u64, 1..4_u32, 1..40_usize, any::<u8>());
    let flags = any::<[bool; 9]>();
    let vcpus = prop::collection::btree_set(1..200_u32, 0..4);
    let extended = prop::sample::select(vec![Extended::Absent, Extended::Vcpu, Extended::Full]);
    let absent = prop::option::of(prop::sample::select(vec![0, 5, 0x0fff_ff00]));
    let xsave = prop::option::of(592..2000_usize);
    (shape, flags, vcpus, extended, absent, xsave).prop_map(|(shape, flags, vcpus, extended, absent, xsave)| {
        let ((kind, word), pages, rounds, batch, seed) = shape;
        let [
            vcpu_chunk,
            permuted,
            sign_extended,
            absent_batch,
            pinned_plain,
            no_data,
            tsc,
            last_checkpoint,
            verify,
        ] = flags;
        let hvm = kind == Kind::Hvm;
        // Without extended information guest and toolstack are of the same width.
        let same = (kind == Kind::Pv64) == (word == 8);
        let extended = match extended {
            Extended::Absent if !same && !hvm => Extended::Vcpu,
            _ if hvm => Extended::Absent,
            extended => extended,
        };
        Legacy {
            kind,
            word,
            pages,
            rounds,
            batch,
            seed,
            extended,
            xsave: xsave.filter(|_| extended != Extended::Absent),
            vcpus: std::iter::once(0)
                .chain(vcpus.into_iter().filter(|_| vcpu_chunk))
                .collect(),
            vcpu_chunk,
            permuted,
            sign_extended: sign_extended && word == 8,
            absent,
            absent_batch,
            pinned_plain,
            no_data: no_data && pages > 20,
            tsc,
            last_checkpoint,
            verify,
            ..if hvm { Legacy::hvm(word) } else { Legacy::pv64() }
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_image_becomes_what_it_should(image in any_image()) {
        let bytes = image.bytes();
        let (made, read) = convert(&bytes, options(!image.is_pv(), true)).unwrap();
        prop_assert_eq!(read, bytes.len() as u64);
        prop_assert!(made == image.today());
    }

    #[test]
    fn a_cut_image_is_an_error(image in any_image(), at in any::<prop::sample::Index>()) {
        let image = Legacy { model: image.model.clone().map(|(_, state)| (LIBXL_MODEL, state)), ..image };
        let whole = Legacy { model: None, ..image.clone() }.bytes().len();
        let bytes = image.bytes();
        let at = at.index(bytes.len());
        prop_assume!(image.is_pv() || at != whole);
        prop_assert!(read(&bytes[..at], options(!image.is_pv(), true)).is_err());
    }

    /// Whatever bytes are changed: an error or another image, which the writer takes.
    #[test]
    fn a_damaged_image_breaks_nothing(
        image in any_image(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        check_registers in any::<bool>(),
    ) {
        let mut bytes = image.bytes();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Err(ImageError::Order(what)) = convert(&bytes, options(!image.is_pv(), check_registers)) {
            prop_assert!(false, "the reader made what the writer does not take: {}", what);
        }
    }

    #[test]
    fn random_bytes_break_nothing(
        bytes in prop::collection::vec(any::<u8>(), 0..4000),
        hvm in any::<bool>(),
        small_p2m in any::<bool>(),
    ) {
        let mut bytes = bytes;
        if small_p2m && bytes.len() > 8 {
            bytes[1..8].fill(0);
        }
        prop_assert!(read(&bytes, options(hvm, false)).is_err());
    }
}
