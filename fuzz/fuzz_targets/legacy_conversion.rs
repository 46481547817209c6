//! A legacy image of any bytes, converted: what was read is written and read again as the same; and what goes back to the legacy format stays the
//! same from then on.
#![no_main]

use image::{
    ImageError, ImageSink, ImageSource, Item,
    legacy::{LegacyGuest, LegacyOptions, LegacySink, LegacySource, LegacyTarget, LegacyWriteOptions},
    record::RecordType,
    v2::{V2Reader, V2Writer},
};
use libfuzzer_sys::fuzz_target;

/// Copies an image; `None` if the source fails.
fn copy(source: &mut impl ImageSource, sink: &mut impl ImageSink) -> Option<Result<(), ImageError>> {
    loop {
        let item = source.next().ok()?;
        if let Err(error) = sink.put(item) {
            return Some(Err(error));
        }
        if matches!(item, Item::Finish) {
            return Some(Ok(()));
        }
    }
}

fn read(bytes: &[u8], guest: LegacyGuest) -> LegacySource<&[u8]> {
    let options = LegacyOptions {
        guest,
        max_pages: 1 << 12,
        check_registers: false,
    };
    LegacySource::new(bytes, options)
}

/// Bytes of the xsave item of each vcpu.
fn xsave(stream: &[u8]) -> Option<u32> {
    let mut reader = V2Reader::new(stream);
    let mut length = None;
    while let Ok(item) = reader.next() {
        match item {
            Item::Record {
                kind: RecordType::X86_PV_VCPU_XSAVE,
                body,
            } => length = Some(body.len() as u32 + 8),
            Item::Finish => break,
            _ => {}
        }
    }
    length
}

fuzz_target!(|input: &[u8]| {
    let Some((sort, bytes)) = input.split_first() else {
        return;
    };
    let guest = if sort & 1 == 0 {
        LegacyGuest::Pv
    } else {
        LegacyGuest::Hvm
    };
    let mut writer = V2Writer::new(Vec::new());
    match copy(&mut read(bytes, guest), &mut writer) {
        None => return,
        Some(written) => written.expect("the writer takes whatever the reader gives"),
    }
    let stream = writer.into_inner();
    let mut again = V2Writer::new(Vec::new());
    copy(&mut V2Reader::new(&stream[..]), &mut again)
        .expect("what was written can be read")
        .expect("and written again");
    assert!(again.into_inner() == stream);

    let options = LegacyWriteOptions {
        target: match sort >> 1 & 7 {
            0 => LegacyTarget::Xen30,
            1 => LegacyTarget::Xen31,
            2 => LegacyTarget::Xen32,
            3 => LegacyTarget::Xen40,
            4 => LegacyTarget::Xen41,
            5 => LegacyTarget::Xen42,
            _ => LegacyTarget::Xen43,
        },
        xsave: xsave(&stream).filter(|_| sort >> 1 & 7 >= 4),
        leave_out: true,
    };
    let mut sink = LegacySink::new(Vec::new(), options);
    // Refused: no 64-bit PV guest, or too many vcpus, or a broken page.
    let Some(Ok(())) = copy(&mut V2Reader::new(&stream[..]), &mut sink) else {
        return;
    };
    let back = sink.into_inner();
    let mut sink = LegacySink::new(Vec::new(), options);
    copy(&mut read(&back, LegacyGuest::Pv), &mut sink)
        .expect("what went back can be read")
        .expect("and goes back again");
    assert!(sink.into_inner() == back);
});
