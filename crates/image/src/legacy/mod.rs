//! The legacy image of libxc (Xen 3.0.2 to 4.5), read as an image of today, and written from one.
//!
//! [`LegacySource`] gives the items that Xen's own converter would make of it, while it is read: constant memory but for four bytes for each
//! page of the guest, and no temporary files. The image has no magic, no version and no length; whoever sends it has to be known to send one.
//! [`LegacySink`] is the way back, for 64-bit PV guests.
//!
//! ```text
//! image      = p2m_size [extended info] p2m_frames body tail        HVM: p2m_size body tail
//! body       = { n > 0: n entries, pages | n < 0: a chunk } 0
//! tail (PV)  = unmapped pfns, { context [extended] [xsave] }, shared info
//! tail (HVM) = three pfns, the hypervisor's context, [the device model's state]
//! ```
//!
//! Sources of the format: `xc_domain_save.c` and `xc_domain_restore.c` of Xen 3.0.2 to 4.5; of the conversion: `convert-legacy-stream` of Xen 4.17. Where
//! this reader takes more than that converter: images without extended information or without VCPU_INFO (Xen 3.0 and 3.1), entries with
//! extended sign, absent pages with a number that is none, the pinned bit on a plain page, a device model's state without a length (every xend's), verify mode.
mod checks;
mod chunk;
mod hvm;
mod input;
mod pages;
mod prologue;
mod sink;
mod source;

pub use input::Word;
pub use prologue::GuestWidth;
pub use sink::{LegacySink, LegacySurvey, LegacyTarget, LegacyWriteOptions, UnknownVersion, survey};
pub use source::{Ahead, LegacySource, PagesAhead};

/// Which kind of guest the image is of: it does not say so itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegacyGuest {
    /// Paravirtualized: `(image (linux ...))`.
    Pv,
    /// Fully virtualized: `(image (hvm ...))`.
    Hvm,
}

/// How an image is read.
#[derive(Clone, Copy, Debug)]
pub struct LegacyOptions {
    /// What it is of.
    pub guest: LegacyGuest,
    /// Pages that the guest may have at most, its holes included.
    pub max_pages: u64,
    /// Whether a PV guest's registers and p2m are checked against its pages, as a Xen would do: all but made-up images pass.
    pub check_registers: bool,
}

/// What is known of an image once its beginning has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegacyFacts {
    /// Width of the saving toolstack.
    pub word: Word,
    /// Entries of the guest's p2m: its highest page and one, holes included.
    pub p2m_size: u64,
    /// Width of a PV guest.
    pub width: Option<GuestWidth>,
    /// Whether there is extended information (always from Xen 3.2 on).
    pub extended_info: bool,
    /// Whether its vcpus have XSAVE state, which only a processor with XSAVE takes.
    pub xsave: bool,
}
