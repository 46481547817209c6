//! Xen's migration stream v2 in bytes: what `xl save` writes behind its own header, and `xl migrate` sends.
//!
//! Facts from Xen's `libxl-migration-stream` and `libxc-migration-stream` specifications (Xen 4.6 and later) and from the readers of
//! Xen 4.17. Both headers are big-endian, everything behind them is little-endian.
//!
//! ```text
//! libxl header                            16 bytes
//! libxl record LIBXC_CONTEXT              empty
//!   image header, domain header           24 + 16 bytes                Item::Start
//!   libxc records                         Item::Record, Item::Pages
//!   libxc record END                      empty                        Item::End
//! libxl records                           Item::Libxl
//! libxl record END                        empty                        Item::Finish
//! ```
//!
//! A record, of either kind:
//!
//! ```text
//! offset  size
//!  0      4     type                      bit 31: a reader that does not know it may skip it
//!  4      4     L, bytes in the body      128 MiB at most
//!  8      L     body
//!  8+L    0..7  zeros                     up to the next multiple of 8
//! ```

mod headers;
mod input;
mod known;
mod pfns;
mod reader;
mod writer;

pub use reader::V2Reader;
pub use writer::V2Writer;

/// Bytes in the body of one record at most: what the readers of Xen 4.17 take (128 MiB).
pub const MAX_RECORD: usize = 128 << 20;

/// Zeros behind a body of so many bytes.
fn padding(length: usize) -> usize {
    length.wrapping_neg() % 8
}
