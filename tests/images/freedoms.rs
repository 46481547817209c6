//! What may differ when a legacy image comes back as one.

use super::{Extended, Legacy};

/// Where a 64-bit image, from a 64-bit toolstack, has what its writer is free in: from one byte to another.
///
/// The registers in the extended information are stale from the beginning, and what an extended context has behind its length is rubbish of the saver's
/// stack.
pub fn freedoms(image: &[u8], vcpus: usize, xsave: Option<usize>) -> Vec<(usize, usize)> {
    const CONTEXT: usize = 5168;
    const EXTENDED: usize = 128;
    assert_eq!(image[8..16], [0xff; 8], "an image without extended information");
    let mut ranges = Vec::from([(28, 28 + CONTEXT)]);
    let each = CONTEXT + EXTENDED + xsave.unwrap_or(0);
    for at in 1..=vcpus {
        let begin = image.len() - 4096 - at * each + CONTEXT;
        let length = u32::from_le_bytes(image[begin + 4..begin + 8].try_into().unwrap());
        ranges.push((begin + length as usize, begin + EXTENDED));
    }
    ranges
}

impl Legacy {
    /// The image as a writer makes it of the same guest: what nobody needs is not there.
    pub fn returned(&self) -> Legacy {
        Legacy {
            sign_extended: false,
            absent: None,
            absent_batch: false,
            pinned_plain: false,
            verify: false,
            extra: Vec::new(),
            ..self.clone()
        }
    }

    /// [`freedoms`] of this image.
    pub fn freedoms(&self) -> Vec<(usize, usize)> {
        match self.extended {
            Extended::Absent => Vec::new(),
            _ => freedoms(&self.bytes(), self.vcpus.len(), self.xsave),
        }
    }
}
