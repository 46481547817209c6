//! What the engine needs of a guest.

use image::{ImageError, ImageSink};

use crate::Bitmap;

/// A guest whose memory the toolstack owns.
pub trait Guest {
    /// How many pages it has: pfns 0 to `pages() - 1`.
    fn pages(&self) -> u64;

    /// Begins to note the pages that it writes. All count as clean now.
    ///
    /// # Errors
    /// If dirty pages can't be noted.
    fn start_dirty_log(&mut self) -> Result<(), ImageError>;

    /// Adds to `dirty` every page that was written since the last call, and counts them as clean from now on. Writes that come after this call returned
    /// are in the next one; a page read after this call is read with all writes that are in it.
    ///
    /// # Errors
    /// If the guest's machine does not answer.
    fn fetch_dirty(&mut self, dirty: &mut Bitmap) -> Result<(), ImageError>;

    /// Whether a page has been written since the last [`Guest::fetch_dirty`]. May be late to say so; says so only if the next fetch will.
    fn is_dirty_hint(&self, pfn: u64) -> bool;

    /// Whether a page is all zero, known without reading it. If the guest runs, a page that is written meanwhile is in the next fetch.
    fn is_zero_hint(&self, pfn: u64) -> bool;

    /// Reads pages into `data`, [`image::PAGE_SIZE`] bytes each, in the order of `pfns`. A page that the guest writes meanwhile may be torn: it is in the next fetch.
    ///
    /// # Errors
    /// If a pfn is out of range.
    fn read_pages(&mut self, pfns: &[u64], data: &mut [u8]) -> Result<(), ImageError>;

    /// Stops the guest; returns once it executes nothing more.
    ///
    /// # Errors
    /// If it does not stop in time: it then runs on.
    fn suspend(&mut self) -> Result<(), ImageError>;

    /// Undoes everything: the guest runs on as before, at full speed, without dirty log.
    ///
    /// # Errors
    /// If its machine does not answer.
    fn resume(&mut self) -> Result<(), ImageError>;

    /// Slows the guest down by this many percent of its time; 0 = full speed.
    ///
    /// # Errors
    /// If its machine does not answer.
    fn throttle(&mut self, percent: u8) -> Result<(), ImageError>;

    /// Puts the records of everything that is not memory. Called while it is suspended.
    ///
    /// # Errors
    /// The sink's.
    fn put_state(&mut self, sink: &mut dyn ImageSink) -> Result<(), ImageError>;
}
