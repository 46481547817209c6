//! What a xend sends: an envelope in two pieces, and what follows it as an image. The first byte says where the pieces part.
#![no_main]

use image::{
    ImageError, ImageSink, Item,
    legacy::{LegacyGuest, LegacyOptions},
};
use libfuzzer_sys::fuzz_target;
use peer::xend::{EnvelopeReader, ImageBytes, Keeper, Verdict, refusal, take_in};

/// Knows whether the image was whole.
struct Whole(bool);

impl ImageSink for Whole {
    fn put(&mut self, item: Item<'_>) -> Result<(), ImageError> {
        self.0 = matches!(item, Item::Finish);
        Ok(())
    }
}

fn limits() -> sxp::Limits {
    sxp::Limits {
        max_bytes: 2048,
        max_depth: 32,
        ..sxp::Limits::default()
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((part, bytes)) = input.split_first() else {
        return;
    };
    let (first, second) = bytes.split_at(bytes.len().min(usize::from(*part)));
    let whole = EnvelopeReader::new(limits()).feed(bytes);
    let mut reader = EnvelopeReader::new(limits());
    let pieces = match reader.feed(first) {
        Ok((used, None)) => {
            assert_eq!(used, first.len());
            reader.feed(second).map(|(more, envelope)| (used + more, envelope))
        }
        other => other,
    };
    assert_eq!(pieces, whole, "the pieces matter");
    match whole {
        Err(error) => assert!(refusal(&error.to_string()).ends_with(b"'))\n")),
        Ok((used, None)) => assert_eq!(used, bytes.len()),
        Ok((used, Some(_))) => {
            let image = bytes.get(used..).expect("no more was taken than there is");
            let read = ImageBytes::new(image, Keeper::new(8), Box::new(|_, _| Ok(())));
            let options = LegacyOptions {
                guest: LegacyGuest::Pv,
                max_pages: 1 << 16,
                check_registers: false,
            };
            let mut sink = Whole(false);
            match take_in(&read, options, &mut sink) {
                Ok(()) => assert!(sink.0),
                Err(ended) => {
                    assert!(!sink.0 && ended.verdict != Verdict::Refuse);
                    let mut rest = Vec::new();
                    read.rest(&mut rest, u64::MAX).expect("memory takes all");
                    assert!(image.ends_with(&rest));
                }
            }
        }
    }
});
