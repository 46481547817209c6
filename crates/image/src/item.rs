//! The parts of an image and the two traits they flow through.

use crate::{ImageError, PageBatch, record::RecordType};

/// The domain header of a libxc image (16 bytes in the stream, libxc stream specification 1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainHeader {
    /// Version of the libxc stream: 2 or 3. Version 3 (Xen 4.14 and later) needs a STATIC_DATA_END record.
    pub version: u32,
    /// 1 = x86 PV, 2 = x86 HVM (PVH as well); [`DomainHeader::EMBEDDED`] for software machines.
    pub guest: u32,
    /// The saver's Xen version; major 0 says: converted from the legacy format.
    pub xen_major: u32,
    /// The saver's minor Xen version, or the converter's version number.
    pub xen_minor: u32,
}

impl DomainHeader {
    /// Guest type of an x86 PV domain.
    pub const PV: u32 = 1;
    /// Guest type of an x86 HVM or PVH domain.
    pub const HVM: u32 = 2;
    /// Guest type of relocd's own software machines, `rv64` in ASCII. No Xen has or accepts it.
    pub const EMBEDDED: u32 = 0x7276_3634;
}

/// A part of an image, borrowed from whoever read or made it.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// The libxc image begins.
    Start(DomainHeader),
    /// A libxc record other than PAGE_DATA and END. The body is without padding.
    Record {
        /// The record's type.
        kind: RecordType,
        /// The record's body, little-endian inside.
        body: &'a [u8],
    },
    /// Guest pages: a PAGE_DATA record.
    Pages(PageBatch<'a>),
    /// The libxc image ends (its END record).
    End,
    /// A libxl record after the libxc image, other than END: a device model's state and its like.
    Libxl {
        /// The record's type (libxl stream specification).
        kind: u32,
        /// The record's body, without padding.
        body: &'a [u8],
    },
    /// The whole stream ends (libxl's END record). Nothing follows.
    Finish,
}

/// Where a departing domain's image goes.
pub trait ImageSink {
    /// Takes the next item. Returns once the item's buffers may be used again; the bytes may still be on their way.
    ///
    /// # Errors
    /// [`ImageError::Io`] and [`ImageError::Peer`] when the way is broken or the other end refused;
    /// [`ImageError::Order`] when an item can't follow the one before.
    fn put(&mut self, item: Item<'_>) -> Result<(), ImageError>;
}

/// Where an arriving domain's image comes from.
pub trait ImageSource {
    /// The next item, valid until the next call. After [`Item::Finish`] there is none: a further call is an error.
    ///
    /// # Errors
    /// [`ImageError::Io`], [`ImageError::Format`], [`ImageError::Peer`] when the way broke, the bytes are wrong, or the
    /// other end gave up. After an error nothing more may be asked for.
    fn next(&mut self) -> Result<Item<'_>, ImageError>;
}
