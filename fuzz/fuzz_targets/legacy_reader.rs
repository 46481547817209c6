//! A legacy image of any bytes. Whatever is read is an item that can follow the one before, and the reader's place is one in the input.
#![no_main]

use image::{
    ImageSource, Item, OrderCheck,
    legacy::{LegacyGuest, LegacyOptions, LegacySource},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((sort, bytes)) = input.split_first() else {
        return;
    };
    let options = LegacyOptions {
        guest: if sort & 1 == 0 {
            LegacyGuest::Pv
        } else {
            LegacyGuest::Hvm
        },
        max_pages: 1 << 12,
        check_registers: sort & 2 != 0,
    };
    let mut source = LegacySource::new(bytes, options);
    let mut order = OrderCheck::new();
    while let Ok(item) = source.next() {
        order.check(&item).expect("an item in its place");
        if matches!(item, Item::Finish) {
            break;
        }
    }
    assert!(source.offset() <= bytes.len() as u64);
    if order.is_finished() {
        let facts = source.facts().expect("an image that was read is known");
        assert!((1..=options.max_pages).contains(&facts.p2m_size));
        assert!(source.next().is_err());
    }
});
