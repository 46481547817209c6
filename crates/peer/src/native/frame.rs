//! Frames: what the image is cut into on the wire.
//!
//! All numbers little-endian. A frame is a header of 24 bytes and a payload:
//!
//! ```text
//! offset  size
//!  0      1    kind                    1 start  2 record  3 pages  4 end  5 libxl record  6 finish  7 abort
//!  1      1    flags                   bit 0: the body goes on in the next frame, which is of the same kind
//!  2      2    0
//!  4      4    L, bytes of payload     at most MAX_PAYLOAD
//!  8      8    sequence                0 for the first frame, then one more each
//! 16      8    checksum                XXH3-64 of header bytes 0 to 15 and the payload
//! 24      L    payload
//! ```
//!
//! | kind | payload |
//! |---|---|
//! | start | u32 libxc version, u32 guest type, u32 Xen major, u32 Xen minor |
//! | record, libxl record | u32 type, then the body; in a frame that goes on another one, the body only |
//! | pages | u32 length of the coded pfns, these (see below), then 4096 bytes for each page with data |
//! | end | empty |
//! | finish | 16 bytes: XXH3-128 of the checksums of all frames before, 8 bytes each: no frame is lost, doubled or swapped |
//! | abort | UTF-8 text: the source gives up, and why |
//!
//! A pfn code is a run of pages with neighbouring pfns and equal type: zigzag varint of the distance between its first pfn and the end of the run before (0
//! for the first), varint number of pages, one byte: page type in bits 0 to 3, content in bits 4 and 5 (0 data, 1 all zero, 2 nothing). So a page of
//! zeros costs nothing beyond its run.

use image::ImageError;
use xxhash_rust::xxh3::Xxh3;

/// Bytes in a frame's header.
pub const HEADER: usize = 24;

/// Bytes in a frame's payload at most: the largest batch of pages, with room for the worst coding of their pfns.
pub const MAX_PAYLOAD: usize = image::PageBatch::MAX_PAGES * image::PAGE_SIZE + (64 << 10);

/// Bytes in the body of one record at most, over all its frames: what Xen's reader allows (128 MiB).
pub const MAX_RECORD: usize = 128 << 20;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`image::Item::Start`].
    Start = 1,
    /// [`image::Item::Record`].
    Record = 2,
    /// [`image::Item::Pages`].
    Pages = 3,
    /// [`image::Item::End`].
    End = 4,
    /// [`image::Item::Libxl`].
    Libxl = 5,
    /// [`image::Item::Finish`].
    Finish = 6,
    /// The source gives up.
    Abort = 7,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        [
            Kind::Start,
            Kind::Record,
            Kind::Pages,
            Kind::End,
            Kind::Libxl,
            Kind::Finish,
            Kind::Abort,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

/// A frame's header, understood and bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame holds.
    pub kind: Kind,
    /// Whether the body goes on in the next frame.
    pub more: bool,
    /// Bytes of payload, at most [`MAX_PAYLOAD`].
    pub length: usize,
    /// The frame's number.
    pub sequence: u64,
    /// XXH3-64 of the header's first 16 bytes and the payload.
    pub checksum: u64,
}

impl Header {
    /// A header for a payload in two parts, with its checksum.
    pub fn seal(kind: Kind, more: bool, sequence: u64, payload: [&[u8]; 2]) -> Header {
        let length = payload[0].len() + payload[1].len();
        let mut header = Header {
            kind,
            more,
            length,
            sequence,
            checksum: 0,
        };
        header.checksum = header.sum(payload);
        header
    }

    /// The bytes on the wire.
    pub fn to_bytes(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..16].copy_from_slice(&self.first_half());
        bytes[16..].copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }

    /// Understands a header. `offset`: where in the stream it stands, for the error.
    ///
    /// # Errors
    /// [`ImageError::Format`] for an unknown kind or flag, too long a payload, or a number out of sequence.
    pub fn parse(bytes: &[u8; HEADER], expected_sequence: u64, offset: u64) -> Result<Header, ImageError> {
        let wrong = |what: String| Err(ImageError::Format { offset, what });
        let [
            kind,
            flags,
            r0,
            r1,
            l0,
            l1,
            l2,
            l3,
            s0,
            s1,
            s2,
            s3,
            s4,
            s5,
            s6,
            s7,
            c0,
            c1,
            c2,
            c3,
            c4,
            c5,
            c6,
            c7,
        ] = *bytes;
        let Some(kind) = Kind::from_byte(kind) else {
            return wrong(format!("frame of unknown kind {kind}"));
        };
        if flags > 1 || r0 != 0 || r1 != 0 {
            return wrong("frame with unknown flags".to_owned());
        }
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if length > MAX_PAYLOAD {
            return wrong(format!("frame of {length} bytes, more than {MAX_PAYLOAD}"));
        }
        let sequence = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        if sequence != expected_sequence {
            return wrong(format!("frame {sequence} where frame {expected_sequence} was expected"));
        }
        let checksum = u64::from_le_bytes([c0, c1, c2, c3, c4, c5, c6, c7]);
        Ok(Header {
            kind,
            more: flags == 1,
            length,
            sequence,
            checksum,
        })
    }

    /// Checks a payload.
    ///
    /// # Errors
    /// [`ImageError::Format`] if it is not what was sent.
    pub fn verify(&self, payload: &[u8], offset: u64) -> Result<(), ImageError> {
        if self.sum([payload, &[]]) == self.checksum {
            return Ok(());
        }
        let what = format!(
            "frame {} has a wrong checksum: it was damaged on its way",
            self.sequence
        );
        Err(ImageError::Format { offset, what })
    }

    fn first_half(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[0] = self.kind as u8;
        bytes[1] = u8::from(self.more);
        bytes[4..8].copy_from_slice(&(self.length as u32).to_le_bytes());
        bytes[8..].copy_from_slice(&self.sequence.to_le_bytes());
        bytes
    }

    fn sum(&self, payload: [&[u8]; 2]) -> u64 {
        let mut hash = Xxh3::new();
        hash.update(&self.first_half());
        for part in payload {
            hash.update(part);
        }
        hash.digest()
    }
}

/// Digest of a whole image: of the checksums of its frames.
#[derive(Clone, Default)]
pub struct Digest(Xxh3);

impl Digest {
    /// Takes in a frame.
    pub fn frame(&mut self, header: &Header) {
        self.0.update(&header.checksum.to_le_bytes());
    }

    /// The digest, as in the finish frame.
    pub fn bytes(&self) -> [u8; 16] {
        self.0.digest128().to_le_bytes()
    }
}
