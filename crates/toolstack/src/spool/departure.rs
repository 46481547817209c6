//! Domains leave the spool: the image on disk goes where a domain's own would go.

use std::time::{Duration, Instant};

use image::{ImageError, ImageSink, ImageSource, Item, PAGE_SIZE, PageBatch, PageContent, PageEntry};
use uuid::Uuid;

use super::{EntryState, Held, Spool};
use crate::{Departed, DomainId, Observer, Progress, Result, Undone};

/// The number of a domain in the spool: it has none. A host would be the last to depart.
pub(super) const NO_NUMBER: DomainId = 0;

/// Sends an entry's image into `image`, as [`Toolstack::depart`](crate::Toolstack::depart) does with a domain's: the entry is the source's copy, which
/// stays if the relocation fails and is deleted once the domain runs there. On an error it is kept as before.
pub fn depart(
    mut held: Held,
    relocation: Uuid,
    image: &mut dyn ImageSink,
    observer: &mut dyn Observer,
) -> Result<Box<dyn Departed>> {
    held.set(EntryState::Sending, Some(relocation), None)?;
    match send(&held, image, observer) {
        Ok(()) => Ok(Box::new(DepartedEntry { held: Some(held) })),
        Err(error) => {
            held.release();
            Err(error)
        }
    }
}

/// An entry that [`depart`] sent, found again after the daemon was restarted.
///
/// # Errors
/// If the spool can't be read, or something else is being done with the entry.
pub fn find_departed(spool: &Spool, uuid: Uuid, relocation: Uuid) -> Result<Option<Box<dyn Departed>>> {
    let (entries, _) = spool.list()?;
    let is = |entry: &&super::Entry| {
        entry.uuid == uuid && entry.state == EntryState::Sending && entry.held_by == Some(relocation)
    };
    match entries.iter().find(is) {
        None => Ok(None),
        Some(entry) => {
            let held = Some(spool.hold(entry.id)?);
            Ok(Some(Box::new(DepartedEntry { held })))
        }
    }
}

fn send(held: &Held, sink: &mut dyn ImageSink, observer: &mut dyn Observer) -> Result<()> {
    let pages = held.entry().config()?.memory_kib / (PAGE_SIZE as u64 / 1024);
    let mut source = held.open_image()?;
    let mut zeros = Zeros::default();
    let begun = Instant::now();
    let mut progress = Progress {
        round: 1,
        round_total: pages,
        suspended: true,
        ..Progress::default()
    };
    loop {
        let item = source.next()?;
        match item {
            Item::Pages(batch) => {
                let count = batch.entries.len() as u64;
                let batch = zeros.take_out(batch);
                sink.put(Item::Pages(batch))?;
                progress.pages_sent += count;
                progress.zero_pages += count.saturating_sub(batch.data_pages() as u64);
                progress.round_done = progress.pages_sent;
                // What came live has some pages more than once.
                progress.round_total = pages.max(progress.pages_sent);
                let bytes = (progress.pages_sent - progress.zero_pages) * PAGE_SIZE as u64;
                progress.rate = (bytes as f64 / begun.elapsed().as_secs_f64().max(1e-3)) as u64;
                observer.progress(&progress)?;
            }
            item => sink.put(item)?,
        }
        if matches!(item, Item::Finish) {
            return Ok(());
        }
    }
}

/// Takes pages of zeros out of batches: a file has them as bytes, a wire need not.
#[derive(Default)]
struct Zeros {
    entries: Vec<PageEntry>,
    data: Vec<u8>,
}

impl Zeros {
    fn take_out<'a>(&'a mut self, batch: PageBatch<'a>) -> PageBatch<'a> {
        static ZERO: [u8; PAGE_SIZE] = [0; PAGE_SIZE];
        let is_zero = |page: Option<&[u8]>| page.is_some_and(|page| page == ZERO);
        if !batch.pages().any(|(_, page)| is_zero(page)) {
            return batch;
        }
        self.entries.clear();
        self.data.clear();
        for (mut entry, page) in batch.pages() {
            match page {
                page if is_zero(page) => entry.content = PageContent::Zero,
                Some(page) => self.data.extend_from_slice(page),
                None => {}
            }
            self.entries.push(entry);
        }
        PageBatch {
            entries: &self.entries,
            data: &self.data,
        }
    }
}

/// An entry that is complete at another host as well.
struct DepartedEntry {
    /// Gone once it is decided.
    held: Option<Held>,
}

impl Departed for DepartedEntry {
    fn id(&self) -> DomainId {
        NO_NUMBER
    }

    fn suspended_for(&self) -> Duration {
        self.held.as_ref().map(|held| held.entry().age()).unwrap_or_default()
    }

    fn resume(mut self: Box<Self>) -> std::result::Result<(), Undone<dyn Departed>> {
        if let Some(held) = self.held.take() {
            held.release();
        }
        Ok(())
    }

    fn destroy(mut self: Box<Self>) -> std::result::Result<(), Undone<dyn Departed>> {
        let Some(held) = self.held.take() else { return Ok(()) };
        match held.delete() {
            Ok(()) => Ok(()),
            Err((error, held)) => {
                self.held = Some(held);
                Err(Undone {
                    error: error.into(),
                    domain: self,
                })
            }
        }
    }
}

impl Drop for DepartedEntry {
    fn drop(&mut self) {
        // Nobody has decided, so nobody else may have it: it may run there.
        if let Some(held) = self.held.take() {
            held.stay();
        }
    }
}

/// Why an image ended early, for those who stop it.
impl From<super::SpoolError> for ImageError {
    fn from(error: super::SpoolError) -> ImageError {
        match error {
            super::SpoolError::Image(error) => error,
            other => ImageError::Toolstack(other.to_string()),
        }
    }
}
