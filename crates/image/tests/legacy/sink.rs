//! Images of today as legacy images: they come back, for every xend that could take them, and what can't be carried is refused by name.

use image::{
    DomainHeader, ImageError, ImageSink as _, ImageSource as _, Item, PAGE_SIZE, PageBatch, PageContent, PageEntry,
    PageType,
    legacy::{LegacySink, LegacySource, LegacyTarget, LegacyWriteOptions, survey},
    record::RecordType,
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

#[track_caller]
fn refused(
    image: &Legacy,
    options_back: LegacyWriteOptions,
    reason: &str,
    change: impl FnMut(Item<'_>, &mut LegacySink<Vec<u8>>) -> Result<(), ImageError>,
) {
    let error = changed(image, options_back, change).map(drop).unwrap_err().to_string();
    assert!(error.contains(reason), "{error}");
}

/// Puts a record in front of the shared info.
fn with_record<'a>(
    kind: RecordType,
    body: &'a [u8],
) -> impl FnMut(Item<'_>, &mut LegacySink<Vec<u8>>) -> Result<(), ImageError> + 'a {
    move |item, sink| {
        if matches!(
            item,
            Item::Record {
                kind: RecordType::SHARED_INFO,
                ..
            }
        ) {
            sink.put(Item::Record { kind, body })?;
        }
        sink.put(item)
    }
}

#[test]
fn what_an_xend_cannot_take_is_refused_by_name() {
    let new = towards(LegacyTarget::Xen43);
    let plain = |item: Item<'_>, sink: &mut LegacySink<Vec<u8>>| sink.put(item);
    let image = Legacy::pv64();
    refused(&Legacy::pae(8), new, "only 64-bit guests can go back", plain);
    refused(&Legacy::hvm(8), new, "no PV guest", plain);
    let many = Legacy {
        vcpus: vec![0, 1],
        ..image.clone()
    };
    refused(&many, towards(LegacyTarget::Xen30), "vcpu 1, its highest is 0", plain);
    let many = Legacy {
        vcpus: vec![0, 64],
        ..image.clone()
    };
    refused(&many, towards(LegacyTarget::Xen41), "vcpu 64, its highest is 63", plain);
    let xsave = Legacy {
        xsave: Some(608),
        ..image.clone()
    };
    refused(&xsave, new, "xsave data of vcpus can't be carried over", plain);
    let announced = LegacyWriteOptions {
        xsave: Some(607),
        ..new
    };
    refused(
        &xsave,
        announced,
        "592 bytes of xsave data of vcpu 0, where 591 were announced",
        plain,
    );
    let early = LegacyWriteOptions {
        xsave: Some(608),
        ..towards(LegacyTarget::Xen40)
    };
    refused(
        &xsave,
        early,
        "an xend of Xen 4.0 can't take this domain: it knows no xsave data",
        plain,
    );
    refused(
        &image,
        LegacyWriteOptions {
            xsave: Some(608),
            ..new
        },
        "the xsave data of vcpu 0 are missing",
        plain,
    );
    let broken = Legacy {
        no_data: true,
        ..image.clone()
    };
    refused(&broken, towards(LegacyTarget::Xen42), "page 0x24 is broken", plain);
    let msrs = with_record(RecordType::X86_PV_VCPU_MSRS, &[0; 24]);
    refused(
        &image,
        new,
        "model specific registers of vcpus can't be carried over",
        msrs,
    );
    let verify = with_record(RecordType::VERIFY, &[]);
    refused(&image, new, "record 0xd has no place in its image", verify);
    let again = with_record(RecordType::X86_PV_VCPU_EXTENDED, &[0; 16]);
    refused(&image, new, "record 0x5 of vcpu 0 a second time", again);
    refused(&image, new, "vcpu 0 is missing", |item, sink| match item {
        Item::Record {
            kind: RecordType::X86_PV_VCPU_BASIC | RecordType::X86_PV_VCPU_EXTENDED,
            ..
        } => Ok(()),
        item => sink.put(item),
    });
    refused(&image, new, "the shared info, are missing", |item, sink| match item {
        Item::Record {
            kind: RecordType::SHARED_INFO,
            ..
        } => Ok(()),
        item => sink.put(item),
    });
    refused(
        &image,
        new,
        "pages before the frames of the p2m",
        |item, sink| match item {
            Item::Record {
                kind: RecordType::X86_PV_P2M_FRAMES,
                ..
            } => Ok(()),
            item => sink.put(item),
        },
    );
    refused(&image, new, "libxl's record 0x3", |item, sink| match item {
        Item::Finish => sink.put(Item::Libxl { kind: 3, body: &[0; 8] }),
        item => sink.put(item),
    });
}

#[test]
fn what_can_be_missed_is_left_out_and_named() {
    let image = Legacy {
        xsave: Some(608),
        ..Legacy::pv64()
    };
    let lenient = |target| LegacyWriteOptions {
        leave_out: true,
        ..towards(target)
    };
    let sink = changed(&image, lenient(LegacyTarget::Xen31), |item, sink| {
        if matches!(
            item,
            Item::Record {
                kind: RecordType::STATIC_DATA_END,
                ..
            }
        ) {
            sink.put(Item::Record {
                kind: RecordType::X86_CPUID_POLICY,
                body: &[0; 24],
            })?;
            sink.put(Item::Record {
                kind: RecordType::X86_MSR_POLICY,
                body: &[0; 16],
            })?;
            sink.put(Item::Record {
                kind: RecordType(0x8000_0001),
                body: b"what",
            })?;
        }
        // Nothing in it: nothing is missed.
        with_record(RecordType::X86_PV_VCPU_MSRS, &[0; 8])(item, sink)
    });
    let sink = sink.unwrap();
    let expected = [
        "callbacks of 32-bit system calls",
        "records of an unknown kind",
        "the CPUID policy",
        "the MSR policy",
        "the mode of the time stamp counter",
        "xsave data of vcpus",
    ];
    assert_eq!(sink.left_out().collect::<Vec<_>>(), expected);
    let old = Legacy {
        xsave: None,
        extended: Extended::Absent,
        tsc: false,
        last_checkpoint: false,
        ..image
    };
    same("3.1", &old, &sink.into_inner());
}

/// The pages of a batch, in words.
fn batches(bytes: &[u8]) -> Vec<(u64, u8, Option<u8>)> {
    let mut source = LegacySource::new(bytes, options(false, true));
    let mut pages = Vec::new();
    loop {
        match source.next().unwrap() {
            Item::Pages(batch) => {
                pages.extend(
                    batch
                        .pages()
                        .map(|(entry, page)| (entry.pfn, entry.kind.nibble(), page.map(|page| page[9]))),
                );
            }
            Item::Finish => return pages,
            _ => {}
        }
    }
}

#[test]
fn pages_of_all_sorts_become_what_the_target_knows() {
    let sorts = [
        (20, PageType::NORMAL, PageContent::Zero),
        (21, PageType::NORMAL, PageContent::Data),
        (22, PageType::ALLOCATE_ONLY, PageContent::Nothing),
        (23, PageType::ABSENT, PageContent::Nothing),
        (24, PageType::NORMAL, PageContent::Data),
    ];
    let entries = sorts.map(|(pfn, kind, content)| PageEntry { pfn, kind, content });
    let written = |target, entries: &[PageEntry]| {
        let data = [[1; PAGE_SIZE], [2; PAGE_SIZE]].concat();
        let data = &data[..entries
            .iter()
            .filter(|entry| entry.content == PageContent::Data)
            .count()
            * PAGE_SIZE];
        changed(&Legacy::pv64(), towards(target), |item, sink| {
            if matches!(item, Item::End) {
                sink.put(Item::Pages(PageBatch { entries, data }))?;
            }
            sink.put(item)
        })
        .unwrap()
        .into_inner()
    };
    // No item of the tail is written before the end, so the batch is one like the others.
    let before = batches(&written(LegacyTarget::Xen43, &entries[3..4])).len();
    let pages = |target| batches(&written(target, &entries)).split_off(before);
    let data = |pfn, byte| (pfn, 0, Some(byte));
    assert_eq!(
        pages(LegacyTarget::Xen42),
        [data(20, 0), data(21, 1), (22, 14, None), data(24, 2)]
    );
    assert_eq!(
        pages(LegacyTarget::Xen41),
        [data(20, 0), data(21, 1), data(22, 0), data(24, 2)]
    );
    // The one that has gone is in the list of those that are not there; a page that is to be allocated is not.
    let unmapped = |bytes: &[u8]| {
        let count = bytes.len() - 4096 - 128 - 5168 - 3 * 8 - 4;
        bytes[count..count + 28].to_vec()
    };
    let expected = [&3_u32.to_le_bytes()[..], &[23, 38, 39].map(u64::to_le_bytes).concat()].concat();
    assert_eq!(unmapped(&written(LegacyTarget::Xen42, &entries)), expected);
}

#[test]
fn extended_contexts_have_a_length_that_the_target_takes() {
    let mut body = [vec![0; 8], vec![0xee; 128]].concat();
    body[12..16].copy_from_slice(&56_u32.to_le_bytes());
    let written = |target| {
        let bytes = changed(&Legacy::pv64(), towards(target), |item, sink| match item {
            Item::Record {
                kind: kind @ RecordType::X86_PV_VCPU_EXTENDED,
                ..
            } => sink.put(Item::Record { kind, body: &body }),
            item => sink.put(item),
        });
        let bytes = bytes.unwrap().into_inner();
        bytes[bytes.len() - 4096 - 128..bytes.len() - 4096].to_vec()
    };
    let expected = |length: usize| {
        let mut context = vec![0; 128];
        context[8..length].fill(0xee);
        context[4..8].copy_from_slice(&(length as u32).to_le_bytes());
        context
    };
    assert_eq!(written(LegacyTarget::Xen43), expected(56));
    assert_eq!(written(LegacyTarget::Xen41), expected(32));
    let header = DomainHeader {
        version: 3,
        guest: DomainHeader::EMBEDDED,
        xen_major: 0,
        xen_minor: 1,
    };
    let mut sink = LegacySink::new(Vec::new(), towards(LegacyTarget::Xen43));
    let error = sink.put(Item::Start(header)).unwrap_err().to_string();
    assert!(error.contains("it is no Xen guest"), "{error}");
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
