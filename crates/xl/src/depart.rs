//! A domain's image goes out, offline: `xl save` writes it into a pipe. And what [`live`](crate::live) shares with that.
//!
//! With `-p` xl leaves the domain paused once it has been saved: whatever dies then, it stays so until somebody decides. `-c` would let it run on before the
//! other host has decided, and without either it would be gone.

use std::{
    io::{BufReader, Read},
    os::fd::AsFd,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use image::{
    ImageError, ImageSink, ImageSource, Item, PAGE_SIZE, PageBatch, PageContent, PageEntry, is_zero,
    record::RecordType,
    save::{SaveConfig, SaveHeader, SaveImage},
    v2::V2Reader,
};
use toolstack::{Departed, Departure, DomainState, Observer, Progress, Result, ToolstackError};

use crate::{
    decide::DepartedDomain,
    host::Host,
    names::{MAX_NAME, Name},
    pipe::Timed,
    program::Running,
};

/// How long xl may be silent. The guest has 60 s to suspend itself before libxl gives up and lets it run on.
pub(crate) const SILENCE: Duration = Duration::from_secs(90);
/// How long xl may take once all is written, or once its pipe is broken: until the domain is paused, or runs on.
const ENDING: Duration = Duration::from_secs(60);

pub(crate) fn offline(
    host: &Arc<Host>,
    departure: &Departure<'_>,
    image: &mut dyn ImageSink,
    observer: &mut dyn Observer,
) -> Result<Box<dyn Departed>> {
    let id = departure.id;
    let Taken { own, pages } = take(host, departure)?;
    match save(host, departure, pages, image, observer) {
        Ok(suspended) => {
            let host = Arc::clone(host);
            Ok(Box::new(DepartedDomain::new(
                host,
                id,
                departure.relocation,
                own,
                suspended,
            )))
        }
        Err(broken) => Err(undo(host, departure, &own, broken)),
    }
}

/// A departure that has failed.
pub(crate) struct Broken {
    pub(crate) error: ToolstackError,
    /// Whether the guest may still have been asked to suspend itself, by an xl that has not taken that back.
    pub(crate) may_suspend: bool,
}

impl From<ToolstackError> for Broken {
    fn from(error: ToolstackError) -> Broken {
        Broken {
            error,
            may_suspend: false,
        }
    }
}

/// A departure has failed: the domain runs on. What to tell.
pub(crate) fn undo(host: &Host, departure: &Departure<'_>, own: &str, broken: Broken) -> ToolstackError {
    let Broken { error, may_suspend } = broken;
    match host.run_on(departure.id, departure.relocation, own, may_suspend) {
        Ok(None) => error,
        Ok(Some(id)) => ToolstackError::Failed(format!("{error}; the guest has rebooted meanwhile, as domain {id}")),
        Err(undone) => ToolstackError::Failed(format!("{error}; and then the domain could not be resumed: {undone}")),
    }
}

/// A domain that a relocation holds.
pub(crate) struct Taken {
    /// Its own name.
    pub(crate) own: String,
    /// Its memory.
    pub(crate) pages: u64,
}

/// Gives the domain the relocation's name: from here on it is held.
pub(crate) fn take(host: &Host, departure: &Departure<'_>) -> Result<Taken> {
    let id = departure.id;
    let row = host.row(id)?;
    let Name::Plain(own) = &row.name else {
        return Err(ToolstackError::Relocating {
            id,
            what: "a second relocation",
        });
    };
    match row.state() {
        DomainState::Running | DomainState::Blocked => {}
        DomainState::Paused => {
            return Err(ToolstackError::Failed(format!(
                "domain {id} is paused, and a guest on Xen has to run in order to suspend itself: unpause it first"
            )));
        }
        state => {
            return Err(ToolstackError::Failed(format!(
                "domain {id} does not run ({})",
                state.flags()
            )));
        }
    }
    if sxp::bytes_of_text(own).len() > MAX_NAME {
        return Err(ToolstackError::Failed(format!(
            "the name '{own}' is longer than {MAX_NAME} bytes, which is what can be relocated"
        )));
    }
    host.rename(id, &Name::departing(departure.relocation, own))?;
    Ok(Taken {
        own: own.clone(),
        pages: row.domain().memory_kib * 1024 / PAGE_SIZE as u64,
    })
}

/// The whole save; since when the domain stands still.
fn save(
    host: &Host,
    departure: &Departure<'_>,
    pages: u64,
    image: &mut dyn ImageSink,
    observer: &mut dyn Observer,
) -> std::result::Result<Instant, Broken> {
    let arguments = ["save", "-p", &departure.id.to_string(), "/dev/stdout"];
    let mut running = host.program.start_unheard(&host.helper, &arguments)?;
    let noted = host.groups.note(departure.relocation, running.group())?;
    let pipe = running.child().stdout.take();
    let pipe = pipe.ok_or_else(|| ToolstackError::Failed("xl save has no pipe".to_owned()))?;
    let pipe = Timed::new(pipe, SILENCE).map_err(ToolstackError::io("the pipe from xl save"))?;
    let mut pump = Pump::new(image, observer, pages);
    let pumped = read(pipe, &mut pump);
    if let Err(error) = end(&mut running, pumped) {
        let may_suspend = running.is_cut_short();
        if may_suspend {
            noted.cut_short();
        }
        return Err(Broken { error, may_suspend });
    }
    drop(noted);
    let row = host.row(departure.id)?;
    if row.state() != DomainState::Suspended {
        let text = "xl save has ended well, but the domain does not stand still";
        return Err(ToolstackError::Failed(text.to_owned()).into());
    }
    Ok(pump.suspended.unwrap_or_else(Instant::now))
}

/// From a pipe of xl's into the sink. The pipe is closed at the end.
///
/// Of a PVH guest come a thousand records of 8 KiB that hold no page, as Xen lists all of its pfns up to 0xfefff. Larger ones go past the buffer.
pub(crate) fn read<P: AsFd + Read>(pipe: Timed<P>, pump: &mut Pump<'_>) -> std::result::Result<(), Pumped> {
    let mut pipe = BufReader::with_capacity(64 << 10, pipe);
    let config = header(&mut pipe).map_err(Pumped::Xl)?;
    pump.all(&mut V2Reader::new(pipe), &config)
}

/// Which end failed.
pub(crate) enum Pumped {
    /// xl's.
    Xl(ImageError),
    /// The one where the image goes.
    Sink(ImageError),
}

/// Waits for xl's end; what went wrong, if anything did.
pub(crate) fn end(running: &mut Running, pumped: std::result::Result<(), Pumped>) -> Result<()> {
    match pumped {
        Ok(()) => running.finish(ENDING),
        Err(Pumped::Sink(error)) => {
            // Its pipe is broken: it lets the domain run on.
            let _ = Host::undo(running, ENDING);
            Err(error.into())
        }
        Err(Pumped::Xl(error)) => Err(match Host::undo(running, ENDING) {
            Err(reason) => match error {
                // It ended, and says why.
                ImageError::Io { source, .. } if source.kind() == std::io::ErrorKind::UnexpectedEof => reason,
                error => ToolstackError::Failed(format!("{error}; {reason}")),
            },
            Ok(()) => error.into(),
        }),
    }
}

/// The configuration in front of the image.
fn header(pipe: &mut impl Read) -> std::result::Result<Vec<u8>, ImageError> {
    let header = SaveHeader::read(pipe)?;
    match (header.image, header.config) {
        (SaveImage::V2, SaveConfig::Json(config)) => Ok(config),
        (image, _) => Err(ImageError::Toolstack(format!(
            "xl wrote an image of a kind that only a Xen before 4.6 has ({image:?}, without a configuration in JSON)"
        ))),
    }
}

/// Takes xl's records to the sink, and counts them.
pub(crate) struct Pump<'a> {
    image: &'a mut dyn ImageSink,
    observer: &'a mut dyn Observer,
    progress: Progress,
    begun: Instant,
    /// Since when the domain stands still. An offline image begins after that, and of a live one the last round does.
    pub(crate) suspended: Option<Instant>,
    is_live: bool,
    /// Bytes per second at most.
    bandwidth: Option<u64>,
    /// The last page: in a round they rise.
    pfn: u64,
    entries: Vec<PageEntry>,
    data: Vec<u8>,
}

impl<'a> Pump<'a> {
    pub(crate) fn new(image: &'a mut dyn ImageSink, observer: &'a mut dyn Observer, pages: u64) -> Pump<'a> {
        Pump {
            image,
            observer,
            progress: Progress {
                round: 1,
                round_total: pages,
                ..Progress::default()
            },
            begun: Instant::now(),
            suspended: None,
            is_live: false,
            bandwidth: None,
            pfn: 0,
            entries: Vec::new(),
            data: Vec::new(),
        }
    }

    pub(crate) fn live(
        image: &'a mut dyn ImageSink,
        observer: &'a mut dyn Observer,
        pages: u64,
        bandwidth: Option<u64>,
    ) -> Pump<'a> {
        Pump {
            is_live: true,
            bandwidth,
            ..Pump::new(image, observer, pages)
        }
    }

    /// Whether the guest may have been asked to suspend itself. Of a live image not while the first round has long to go; what it skips is not known.
    pub(crate) fn may_have_asked(&self) -> bool {
        let progress = &self.progress;
        !self.is_live || progress.round > 1 || progress.round_done > progress.round_total / 4 * 3
    }

    fn all(&mut self, source: &mut dyn ImageSource, config: &[u8]) -> std::result::Result<(), Pumped> {
        loop {
            let item = source.next().map_err(Pumped::Xl)?;
            let last = matches!(item, Item::Finish);
            self.put(item, config).map_err(Pumped::Sink)?;
            if last {
                return Ok(());
            }
        }
    }

    fn put(&mut self, item: Item<'_>, config: &[u8]) -> std::result::Result<(), ImageError> {
        match item {
            Item::Start(_) => {
                self.suspended = Some(Instant::now());
                self.progress.suspended = !self.is_live;
                self.image.put(item)?;
                self.image.put(Item::Record {
                    kind: RecordType::XL_CONFIG,
                    body: config,
                })
            }
            Item::Pages(batch) => self.pages(&batch),
            item => self.image.put(item),
        }
    }

    /// xl tells nothing of its rounds, but they can be seen.
    fn round(&mut self, batch: &PageBatch<'_>) {
        let (Some(first), Some(last)) = (batch.entries.first(), batch.entries.last()) else {
            return;
        };
        if self.is_live && first.pfn <= self.pfn && self.progress.pages_sent > 0 {
            self.progress.round += 1;
            (self.progress.round_done, self.progress.round_total) = (0, 0);
            self.suspended = Some(Instant::now());
        }
        self.pfn = last.pfn;
    }

    /// xl sends every page in full; pages of zeros need not travel.
    fn pages(&mut self, batch: &PageBatch<'_>) -> std::result::Result<(), ImageError> {
        self.round(batch);
        let mut zeros = 0;
        self.entries.clear();
        self.entries.extend(batch.pages().map(|(entry, page)| {
            let zero = page.is_some_and(is_zero);
            zeros += u64::from(zero);
            let content = if zero { PageContent::Zero } else { entry.content };
            PageEntry { content, ..entry }
        }));
        if zeros == 0 {
            self.image.put(Item::Pages(*batch))?;
        } else {
            self.data.clear();
            for ((_, page), entry) in batch.pages().zip(&self.entries) {
                if let (Some(page), PageContent::Data) = (page, entry.content) {
                    self.data.extend_from_slice(page);
                }
            }
            self.image.put(Item::Pages(PageBatch {
                entries: &self.entries,
                data: &self.data,
            }))?;
        }
        self.count(batch.data_pages() as u64, zeros)
    }

    fn count(&mut self, pages: u64, zeros: u64) -> std::result::Result<(), ImageError> {
        let progress = &mut self.progress;
        progress.pages_sent += pages;
        progress.zero_pages += zeros;
        progress.round_done += pages;
        progress.round_total = progress.round_total.max(progress.round_done);
        let seconds = self.begun.elapsed().as_secs_f64().max(1e-3);
        let bytes = (progress.pages_sent - progress.zero_pages) * PAGE_SIZE as u64;
        progress.rate = (bytes as f64 / seconds) as u64;
        self.observer.progress(progress)?;
        if let Some(most) = self.bandwidth {
            // xl waits with us: its pipe is full.
            thread::sleep(ahead(bytes, most, self.begun.elapsed()).min(SILENCE / 9));
        }
        Ok(())
    }
}

/// How long to wait so that `bytes` since the start, `elapsed` ago, are no more than `most` per second.
fn ahead(bytes: u64, most: u64, elapsed: Duration) -> Duration {
    let due = Duration::try_from_secs_f64(bytes as f64 / most.max(1) as f64);
    due.unwrap_or(SILENCE).saturating_sub(elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bandwidth_is_kept_to() {
        let second = Duration::from_secs(1);
        assert_eq!(ahead(3_000_000, 1_000_000, second), 2 * second);
        assert_eq!(ahead(1_000_000, 1_000_000, second), Duration::ZERO);
        assert_eq!(ahead(0, 0, Duration::ZERO), Duration::ZERO);
        assert_eq!(ahead(u64::MAX, 0, Duration::ZERO), SILENCE);
    }
}
