//! The reader.

use std::{io::Read, ops::Range};

use super::{
    headers,
    input::Input,
    known::{self, Fate},
    pfns,
};
use crate::{
    DomainHeader, ImageError, ImageSource, Item, OrderCheck, PAGE_SIZE, PageBatch, PageContent, PageEntry,
    record::RecordType,
};

/// Reads a stream: exactly its bytes, none that follow.
///
/// Memory: one batch's pages and entries, the longest record's body, and 8 bytes for each page of the longest PAGE_DATA record. All grow as
/// bytes arrive, the bodies up to [`MAX_RECORD`](super::MAX_RECORD). Reads large pieces into its own buffers, so `R` needs none.
///
/// A PAGE_DATA record of more than [`PageBatch::MAX_PAGES`] pages comes out as several batches. Records of unknown type: a mandatory one is an
/// error; an optional one is handed on within the libxc image, and left out behind it.
pub struct V2Reader<R> {
    input: Input<R>,
    order: OrderCheck,
    place: Place,
    body: Vec<u8>,
    /// The entries of the PAGE_DATA record that is being read, as bytes.
    pfns: Vec<u8>,
    /// How many bytes of `pfns` have been handed on.
    taken: usize,
    entries: Vec<PageEntry>,
    data: Vec<u8>,
}

/// Where in the stream the reader is.
#[derive(Clone, Copy)]
enum Place {
    Begin,
    /// Within the libxc image of a guest of this type.
    Image {
        guest: u32,
    },
    After,
}

/// An item without its borrowed parts.
enum Found {
    Start(DomainHeader),
    Record(RecordType),
    Pages(Range<usize>),
    End,
    Libxl(u32),
    Finish,
}

impl<R: Read> V2Reader<R> {
    /// A reader at the beginning of a stream: at its libxl header.
    pub fn new(read: R) -> V2Reader<R> {
        V2Reader {
            input: Input::new(read),
            order: OrderCheck::new(),
            place: Place::Begin,
            body: Vec::new(),
            pfns: Vec::new(),
            taken: 0,
            entries: Vec::new(),
            data: Vec::new(),
        }
    }

    /// Bytes read up to now.
    pub fn read_bytes(&self) -> u64 {
        self.input.offset()
    }

    /// What it reads from, at the byte behind the last that was read.
    pub fn into_inner(self) -> R {
        self.input.into_inner()
    }

    fn find(&mut self) -> Result<Found, ImageError> {
        match self.place {
            Place::Begin => {
                let header = self.start()?;
                self.place = Place::Image { guest: header.guest };
                Ok(Found::Start(header))
            }
            Place::Image { .. } if self.taken < self.pfns.len() => self.batch().map(Found::Pages),
            Place::Image { guest } => self.libxc(guest),
            Place::After => self.libxl(),
        }
    }

    fn start(&mut self) -> Result<DomainHeader, ImageError> {
        let header = self.input.header()?;
        headers::check_libxl(&header).map_err(|what| self.input.wrong(what))?;
        match self.input.record()? {
            (known::LIBXC_CONTEXT, 0) => {}
            (kind, length) => {
                return Err(self.input.wrong(format!(
                    "libxl record {kind:#x} of {length} bytes where an empty LIBXC_CONTEXT was expected"
                )));
            }
        }
        let header = self.input.header()?;
        let version = headers::check_image(&header).map_err(|what| self.input.wrong(what))?;
        let header = self.input.header()?;
        headers::parse_domain(&header, version).map_err(|what| self.input.wrong(what))
    }

    fn libxc(&mut self, guest: u32) -> Result<Found, ImageError> {
        let (kind, length) = self.input.record()?;
        let kind = RecordType(kind);
        known::libxc(kind, guest, length).map_err(|what| self.input.wrong(what))?;
        match kind {
            RecordType::PAGE_DATA => {
                self.page_data(length)?;
                self.batch().map(Found::Pages)
            }
            RecordType::END => {
                self.place = Place::After;
                Ok(Found::End)
            }
            kind => {
                self.body(length)?;
                Ok(Found::Record(kind))
            }
        }
    }

    fn libxl(&mut self) -> Result<Found, ImageError> {
        loop {
            let (kind, length) = self.input.record()?;
            let fate = known::libxl(kind, length).map_err(|what| self.input.wrong(what))?;
            self.body(length)?;
            match (kind, fate) {
                (known::LIBXL_END, _) => return Ok(Found::Finish),
                (kind, Fate::Pass) => return Ok(Found::Libxl(kind)),
                (_, Fate::Skip) => {}
            }
        }
    }

    fn body(&mut self, length: usize) -> Result<(), ImageError> {
        self.input.body(&mut self.body, length)?;
        self.input.padding(length)
    }

    /// Reads a PAGE_DATA record up to its data: u32 count, u32 zero, the entries. Its length is a multiple of 8, so no padding follows.
    fn page_data(&mut self, length: usize) -> Result<(), ImageError> {
        let what = |what: String| format!("PAGE_DATA of {length} bytes {what}");
        if length < 8 {
            return Err(self.input.wrong(what("without its count".to_owned())));
        }
        let [a, b, c, d, reserved @ ..] = self.input.array::<8>()?;
        let count = u32::from_le_bytes([a, b, c, d]) as usize;
        if reserved != [0; 4] {
            return Err(self.input.wrong(what("whose reserved bytes are not zero".to_owned())));
        }
        // The length is bounded, so this bounds the count.
        if count == 0 || count > (length - 8) / 8 {
            return Err(self.input.wrong(what(format!("for {count} pages"))));
        }
        self.taken = 0;
        self.input.body(&mut self.pfns, count * 8)?;
        let mut data = 0;
        for entry in self.pfns.as_chunks::<8>().0 {
            let entry = pfns::parse(*entry).map_err(|what| self.input.wrong(what))?;
            data += if entry.kind.has_data() { PAGE_SIZE } else { 0 };
        }
        let expected = 8 + count * 8 + data;
        if length != expected {
            return Err(self
                .input
                .wrong(what(format!("for {count} pages, expected {expected}"))));
        }
        Ok(())
    }

    /// Reads the next batch's data; gives its place in `data`. The entries are then in `entries`.
    fn batch(&mut self) -> Result<Range<usize>, ImageError> {
        self.entries.clear();
        let rest = self.pfns.get(self.taken..).unwrap_or_default();
        for entry in rest.as_chunks::<8>().0.iter().take(PageBatch::MAX_PAGES) {
            let entry = pfns::parse(*entry).map_err(|what| self.input.wrong(what))?;
            self.entries.push(entry);
        }
        self.taken += self.entries.len() * 8;
        let with_data = |entry: &&PageEntry| entry.content == PageContent::Data;
        let length = self.entries.iter().filter(with_data).count() * PAGE_SIZE;
        // Grows to the largest batch seen, and is not cleared again.
        if self.data.len() < length {
            self.data.resize(length, 0);
        }
        self.input.exact(self.data.get_mut(..length).unwrap_or_default())?;
        Ok(0..length)
    }
}

impl<R: Read> ImageSource for V2Reader<R> {
    fn next(&mut self) -> Result<Item<'_>, ImageError> {
        if self.order.is_finished() {
            return Err(ImageError::Order("nothing follows the end of everything".to_owned()));
        }
        let item = match self.find()? {
            Found::Start(header) => Item::Start(header),
            Found::Record(kind) => Item::Record { kind, body: &self.body },
            Found::Pages(data) => Item::Pages(PageBatch {
                entries: &self.entries,
                data: self.data.get(data).unwrap_or_default(),
            }),
            Found::End => Item::End,
            Found::Libxl(kind) => Item::Libxl { kind, body: &self.body },
            Found::Finish => Item::Finish,
        };
        self.order.check(&item)?;
        Ok(item)
    }
}
