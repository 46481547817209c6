//! Images of today as legacy images: they come back, for every xend that could take them, and what can't be carried is refused by name.

mod refusals;
mod targets;

use image::{
    ImageError, ImageSink as _, ImageSource as _, Item,
    legacy::{LegacySink, LegacySource, LegacyTarget, LegacyWriteOptions, survey},
    v2::V2Reader,
};
use proptest::prelude::*;

use crate::{
    convert,
    images::{Extended, Kind, Legacy, variants},
    options,
    properties::images_of,
};

fn towards(target: LegacyTarget) -> LegacyWriteOptions {
    LegacyWriteOptions {
        target,
        xsave: None,
        leave_out: false,
    }
}

/// The xend that such an image is from.
fn home(image: &Legacy) -> LegacyWriteOptions {
    let target = match image {
        Legacy { vcpu_chunk: false, .. } => LegacyTarget::Xen30,
        Legacy {
            extended: Extended::Absent,
            ..
        } => LegacyTarget::Xen31,
        Legacy {
            last_checkpoint: true, ..
        } => LegacyTarget::Xen43,
        Legacy { tsc: true, .. } => LegacyTarget::Xen40,
        _ => LegacyTarget::Xen32,
    };
    LegacyWriteOptions {
        xsave: image.xsave.map(|bytes| bytes as u32),
        ..towards(target)
    }
}

/// The legacy image that is made of a legacy image on the way through today's items.
fn there_and_back(bytes: &[u8], options_back: LegacyWriteOptions) -> Result<Vec<u8>, ImageError> {
    let mut source = LegacySource::new(bytes, options(false, true));
    let mut sink = LegacySink::new(Vec::new(), options_back);
    loop {
        let item = source.next()?;
        sink.put(item)?;
        if matches!(item, Item::Finish) {
            assert_eq!(sink.left_out().count(), 0);
            let written = sink.written();
            let bytes = sink.into_inner();
            assert_eq!(written, bytes.len() as u64);
            return Ok(bytes);
        }
    }
}

/// The same but for the bytes that a writer is free in.
fn same(name: &str, image: &Legacy, back: &[u8]) {
    let image = image.returned();
    let (mut before, mut after) = (image.bytes(), back.to_vec());
    assert_eq!(before.len(), after.len(), "{name}");
    for (begin, end) in image.freedoms() {
        before[begin..end].fill(0);
        after[begin..end].fill(0);
    }
    let differs = before.iter().zip(&after).position(|(before, after)| before != after);
    assert_eq!(differs, None, "{name}");
}

#[test]
fn every_64_bit_variant_comes_back_as_the_same_bytes_but_for_the_freedoms() {
    let of_64_bits = |image: &Legacy| image.kind == Kind::Pv64 && image.word == 8;
    let mut count = 0;
    for variant in variants().iter().filter(|variant| of_64_bits(&variant.image)) {
        let back = there_and_back(&variant.image.bytes(), home(&variant.image))
            .unwrap_or_else(|error| panic!("{}: {error}", variant.name));
        same(variant.name, &variant.image, &back);
        count += 1;
    }
    assert!(count > 15, "{count}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Through both formats: whatever comes out is what went in.
    #[test]
    fn any_64_bit_image_comes_back(image in images_of(vec![(Kind::Pv64, 8)])) {
        // What the xend that such an image is from would have sent.
        let is_new = image.vcpu_chunk && image.extended != Extended::Absent;
        let last_checkpoint = image.last_checkpoint && is_new;
        let image = Legacy {
            extended: if is_new { Extended::Full } else { Extended::Absent },
            xsave: image.xsave.filter(|_| last_checkpoint),
            tsc: image.tsc && is_new,
            last_checkpoint,
            no_data: image.no_data && last_checkpoint,
            vcpus: image.vcpus.into_iter().filter(|vcpu| *vcpu < 64 || last_checkpoint).collect(),
            ..image
        };
        let back = there_and_back(&image.bytes(), home(&image)).unwrap();
        same("any", &image, &back);
        let (today, _) = convert(&image.bytes(), options(false, true)).unwrap();
        prop_assert!(convert(&back, options(false, true)).unwrap().0 == today);
    }
}

/// What a first pass tells is what the writer then needs.
#[test]
fn a_survey_finds_what_has_to_be_known_before() {
    let of_64_bits = |image: &Legacy| image.kind == Kind::Pv64 && image.word == 8;
    for variant in variants().iter().filter(|variant| of_64_bits(&variant.image)) {
        let bytes = variant.image.bytes();
        let home = home(&variant.image);
        let mut source = LegacySource::new(&bytes[..], options(false, true));
        let found = survey(&mut source, home.target).unwrap_or_else(|error| panic!("{}: {error}", variant.name));
        assert_eq!(found.xsave, home.xsave, "{}", variant.name);
        assert!(found.left_out.is_empty() && found.missed.is_empty(), "{}", variant.name);
    }
    // An older xend has no place for it.
    let image = Legacy {
        xsave: Some(608),
        ..Legacy::pv64()
    };
    let bytes = image.bytes();
    let mut source = LegacySource::new(&bytes[..], options(false, true));
    let found = survey(&mut source, LegacyTarget::Xen32).unwrap();
    assert_eq!(found.xsave, None);
    assert_eq!(found.missed, ["xsave data of vcpus"]);
    assert_eq!(
        found.left_out,
        ["the mode of the time stamp counter", "xsave data of vcpus"]
    );
    let mut source = LegacySource::new(&bytes[..bytes.len() - 1], options(false, true));
    assert!(survey(&mut source, LegacyTarget::Xen43).is_err());
}

/// The items of a stream, changed on their way.
fn changed(
    image: &Legacy,
    options_back: LegacyWriteOptions,
    mut change: impl FnMut(Item<'_>, &mut LegacySink<Vec<u8>>) -> Result<(), ImageError>,
) -> Result<LegacySink<Vec<u8>>, ImageError> {
    let stream = image.today();
    let mut reader = V2Reader::new(&stream[..]);
    let mut sink = LegacySink::new(Vec::new(), options_back);
    loop {
        let item = reader.next()?;
        change(item, &mut sink)?;
        if matches!(item, Item::Finish) {
            return Ok(sink);
        }
    }
}
