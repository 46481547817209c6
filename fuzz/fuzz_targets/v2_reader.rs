//! A stream v2 of any bytes, alone and behind sound headers. What is sound comes back after it is written.
#![no_main]

use image::{
    DomainHeader, ImageSink, ImageSource, Item,
    save::SaveHeader,
    v2::{V2Reader, V2Writer},
};
use libfuzzer_sys::fuzz_target;

/// Copies what can be read; whether that was the whole image, and the bytes written for it.
fn copy(bytes: &[u8]) -> (bool, Vec<u8>) {
    let mut reader = V2Reader::new(bytes);
    let mut writer = V2Writer::new(Vec::new());
    while let Ok(item) = reader.next() {
        writer.put(item).expect("the writer takes whatever the reader gives");
        if matches!(item, Item::Finish) {
            return (true, writer.into_inner());
        }
    }
    (false, writer.into_inner())
}

fuzz_target!(|input: &[u8]| {
    let Some((sort, bytes)) = input.split_first() else { return };
    let (complete, written) = match sort {
        0 => copy(bytes),
        1 => {
            if let Ok(header) = SaveHeader::read(&mut &bytes[..]) {
                let mut written = Vec::new();
                header.write(&mut written).expect("a header that was read can be written");
                assert_eq!(SaveHeader::read(&mut &written[..]).expect("it is a header"), header);
            }
            return;
        }
        // Headers take long to guess.
        sort => {
            let mut writer = V2Writer::new(Vec::new());
            let header = DomainHeader {
                version: 2 + u32::from(sort & 1),
                guest: [DomainHeader::PV, DomainHeader::HVM, DomainHeader::EMBEDDED][usize::from(sort % 3)],
                xen_major: 4,
                xen_minor: 17,
            };
            writer.put(Item::Start(header)).expect("a start");
            copy(&[&writer.into_inner()[..], bytes].concat())
        }
    };
    if complete {
        assert_eq!(copy(&written), (true, written.clone()));
    }
});
