//! Guest RAM and its page flags, shared between the machine process and the daemon.
//!
//! Two memfds: the RAM, sparse, populated on touch; and one byte of flags for each page, behind which lies a bitmap for the dirty log. The machine's only
//! thread of execution sets flags with plain stores, and is the only one to clear them: so no store is ever lost between a look and a clear.
#![allow(unsafe_code)]

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::atomic::{AtomicU8, Ordering},
};

use image::PAGE_SIZE;
use memmap2::{Advice, MmapOptions, MmapRaw};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// Written since the last look at the dirty log.
const DIRTY: u8 = 1;
/// Written at any time: a page without this flag is zero.
const TOUCHED: u8 = 2;

/// New memory is made at once in stretches of this length or more.
const POPULATED_AT_ONCE: usize = 8 * PAGE_SIZE;

/// The most RAM that a machine can have: 64 GiB.
pub const MAX_RAM: u64 = 64 << 30;

/// Why there is no memory.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The size can't be had.
    #[error("{0} bytes of RAM: a machine has 1 MiB to 64 GiB, in whole pages")]
    Size(u64),
    /// The system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

/// A guest's RAM with its page flags.
pub struct GuestMemory {
    ram: MmapRaw,
    flags: MmapRaw,
    ram_file: File,
    flags_file: File,
    pages: usize,
}

impl GuestMemory {
    /// New memory of `size` bytes, all zero.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn new(size: u64) -> Result<GuestMemory, MemoryError> {
        let make = |name: &str, length: u64| {
            let file = memfd_create(name, MFdFlags::MFD_CLOEXEC)
                .map(File::from)
                .map_err(io::Error::from);
            file.and_then(|file| file.set_len(length).map(|()| file))
                .map_err(|source| MemoryError::Io {
                    what: "making guest memory",
                    source,
                })
        };
        check_size(size)?;
        GuestMemory::map(make("relocd-ram", size)?, make("relocd-flags", flags_length(size))?)
    }

    /// Memory that another process made. The sizes are those of the files.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn map(ram_file: File, flags_file: File) -> Result<GuestMemory, MemoryError> {
        let failed = |what| move |source| MemoryError::Io { what, source };
        let size = ram_file.metadata().map_err(failed("looking at guest memory"))?.len();
        check_size(size)?;
        let flags = flags_file.metadata().map_err(failed("looking at page flags"))?.len();
        if flags != flags_length(size) {
            return Err(MemoryError::Size(size));
        }
        let pages = (size / PAGE_SIZE as u64) as usize;
        let ram = MmapOptions::new()
            .map_raw(&ram_file)
            .map_err(failed("mapping guest memory"))?;
        let flags = MmapOptions::new()
            .map_raw(&flags_file)
            .map_err(failed("mapping page flags"))?;
        Ok(GuestMemory {
            ram,
            flags,
            ram_file,
            flags_file,
            pages,
        })
    }

    /// The two files, for another process.
    pub fn files(&self) -> (BorrowedFd<'_>, BorrowedFd<'_>) {
        (self.ram_file.as_fd(), self.flags_file.as_fd())
    }

    /// Bytes of RAM.
    pub fn size(&self) -> u64 {
        (self.pages * PAGE_SIZE) as u64
    }

    /// Pages of RAM.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Reads `N` bytes at an offset into RAM; `None` beyond its end.
    #[inline(always)]
    pub fn load<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let at = self.place(at, N)?;
        // SAFETY: `place` has checked that the bytes are in the mapping, which lives as long as `self`. The memory is shared with another process and never
        // referenced by Rust, only copied out of; a torn value is a value.
        Some(unsafe { self.ram.as_mut_ptr().add(at).cast::<[u8; N]>().read_unaligned() })
    }

    /// Writes `N` bytes, and flags the pages. `false` beyond the end.
    #[inline(always)]
    pub fn store<const N: usize>(&self, at: u64, bytes: [u8; N]) -> bool {
        let Some(at) = self.place(at, N) else { return false };
        // SAFETY: as in `load`.
        unsafe { self.ram.as_mut_ptr().add(at).cast::<[u8; N]>().write_unaligned(bytes) };
        let page = at / PAGE_SIZE;
        self.flag(page).store(DIRTY | TOUCHED, Ordering::Relaxed);
        let last = (at + N - 1) / PAGE_SIZE;
        if last != page {
            self.flag(last).store(DIRTY | TOUCHED, Ordering::Relaxed);
        }
        true
    }

    /// Copies out of RAM; `false` beyond its end.
    pub fn read(&self, at: u64, out: &mut [u8]) -> bool {
        let Some(at) = self.place(at, out.len()) else {
            return false;
        };
        // SAFETY: as in `load`; `out` is the caller's own memory.
        unsafe {
            self.ram
                .as_ptr()
                .add(at)
                .copy_to_nonoverlapping(out.as_mut_ptr(), out.len())
        };
        true
    }

    /// Copies into RAM, and notes that the pages are no longer known to be zero; `false` beyond its end. Only while the machine does not run.
    pub fn write(&self, at: u64, bytes: &[u8]) -> bool {
        let Some(start) = self.place(at, bytes.len()) else {
            return false;
        };
        if bytes.is_empty() {
            return true;
        }
        self.populate(start, bytes.len());
        // SAFETY: as in `load`; `bytes` is the caller's own memory.
        unsafe {
            self.ram
                .as_mut_ptr()
                .add(start)
                .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len())
        };
        for page in start / PAGE_SIZE..=(start + bytes.len() - 1) / PAGE_SIZE {
            self.flag(page).store(TOUCHED, Ordering::Relaxed);
        }
        true
    }

    /// Has the pages of a long stretch made at once, if they are new: one by one, at a fault each, they cost more than the copy into them.
    fn populate(&self, start: usize, length: usize) {
        let first = start / PAGE_SIZE;
        if length >= POPULATED_AT_ONCE && !self.is_touched(first) {
            // Only a matter of speed: Linux before 5.14 does not know it, and whoever then has no memory learns so from the copy.
            let _ = self.ram.advise_range(Advice::PopulateWrite, first * PAGE_SIZE, length);
        }
    }

    /// Makes a page zero. Only while the machine does not run.
    pub fn clear_page(&self, page: usize) {
        if page < self.pages && self.is_touched(page) {
            // SAFETY: the page is in the mapping.
            unsafe { self.ram.as_mut_ptr().add(page * PAGE_SIZE).write_bytes(0, PAGE_SIZE) };
            self.flag(page).store(0, Ordering::Relaxed);
        }
    }

    /// Whether a page has ever been written. One that has not is zero.
    pub fn is_touched(&self, page: usize) -> bool {
        page < self.pages && self.flag(page).load(Ordering::Relaxed) & TOUCHED != 0
    }

    /// Whether a page has been written since the last [`GuestMemory::collect_dirty`]. In the daemon: perhaps late.
    pub fn is_dirty(&self, page: usize) -> bool {
        page < self.pages && self.flag(page).load(Ordering::Relaxed) & DIRTY != 0
    }

    /// Moves the dirty flags into the shared bitmap, which is overwritten. Only on the thread that executes the guest: nobody else stores into these flags.
    pub fn collect_dirty(&self) {
        for word in 0..self.pages.div_ceil(8) {
            let mut bits = 0_u8;
            for page in word * 8..(word * 8 + 8).min(self.pages) {
                let flag = self.flag(page);
                let value = flag.load(Ordering::Relaxed);
                if value & DIRTY != 0 {
                    bits |= 1 << (page % 8);
                    flag.store(value & !DIRTY, Ordering::Relaxed);
                }
            }
            self.byte(self.pages + word).store(bits, Ordering::Relaxed);
        }
    }

    /// Calls `found` for each page in the shared bitmap. In the daemon, after the machine has said that it has collected.
    pub fn collected(&self, mut found: impl FnMut(u64)) {
        for word in 0..self.pages.div_ceil(8) {
            let mut bits = self.byte(self.pages + word).load(Ordering::Relaxed);
            while bits != 0 {
                found((word * 8) as u64 + u64::from(bits.trailing_zeros()));
                bits &= bits - 1;
            }
        }
    }

    #[inline(always)]
    fn place(&self, at: u64, length: usize) -> Option<usize> {
        let size = self.pages * PAGE_SIZE;
        // Both sizes are far below 2^63, so the sum can't wrap once the first half holds.
        (at < size as u64 && at as usize + length <= size).then_some(at as usize)
    }

    #[inline(always)]
    fn flag(&self, page: usize) -> &AtomicU8 {
        debug_assert!(page < self.pages);
        self.byte(page)
    }

    #[inline(always)]
    fn byte(&self, at: usize) -> &AtomicU8 {
        debug_assert!(at < self.flags.len());
        // SAFETY: the callers stay below `pages` for flags and below `pages + pages / 8` (rounded up) for the bitmap, which is what `flags_length` provides
        // and `map` has checked. The bytes are only ever accessed as atomics, by both processes.
        unsafe { AtomicU8::from_ptr(self.flags.as_mut_ptr().add(at)) }
    }
}

fn check_size(size: u64) -> Result<(), MemoryError> {
    let fits = (1 << 20..=MAX_RAM).contains(&size) && size.is_multiple_of(PAGE_SIZE as u64);
    if fits { Ok(()) } else { Err(MemoryError::Size(size)) }
}

fn flags_length(size: u64) -> u64 {
    let pages = size / PAGE_SIZE as u64;
    pages + pages.div_ceil(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold() {
        let memory = GuestMemory::new(1 << 20).unwrap();
        assert!(memory.load::<8>((1 << 20) - 8).is_some());
        assert!(memory.load::<8>((1 << 20) - 7).is_none());
        assert!(memory.load::<1>(u64::MAX).is_none());
        assert!(!memory.store::<4>((1 << 20) - 3, [0; 4]));
        assert!(!memory.read((1 << 20) - 3, &mut [0; 4]));
        assert!(!memory.write(u64::MAX - 1, &[0; 4]));
        assert!(GuestMemory::new(4096).is_err() && GuestMemory::new((1 << 20) + 1).is_err());
    }

    #[test]
    fn long_stretches_hold_what_was_written() {
        let memory = GuestMemory::new(1 << 20).unwrap();
        let bytes: Vec<u8> = (0..40 * 4096).map(|at| (at % 251) as u8).collect();
        // Into new memory, over some that is not, and up to the very end.
        for at in [0, 100 * 4096 + 5, 90 * 4096, (1 << 20) - 40 * 4096] {
            assert!(memory.write(at, &bytes));
            let mut read = vec![0; bytes.len()];
            assert!(memory.read(at, &mut read) && read == bytes);
        }
    }

    #[test]
    fn flags_tell_what_was_written() {
        let memory = GuestMemory::new(1 << 20).unwrap();
        assert!(memory.store::<8>(4092, [1; 8]));
        assert!(memory.write(10 * 4096, &[1; 4097]));
        memory.collect_dirty();
        let mut dirty = Vec::new();
        memory.collected(|pfn| dirty.push(pfn));
        assert_eq!(dirty, [0, 1]);
        assert!(!memory.is_dirty(0) && memory.is_touched(0));
        let touched: Vec<usize> = (0..256).filter(|page| memory.is_touched(*page)).collect();
        assert_eq!(touched, [0, 1, 10, 11]);
        memory.collect_dirty();
        memory.collected(|pfn| panic!("page {pfn} is dirty again"));
        memory.clear_page(10);
        assert!(!memory.is_touched(10));
        assert_eq!(memory.load::<1>(10 * 4096), Some([0]));
    }
}
