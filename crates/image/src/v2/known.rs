//! What to do with a record of which type.

use crate::{DomainHeader, record::RecordType};

/// Checks a libxc record in an image of this guest type. One that is unknown and optional is handed on: whoever takes the image may know it.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn libxc(kind: RecordType, guest: u32, length: usize) -> Result<(), String> {
    let own = kind.0 >> 16 == RecordType::EMBEDDED_FIRST.0 >> 16;
    match kind {
        // Xen 4.17 refuses them in a plain restore: they belong to a stream that goes on until a host dies.
        RecordType::CHECKPOINT | RecordType::CHECKPOINT_DIRTY_PFN_LIST => Err(format!(
            "record {:#x} is of a checkpointed stream (Remus, COLO), which is not supported",
            kind.0
        )),
        RecordType::END | RecordType::VERIFY | RecordType::STATIC_DATA_END if length != 0 => {
            Err(format!("record {:#x} with {length} bytes, expected none", kind.0))
        }
        RecordType(0..=0x12) => Ok(()),
        _ if own && guest == DomainHeader::EMBEDDED => Ok(()),
        _ if kind.is_optional() => Ok(()),
        _ => Err(format!("record of unknown type {:#x}, which is mandatory", kind.0)),
    }
}

/// A libxl record: the stream's end.
pub(super) const LIBXL_END: u32 = 0;
/// A libxl record: a libxc image follows.
pub(super) const LIBXC_CONTEXT: u32 = 1;

/// What becomes of a libxl record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Handed on.
    Pass,
    /// Read and forgotten: its type is unknown and says that this is fine.
    Skip,
}

/// The fate of a libxl record after the libxc image. One that is unknown and optional is left out: Xen 4.17 fails on it.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn libxl(kind: u32, length: usize) -> Result<Fate, String> {
    match kind {
        LIBXL_END if length != 0 => Err(format!("libxl's END with {length} bytes, expected none")),
        LIBXC_CONTEXT => Err("a second libxc image".to_owned()),
        // EMULATOR_XENSTORE_DATA and EMULATOR_CONTEXT.
        LIBXL_END | 2 | 3 => Ok(Fate::Pass),
        4 | 5 => Err(format!(
            "libxl record {kind:#x} is of a checkpointed stream (Remus, COLO), which is not supported"
        )),
        _ if RecordType(kind).is_optional() => Ok(Fate::Skip),
        _ => Err(format!("libxl record of unknown type {kind:#x}, which is mandatory")),
    }
}
