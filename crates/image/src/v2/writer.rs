//! The writer.

use std::io::Write;

use super::{MAX_RECORD, headers, known, padding, pfns};
use crate::{
    DomainHeader, ImageError, ImageSink, Item, OrderCheck, PAGE_SIZE, PageBatch, PageContent, record::RecordType,
};

/// Pages of zeros, as many as are written at once.
static ZEROS: [u8; 16 * PAGE_SIZE] = [0; 16 * PAGE_SIZE];

/// Writes a stream, which [`V2Reader`](super::V2Reader) and Xen's `xl restore` read. Refuses what they would refuse.
///
/// Pages go out of the caller's buffer; a page that is [`PageContent::Zero`] goes out as 4096 zeros. Headers and small bodies are written
/// one by one: a [`BufWriter`](std::io::BufWriter) around `W` gathers them and lets the pages pass by. [`Item::Finish`] flushes.
pub struct V2Writer<W> {
    write: W,
    order: OrderCheck,
    guest: u32,
    /// The beginning of a PAGE_DATA record.
    scratch: Vec<u8>,
    written: u64,
}

impl<W: Write> V2Writer<W> {
    /// A writer at the beginning of a stream. Writes nothing before the first item.
    pub fn new(write: W) -> V2Writer<W> {
        V2Writer {
            write,
            order: OrderCheck::new(),
            guest: 0,
            scratch: Vec::new(),
            written: 0,
        }
    }

    /// Bytes written up to now.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// What it writes to: for what stands before or behind the stream.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.write
    }

    /// What it writes to.
    pub fn into_inner(self) -> W {
        self.write
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.write
            .write_all(bytes)
            .map_err(ImageError::io("writing the image"))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn start(&mut self, header: &DomainHeader) -> Result<(), ImageError> {
        self.guest = header.guest;
        self.bytes(&headers::libxl(header))?;
        self.record(known::LIBXC_CONTEXT, &[])?;
        self.bytes(&headers::image(header.version))?;
        self.bytes(&headers::domain(header))
    }

    fn record(&mut self, kind: u32, body: &[u8]) -> Result<(), ImageError> {
        let header = record_header(kind, body.len())?;
        self.bytes(&header)?;
        if !body.is_empty() {
            self.bytes(body)?;
            self.bytes([0; 8].get(..padding(body.len())).unwrap_or_default())?;
        }
        Ok(())
    }

    fn pages(&mut self, batch: PageBatch<'_>) -> Result<(), ImageError> {
        let mut begin = std::mem::take(&mut self.scratch);
        let sent = page_data(&batch, &mut begin)
            .and_then(|()| self.bytes(&begin))
            .and_then(|()| self.contents(batch));
        self.scratch = begin;
        sent
    }

    /// The pages' contents, in runs.
    fn contents(&mut self, batch: PageBatch<'_>) -> Result<(), ImageError> {
        let mut data = batch.data;
        for run in batch.entries.chunk_by(|a, b| a.content == b.content) {
            let length = run.len() * PAGE_SIZE;
            match run.first().map(|entry| entry.content) {
                Some(PageContent::Data) => {
                    // The order check has seen that the data is as long as the entries say.
                    let (part, rest) = data.split_at_checked(length).unwrap_or((data, &[]));
                    self.bytes(part)?;
                    data = rest;
                }
                Some(PageContent::Zero) => {
                    let mut left = length;
                    while left > 0 {
                        let part = ZEROS.get(..left).unwrap_or(&ZEROS);
                        self.bytes(part)?;
                        left -= part.len();
                    }
                }
                Some(PageContent::Nothing) | None => {}
            }
        }
        Ok(())
    }
}

impl<W: Write> ImageSink for V2Writer<W> {
    fn put(&mut self, item: Item<'_>) -> Result<(), ImageError> {
        self.order.check(&item)?;
        match item {
            Item::Start(header) => self.start(&header),
            Item::Record { kind, body } => {
                known::libxc(kind, self.guest, body.len()).map_err(ImageError::Order)?;
                self.record(kind.0, body)
            }
            Item::Pages(batch) => self.pages(batch),
            Item::End => self.record(RecordType::END.0, &[]),
            Item::Libxl { kind, body } => {
                known::libxl(kind, body.len()).map_err(ImageError::Order)?;
                self.record(kind, body)
            }
            Item::Finish => {
                self.record(known::LIBXL_END, &[])?;
                self.write.flush().map_err(ImageError::io("writing the image"))
            }
        }
    }
}

fn record_header(kind: u32, length: usize) -> Result<[u8; 8], ImageError> {
    if length > MAX_RECORD {
        return Err(ImageError::Order(format!(
            "record {kind:#x} of {length} bytes, more than {MAX_RECORD}"
        )));
    }
    Ok((u64::from(kind) | (length as u64) << 32).to_le_bytes())
}

/// Puts a PAGE_DATA record up to its data into `out`, which is cleared first.
fn page_data(batch: &PageBatch<'_>, out: &mut Vec<u8>) -> Result<(), ImageError> {
    let count = batch.entries.len();
    if count > PageBatch::MAX_PAGES {
        return Err(ImageError::Order(format!("a batch of {count} pages")));
    }
    let contents = batch.entries.iter().filter(|entry| entry.kind.has_data()).count();
    out.clear();
    out.extend_from_slice(&record_header(
        RecordType::PAGE_DATA.0,
        8 + count * 8 + contents * PAGE_SIZE,
    )?);
    out.extend_from_slice(&(count as u64).to_le_bytes());
    for entry in batch.entries {
        out.extend_from_slice(&pfns::bytes(entry).map_err(ImageError::Order)?);
    }
    Ok(())
}
