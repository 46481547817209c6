//! A libxl stream: libxl records around a libxc image (libxl-migration-stream specification, Xen 4.6 and later).

use std::io::Read;

use super::{
    bodies, libxc, names,
    scan::{Scan, Step},
};
use crate::Format;

/// Bytes in the body of a record at most: what Xen 4.17 takes.
pub(super) const MAX_RECORD: u32 = 128 << 20;

const END: u32 = 0;
const LIBXC_CONTEXT: u32 = 1;
const EMULATOR_XENSTORE_DATA: u32 = 2;
const EMULATOR_CONTEXT: u32 = 3;

/// The whole stream.
pub(super) fn stream<R: Read>(scan: &mut Scan<R>) -> Step {
    scan.report.formats.push(Format::Libxl);
    let converted = header(scan)?;
    let mut guest = None;
    let mut last = None;
    loop {
        scan.begin("libxl record");
        let offset = scan.input.offset();
        let (kind, length) = (scan.u32()?, scan.u32()?);
        scan.rename(names::or_number(
            names::libxl(kind),
            "libxl record",
            format_args!("{kind:#x}"),
        ));
        scan.report.records += 1;
        if length > MAX_RECORD {
            return Err(scan.broken(offset + 4, format!("{length} bytes"), format!("{MAX_RECORD} at most")));
        }
        if guest.is_none() && kind != LIBXC_CONTEXT {
            scan.fault(offset, format!("record {kind:#x}"), "LIBXC_CONTEXT as the first")?;
        }
        match kind {
            END | LIBXC_CONTEXT if length != 0 => {
                scan.fault(offset + 4, format!("{length} bytes"), "an empty record")?;
                bodies::skip(scan, length)?;
            }
            EMULATOR_XENSTORE_DATA => xenstore_data(scan, length)?,
            EMULATOR_CONTEXT => {
                let id = emulator(scan, length)?;
                scan.report.image.device_model = Some(u64::from(length.saturating_sub(8)));
                bodies::skip_rest(scan, length, 8)?;
                scan.end(format!(
                    "emulator {id}, {} bytes of its state",
                    length.saturating_sub(8)
                ));
            }
            END | LIBXC_CONTEXT => {}
            4 | 5 => {
                scan.fault(
                    offset,
                    "a record of a checkpointed stream (Remus, COLO)",
                    "none in an image to restore",
                )?;
                bodies::skip(scan, length)?;
                scan.end("checkpoint");
            }
            _ => {
                scan.fault(
                    offset,
                    format!("a record of type {kind:#x}"),
                    "a known type: libxl refuses any other",
                )?;
                bodies::skip(scan, length)?;
                scan.end(format!("{length} bytes"));
            }
        }
        if matches!(kind, EMULATOR_XENSTORE_DATA | EMULATOR_CONTEXT) {
            if guest == Some(libxc::Guest::Pv) {
                scan.fault(offset, "a device model's record for a PV guest", "none")?;
            }
            if last >= Some(kind) {
                scan.fault(
                    offset,
                    "this record after its like or its successor",
                    "EMULATOR_XENSTORE_DATA, EMULATOR_CONTEXT, each once",
                )?;
            }
            last = Some(kind);
        }
        match kind {
            LIBXC_CONTEXT => {
                scan.end("a libxc image follows");
                if guest.is_some() {
                    scan.fault(offset, "a second libxc image", "one")?;
                }
                guest = Some(libxc::image(scan)?);
                if scan.report.image.converted != converted {
                    let says = |converted| {
                        if converted {
                            "converted from a legacy image"
                        } else {
                            "not converted"
                        }
                    };
                    scan.begin("domain header");
                    scan.fault(
                        scan.part_offset(),
                        format!("an image that says it is {}", says(!converted)),
                        format!("the same as libxl's header says: {}", says(converted)),
                    )?;
                }
            }
            END => {
                scan.end("");
                return Ok(());
            }
            _ => {}
        }
    }
}

/// The header: whether the image was converted.
fn header<R: Read>(scan: &mut Scan<R>) -> Step<bool> {
    scan.begin("libxl header");
    let offset = scan.input.offset();
    let ident: [u8; 8] = scan.array()?;
    if ident != *b"LibxlFmt" {
        return Err(scan.broken(offset, format!("{ident:02x?}"), "LibxlFmt"));
    }
    let version = u32::from_be_bytes(scan.array()?);
    if version != 2 {
        return Err(scan.broken(offset + 8, format!("version {version}"), "2"));
    }
    let options = u32::from_be_bytes(scan.array()?);
    if options & 1 != 0 {
        return Err(scan.broken(offset + 12, "the option big-endian", "little-endian"));
    }
    if options & !2 != 0 {
        scan.fault(
            offset + 12,
            format!("options {options:#x}"),
            "no others than 2 (converted)",
        )?;
    }
    let converted = options & 2 != 0;
    scan.end(if converted {
        "version 2, converted from a legacy image"
    } else {
        "version 2"
    });
    Ok(converted)
}

/// The number of an emulator, and an index: the first 8 bytes of a record.
fn emulator<R: Read>(scan: &mut Scan<R>, length: u32) -> Step<u32> {
    let offset = scan.input.offset();
    if length < 8 {
        let fail = scan.broken(offset, format!("{length} bytes"), "8 at least");
        return Err(fail);
    }
    let (id, index) = (scan.u32()?, scan.u32()?);
    if id > 2 {
        scan.fault(
            offset,
            format!("emulator {id}"),
            "0 (unknown), 1 (qemu-xen-traditional) or 2 (qemu-xen)",
        )?;
    }
    if index != 0 {
        scan.note(offset + 4, format!("emulator index {index}"));
    }
    Ok(id)
}

/// Keys and values, each with its NUL: an even number of strings.
fn xenstore_data<R: Read>(scan: &mut Scan<R>, length: u32) -> Step {
    let offset = scan.input.offset();
    let id = emulator(scan, length)?;
    let (mut left, mut strings, mut last) = (length - 8, 0_u64, 0);
    let mut piece = [0; 4096];
    while left > 0 {
        let step = left.min(piece.len() as u32);
        let bytes = piece.get_mut(..step as usize).unwrap_or_default();
        scan.exact(bytes)?;
        strings += bytes.iter().filter(|byte| **byte == 0).count() as u64;
        last = bytes.last().copied().unwrap_or_default();
        left -= step;
    }
    if last != 0 {
        scan.fault(
            offset,
            "data that does not end with a NUL",
            "strings, each with its NUL",
        )?;
    }
    if strings % 2 != 0 {
        scan.fault(offset, format!("{strings} strings"), "keys and values, an even number")?;
    }
    scan.padding(u64::from(length))?;
    scan.end(format!("emulator {id}, {} keys", strings / 2));
    Ok(())
}
