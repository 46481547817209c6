//! Files around made-up images.

use crate::images::{Kind, Legacy};

/// A small image of this kind: 12 pages, of which 10 are there.
pub fn small(kind: Kind) -> Legacy {
    let model = match kind {
        Kind::Hvm => Legacy::hvm(8),
        Kind::Pae => Legacy::pae(4),
        _ => Legacy::pv64(),
    };
    Legacy { pages: 12, ..model }
}

/// As an xend sends it.
pub fn xend(image: &Legacy) -> Vec<u8> {
    let kind = if image.is_pv() { "linux" } else { "hvm" };
    let config = format!("(domain (name web) (image ({kind} (kernel k))))");
    let mut bytes = b"LinuxGuestRecord".to_vec();
    bytes.extend((config.len() as u32).to_be_bytes());
    bytes.extend(config.as_bytes());
    bytes.extend(image.bytes());
    bytes
}

/// As `xl save` writes what it becomes.
pub fn xl_save(image: &Legacy) -> Vec<u8> {
    let config = b"name = \"web\"\n";
    let mut bytes = b"Xen saved domain, xl format\n \0 \r".to_vec();
    for number in [0x0102_0304, 2, 0, config.len() as u32 + 4, config.len() as u32] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(config);
    bytes.extend(image.today());
    bytes
}

/// What it becomes, without libxl's records around it: only for PV guests, of which nothing is outside.
pub fn libxc(image: &Legacy) -> Vec<u8> {
    assert!(image.is_pv());
    let today = image.today();
    today[24..today.len() - 8].to_vec()
}

/// A libxl stream of a PV guest.
pub fn pv_today(kind: Kind) -> Vec<u8> {
    Legacy {
        rounds: 3,
        ..small(kind)
    }
    .today()
}
