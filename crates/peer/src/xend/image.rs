//! The image as it comes from a xend: its bytes, watched, and the way into a sink.

use std::{
    cell::RefCell,
    io::{self, BufReader, Read, Write},
    time::{Duration, Instant},
};

use image::{
    ImageError, ImageSink, ImageSource, Item,
    legacy::{LegacyFacts, LegacyOptions, LegacySource},
    record::RecordType,
};

use super::custody::{Custody, Failure, Keeper, Verdict};

/// Bytes that are read at once.
const BUFFER: usize = 256 << 10;

/// Bytes between two items of an image at most, but for the list of unmapped pages; a batch of pages has 4 MiB.
const MAX_BETWEEN: usize = 32 << 20;

/// Bytes of an entry in the list of unmapped pages, at most.
const UNMAPPED: usize = 8;

/// Asked again and again while the image comes in, and while nothing comes: whether to go on. `Err` is why not. Told who owns the domain and how much has
/// come, and how long nothing has come.
pub type Watch<'a> = dyn FnMut(&Keeper, Duration) -> Result<(), (Failure, String)> + 'a;

/// The bytes of an image, counted. The reader below must not block for long: `WouldBlock`, which is what Linux says of a read timeout, is when the watch
/// is asked. `TimedOut` is a connection that the kernel has given up, and after which a read gives the end of the stream.
pub struct ImageBytes<'a, R> {
    inner: RefCell<Inner<'a, R>>,
}

struct Inner<'a, R> {
    read: BufReader<R>,
    watch: Box<Watch<'a>>,
    keeper: Keeper,
    /// What has been read since the last item passed.
    recent: Vec<u8>,
    /// How much that may be.
    max_between: usize,
    stopped: Option<(Failure, String)>,
}

/// Why an image did not come in.
#[derive(Debug)]
pub struct Ended {
    /// In one word.
    pub failure: Failure,
    /// What is to be done.
    pub verdict: Verdict,
    /// In words.
    pub why: String,
}

/// How an image came in.
pub type Outcome = Result<(), Ended>;

impl<'a, R: Read> ImageBytes<'a, R> {
    /// At the first byte of the image.
    pub fn new(read: R, keeper: Keeper, watch: Box<Watch<'a>>) -> ImageBytes<'a, R> {
        ImageBytes {
            inner: RefCell::new(Inner {
                read: BufReader::with_capacity(BUFFER, read),
                watch,
                keeper,
                recent: Vec::new(),
                max_between: MAX_BETWEEN,
                stopped: None,
            }),
        }
    }

    /// The domain may have so many pages, holes included: a list of all of them may come between two items.
    pub fn with_pages(self, max_pages: u64) -> Self {
        let list = usize::try_from(max_pages)
            .unwrap_or(usize::MAX)
            .saturating_mul(UNMAPPED);
        self.inner.borrow_mut().max_between = MAX_BETWEEN.saturating_add(list);
        self
    }

    /// Who owns the domain now.
    pub fn custody(&self) -> Custody {
        self.inner.borrow().keeper.custody()
    }

    /// The image is whole, on disk, and synced: from here on it is kept whatever happens.
    pub fn whole(&self) {
        self.inner.borrow_mut().keeper.whole();
    }

    /// Waits for the end of the stream, behind a whole image: the sender closes once its domain is gone. `false`: it goes on.
    ///
    /// # Errors
    /// If the connection breaks, or the watch says so.
    pub fn end_of_stream(&self) -> io::Result<bool> {
        let mut byte = [0];
        let mut this = self;
        Ok(this.read(&mut byte)? == 0)
    }

    /// What could not be made an image: all that has come since the last item passed, and what still comes, up to about `limit` bytes.
    ///
    /// # Errors
    /// Those of `write`; that nothing more comes is none.
    pub fn rest(&self, write: &mut dyn Write, limit: u64) -> io::Result<u64> {
        let mut inner = self.inner.borrow_mut();
        write.write_all(&inner.recent)?;
        let mut written = inner.recent.len() as u64;
        inner.recent = Vec::new();
        inner.stopped = None;
        let mut buffer = vec![0; BUFFER];
        while written < limit {
            match inner.pull(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    write.write_all(buffer.get(..count).unwrap_or_default())?;
                    written += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        write.flush()?;
        Ok(written)
    }

    fn passed(&self, prologue_ends: bool) {
        let mut inner = self.inner.borrow_mut();
        inner.recent.clear();
        if prologue_ends {
            inner.keeper.begun();
        }
    }

    /// What a failure to read or to write means.
    fn ended(&self, error: &ImageError, here: bool) -> Ended {
        let inner = self.inner.borrow();
        let (failure, why) = match &inner.stopped {
            Some((failure, why)) if !here => (*failure, why.clone()),
            _ => (Failure::OurSide, error.to_string()),
        };
        Ended {
            failure,
            verdict: inner.keeper.failed(failure),
            why,
        }
    }
}

impl<R: Read> Inner<'_, R> {
    /// Reads, and asks the watch.
    fn pull(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let begun = Instant::now();
        let mut silence = Duration::ZERO;
        loop {
            if self.read.buffer().is_empty()
                && let Err(stop) = (self.watch)(&self.keeper, silence)
            {
                self.stopped = Some(stop);
                return Err(io::ErrorKind::Other.into());
            }
            match self.read.read(buffer) {
                Ok(0) => {
                    let why = "the connection ended in the middle of the image: the sender has failed, or given up";
                    self.stopped = Some((Failure::Cut, why.to_owned()));
                    return Ok(0);
                }
                Ok(count) => {
                    self.keeper.took(count);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => silence = begun.elapsed(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let why = format!("the connection broke in the middle of the image: {error}");
                    self.stopped = Some((Failure::Cut, why));
                    return Err(error);
                }
            }
        }
    }
}

impl<R: Read> Read for &ImageBytes<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut inner = self.inner.borrow_mut();
        let count = inner.pull(buffer)?;
        let bytes = buffer.get(..count).unwrap_or_default();
        // Also what is refused now is among what came.
        inner.recent.extend_from_slice(bytes);
        if inner.recent.len() > inner.max_between {
            return Err(io::Error::other(format!(
                "{} bytes without anything that belongs to a guest",
                inner.max_between
            )));
        }
        Ok(count)
    }
}

/// Takes an image in: everything from its first byte to its last, into `sink`, [`Item::Finish`] included. What is behind it is not read.
///
/// # Errors
/// [`Ended`]: why not, and what is to be done.
pub fn take_in<R: Read>(bytes: &ImageBytes<'_, R>, options: LegacyOptions, sink: &mut dyn ImageSink) -> Outcome {
    take_in_if(bytes, options, sink, |_| Ok(()))
}

/// As [`take_in`], if `may` finds nothing wrong with what the image's beginning tells, when the sender's domain still runs, or can be resumed.
///
/// # Errors
/// [`Ended`]: why not, and what is to be done.
pub fn take_in_if<R: Read>(
    bytes: &ImageBytes<'_, R>,
    options: LegacyOptions,
    sink: &mut dyn ImageSink,
    may: impl FnOnce(&LegacyFacts) -> Result<(), ImageError>,
) -> Outcome {
    let mut source = LegacySource::new(bytes, options);
    let mut may = Some(may);
    loop {
        if let Some(facts) = source.facts()
            && let Some(may) = may.take()
        {
            may(&facts).map_err(|error| bytes.ended(&error, true))?;
        }
        let item = source.next().map_err(|error| bytes.ended(&error, false))?;
        let last = matches!(item, Item::Finish);
        let frames = matches!(
            item,
            Item::Record {
                kind: RecordType::X86_PV_P2M_FRAMES,
                ..
            }
        );
        sink.put(item).map_err(|error| bytes.ended(&error, true))?;
        bytes.passed(frames);
        if last {
            return Ok(());
        }
    }
}
