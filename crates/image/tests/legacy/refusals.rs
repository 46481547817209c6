//! What is refused, and in which words.

use crate::{
    PAGES,
    images::{Kind, LIBXL_MODEL, Legacy},
    options, read,
};

fn error_of(image: &Legacy) -> String {
    read(&image.bytes(), options(!image.is_pv(), true))
        .unwrap_err()
        .to_string()
}

fn chunk(id: i32, body: &[u8]) -> Legacy {
    Legacy {
        extra: [&id.to_le_bytes(), body].concat(),
        ..Legacy::pv64()
    }
}

#[track_caller]
fn refused(image: &Legacy, reason: &str) {
    let error = error_of(image);
    assert!(error.contains(reason), "{error}");
}

#[test]
fn chunks_that_cannot_be_taken_over_are_refused_by_name() {
    refused(&chunk(-22, &[]), "chunk -22, which no version of Xen has sent");
    refused(&chunk(i32::MIN, &[]), "chunk -2147483648");
    refused(&chunk(1025, &[]), "a batch of 1025 pages, more than 1024");
    refused(&chunk(-12, &[]), "Remus");
    refused(&chunk(-13, &[]), "Remus");
    refused(&chunk(-3, &[0; 12]), "HVM parameter 12 in the image of a PV guest");
    refused(&chunk(-2, &5000_u32.to_le_bytes()), "vcpu 5000 as the last one");
    refused(&chunk(-2, &u32::MAX.to_le_bytes()), "vcpu -1 as the last one");
    refused(
        &chunk(-2, &[0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]),
        "an image without vcpu 0",
    );
    refused(
        &chunk(-2, &[0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]),
        "a vcpu beyond the last one",
    );
    refused(
        &chunk(-18, &u32::MAX.to_le_bytes()),
        "a TOOLSTACK chunk of 4294967295 bytes",
    );
    refused(&chunk(-6, &[0; 4]), "TMEM_EXTRA with pages");
    refused(
        &Legacy {
            extra: (-9_i32).to_le_bytes().repeat(300),
            ..Legacy::pv64()
        },
        "more than 256 chunks",
    );
    let twice = Legacy {
        parameters: vec![(-8, 1), (-8, 2)],
        ..Legacy::hvm(8)
    };
    refused(&twice, "HVM parameter 17 a second time");
    let tmem = [1, 16, u32::MAX, 0, 0, 0, u32::MAX, 1, 0, 5]
        .map(u32::to_le_bytes)
        .concat();
    refused(&chunk(-5, &tmem), "chunk TMEM with 5 pages");
}

/// A batch of these entries, without data.
fn batch(entries: &[u64]) -> Legacy {
    let words = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect::<Vec<_>>();
    chunk(entries.len() as i32, &words)
}

#[test]
fn pages_that_cannot_be_are_refused() {
    refused(&batch(&[0x5000_0000]), "a page of type 0x5");
    refused(&batch(&[0x0000_0028]), "page 0x28 of a guest with 0x28 pages");
    refused(&batch(&[0xe000_0028]), "page 0x28 of a guest with 0x28 pages");
    refused(&batch(&[1, 2, 0x9000_0001]), "page 0x1 twice in one batch");
    // In batches that follow one another it may come again.
    read(
        &Legacy {
            rounds: 3,
            ..Legacy::pv64()
        }
        .bytes(),
        options(false, true),
    )
    .unwrap();
}

#[test]
fn guests_that_no_xen_of_today_could_run_are_refused() {
    let two_levels = Legacy::xen_3_0_3(Kind::TwoLevels, 4);
    refused(&two_levels, "a 32-bit guest without PAE (page tables of two levels)");
    refused(
        &Legacy {
            pages: PAGES + 1,
            ..Legacy::pv64()
        },
        "more than the 0x10000 pages that the domain may have",
    );
    // Each of them names a page that is not what it should be.
    for (at, value, reason) in [
        (616, 3, "vcpu 0: the start info is page 0x3 of type 0xc"),
        (616, 39, "vcpu 0: the start info is page 0x27, which has not come"),
        (4832, 4, "vcpu 0: a frame of the GDT is page 0x4 of type 0x3"),
        (4960, 8000, "vcpu 0: a GDT of 8000 entries, more than 7168"),
        (
            5008,
            0x1000,
            "vcpu 0: CR3 names page 0x1 of type 0x0, which is no page table of level 4",
        ),
        (5008, 0xfff_f000, "vcpu 0: CR3 names page 0xffff, which has not come"),
        (
            4992,
            0x4001,
            "vcpu 0: CR1 (the user page table) names page 0x4 of type 0x3",
        ),
    ] {
        let mut bytes = Legacy::pv64().bytes();
        let context = bytes.len() - 4096 - 128 - 5168;
        bytes[context + at..context + at + 8].copy_from_slice(&u64::to_le_bytes(value));
        let error = read(&bytes, options(false, true)).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        read(&bytes, options(false, false)).unwrap();
    }
}

#[test]
fn what_stands_before_the_pages_is_bounded_and_checked() {
    let with = |at: usize, value: &[u8]| {
        let mut bytes = Legacy {
            xsave: Some(608),
            ..Legacy::pv64()
        }
        .bytes();
        bytes[at..at + value.len()].copy_from_slice(value);
        read(&bytes, options(false, true)).unwrap_err().to_string()
    };
    let refused = |at, value: &[u8], reason| {
        let error = with(at, value);
        assert!(error.contains(reason), "{error}");
    };
    refused(0, &[0; 8], "a p2m of 0x0 entries");
    refused(0, &[0, 0, 0, 0x10, 0, 0, 0, 0], "a p2m of 0x10000000 entries");
    refused(
        16,
        &u32::MAX.to_le_bytes(),
        "extended information of 4294967295 bytes, more than 65536",
    );
    refused(
        16,
        &5_u32.to_le_bytes(),
        "a block of extended information that is longer than all of it",
    );
    refused(24, &5167_u32.to_le_bytes(), "a vcpu context of 5167 bytes");
    refused(20, b"what", "extended information without a vcpu context");
    let xcnt = 16 + 4 + 8 + 5168 + 8;
    refused(
        xcnt + 8,
        &16_385_u32.to_le_bytes(),
        "xsave data of 16385 bytes for each vcpu",
    );
    refused(
        xcnt + 8,
        &591_u32.to_le_bytes(),
        "xsave data of 591 bytes for each vcpu",
    );
    refused(
        xcnt + 8,
        &609_u32.to_le_bytes(),
        "xsave data of 592 bytes where 593 were announced",
    );
    refused(
        xcnt + 12,
        &40_u64.to_le_bytes(),
        "p2m frame 0 is page 0x28 of a guest with 0x28 pages",
    );
    refused(
        xcnt + 12,
        &4_u64.to_le_bytes(),
        "page 0x4, a part of the p2m, has not come, or is no plain page",
    );
}

#[test]
fn the_tail_of_an_hvm_image_is_bounded_and_checked() {
    let image = Legacy {
        mappings: Some(vec![(1, 2, 3, "vga")]),
        ..Legacy::hvm(8)
    };
    let bytes = image.bytes();
    let find = |what: &[u8]| bytes.windows(what.len()).position(|window| window == what).unwrap();
    let (model, name) = (find(LIBXL_MODEL), find(b"vga\0"));
    let context = model - image.hvm_context().len();
    let refused = |at: usize, value: &[u8], reason| {
        let mut bytes = bytes.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        let error = read(&bytes, options(true, true)).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    };
    refused(context - 4, &u32::MAX.to_le_bytes(), "a context of 4294967295 bytes");
    refused(context - 4, &15_u32.to_le_bytes(), "a context of 15 bytes");
    refused(context, &[2], "a context that does not begin with its header");
    refused(model - 8, &[1], "or not end with its end");
    refused(model, b"Qe", "neither a device model's state nor the end of the image");
    refused(model + 21, &u32::MAX.to_le_bytes(), "more than 67108864");
    refused(model + 25, b"QEVX", "a device model's state that is not qemu's");
    refused(
        name + 1,
        &[0],
        "a name in a TOOLSTACK chunk that is not ended by its only zero",
    );
    refused(
        name + 3,
        b"s",
        "a name in a TOOLSTACK chunk that is not ended by its only zero",
    );
    refused(name - 4, &200_u32.to_le_bytes(), "a TOOLSTACK chunk that ends too soon");
    refused(name - 36, &[2], "a TOOLSTACK chunk of version 2");
}
