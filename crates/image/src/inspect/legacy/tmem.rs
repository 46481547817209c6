//! Transcendent memory in a legacy image (`xc_tmem.c` of Xen 4.0 to 4.5): only there if the source's hypervisor ran with tmem for this guest.

use std::io::Read;

use crate::inspect::scan::{Scan, Step};

/// Pools that a guest can have at most, well above Xen's 16.
const MAX_POOLS: u32 = 64;

/// TMEM: seven numbers, then pools with their pages.
pub(super) fn pools<R: Read>(scan: &mut Scan<R>) -> Step<String> {
    scan.skip(7 * 4)?;
    let (mut pools, mut pages) = (0, 0_u64);
    loop {
        let offset = scan.input.offset();
        if scan.u32()? == u32::MAX {
            break;
        }
        pools += 1;
        if pools > MAX_POOLS {
            return Err(scan.broken(offset, format!("{pools} pools"), format!("{MAX_POOLS} at most")));
        }
        let flags = scan.u32()?;
        let count = scan.u32()?;
        scan.skip(16)?;
        let page = 1_u64 << ((flags >> 4 & 0xf) + 12);
        for _ in 0..count {
            let id = [scan.u64()?, scan.u64()?, scan.u64()?];
            if id == [u64::MAX; 3] {
                break;
            }
            scan.skip(4 + page)?;
            pages += 1;
        }
    }
    if pages > 0 {
        scan.note(
            scan.part_offset(),
            format!("{pages} pages of tmem, which no later Xen can take over"),
        );
    }
    Ok(format!("{pools} pools, {pages} pages"))
}

/// TMEM_EXTRA: pages that have gone, up to a pool that is all ones.
pub(super) fn extra<R: Read>(scan: &mut Scan<R>) -> Step<String> {
    let mut pages = 0_u64;
    while scan.u32()? != u32::MAX {
        scan.skip(3 * 8 + 4)?;
        pages += 1;
    }
    Ok(format!("{pages} pages"))
}
