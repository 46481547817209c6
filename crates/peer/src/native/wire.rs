//! The image on a connection: a sink that writes frames, a source that reads them. Bulk path: blocking calls on a thread of their own.

use std::io::{self, IoSlice, Read};

use image::{
    DomainHeader, ImageError, ImageSink, ImageSource, Item, OrderCheck, PageBatch, PageEntry, record::RecordType,
};

use super::{
    frame::{Digest, HEADER, Header, Kind, MAX_PAYLOAD, MAX_RECORD},
    message::plain_text,
    pages,
};

/// The way to the destination, as the sink needs it.
pub trait Link {
    /// Writes all of the buffers, in their order.
    ///
    /// # Errors
    /// The connection's; if the other end said why it gave up, [`ImageError::Peer`] with its words.
    fn write(&mut self, buffers: &mut [IoSlice<'_>]) -> Result<(), ImageError>;

    /// Whether to go on: asked before each frame, so it must be cheap.
    ///
    /// # Errors
    /// [`ImageError::Peer`] if the other end has given up, [`ImageError::Cancelled`] if this end has.
    fn check(&mut self) -> Result<(), ImageError>;
}

/// Sends an image as frames. Memory: one coded list of pfns; data goes out of the caller's buffers.
pub struct FrameSink<L> {
    link: L,
    order: OrderCheck,
    sequence: u64,
    digest: Digest,
    runs: Vec<u8>,
    written: u64,
}

impl<L: Link> FrameSink<L> {
    /// A sink at the start of an image.
    pub fn new(link: L) -> FrameSink<L> {
        FrameSink {
            link,
            order: OrderCheck::new(),
            sequence: 0,
            digest: Digest::default(),
            runs: Vec::new(),
            written: 0,
        }
    }

    /// Bytes written up to now, headers and all.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Gives the connection back.
    pub fn into_link(self) -> L {
        self.link
    }

    /// Tells the destination that no more will come, and why. Best effort: its connection may be what broke.
    pub fn abort(&mut self, reason: &str) {
        let reason = reason.as_bytes();
        let reason = reason.get(..1024).unwrap_or(reason);
        let header = Header::seal(Kind::Abort, false, self.sequence, [reason, &[]]);
        let _ = self
            .link
            .write(&mut [IoSlice::new(&header.to_bytes()), IoSlice::new(reason)]);
    }

    fn frame(&mut self, kind: Kind, more: bool, payload: [&[u8]; 2]) -> Result<(), ImageError> {
        self.link.check()?;
        let header = Header::seal(kind, more, self.sequence, payload);
        let bytes = header.to_bytes();
        self.link
            .write(&mut [IoSlice::new(&bytes), IoSlice::new(payload[0]), IoSlice::new(payload[1])])?;
        self.sequence += 1;
        self.digest.frame(&header);
        self.written += (HEADER + header.length) as u64;
        Ok(())
    }

    fn record(&mut self, kind: Kind, record: u32, body: &[u8]) -> Result<(), ImageError> {
        if body.len() > MAX_RECORD {
            return Err(ImageError::Order(format!(
                "record {record:#x} of {} bytes, more than {MAX_RECORD}",
                body.len()
            )));
        }
        let (first, mut rest) = body.split_at(body.len().min(MAX_PAYLOAD - 4));
        self.frame(kind, !rest.is_empty(), [&record.to_le_bytes(), first])?;
        while !rest.is_empty() {
            let (part, next) = rest.split_at(rest.len().min(MAX_PAYLOAD));
            self.frame(kind, !next.is_empty(), [part, &[]])?;
            rest = next;
        }
        Ok(())
    }

    fn pages(&mut self, batch: PageBatch<'_>) -> Result<(), ImageError> {
        let mut runs = std::mem::take(&mut self.runs);
        pages::encode(batch.entries, &mut runs);
        // The length goes before the runs: into the same buffer, so that the data needs no copy.
        let length = runs.len() as u32;
        runs.splice(0..0, length.to_le_bytes());
        let sent = self.frame(Kind::Pages, false, [&runs, batch.data]);
        self.runs = runs;
        sent
    }
}

impl<L: Link> ImageSink for FrameSink<L> {
    fn put(&mut self, item: Item<'_>) -> Result<(), ImageError> {
        self.order.check(&item)?;
        match item {
            Item::Start(header) => {
                let mut body = [0; 16];
                for (place, value) in
                    body.chunks_exact_mut(4)
                        .zip([header.version, header.guest, header.xen_major, header.xen_minor])
                {
                    place.copy_from_slice(&value.to_le_bytes());
                }
                self.frame(Kind::Start, false, [&body, &[]])
            }
            Item::Record { kind, body } => self.record(Kind::Record, kind.0, body),
            Item::Pages(batch) => {
                if batch.entries.len() > PageBatch::MAX_PAGES {
                    return Err(ImageError::Order(format!("a batch of {} pages", batch.entries.len())));
                }
                self.pages(batch)
            }
            Item::End => self.frame(Kind::End, false, [&[], &[]]),
            Item::Libxl { kind, body } => self.record(Kind::Libxl, kind, body),
            Item::Finish => {
                let digest = self.digest.bytes();
                self.frame(Kind::Finish, false, [&digest, &[]])
            }
        }
    }
}

/// Receives an image as frames. Memory: one payload and one batch's entries, and a record's body that is longer than a payload.
pub struct FrameSource<R> {
    read: R,
    order: OrderCheck,
    sequence: u64,
    digest: Digest,
    payload: Vec<u8>,
    entries: Vec<PageEntry>,
    body: Vec<u8>,
    read_bytes: u64,
    read_pages: u64,
}

impl<R: Read> FrameSource<R> {
    /// A source at the start of an image. Reads exactly the image's bytes, none that follow.
    pub fn new(read: R) -> FrameSource<R> {
        FrameSource {
            read,
            order: OrderCheck::new(),
            sequence: 0,
            digest: Digest::default(),
            payload: Vec::new(),
            entries: Vec::new(),
            body: Vec::new(),
            read_bytes: 0,
            read_pages: 0,
        }
    }

    /// Bytes read up to now, headers and all.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Pages read up to now whose type has data, whether that travels or is all zero; as the source counts them.
    pub fn read_pages(&self) -> u64 {
        self.read_pages
    }

    /// Reads a frame into `payload`.
    fn frame(&mut self) -> Result<Header, ImageError> {
        let mut bytes = [0; HEADER];
        self.read.read_exact(&mut bytes).map_err(cut)?;
        let header = Header::parse(&bytes, self.sequence, self.read_bytes)?;
        // Grows to the largest payload seen, which is bounded, and is not cleared again.
        if self.payload.len() < header.length {
            self.payload.resize(header.length, 0);
        }
        let payload = self.payload.get_mut(..header.length).unwrap_or_default();
        self.read.read_exact(payload).map_err(cut)?;
        header.verify(payload, self.read_bytes)?;
        self.read_bytes += (HEADER + header.length) as u64;
        self.sequence += 1;
        Ok(header)
    }

    fn wrong(&self, what: impl Into<String>) -> ImageError {
        ImageError::Format {
            offset: self.read_bytes,
            what: what.into(),
        }
    }

    /// The type of the record whose first frame has just been read; its whole body is then in `body`.
    fn record(&mut self, mut header: Header) -> Result<u32, ImageError> {
        let kind = header.kind;
        let payload = self.payload.get(..header.length).unwrap_or_default();
        let Some((record, first)) = payload.split_first_chunk::<4>() else {
            return Err(self.wrong("a record without a type"));
        };
        let record = u32::from_le_bytes(*record);
        self.body.clear();
        self.body.extend_from_slice(first);
        while header.more {
            self.digest.frame(&header);
            header = self.frame()?;
            if header.kind != kind {
                return Err(self.wrong("another frame in the middle of a record"));
            }
            if self.body.len() + header.length > MAX_RECORD {
                return Err(self.wrong(format!("record {record:#x} is longer than {MAX_RECORD} bytes")));
            }
            self.body
                .extend_from_slice(self.payload.get(..header.length).unwrap_or_default());
        }
        self.digest.frame(&header);
        Ok(record)
    }

    /// The place of the data in `payload`; the entries are then in `entries`.
    fn pages(&mut self, header: Header) -> Result<std::ops::Range<usize>, ImageError> {
        let payload = self.payload.get(..header.length).unwrap_or_default();
        let Some((length, rest)) = payload.split_first_chunk::<4>() else {
            return Err(self.wrong("a batch without its pfns"));
        };
        let length = u32::from_le_bytes(*length) as usize;
        let Some(runs) = rest.get(..length) else {
            return Err(self.wrong("a batch's pfns are cut off"));
        };
        let data = pages::decode(runs, &mut self.entries).map_err(|what| self.wrong(what))?;
        let start = 4 + length;
        if header.length - start != data {
            let found = header.length - start;
            return Err(self.wrong(format!("a batch with {found} bytes of data, expected {data}")));
        }
        Ok(start..header.length)
    }

    fn start(&self, length: usize) -> Result<DomainHeader, ImageError> {
        let payload = self.payload.get(..length).unwrap_or_default();
        let words: Vec<u32> = payload
            .chunks_exact(4)
            .map(|word| word.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte)))
            .collect();
        match words[..] {
            [version, guest, xen_major, xen_minor] if length == 16 => Ok(DomainHeader {
                version,
                guest,
                xen_major,
                xen_minor,
            }),
            _ => Err(self.wrong(format!("a start of {length} bytes, expected 16"))),
        }
    }
}

impl<R: Read> ImageSource for FrameSource<R> {
    fn next(&mut self) -> Result<Item<'_>, ImageError> {
        let header = self.frame()?;
        if header.more && !matches!(header.kind, Kind::Record | Kind::Libxl) {
            return Err(self.wrong("a frame that can't go on goes on"));
        }
        let item = match header.kind {
            Kind::Record => {
                let kind = RecordType(self.record(header)?);
                Item::Record { kind, body: &self.body }
            }
            Kind::Libxl => {
                let kind = self.record(header)?;
                Item::Libxl { kind, body: &self.body }
            }
            Kind::Pages => {
                let data = self.pages(header)?;
                self.read_pages += self.entries.iter().filter(|entry| entry.kind.has_data()).count() as u64;
                self.digest.frame(&header);
                let data = self.payload.get(data).unwrap_or_default();
                Item::Pages(PageBatch {
                    entries: &self.entries,
                    data,
                })
            }
            Kind::Start => {
                let start = self.start(header.length)?;
                self.digest.frame(&header);
                Item::Start(start)
            }
            Kind::End if header.length == 0 => {
                self.digest.frame(&header);
                Item::End
            }
            Kind::End => return Err(self.wrong("an end with a body")),
            Kind::Finish => {
                if self.payload.get(..header.length) != Some(&self.digest.bytes()[..]) {
                    return Err(
                        self.wrong("the digest of the image is wrong: something was lost or changed on the way")
                    );
                }
                Item::Finish
            }
            Kind::Abort => {
                let text = self.payload.get(..header.length).unwrap_or_default();
                return Err(ImageError::Peer(format!(
                    "the source gave up: {}",
                    plain_text(&String::from_utf8_lossy(text))
                )));
            }
        };
        self.order.check(&item)?;
        Ok(item)
    }
}

fn cut(source: io::Error) -> ImageError {
    let stage = match source.kind() {
        io::ErrorKind::UnexpectedEof => "the connection ended in the middle of the image",
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "nothing came for too long in the middle of the image",
        _ => "reading the image",
    };
    ImageError::Io { stage, source }
}
