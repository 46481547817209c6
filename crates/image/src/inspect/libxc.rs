//! A libxc image of version 2 or 3 (libxc-migration-stream specification, Xen 4.6 and later): its headers, and the order of its records.

use std::{collections::BTreeMap, io::Read};

use super::{
    bodies,
    libxl::MAX_RECORD,
    names,
    scan::{Scan, Step},
    tables::{self, Tables},
    vcpu::{Gdt, Registers},
};
use crate::Format;

/// A kind of guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guest {
    Pv,
    Hvm,
    /// A software machine of relocd's own.
    Embedded,
}

/// The first type of the records that software machines have, and how many there may be.
const EMBEDDED_RECORDS: std::ops::Range<u32> = 0x5256_0000..0x5257_0000;

/// The GDT that Xen 4.17 takes.
const GDT: Gdt = Gdt {
    entries: 7168,
    frames: 14,
};

/// What has come of an image.
pub(super) struct State {
    pub(super) version: u32,
    pub(super) guest: Guest,
    pub(super) static_data_end: bool,
    pub(super) tables: Option<Tables>,
    pub(super) width: u64,
    /// The pages that hold the p2m, in their order.
    pub(super) frames: Vec<u64>,
    /// The highest page and one.
    pub(super) p2m_size: Option<u64>,
    /// In verify mode: records of pages that had come when it began.
    pub(super) verify: Option<u64>,
    pub(super) vcpus: BTreeMap<u32, Registers>,
    pub(super) shared_info: bool,
    pub(super) hvm_params: bool,
    pub(super) hvm_context: bool,
    pub(super) tsc: bool,
    pub(super) policies: [bool; 2],
}

/// The whole image: from its header to its END.
pub(super) fn image<R: Read>(scan: &mut Scan<R>) -> Step<Guest> {
    scan.report.formats.push(Format::Libxc);
    let version = image_header(scan)?;
    let guest = domain_header(scan)?;
    let mut state = State {
        version,
        guest,
        static_data_end: false,
        tables: None,
        width: 0,
        frames: Vec::new(),
        p2m_size: None,
        verify: None,
        vcpus: BTreeMap::new(),
        shared_info: false,
        hvm_params: false,
        hvm_context: false,
        tsc: false,
        policies: [false; 2],
    };
    loop {
        scan.begin("record");
        let offset = scan.input.offset();
        let (kind, length) = (scan.u32()?, scan.u32()?);
        scan.rename(names::or_number(
            names::libxc(kind),
            "record",
            format_args!("{kind:#x}"),
        ));
        if length > MAX_RECORD {
            return Err(scan.broken(offset + 4, format!("{length} bytes"), format!("{MAX_RECORD} at most")));
        }
        order(scan, &state, kind, offset)?;
        match kind {
            0x00 => {
                scan.report.records += 1;
                bodies::empty(scan, length)?;
                finish(scan, &state)?;
                return Ok(guest);
            }
            0x01 => bodies::page_data(scan, &mut state, length)?,
            _ => {
                scan.report.records += 1;
                if guest == Guest::Embedded && EMBEDDED_RECORDS.contains(&kind) {
                    scan.rename(format!("software machine's record {kind:#x}"));
                    bodies::skip(scan, length)?;
                    scan.end(format!("{length} bytes"));
                } else {
                    bodies::record(scan, &mut state, kind, length)?;
                }
            }
        }
    }
}

/// 24 bytes, big-endian: marker, XENF, version, options, zeros.
fn image_header<R: Read>(scan: &mut Scan<R>) -> Step<u32> {
    scan.begin("image header");
    let offset = scan.input.offset();
    let marker: [u8; 12] = scan.array()?;
    if marker != *b"\xff\xff\xff\xff\xff\xff\xff\xffXENF" {
        return Err(scan.broken(offset, format!("{marker:02x?}"), "8 times ff, and XENF"));
    }
    let version = u32::from_be_bytes(scan.array()?);
    if !matches!(version, 2 | 3) {
        return Err(scan.broken(offset + 12, format!("version {version}"), "2 or 3"));
    }
    let options = u16::from_be_bytes(scan.array()?);
    if options & 1 != 0 {
        return Err(scan.broken(offset + 16, "the option big-endian", "little-endian"));
    }
    if options != 0 {
        scan.fault(offset + 16, format!("options {options:#x}"), "0")?;
    }
    if scan.array()? != [0; 6] {
        scan.fault(offset + 18, "reserved bytes that are not zero", "zeros")?;
    }
    scan.report.image.version = Some(version);
    scan.end(format!("version {version}"));
    Ok(version)
}

/// 16 bytes, little-endian: guest type, page shift, zero, the Xen that saved it.
fn domain_header<R: Read>(scan: &mut Scan<R>) -> Step<Guest> {
    scan.begin("domain header");
    let offset = scan.input.offset();
    let [kind, shift, major, minor] = [scan.u32()?, scan.u32()?, scan.u32()?, scan.u32()?];
    let (guest, name) = match kind {
        1 => (Guest::Pv, "pv"),
        2 => (Guest::Hvm, "hvm"),
        0x7276_3634 => (Guest::Embedded, "embedded"),
        _ => return Err(scan.broken(offset, format!("guest type {kind:#x}"), "1 (PV) or 2 (HVM)")),
    };
    if shift & 0xffff != 12 {
        scan.fault(offset + 4, format!("page shift {}", shift & 0xffff), "12")?;
    }
    if shift >> 16 != 0 {
        scan.fault(offset + 6, "reserved bytes that are not zero", "zeros")?;
    }
    let image = &mut scan.report.image;
    image.guest = Some(name);
    image.converted = major == 0 && guest != Guest::Embedded;
    let by = if image.converted {
        format!("converted from a legacy image (converter {minor})")
    } else {
        image.saved_by = Some(format!("{major}.{minor}"));
        format!("saved by Xen {major}.{minor}")
    };
    if guest == Guest::Embedded {
        image.saved_by = None;
        scan.end("a software machine");
    } else {
        let name = if guest == Guest::Pv { "PV" } else { "HVM" };
        scan.end(format!("{name} guest, {by}"));
    }
    Ok(guest)
}

/// Whether a record may stand here.
fn order<R: Read>(scan: &mut Scan<R>, state: &State, kind: u32, offset: u64) -> Step {
    let mut wrong = |found: &str, expected: &str| scan.fault(offset, found.to_owned(), expected.to_owned());
    let (pv, hvm) = (state.guest == Guest::Pv, state.guest == Guest::Hvm);
    match kind {
        0x02..=0x07 | 0x0c if !pv => return wrong("a PV guest's record", "none for a guest that is not PV"),
        0x09 | 0x0a if !hvm => return wrong("an HVM guest's record", "none for a guest that is not HVM"),
        _ => {}
    }
    if state.version >= 3 && !state.static_data_end && !matches!(kind, 0x02 | 0x10 | 0x11 | 0x12) && kind <= 0x12 {
        wrong(
            "this record before STATIC_DATA_END",
            "STATIC_DATA_END before it, in version 3",
        )?;
    }
    match kind {
        0x02 if state.tables.is_some() => wrong("a second X86_PV_INFO", "one"),
        0x02 | 0x11 | 0x12 if state.static_data_end => wrong("static data after STATIC_DATA_END", "it before"),
        0x10 if state.static_data_end => wrong("a second STATIC_DATA_END", "one"),
        0x10 if pv && state.tables.is_none() => wrong("STATIC_DATA_END before X86_PV_INFO", "X86_PV_INFO before it"),
        0x10..=0x12 if state.version < 3 => wrong("a record of version 3", "none in version 2"),
        0x11 | 0x12 if state.policies[(kind - 0x11) as usize] => wrong("a second one of this record", "one"),
        0x03..=0x07 | 0x0c if state.tables.is_none() => {
            wrong("this record before X86_PV_INFO", "X86_PV_INFO before it")
        }
        0x01 if pv && state.p2m_size.is_none() => {
            wrong("pages before X86_PV_P2M_FRAMES", "X86_PV_P2M_FRAMES before them")
        }
        0x01 if !state.vcpus.is_empty() => wrong("pages after a vcpu's records", "all pages before them"),
        0x01 if state.hvm_context => wrong("pages after HVM_CONTEXT", "all pages before it"),
        0x03 if !state.vcpus.is_empty() => wrong("X86_PV_P2M_FRAMES after a vcpu's records", "it before them"),
        0x04..=0x06 | 0x0c if state.p2m_size.is_none() => {
            wrong("a vcpu before X86_PV_P2M_FRAMES", "X86_PV_P2M_FRAMES before it")
        }
        0x07 if state.shared_info => wrong("a second SHARED_INFO", "one"),
        0x08 if state.tsc => wrong("a second X86_TSC_INFO", "one"),
        0x09 if state.hvm_context => wrong("a second HVM_CONTEXT", "one"),
        0x0a if state.hvm_context => wrong("HVM_PARAMS after HVM_CONTEXT", "it before"),
        _ => Ok(()),
    }
}

/// At the END: whether all is there that a restorer needs.
fn finish<R: Read>(scan: &mut Scan<R>, state: &State) -> Step {
    scan.end("");
    let offset = scan.part_offset();
    let missing: &[(bool, &str)] = match state.guest {
        Guest::Pv => &[
            (state.tables.is_some(), "X86_PV_INFO"),
            (state.p2m_size.is_some(), "X86_PV_P2M_FRAMES"),
            (state.shared_info, "SHARED_INFO"),
            (
                state.vcpus.get(&0).is_some_and(|registers| registers.came),
                "X86_PV_VCPU_BASIC of vcpu 0",
            ),
        ],
        Guest::Hvm => &[(state.hvm_params, "HVM_PARAMS"), (state.hvm_context, "HVM_CONTEXT")],
        Guest::Embedded => &[],
    };
    if state.version >= 3 && !state.static_data_end {
        scan.fault(offset, "an END without STATIC_DATA_END", "one before it, in version 3")?;
    }
    if state.verify == Some(scan.report.pages.records) {
        scan.fault(
            offset,
            "verify mode without pages",
            "pages to compare with those before",
        )?;
    }
    if scan.report.pages.entries == 0 {
        scan.fault(offset, "an END without any pages", "PAGE_DATA before it")?;
    }
    for (_, name) in missing.iter().filter(|(came, _)| !came) {
        scan.fault(offset, format!("an END without {name}"), "it before")?;
    }
    let Some(tables) = &state.tables else { return Ok(()) };
    tables::p2m_frames(scan, &state.frames, offset)?;
    for (id, registers) in &state.vcpus {
        if registers.came {
            registers.check(scan, *id, tables.levels, GDT)?;
        } else {
            scan.fault(
                registers.offset,
                format!("records of vcpu {id} without its X86_PV_VCPU_BASIC"),
                "it",
            )?;
        }
    }
    Ok(())
}
