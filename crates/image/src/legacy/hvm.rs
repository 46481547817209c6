//! What stands behind the pages of an HVM image.

use std::io::Read;

use super::input::{Input, Word};
use crate::ImageError;

/// Bytes of the hypervisor's context at most (spec, section 8: sanity limits).
const MAX_CONTEXT: u32 = 16 << 20;

/// Bytes of a device model's state at most.
const MAX_DEVICE_MODEL: usize = 64 << 20;

/// Bytes of a device model's signature.
const SIGNATURE: usize = 21;

/// The magic number in the context's first record.
const CONTEXT_MAGIC: u32 = 0x5438_1286;

/// A record HVM_PARAMS: count, reserved, then index and value of each.
pub(super) fn parameters(parameters: &[(u64, u64)], body: &mut Vec<u8>) {
    body.clear();
    body.extend((parameters.len() as u32).to_le_bytes());
    body.extend([0; 4]);
    for (index, value) in parameters {
        body.extend(index.to_le_bytes());
        body.extend(value.to_le_bytes());
    }
}

/// The three pages that every HVM guest has: parameters 5 (ioreq), 6 (bufioreq), 1 (store).
pub(super) fn magic_pages<R: Read>(input: &mut Input<R>) -> Result<[(u64, u64); 3], ImageError> {
    const WHAT: &str = "the pages of the device model and the store";
    Ok([(5, input.u64(WHAT)?), (6, input.u64(WHAT)?), (1, input.u64(WHAT)?)])
}

/// The hypervisor's context.
pub(super) fn context<R: Read>(input: &mut Input<R>, body: &mut Vec<u8>) -> Result<(), ImageError> {
    const WHAT: &str = "the hypervisor's context";
    let length = input.u32(WHAT)?;
    if !(16..=MAX_CONTEXT).contains(&length) {
        return Err(input.wrong(format!("a context of {length} bytes, 16 to {MAX_CONTEXT} are possible")));
    }
    body.clear();
    input.append(length as usize, body, WHAT)?;
    let magic = body
        .get(8..12)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u32::from_le_bytes);
    let ends = body.get(body.len().saturating_sub(8)..) == Some(&[0; 8]);
    if body.get(..2) != Some(&[1, 0]) || magic != Some(CONTEXT_MAGIC) || !ends {
        return Err(input.wrong("a context that does not begin with its header, or not end with its end"));
    }
    Ok(())
}

/// The device model's state: the body of an EMULATOR_CONTEXT record. `false`: there is none.
pub(super) fn device_model<R: Read>(input: &mut Input<R>, body: &mut Vec<u8>) -> Result<bool, ImageError> {
    const WHAT: &str = "the device model's state";
    let mut signature = [0; SIGNATURE];
    let length = input.up_to(&mut signature)?;
    if length == 0 {
        return Ok(false);
    }
    body.clear();
    // Emulator 0 (not known), number 0.
    body.extend([0; 8]);
    match &signature {
        // An xend's: without a length, up to the end of the stream.
        b"QemuDeviceModelRecord" => input.append_rest(MAX_DEVICE_MODEL, body, WHAT)?,
        b"DeviceModelRecord0002" | b"RemusDeviceModelState" => {
            let length = input.u32(WHAT)? as usize;
            if length > MAX_DEVICE_MODEL {
                return Err(input.wrong(format!("{WHAT}: {length} bytes, more than {MAX_DEVICE_MODEL}")));
            }
            input.append(length, body, WHAT)?;
        }
        _ => return Err(input.wrong("neither a device model's state nor the end of the image")),
    }
    // Without a length this is what tells a whole state from a cut one, as far as anything does.
    if body.get(8..12) != Some(b"QEVM") {
        return Err(input.wrong("a device model's state that is not qemu's (QEVM)"));
    }
    Ok(true)
}

/// libxl's own chunk, as EMULATOR_XENSTORE_DATA: where the device model had mapped what. Empty if there was nothing.
pub(super) fn physmap(chunk: &[u8], word: Word, body: &mut Vec<u8>) -> Result<(), String> {
    let mut rest = chunk;
    let mut take = |count: usize| {
        let (now, later) = rest
            .split_at_checked(count)
            .ok_or("a TOOLSTACK chunk that ends too soon")?;
        rest = later;
        Ok::<_, String>(now.to_vec())
    };
    let number = |bytes: Vec<u8>| {
        bytes
            .iter()
            .rev()
            .fold(0_u64, |value, byte| value << 8 | u64::from(*byte))
    };
    body.clear();
    let version = number(take(4)?);
    if version != 1 {
        return Err(format!("a TOOLSTACK chunk of version {version}"));
    }
    let count = number(take(4)?);
    // Emulator 0 (not known), number 0.
    let mut pairs = vec![0; 8];
    for _ in 0..count {
        let (offset, start, size) = (number(take(8)?), number(take(8)?), number(take(8)?));
        let length = number(take(4)?) as usize;
        let mut name = take(length)?;
        if word == Word::Eight {
            take(4)?;
        }
        // A zero within would make more keys of it than there are.
        if name.pop() != Some(0) || name.contains(&0) {
            return Err("a name in a TOOLSTACK chunk that is not ended by its only zero".to_owned());
        }
        for (key, value) in [
            ("start_addr", format!("{start:x}").into_bytes()),
            ("size", format!("{size:x}").into_bytes()),
            ("name", name),
        ] {
            pairs.extend(format!("physmap/{offset:x}/{key}\0").into_bytes());
            pairs.extend(value);
            pairs.push(0);
        }
    }
    if count > 0 {
        body.extend(pairs);
    }
    Ok(())
}
