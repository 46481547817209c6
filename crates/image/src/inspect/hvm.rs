//! What an HVM image has in all formats: parameters, the hypervisor's context, a device model's state.

use std::io::Read;

use super::{
    Parameter, Tsc, names,
    scan::{Scan, Step},
};

/// Parameters that a report lists at most.
const MAX_PARAMETERS: usize = 256;

/// Bytes of a device model's signature.
const SIGNATURE: usize = 21;

/// A parameter has come.
pub(super) fn parameter<R: Read>(scan: &mut Scan<R>, offset: u64, index: u64, value: u64) -> Step {
    if names::hvm_parameter(index).is_none() && index > 63 {
        scan.fault(offset, format!("HVM parameter {index}"), "a number below 64")?;
    } else if names::hvm_parameter(index).is_none() {
        scan.note(offset, format!("HVM parameter {index}, which is not known"));
    }
    let list = &mut scan.report.image.hvm_parameters;
    if list.len() < MAX_PARAMETERS {
        list.push(Parameter {
            index,
            name: names::hvm_parameter(index),
            value,
        });
    }
    Ok(())
}

/// The hypervisor's context: u16 type, u16 instance, u32 length, body, again and again; the first is the header, the last the end. What it is, in words.
pub(super) fn context<R: Read>(scan: &mut Scan<R>, length: u32) -> Step<String> {
    let (mut left, mut records, mut vcpus, mut ended) = (length, 0_u64, 0_u64, false);
    while left > 0 {
        let offset = scan.input.offset();
        if left < 8 || ended {
            let (found, expected) = match ended {
                true => (format!("{left} bytes behind the end of the context"), "none"),
                false => (format!("{left} bytes of a record"), "8 at least"),
            };
            scan.fault(offset, found, expected)?;
            scan.skip(u64::from(left))?;
            break;
        }
        let head = scan.u64()?;
        let (kind, size) = (head as u16, (head >> 32) as u32);
        left -= 8;
        if records == 0 && (kind != 1 || size < 8) {
            scan.fault(
                offset,
                format!("a record of type {kind} and {size} bytes"),
                "the header, type 1, first",
            )?;
        }
        if size > left {
            scan.fault(
                offset + 4,
                format!("a record of {size} bytes"),
                format!("{left} at most: the context ends there"),
            )?;
            scan.skip(u64::from(left))?;
            break;
        }
        let mut taken = 0;
        if records == 0 && kind == 1 && size >= 8 {
            let magic = scan.u64()? as u32;
            taken = 8;
            if magic != 0x5438_1286 {
                scan.fault(offset + 8, format!("magic number {magic:#x}"), "0x54381286")?;
            }
        }
        scan.skip(u64::from(size - taken))?;
        left -= size;
        vcpus += u64::from(kind == 2);
        ended = kind == 0;
        if ended && size != 0 {
            scan.fault(offset + 4, format!("an end of {size} bytes"), "none")?;
        }
        records += 1;
    }
    if !ended {
        scan.fault(
            scan.input.offset(),
            "a context without its end",
            "a record of type 0 as the last",
        )?;
    }
    scan.report.image.hvm_vcpus = Some(vcpus);
    Ok(format!("{length} bytes: {records} records, {vcpus} vcpus"))
}

/// A device model's state behind a signature. Without one it is the end, or `needed` and wrong.
pub(super) fn device_model<R: Read>(scan: &mut Scan<R>, needed: bool) -> Step {
    scan.begin("device model");
    let offset = scan.input.offset();
    let signature = scan.input.peek(SIGNATURE).map_err(super::Fail::Io)?;
    // An xend's has no length: it goes to the end of the file.
    let counted = match signature {
        b"QemuDeviceModelRecord" => false,
        b"DeviceModelRecord0002" | b"RemusDeviceModelState" => true,
        [] => {
            if needed {
                scan.note(offset, "no device model's state: xend's destinations fail without one");
            }
            return Ok(());
        }
        _ if needed => {
            return Err(scan.broken(
                offset,
                "neither a device model's state nor the end",
                "a signature such as QemuDeviceModelRecord",
            ));
        }
        _ => return Ok(()),
    };
    let name = String::from_utf8_lossy(signature).into_owned();
    scan.skip(SIGNATURE as u64)?;
    let length = if counted { u64::from(scan.u32()?) } else { u64::MAX };
    let at = scan.input.offset();
    let begin = scan.input.peek(4).map_err(super::Fail::Io)?;
    if begin != b"QEVM" {
        let found = format!("{begin:02x?}");
        scan.fault(at, found, "QEVM, as qemu's states begin")?;
    }
    if counted {
        scan.skip(length)?;
    } else {
        scan.input.skip(length).map_err(super::Fail::Io)?;
    }
    let bytes = scan.input.offset() - at;
    scan.report.image.device_model = Some(bytes);
    let end = if counted { "" } else { ", to the end of the file" };
    scan.end(format!("{name}: {bytes} bytes{end}"));
    Ok(())
}

impl std::fmt::Display for Tsc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Tsc {
            mode,
            khz,
            nsec,
            incarnation,
        } = self;
        write!(f, "mode {mode}, {khz} kHz, {nsec} ns, incarnation {incarnation}")
    }
}
