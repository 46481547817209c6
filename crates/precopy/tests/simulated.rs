//! The engine against simulated guests and a simulated link: everything is counted, nothing is measured.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::Duration,
};

use image::{ImageError, ImageSink, Item, PAGE_SIZE, PageContent};
use precopy::{Bitmap, Clock, Guest, LastCopy, LiveOptions, Observer, OnNoConvergence, Progress, Summary};
use proptest::prelude::*;

#[derive(Clone, Default)]
struct Time(Rc<Cell<Duration>>);

impl Clock for Time {
    fn now(&self) -> Duration {
        self.0.get()
    }
    fn sleep(&self, time: Duration) {
        self.0.set(self.0.get() + time);
    }
}

/// Which page the n-th write goes to.
#[derive(Clone, Copy, Debug)]
enum Writer {
    Idle,
    /// One page after the other, through all.
    Sweep,
    /// The first pages only, in turns.
    Hot(u64),
    /// Anywhere, evenly.
    Uniform,
    /// As a sweep, but in every second tenth of a second only.
    Bursts,
}

struct State {
    versions: Vec<u64>,
    dirty: Vec<bool>,
    writes: u64,
    throttle: u8,
    credit: f64,
    seen: Duration,
    running: bool,
    resumed: bool,
}

struct Simulated {
    time: Time,
    writer: Writer,
    pages_per_second: f64,
    /// Only every n-th hint is given: hints may be late.
    hints: u64,
    asked: Cell<u64>,
    state: RefCell<State>,
}

impl Simulated {
    fn new(time: &Time, pages: u64, writer: Writer, pages_per_second: f64) -> Simulated {
        let state = State {
            versions: vec![1; pages as usize],
            dirty: vec![false; pages as usize],
            writes: 0,
            throttle: 0,
            credit: 0.0,
            seen: Duration::ZERO,
            running: true,
            resumed: false,
        };
        Simulated {
            time: time.clone(),
            writer,
            pages_per_second,
            hints: 1,
            asked: Cell::new(0),
            state: RefCell::new(state),
        }
    }

    /// Does the writes up to now.
    fn run(&self) {
        let mut state = self.state.borrow_mut();
        let now = self.time.now();
        let passed = (now - state.seen).as_secs_f64();
        state.seen = now;
        if !state.running {
            return;
        }
        state.credit += passed * self.pages_per_second * f64::from(100 - state.throttle) / 100.0;
        let pages = state.versions.len() as u64;
        while state.credit >= 1.0 {
            state.credit -= 1.0;
            let n = state.writes;
            state.writes += 1;
            let pfn = match self.writer {
                Writer::Idle => continue,
                Writer::Sweep => n % pages,
                Writer::Hot(hot) => n % hot,
                Writer::Uniform => n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40,
                Writer::Bursts if (now.as_millis() / 100).is_multiple_of(2) => continue,
                Writer::Bursts => n % pages,
            } % pages;
            state.versions[pfn as usize] += 1;
            state.dirty[pfn as usize] = true;
        }
    }
}

impl Guest for Simulated {
    fn pages(&self) -> u64 {
        self.state.borrow().versions.len() as u64
    }
    fn start_dirty_log(&mut self) -> Result<(), ImageError> {
        self.run();
        self.state.borrow_mut().dirty.fill(false);
        Ok(())
    }
    fn fetch_dirty(&mut self, dirty: &mut Bitmap) -> Result<(), ImageError> {
        self.run();
        let mut state = self.state.borrow_mut();
        for (pfn, is) in state.dirty.iter_mut().enumerate() {
            if std::mem::take(is) {
                dirty.set(pfn as u64);
            }
        }
        Ok(())
    }
    fn is_dirty_hint(&self, pfn: u64) -> bool {
        self.asked.set(self.asked.get() + 1);
        self.asked.get().is_multiple_of(self.hints) && self.state.borrow().dirty[pfn as usize]
    }
    fn is_zero_hint(&self, pfn: u64) -> bool {
        self.state.borrow().versions[pfn as usize] == 0
    }
    fn read_pages(&mut self, pfns: &[u64], data: &mut [u8]) -> Result<(), ImageError> {
        self.run();
        let state = self.state.borrow();
        for (pfn, page) in pfns.iter().zip(data.chunks_exact_mut(PAGE_SIZE)) {
            page.fill(0);
            page[..8].copy_from_slice(&state.versions[*pfn as usize].to_le_bytes());
        }
        Ok(())
    }
    fn suspend(&mut self) -> Result<(), ImageError> {
        self.run();
        self.state.borrow_mut().running = false;
        Ok(())
    }
    fn resume(&mut self) -> Result<(), ImageError> {
        let mut state = self.state.borrow_mut();
        state.running = true;
        state.resumed = true;
        state.throttle = 0;
        Ok(())
    }
    fn throttle(&mut self, percent: u8) -> Result<(), ImageError> {
        self.run();
        self.state.borrow_mut().throttle = percent;
        Ok(())
    }
    fn put_state(&mut self, _: &mut dyn ImageSink) -> Result<(), ImageError> {
        Ok(())
    }
}

/// The copy at the other end, behind a link of so many bytes per second.
struct Link {
    time: Time,
    bytes_per_second: f64,
    copy: HashMap<u64, u64>,
    bytes: u64,
    fail_after: Option<u64>,
}

impl ImageSink for Link {
    fn put(&mut self, item: Item<'_>) -> Result<(), ImageError> {
        let Item::Pages(batch) = item else { return Ok(()) };
        assert_eq!(batch.data.len(), batch.data_pages() * PAGE_SIZE);
        for (entry, data) in batch.pages() {
            assert_eq!(data.is_some(), entry.content == PageContent::Data);
            let version = data.map_or(0, |data| u64::from_le_bytes(data[..8].try_into().unwrap()));
            self.copy.insert(entry.pfn, version);
        }
        self.bytes += batch.data.len() as u64;
        if self.fail_after.is_some_and(|limit| self.bytes > limit) {
            return Err(ImageError::Peer("cut".to_owned()));
        }
        self.time
            .sleep(Duration::from_secs_f64(batch.data.len() as f64 / self.bytes_per_second));
        Ok(())
    }
}

/// Checks that no page goes out twice in a round.
struct Watch {
    last: Progress,
    reports: u64,
}

impl Observer for Watch {
    fn progress(&mut self, progress: &Progress) -> Result<(), ImageError> {
        assert!(progress.round_done <= progress.round_total, "{progress:?}");
        assert!(progress.pages_sent >= self.last.pages_sent);
        self.last = *progress;
        self.reports += 1;
        Ok(())
    }
}

const PAGES: u64 = 16_384;
const MIB: f64 = (1 << 20) as f64;

struct Run {
    result: Result<Summary, ImageError>,
    guest: Simulated,
    link: Link,
}

fn relocate(
    writer: Writer,
    dirty: f64,
    link: f64,
    options: &LiveOptions,
    set: impl FnOnce(&mut Simulated, &mut Link),
) -> Run {
    let time = Time::default();
    let mut guest = Simulated::new(&time, PAGES, writer, dirty / PAGE_SIZE as f64);
    let mut link = Link {
        time: time.clone(),
        bytes_per_second: link,
        copy: HashMap::new(),
        bytes: 0,
        fail_after: None,
    };
    set(&mut guest, &mut link);
    let mut watch = Watch {
        last: Progress::default(),
        reports: 0,
    };
    let result = precopy::live(&mut guest, options, &time, &mut link, &mut watch);
    if result.is_ok() {
        assert!(watch.last.suspended);
        let state = guest.state.borrow();
        for (pfn, version) in state.versions.iter().enumerate() {
            assert_eq!(link.copy.get(&(pfn as u64)), Some(version), "page {pfn} is stale");
        }
    }
    Run { result, guest, link }
}

fn run(writer: Writer, dirty: f64, link: f64, options: &LiveOptions) -> (Summary, u64) {
    let run = relocate(writer, dirty, link, options, |_, _| ());
    (run.result.unwrap(), run.link.bytes)
}

#[test]
fn an_idle_guest_takes_one_round_and_no_downtime() {
    let (summary, bytes) = run(Writer::Idle, 0.0, 100.0 * MIB, &LiveOptions::default());
    assert_eq!(bytes, PAGES * PAGE_SIZE as u64);
    assert_eq!(summary.rounds.len(), 2);
    assert_eq!(summary.copy_time, Duration::ZERO);
}

#[test]
fn a_sweeping_writer_converges_near_the_optimum() {
    // Every page written is another page: each round leaves r times what the round before sent. 64 MiB, 20 of 100 MiB/s: at best
    // 64 (1 + r + r^2 + ...) MiB, and rounds until 0.3 s of the link, 30 MiB, is left: after the first, 12.8 MiB are.
    let (summary, bytes) = run(Writer::Sweep, 20.0 * MIB, 100.0 * MIB, &LiveOptions::default());
    let optimum = 64.0 * MIB * 1.2;
    assert!((bytes as f64) < optimum * 1.02, "{bytes}");
    assert_eq!(summary.rounds.len(), 2, "{summary:?}");
    assert!(summary.copy_time < Duration::from_millis(135), "{summary:?}");
    assert_eq!(summary.last_copy, LastCopy::Fits);
    // A tighter downtime takes more rounds, and keeps to it.
    let tight = LiveOptions {
        max_downtime: Duration::from_millis(5),
        ..LiveOptions::default()
    };
    let (summary, bytes) = run(Writer::Sweep, 20.0 * MIB, 100.0 * MIB, &tight);
    assert!((bytes as f64) < 64.0 * MIB / (1.0 - 0.2) * 1.02, "{bytes}");
    assert!(summary.copy_time <= Duration::from_millis(6), "{summary:?}");
}

#[test]
fn a_hot_set_is_sent_about_once_in_the_end() {
    // 4 MiB hot, rewritten all the time faster than the link: the first round skips it, the last copy sends it.
    let (summary, bytes) = run(Writer::Hot(1024), 400.0 * MIB, 100.0 * MIB, &LiveOptions::default());
    assert!((bytes as f64) <= 64.0 * MIB * 1.07, "{bytes}");
    assert!(summary.copy_time <= Duration::from_millis(41), "{summary:?}");
}

#[test]
fn a_guest_faster_than_the_link_is_stopped_after_a_bounded_effort() {
    for writer in [Writer::Sweep, Writer::Uniform] {
        let options = LiveOptions {
            max_downtime: Duration::from_millis(30),
            ..LiveOptions::default()
        };
        let (summary, bytes) = run(writer, 300.0 * MIB, 100.0 * MIB, &options);
        assert_eq!(summary.last_copy, LastCopy::NotConverging);
        assert!(summary.rounds.len() <= 20, "{summary:?}");
        assert!(bytes <= 3 * PAGES * PAGE_SIZE as u64, "{bytes}");
    }
}

#[test]
fn a_guest_faster_than_the_link_can_be_left_alone() {
    let options = LiveOptions {
        on_no_convergence: OnNoConvergence::Abort,
        ..LiveOptions::default()
    };
    let run = relocate(Writer::Sweep, 300.0 * MIB, 100.0 * MIB, &options, |_, _| ());
    let error = run.result.unwrap_err().to_string();
    assert!(error.contains("dirties memory faster"), "{error}");
    let state = run.guest.state.borrow();
    assert!(state.running && state.resumed);
}

#[test]
fn a_guest_faster_than_the_link_can_be_slowed_down() {
    let options = LiveOptions {
        on_no_convergence: OnNoConvergence::Throttle,
        ..LiveOptions::default()
    };
    let (summary, _) = run(Writer::Sweep, 300.0 * MIB, 100.0 * MIB, &options);
    assert_eq!(summary.last_copy, LastCopy::Fits, "{summary:?}");
    assert!(summary.throttle >= 40, "{summary:?}");
    assert!(summary.copy_time <= Duration::from_millis(320), "{summary:?}");
}

#[test]
fn bursts_are_waited_out() {
    let (summary, _) = run(Writer::Bursts, 60.0 * MIB, 100.0 * MIB, &LiveOptions::default());
    assert_eq!(summary.last_copy, LastCopy::Fits);
    assert!(summary.copy_time <= Duration::from_millis(330), "{summary:?}");
}

#[test]
fn the_bandwidth_limit_holds_while_the_guest_runs() {
    let options = LiveOptions {
        bandwidth: Some(10 << 20),
        ..LiveOptions::default()
    };
    let (summary, _) = run(Writer::Idle, 0.0, 1000.0 * MIB, &options);
    let rate = 64.0 / summary.rounds[0].time.as_secs_f64();
    assert!((9.5..10.7).contains(&rate), "{rate} MiB/s");
}

#[test]
fn a_broken_link_leaves_the_guest_running() {
    for limit in [0, 1 << 20, 63 << 20, 65 << 20] {
        let run = relocate(
            Writer::Sweep,
            20.0 * MIB,
            100.0 * MIB,
            &LiveOptions::default(),
            |_, link| link.fail_after = Some(limit),
        );
        assert_eq!(run.result.unwrap_err().to_string(), "cut");
        let state = run.guest.state.borrow();
        assert!(state.running && state.resumed);
    }
}

#[test]
fn offline_sends_every_page_once_and_zeros_for_nothing() {
    let time = Time::default();
    let mut guest = Simulated::new(&time, PAGES, Writer::Sweep, 1e6);
    guest.state.get_mut().versions[..4096].fill(0);
    let mut link = Link {
        time: time.clone(),
        bytes_per_second: 100.0 * MIB,
        copy: HashMap::new(),
        bytes: 0,
        fail_after: None,
    };
    let mut watch = Watch {
        last: Progress::default(),
        reports: 0,
    };
    let summary = precopy::offline(&mut guest, &time, &mut link, &mut watch).unwrap();
    assert_eq!((summary.pages(), summary.rounds[0].zero_pages), (PAGES, 4096));
    assert_eq!(link.bytes, (PAGES - 4096) * PAGE_SIZE as u64);
    assert_eq!(link.copy.len() as u64, PAGES);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever the guest writes, and however late the hints: the copy is the guest (checked in `relocate`).
    #[test]
    fn the_copy_is_the_guest(kind in 0..5_u8, hot in 1..PAGES, dirty in 0.0..400.0_f64, link in 20.0..500.0_f64, hints in 1..5_u64, downtime in 0..500_u64) {
        let writer = [Writer::Idle, Writer::Sweep, Writer::Hot(hot), Writer::Uniform, Writer::Bursts][kind as usize];
        let options = LiveOptions { max_downtime: Duration::from_millis(downtime), ..LiveOptions::default() };
        let run = relocate(writer, dirty * MIB, link * MIB, &options, |guest, _| guest.hints = hints);
        prop_assert!(run.result.unwrap().rounds.len() <= 31);
    }
}
