//! Images that are cut, and images with one byte changed.

use image::inspect::{Part, inspect, no_config, verify};

use crate::{
    config,
    files::{libxc, small, xend, xl_save},
    images::{Extended, Kind, LIBXL_MODEL, Legacy},
    right, shown, wrong,
};

/// Small images of all formats.
fn all() -> Vec<(&'static str, Vec<u8>)> {
    let (pv, pae, hvm) = (small(Kind::Pv64), small(Kind::Pae), small(Kind::Hvm));
    let xsave = Legacy {
        xsave: Some(16 + 592),
        vcpus: vec![0, 1],
        ..pv.clone()
    };
    let old = Legacy {
        extended: Extended::Absent,
        ..pv.clone()
    };
    vec![
        ("xend, PV", xend(&pv)),
        ("xend, PAE", xend(&pae)),
        ("xend, xsave, two vcpus", xend(&xsave)),
        ("xend, without extended information", xend(&old)),
        ("xend, HVM", xend(&hvm)),
        ("legacy, PV", pv.bytes()),
        ("libxc, PV", libxc(&xsave)),
        ("libxl, HVM", hvm.today()),
        ("xl save, PV", xl_save(&xsave)),
        ("xl save, PAE", xl_save(&pae)),
        ("xl save, HVM", xl_save(&hvm)),
    ]
}

#[test]
fn cut_anywhere_it_is_wrong() {
    for (name, bytes) in all() {
        right(&bytes, name);
        let model = bytes.windows(21).position(|word| word == LIBXL_MODEL);
        let parts = shown(&bytes).parts;
        let contents = |at: usize| {
            let inside = |part: &Part| {
                let pages = part.name == "PAGE_DATA" || part.name == "batches of pages";
                let data = part.offset + part.bytes - part.bytes / 4096 * 4096;
                pages && (data..part.offset + part.bytes).contains(&(at as u64))
            };
            parts.iter().any(inside)
        };
        for length in 0..bytes.len() {
            // Every byte, but within the pages' contents, which are passed over: there now and then.
            if contents(length) && length % 509 != 0 {
                continue;
            }
            let cut = &bytes[..length];
            let said = verify(cut, &config);
            if Some(length) == model {
                // An HVM guest that has no device model has no state of one: nobody can tell.
                assert!(said.is_ok(), "{name} cut at {length:#x}");
            } else {
                assert!(said.is_err(), "{name} cut at {length:#x} is taken for right");
            }
            if length % 16 == 0
                && let Ok(report) = inspect(cut, &no_config)
            {
                assert!(!report.complete || report.bytes == length as u64);
            }
        }
    }
}

/// The bytes of a part that say what it is, how long it is, and what must be zero; by its name.
fn structure(part: &Part) -> Vec<usize> {
    let name = part.name.as_str();
    let begin = part.offset as usize;
    let head = |bytes: usize| (begin..begin + bytes).collect::<Vec<_>>();
    match name {
        "LinuxGuestRecord" => head(16),
        "xend configuration" => head(4),
        "xl header" => head(48),
        "xl configuration" => head(4),
        "libxl header" => head(16),
        "image header" => head(24),
        // The version of the Xen that saved it is anything.
        "domain header" => head(8),
        "extended information" => head(12),
        "block vcpu" | "block extv" => head(8),
        "block xcnt" => head(12),
        "PAGE_DATA" => head(16),
        "X86_PV_INFO" => head(16),
        "X86_TSC_INFO" => (begin..begin + 8).chain(begin + 28..begin + 32).collect(),
        "X86_PV_VCPU_BASIC" | "X86_PV_VCPU_EXTENDED" | "X86_PV_VCPU_XSAVE" => {
            // Its number, and zero. Another number is another vcpu's, and then one is missing.
            head(16)
        }
        "HVM_PARAMS" => head(16),
        "EMULATOR_XENSTORE_DATA" | "EMULATOR_CONTEXT" => head(8),
        "HVM_CONTEXT" => head(8),
        "batches of pages" => head(4),
        "unmapped pages" | "hypervisor's context" => head(4),
        "device model" => head(25),
        _ if name.starts_with("chunk") || name == "end of the pages" => head(4),
        _ if name.starts_with("xsave data") => (begin + 8..begin + 16).collect(),
        _ if name.starts_with("extended context") => head(4),
        _ if name.starts_with("context of vcpu")
            || matches!(name, "p2m size" | "p2m frames" | "magic pages" | "shared info") =>
        {
            Vec::new()
        }
        _ => head(8),
    }
}

/// Changes that make another right image.
fn is_another(name: &str, part: &Part, changed: &[u8]) -> bool {
    let at = part.offset as usize;
    let id = || i32::from_le_bytes(changed[at..at + 4].try_into().unwrap());
    match part.name.as_str() {
        // An HVM guest's parameters have chunks of the same length.
        other if name.contains("HVM") && other.starts_with("chunk") => (-21..=-3).contains(&id()),
        // A state that is longer by some of the zeros that pad it.
        "EMULATOR_CONTEXT" => {
            let length = u64::from(u32::from_le_bytes(changed[at + 4..at + 8].try_into().unwrap()));
            changed[at] == 3 && 8 + length.next_multiple_of(8) == part.bytes
        }
        // A shorter one, with bytes behind it that xl skips.
        "xl configuration" => u64::from(u32::from_le_bytes(changed[at..at + 4].try_into().unwrap())) < part.bytes - 4,
        _ => false,
    }
}

#[test]
fn any_bit_of_its_structure_changed_it_is_wrong() {
    for (name, bytes) in all() {
        let mut bits = 0;
        for part in shown(&bytes).parts {
            for at in structure(&part) {
                for bit in 0..8 {
                    let mut changed = bytes.clone();
                    changed[at] ^= 1 << bit;
                    bits += 1;
                    if is_another(name, &part, &changed) {
                        continue;
                    }
                    let said = wrong(&changed, &format!("{name}: bit {bit} at {at:#x} in {}", part.name));
                    assert!(said.len() < 400, "{said}");
                }
            }
        }
        assert!(bits > 300, "{name}: only {bits} bits");
    }
}

#[test]
fn both_headers_have_to_say_that_an_image_was_converted() {
    let bytes = small(Kind::Pv64).today();
    let parts = shown(&bytes).parts;
    let header = parts.iter().find(|part| part.name == "domain header").unwrap();
    for at in [15, header.offset as usize + 8] {
        let mut changed = bytes.clone();
        changed[at] ^= 2;
        assert!(wrong(&changed, "converted").contains("the same as libxl's header says"));
    }
}

#[test]
fn padding_has_to_be_zero() {
    // A device model's state of 14 bytes: 22 with the record's own, 2 of padding.
    let bytes = xl_save(&small(Kind::Hvm));
    let parts = shown(&bytes).parts;
    let part = parts.iter().find(|part| part.name == "EMULATOR_CONTEXT").unwrap();
    let length = u32::from_le_bytes(bytes[part.offset as usize + 4..][..4].try_into().unwrap());
    let padding = part.offset as usize + 8 + length as usize..(part.offset + part.bytes) as usize;
    assert!(!padding.is_empty());
    for at in padding {
        let mut changed = bytes.clone();
        changed[at] = 1;
        assert!(wrong(&changed, "padding").contains("padding that is not zero"));
    }
}
