//! One round: pages out of the guest, into the sink, in batches.

use std::time::Duration;

use image::{ImageError, ImageSink, Item, PAGE_SIZE, PageBatch, PageContent, PageEntry, PageType, is_zero};

use crate::{
    Bitmap, Clock, Guest, Observer, Progress,
    rate::{Pacer, Rate},
};

/// Pages in a batch: enough for the calls to cost nothing, few enough to stay in the processor's cache on their way.
const BATCH: usize = 128;

/// How long a wait for the bandwidth limit may go on without a look at whether to stop.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

/// Buffers and measures that all rounds share.
pub(crate) struct Copier<'a> {
    pub(crate) clock: &'a dyn Clock,
    pub(crate) sink: &'a mut dyn ImageSink,
    pub(crate) observer: &'a mut dyn Observer,
    pub(crate) progress: Progress,
    pub(crate) rate: Rate,
    pacer: Option<Pacer>,
    pfns: Vec<u64>,
    entries: Vec<PageEntry>,
    data: Vec<u8>,
}

/// What a round has done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Copied {
    pub(crate) pages: u64,
    pub(crate) zero_pages: u64,
    pub(crate) skipped: u64,
}

impl<'a> Copier<'a> {
    pub(crate) fn new(
        clock: &'a dyn Clock,
        sink: &'a mut dyn ImageSink,
        observer: &'a mut dyn Observer,
        bandwidth: Option<u64>,
    ) -> Copier<'a> {
        Copier {
            clock,
            sink,
            observer,
            progress: Progress::default(),
            rate: Rate::default(),
            pacer: bandwidth.map(Pacer::new),
            pfns: Vec::with_capacity(BATCH),
            entries: Vec::with_capacity(PageBatch::MAX_PAGES),
            data: vec![0; BATCH * PAGE_SIZE],
        }
    }

    /// Lifts the bandwidth limit.
    pub(crate) fn unlimited(&mut self) {
        self.pacer = None;
    }

    /// Sends the pages of `todo`, each once. With `skip`, pages that are dirty again are left to the next round.
    pub(crate) fn round<G: Guest + ?Sized>(
        &mut self,
        guest: &mut G,
        todo: &Bitmap,
        skip: bool,
    ) -> Result<Copied, ImageError> {
        self.progress.round += 1;
        self.progress.round_done = 0;
        self.progress.round_total = todo.count();
        self.observer.progress(&self.progress)?;
        let mut copied = Copied::default();
        self.entries.clear();
        for pfn in todo.iter() {
            if skip && guest.is_dirty_hint(pfn) {
                copied.skipped += 1;
                continue;
            }
            // Pages known to be zero gather in long batches; pages to be read in short ones. The order within a round does not matter.
            if guest.is_zero_hint(pfn) {
                self.entries.push(PageEntry {
                    pfn,
                    kind: PageType::NORMAL,
                    content: PageContent::Zero,
                });
                if self.entries.len() == PageBatch::MAX_PAGES {
                    self.put_zeros(&mut copied)?;
                }
            } else {
                self.pfns.push(pfn);
                if self.pfns.len() == BATCH {
                    self.put_zeros(&mut copied)?;
                    self.read_and_put(guest, &mut copied)?;
                }
            }
        }
        self.put_zeros(&mut copied)?;
        self.read_and_put(guest, &mut copied)?;
        Ok(copied)
    }

    fn put_zeros(&mut self, copied: &mut Copied) -> Result<(), ImageError> {
        if self.entries.is_empty() {
            return Ok(());
        }
        self.sink.put(Item::Pages(PageBatch {
            entries: &self.entries,
            data: &[],
        }))?;
        let pages = self.entries.len() as u64;
        self.entries.clear();
        self.count(copied, pages, pages)
    }

    fn read_and_put<G: Guest + ?Sized>(&mut self, guest: &mut G, copied: &mut Copied) -> Result<(), ImageError> {
        if self.pfns.is_empty() {
            return Ok(());
        }
        let begun = self.clock.now();
        let length = self.pfns.len() * PAGE_SIZE;
        let data = self.data.get_mut(..length).unwrap_or_default();
        guest.read_pages(&self.pfns, data)?;
        // Pages of zeros are taken out; what is behind them moves up, which happens at most once for each page.
        let mut kept = 0;
        for (at, pfn) in self.pfns.iter().enumerate() {
            let from = at * PAGE_SIZE;
            let zero = data.get(from..from + PAGE_SIZE).is_some_and(is_zero);
            let content = if zero { PageContent::Zero } else { PageContent::Data };
            self.entries.push(PageEntry {
                pfn: *pfn,
                kind: PageType::NORMAL,
                content,
            });
            if !zero {
                if kept != from {
                    data.copy_within(from..from + PAGE_SIZE, kept);
                }
                kept += PAGE_SIZE;
            }
        }
        if let Some(pacer) = &mut self.pacer {
            let mut wait = pacer.wait(self.clock.now(), kept as u64);
            // In short pieces: whoever wants it to stop is heard in between.
            while !wait.is_zero() {
                let step = wait.min(LONGEST_SLEEP);
                self.clock.sleep(step);
                wait -= step;
                self.observer.progress(&self.progress)?;
            }
        }
        let data = self.data.get(..kept).unwrap_or_default();
        self.sink.put(Item::Pages(PageBatch {
            entries: &self.entries,
            data,
        }))?;
        let pages = self.entries.len() as u64;
        let zero_pages = pages - (kept / PAGE_SIZE) as u64;
        self.entries.clear();
        self.pfns.clear();
        self.rate.add(kept as u64, self.clock.now().saturating_sub(begun));
        self.count(copied, pages, zero_pages)
    }

    fn count(&mut self, copied: &mut Copied, pages: u64, zero_pages: u64) -> Result<(), ImageError> {
        copied.pages += pages;
        copied.zero_pages += zero_pages;
        self.progress.pages_sent += pages;
        self.progress.zero_pages += zero_pages;
        self.progress.round_done += pages;
        self.progress.rate = self.rate.get().unwrap_or_default() as u64;
        self.observer.progress(&self.progress)
    }
}
