//! What can't be carried: refused by name, or left out and named if that is allowed.

use image::{
    ImageError, ImageSink as _, Item,
    legacy::{LegacySink, LegacyTarget, LegacyWriteOptions},
    record::RecordType,
};

use super::{changed, same, towards};
use crate::images::{Extended, Legacy};

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
