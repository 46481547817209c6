//! The vcpus, which stand at the end of a legacy image: kept until it comes.

use std::collections::BTreeMap;

use super::LegacyTarget;
use crate::record::RecordType;

/// Bytes of a vcpu's context, of a 64-bit guest.
pub(super) const CONTEXT: usize = 5168;
/// Bytes of a vcpu's extended context in the image.
const EXTENDED: usize = 128;
/// Bytes of it that every version takes: the callbacks of the system calls.
const EXTENDED_SHORT: usize = 32;
/// Bytes of an xsave item at most.
pub(super) const MAX_XSAVE: usize = 16 << 10;

/// What has come of a vcpu. Empty: nothing.
#[derive(Default)]
struct Vcpu {
    context: Vec<u8>,
    extended: Vec<u8>,
    xsave: Vec<u8>,
}

/// What has come of all vcpus.
#[derive(Default)]
pub(super) struct Vcpus(BTreeMap<u32, Vcpu>);

impl Vcpus {
    /// Takes a record's body in: the vcpu's number, four zeros, the rest.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn take(&mut self, kind: RecordType, id: u32, rest: &[u8]) -> Result<(), String> {
        let vcpu = self.0.entry(id).or_default();
        let (place, fits) = match kind {
            RecordType::X86_PV_VCPU_BASIC => (&mut vcpu.context, rest.len() == CONTEXT),
            RecordType::X86_PV_VCPU_EXTENDED => (&mut vcpu.extended, rest.len() <= EXTENDED),
            _ => (&mut vcpu.xsave, (16..=MAX_XSAVE - 16).contains(&rest.len())),
        };
        if !fits {
            return Err(format!("record {:#x} of vcpu {id} with {} bytes", kind.0, rest.len()));
        }
        if !place.is_empty() {
            return Err(format!("record {:#x} of vcpu {id} a second time", kind.0));
        }
        place.extend(rest);
        Ok(())
    }

    /// Puts VCPU_INFO into `out`: chunk -2, the highest vcpu, a bit for each.
    pub(super) fn info(&self, out: &mut Vec<u8>) {
        let last = self.0.keys().next_back().copied().unwrap_or_default();
        out.extend((-2_i32).to_le_bytes());
        out.extend(last.to_le_bytes());
        for word in 0..=last / 64 {
            let here = self.0.keys().filter(|id| *id / 64 == word);
            let bits = here.fold(0_u64, |bits, id| bits | 1 << (id % 64));
            out.extend(bits.to_le_bytes());
        }
    }

    /// Puts all vcpus into `out`, with `xsave` bytes for the xsave item of each.
    ///
    /// # Errors
    /// What is missing or too long, in words.
    pub(super) fn tail(&self, target: LegacyTarget, xsave: Option<usize>, out: &mut Vec<u8>) -> Result<(), String> {
        if !self.0.contains_key(&0) {
            return Err("vcpu 0 is missing".to_owned());
        }
        for (id, vcpu) in &self.0 {
            if vcpu.context.is_empty() {
                return Err(format!("the registers of vcpu {id} are missing"));
            }
            out.extend(&vcpu.context);
            if target.has_extended() {
                out.extend(extended(*id, &vcpu.extended, target));
            }
            if let Some(bytes) = xsave {
                xsave_item(*id, &vcpu.xsave, bytes, out)?;
            }
        }
        Ok(())
    }
}

/// An extended context of a length that the target takes. What is behind the length is rubbish of the saver's stack: zeros.
fn extended(id: u32, from: &[u8], target: LegacyTarget) -> [u8; EXTENDED] {
    let length = from
        .get(4..8)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u32::from_le_bytes);
    let most = if target.has_long_extended() {
        EXTENDED
    } else {
        EXTENDED_SHORT
    };
    let length = (length as usize).clamp(EXTENDED_SHORT, most);
    let mut out = [0; EXTENDED];
    for (place, byte) in out.iter_mut().zip(from).take(length) {
        *place = *byte;
    }
    out[..4].copy_from_slice(&id.to_le_bytes());
    out[4..8].copy_from_slice(&(length as u32).to_le_bytes());
    out
}

/// The xsave item: the features, the length of the area, the area, padded to what was announced.
fn xsave_item(id: u32, area: &[u8], bytes: usize, out: &mut Vec<u8>) -> Result<(), String> {
    let announced = bytes.saturating_sub(16);
    // The features that the saver's host had are not in an image of today. Those that the guest has ever enabled are: the second number.
    let features = area
        .get(8..16)
        .ok_or_else(|| format!("the xsave data of vcpu {id} are missing"))?;
    if area.len() > announced {
        let length = area.len();
        return Err(format!(
            "{length} bytes of xsave data of vcpu {id}, where {announced} were announced"
        ));
    }
    out.extend(features);
    out.extend((announced as u64).to_le_bytes());
    out.extend(area);
    out.resize(out.len() + announced - area.len(), 0);
    Ok(())
}
