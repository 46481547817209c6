//! What has to be known of an image before its first byte is written: found in a first pass over one that lies on disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use super::{LegacySink, LegacyTarget, LegacyWriteOptions, vcpus::MAX_XSAVE};
use crate::{ImageError, ImageSink, ImageSource, Item, record::RecordType};

/// Bytes in front of the state in an xsave item of the legacy format.
const PREFIX: usize = 16;

/// What an image is for an xend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LegacySurvey {
    /// For [`LegacyWriteOptions::xsave`].
    pub xsave: Option<u32>,
    /// What a legacy image can't carry, each by its name.
    pub left_out: Vec<&'static str>,
    /// Of that, what the guest might miss: written only with [`LegacyWriteOptions::leave_out`].
    pub missed: Vec<&'static str>,
}

/// Reads a whole image and tells whether and how an xend of this version can take it. Memory: as [`LegacySink`].
///
/// # Errors
/// The source's; [`ImageError`] that says what the xend can't take.
pub fn survey(source: &mut dyn ImageSource, target: LegacyTarget) -> Result<LegacySurvey, ImageError> {
    let options = LegacyWriteOptions {
        target,
        xsave: None,
        leave_out: true,
    };
    let mut sink = LegacySink::new(io::sink(), options);
    // By vcpu: the bytes of its state. Bounded as the sink bounds its vcpus.
    let mut xsave = BTreeMap::new();
    let mut vcpus = BTreeSet::new();
    loop {
        let item = source.next()?;
        if let Item::Record { kind, body } = item
            && let Some((&[a, b, c, d, ..], state)) = body.split_first_chunk::<8>()
            && !state.is_empty()
        {
            let id = u32::from_le_bytes([a, b, c, d]);
            match kind {
                RecordType::X86_PV_VCPU_BASIC => _ = vcpus.insert(id),
                // How much it is has to be said before the pages: the sink here does not see it.
                RecordType::X86_PV_VCPU_XSAVE if target.has_xsave() && id <= target.max_vcpu() => {
                    xsave.insert(id, state.len());
                    continue;
                }
                _ => {}
            }
        }
        sink.put(item)?;
        if matches!(item, Item::Finish) {
            break;
        }
    }
    if let Some(id) = vcpus.iter().find(|id| !xsave.is_empty() && !xsave.contains_key(id)) {
        return Err(sink.refuse(format_args!("vcpu {id} has no xsave data, others have")));
    }
    let length = xsave.into_values().max();
    if let Some(length) = length.filter(|length| length + PREFIX > MAX_XSAVE) {
        return Err(sink.refuse(format_args!("{length} bytes of xsave data of a vcpu")));
    }
    Ok(LegacySurvey {
        xsave: length.map(|length| (length + PREFIX) as u32),
        left_out: sink.left_out().collect(),
        missed: sink.missed().collect(),
    })
}
