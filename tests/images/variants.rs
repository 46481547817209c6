//! All variants, with the image that Xen's converter makes the same of.

use super::{Extended, Kind, LIBXL_MODEL, Legacy, REMUS_MODEL, XEND_MODEL};

/// What Xen's converter does with a variant itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// The same as the program.
    Same,
    /// It fails, for this reason.
    Refuses(&'static str),
    /// It succeeds, and what comes out is not sound or not what the guest was, for this reason.
    Differs(&'static str),
}

/// An image that a saver made, or may have made.
pub struct Variant {
    pub name: &'static str,
    pub image: Legacy,
    /// The same guest, as a saver would have sent it that Xen's converter was written for.
    pub twin: Legacy,
    pub upstream: Upstream,
}

fn plain(name: &'static str, image: Legacy) -> Variant {
    let twin = image.clone();
    let upstream = Upstream::Same;
    Variant {
        name,
        image,
        twin,
        upstream,
    }
}

fn differs(name: &'static str, image: Legacy, upstream: Upstream, twin: impl FnOnce(&mut Legacy)) -> Variant {
    let mut other = image.clone();
    twin(&mut other);
    Variant {
        name,
        image,
        twin: other,
        upstream,
    }
}

/// Every variant that can be converted.
pub fn variants() -> Vec<Variant> {
    let mut all = known_to_xen();
    all.extend(unknown_to_xen());
    all.extend(odd());
    all
}

/// What Xen's converter was written for: libxl's images, and xend's of 3.2 and later.
fn known_to_xen() -> Vec<Variant> {
    let live = |image: Legacy| Legacy { rounds: 4, ..image };
    vec![
        plain("64 bits, offline", Legacy::pv64()),
        plain("64 bits, live, pages sent again", live(Legacy::pv64())),
        plain(
            "64 bits, more than one page of p2m",
            Legacy {
                pages: 1100,
                batch: 1024,
                ..Legacy::pv64()
            },
        ),
        plain(
            "64 bits, two vcpus",
            Legacy {
                vcpus: vec![0, 1],
                ..live(Legacy::pv64())
            },
        ),
        plain(
            "64 bits, vcpus with gaps, above 63",
            Legacy {
                vcpus: vec![0, 2, 63, 64, 130],
                ..Legacy::pv64()
            },
        ),
        plain(
            "64 bits, xsave",
            Legacy {
                xsave: Some(608),
                vcpus: vec![0, 1],
                ..Legacy::pv64()
            },
        ),
        plain(
            "64 bits, xsave with AVX",
            Legacy {
                xsave: Some(16 + 848),
                ..Legacy::pv64()
            },
        ),
        plain(
            "64 bits, of 3.2: no TSC, no last checkpoint",
            Legacy {
                tsc: false,
                last_checkpoint: false,
                permuted: true,
                ..Legacy::pv64()
            },
        ),
        plain(
            "64 bits, absent pages marked",
            Legacy {
                absent: Some(0),
                ..live(Legacy::pv64())
            },
        ),
        plain(
            "64 bits, allocate-only and broken pages",
            Legacy {
                no_data: true,
                ..live(Legacy::pv64())
            },
        ),
        plain("32 bits PAE, 64-bit toolstack", live(Legacy::pae(8))),
        plain("32 bits PAE, 32-bit toolstack", live(Legacy::pae(4))),
        plain(
            "32 bits PAE, two vcpus, xsave",
            Legacy {
                vcpus: vec![0, 1],
                xsave: Some(608),
                ..Legacy::pae(8)
            },
        ),
        plain(
            "64 bits, 32-bit toolstack",
            Legacy {
                word: 4,
                ..Legacy::pv64()
            },
        ),
        plain("HVM, 64-bit toolstack", Legacy::hvm(8)),
        plain("HVM, 32-bit toolstack", live(Legacy::hvm(4))),
        plain(
            "HVM, allocate-only pages",
            Legacy {
                no_data: true,
                absent: Some(0),
                ..live(Legacy::hvm(8))
            },
        ),
        plain(
            "HVM, all parameters",
            Legacy {
                parameters: all_parameters(),
                ..Legacy::hvm(8)
            },
        ),
        plain("HVM, libxl's mappings, 64-bit toolstack", mapped(8)),
        plain("HVM, libxl's mappings, 32-bit toolstack", mapped(4)),
        plain(
            "HVM, without parameters",
            Legacy {
                parameters: Vec::new(),
                ..Legacy::hvm(8)
            },
        ),
    ]
}

/// What xends sent and Xen's converter does not know.
fn unknown_to_xen() -> Vec<Variant> {
    let no_extended_info = Upstream::Refuses("it takes extended information for granted");
    let no_signature = Upstream::Refuses("it knows a device model's state only with libxl's signature");
    let to_3_2 = |image: &mut Legacy| {
        image.extended = Extended::Vcpu;
        image.vcpu_chunk = true;
        image.sign_extended = false;
        image.absent = None;
    };
    vec![
        differs(
            "3.0.3, 64 bits",
            Legacy::xen_3_0_3(Kind::Pv64, 8),
            no_extended_info,
            to_3_2,
        ),
        differs(
            "3.0.3, 64 bits, live",
            Legacy {
                rounds: 3,
                ..Legacy::xen_3_0_3(Kind::Pv64, 8)
            },
            no_extended_info,
            to_3_2,
        ),
        differs(
            "3.0.3, 32 bits PAE",
            Legacy::xen_3_0_3(Kind::Pae, 4),
            no_extended_info,
            to_3_2,
        ),
        differs(
            "3.0.3, 32 bits PAE with extended information",
            Legacy {
                extended: Extended::Vcpu,
                ..Legacy::xen_3_0_3(Kind::Pae, 4)
            },
            Upstream::Differs(
                "without VCPU_INFO it sees no vcpus, and takes registers for the shared info; absent pages keep numbers that are none",
            ),
            to_3_2,
        ),
        differs(
            "3.1, 64 bits",
            Legacy {
                vcpu_chunk: true,
                sign_extended: false,
                vcpus: vec![0, 1],
                ..Legacy::xen_3_0_3(Kind::Pv64, 8)
            },
            no_extended_info,
            to_3_2,
        ),
        differs(
            "HVM, xend's device model",
            Legacy {
                model: model(XEND_MODEL),
                ..Legacy::hvm(8)
            },
            no_signature,
            |image| {
                image.model = model(LIBXL_MODEL);
            },
        ),
        differs(
            "HVM, Remus's device model",
            Legacy {
                model: model(REMUS_MODEL),
                ..Legacy::hvm(8)
            },
            no_signature,
            |image| {
                image.model = model(LIBXL_MODEL);
            },
        ),
    ]
}

/// Oddities.
fn odd() -> Vec<Variant> {
    let tmem = |pools: &[u8]| {
        let mut chunk = (-5_i32).to_le_bytes().to_vec();
        for value in [1, 16, u32::MAX, 0, 0, 0, u32::MAX] {
            chunk.extend(value.to_le_bytes());
        }
        [&chunk, pools, &u32::MAX.to_le_bytes()].concat()
    };
    let pool = [&1_u32.to_le_bytes()[..], &[0; 4], &[0; 4], &[7; 16]].concat();
    let no_extra = |image: &mut Legacy| image.extra.clear();
    vec![
        differs(
            "numbers of absent pages that are none",
            Legacy {
                absent: Some(0x0abc_def0),
                rounds: 2,
                ..Legacy::pv64()
            },
            Upstream::Differs("it leaves absent pages out only if their number is zero"),
            |image| image.absent = None,
        ),
        differs(
            "a batch of absent pages only",
            Legacy {
                absent: Some(0),
                absent_batch: true,
                ..Legacy::pv64()
            },
            Upstream::Differs("it makes a batch of no pages of it, which no restorer takes"),
            |image| image.absent_batch = false,
        ),
        differs(
            "the pinned bit on a plain page",
            Legacy {
                pinned_plain: true,
                ..Legacy::pv64()
            },
            Upstream::Differs("it keeps a type that no restorer knows"),
            |image| image.pinned_plain = false,
        ),
        differs(
            "verify mode",
            Legacy {
                verify: true,
                rounds: 2,
                ..Legacy::pv64()
            },
            Upstream::Differs("it lets pages that are for comparison overwrite those that count"),
            |image| image.verify = false,
        ),
        differs(
            "tmem without pools",
            Legacy {
                extra: tmem(&[]),
                ..Legacy::pv64()
            },
            Upstream::Refuses("it does not know tmem"),
            no_extra,
        ),
        differs(
            "tmem with a pool without pages",
            Legacy {
                extra: tmem(&pool),
                ..Legacy::pv64()
            },
            Upstream::Refuses("it does not know tmem"),
            no_extra,
        ),
        differs(
            "HVM, the width of the FPU's pointers",
            Legacy {
                extra: [&(-21_i32).to_le_bytes()[..], &[0; 4], &[8, 0, 0, 0, 0, 0, 0, 0]].concat(),
                ..Legacy::hvm(8)
            },
            Upstream::Refuses("it does not know the chunk of 4.5.5"),
            no_extra,
        ),
        differs(
            "HVM, without a device model",
            Legacy {
                model: None,
                ..Legacy::hvm(8)
            },
            Upstream::Refuses("it takes a device model's state for granted"),
            |image| image.model = model(LIBXL_MODEL),
        ),
    ]
}

fn model(signature: &'static [u8; 21]) -> Option<(&'static [u8; 21], Vec<u8>)> {
    Some((signature, b"QEVM\0\0\0\x02some state".to_vec()))
}

fn mapped(word: usize) -> Legacy {
    Legacy {
        mappings: Some(vec![
            (0xf000_0000, 0xf000_0000, 0x80_0000, "vga.vram"),
            (0xf080_0000, 0xf200_0000, 0x2000, "cirrus.rom"),
        ]),
        ..Legacy::hvm(word)
    }
}

fn all_parameters() -> Vec<(i32, u64)> {
    [-14, -3, -15, -16, -17, -19, -20, -4, -8, -10, -11]
        .map(|chunk| (chunk, 0x1000 - chunk as u64 % 7))
        .to_vec()
}
