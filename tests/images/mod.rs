//! Made-up images in the legacy format, of all the variants that its specification knows, and what becomes of them in the format of today.
//!
//! Nothing here uses the program's own code: what it reads and makes is compared with this. A guest is some page tables, a start info, a GDT and the
//! pages of its p2m at fixed places, registers that name them, and plain pages whose content follows from their number and the round they are sent in.
#![allow(dead_code, unused_imports, clippy::unwrap_used)]

mod body;
mod freedoms;
mod guest;
mod legacy;
mod today;
mod variants;
mod vectors;

pub use freedoms::freedoms;
pub use variants::{Upstream, Variant, variants};
pub use vectors::{Vector, vectors};

/// What a guest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// PV, 64 bits.
    Pv64,
    /// PV, 32 bits, page tables of three levels.
    Pae,
    /// PV, 32 bits, page tables of two levels.
    TwoLevels,
    /// HVM.
    Hvm,
}

/// The extended information of a PV image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extended {
    /// None: 3.0.x, and 3.1 but for PAE.
    Absent,
    /// A vcpu's context only: 3.0.3 to 3.1 with PAE.
    Vcpu,
    /// 3.2 and later.
    Full,
}

/// What the state of a device model begins with.
pub const XEND_MODEL: &[u8; 21] = b"QemuDeviceModelRecord";
/// As [`XEND_MODEL`], from libxl: with a length.
pub const LIBXL_MODEL: &[u8; 21] = b"DeviceModelRecord0002";
/// As [`XEND_MODEL`], from Remus: with a length.
pub const REMUS_MODEL: &[u8; 21] = b"RemusDeviceModelState";

/// An image in the legacy format.
#[derive(Clone, Debug)]
pub struct Legacy {
    /// What it is of.
    pub kind: Kind,
    /// Bytes of the saving toolstack's words: 4 or 8.
    pub word: usize,
    /// Entries of the p2m. The last two are no pages.
    pub pages: u64,
    pub extended: Extended,
    /// Bytes of a vcpu's xsave item, its prefix included.
    pub xsave: Option<usize>,
    /// Vcpus that are online.
    pub vcpus: Vec<u32>,
    /// Whether the image says which.
    pub vcpu_chunk: bool,
    /// How often pages are sent: once all, then some.
    pub rounds: u32,
    /// Pages in a batch at most.
    pub batch: usize,
    /// Pages come in an order of their own (3.0.x to 3.2).
    pub permuted: bool,
    /// Entries whose upper bit is set have an upper half of ones (3.0.x on 64 bits).
    pub sign_extended: bool,
    /// Pages that are not there have an entry with this number.
    pub absent: Option<u32>,
    /// One batch has nothing but such entries.
    pub absent_batch: bool,
    /// A plain page has the bit of pinned ones.
    pub pinned_plain: bool,
    /// Two pages come without data: one to be allocated only, one broken.
    pub no_data: bool,
    pub tsc: bool,
    pub last_checkpoint: bool,
    /// All pages come once more, with other contents: they are for comparison only.
    pub verify: bool,
    /// Chunks as they stand, at the end of the body.
    pub extra: Vec<u8>,
    /// HVM parameters: number of the chunk, value.
    pub parameters: Vec<(i32, u64)>,
    /// libxl's mappings: offset, start, size, name.
    pub mappings: Option<Vec<(u64, u64, u64, &'static str)>>,
    /// Signature and state of a device model.
    pub model: Option<(&'static [u8; 21], Vec<u8>)>,
    /// Varies the contents.
    pub seed: u8,
}

impl Legacy {
    /// What xend 4.4 sends of a small 64-bit guest, offline.
    pub fn pv64() -> Legacy {
        Legacy {
            kind: Kind::Pv64,
            word: 8,
            pages: 40,
            extended: Extended::Full,
            xsave: None,
            vcpus: vec![0],
            vcpu_chunk: true,
            rounds: 1,
            batch: 16,
            permuted: false,
            sign_extended: false,
            absent: None,
            absent_batch: false,
            pinned_plain: false,
            no_data: false,
            tsc: true,
            last_checkpoint: true,
            verify: false,
            extra: Vec::new(),
            parameters: Vec::new(),
            mappings: None,
            model: None,
            seed: 0,
        }
    }

    /// A 32-bit guest with PAE.
    pub fn pae(word: usize) -> Legacy {
        Legacy {
            kind: Kind::Pae,
            word,
            ..Legacy::pv64()
        }
    }

    /// What libxl 4.4 sends of an HVM guest.
    pub fn hvm(word: usize) -> Legacy {
        Legacy {
            kind: Kind::Hvm,
            word,
            extended: Extended::Absent,
            tsc: false,
            parameters: vec![(-3, 0xfeff_c000), (-4, 0xfeff_0000), (-8, 0xf_efff), (-10, 1), (-11, 1)],
            model: Some((LIBXL_MODEL, b"QEVM\0\0\0\x02some state".to_vec())),
            ..Legacy::pv64()
        }
    }

    /// What xend 3.0.3 sends: no extended information, one vcpu, and it does not say which.
    pub fn xen_3_0_3(kind: Kind, word: usize) -> Legacy {
        Legacy {
            kind,
            word,
            extended: Extended::Absent,
            vcpu_chunk: false,
            permuted: true,
            sign_extended: word == 8,
            absent: Some(0x0123_4567),
            tsc: false,
            last_checkpoint: false,
            ..Legacy::pv64()
        }
    }

    /// The image.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes).unwrap();
        bytes
    }

    /// Bytes of the guest's words.
    pub fn width(&self) -> usize {
        if self.kind == Kind::Pv64 { 8 } else { 4 }
    }

    /// Whether it is of a PV guest.
    pub fn is_pv(&self) -> bool {
        self.kind != Kind::Hvm
    }
}

/// The words of an image: bytes, little-endian.
fn number(value: u64, bytes: usize) -> Vec<u8> {
    value.to_le_bytes()[..bytes].to_vec()
}
