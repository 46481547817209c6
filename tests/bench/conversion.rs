//! `cargo bench --bench conversion`: how fast and how lean a legacy image is converted, next to Xen's own converter and to reading it only.
//!
//! An image of a 64-bit PV guest lies in a file that the system has in memory; what is made of it goes to `/dev/null`. Each program runs in a
//! process of its own, in turn, and the median counts. All of them are single threads. Exits with 1 if the bar on memory is missed; bars on time are
//! printed only. Both converters spend nearly all their time in the system's copy of the image, which no converter that reads it can avoid: so the figures
//! without it are printed as well.
//!
//! `RELOCD_BENCH_MIB`: MiB of the guest, instead of 1024. `RELOCD_XEN_TOOLS`: where Xen's converter is (see `tests/xen-tools`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../images/mod.rs"]
mod images;
#[allow(dead_code)]
mod table;
#[path = "../conversion/xen.rs"]
#[allow(dead_code)]
mod xen;

use std::{
    fs::File,
    io::{BufWriter, Read as _, Write as _},
    path::Path,
    process::{Command, ExitCode},
    time::Instant,
};

use image::{
    ImageSink as _, ImageSource as _, Item,
    legacy::{LegacyGuest, LegacyOptions, LegacySource},
    v2::V2Writer,
};
use images::Legacy;
use nix::sys::resource::{UsageWho, getrusage};
use table::{Bar, Table};
use xen::XenTools;

const TURNS: usize = 5;

/// MB/s: 10^6 bytes.
const MB: f64 = 1e6;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["convert", image] => convert(image),
        ["read", image] => read(image),
        _ => return measure(),
    }
    ExitCode::SUCCESS
}

/// Converts an image, and says how much memory that took.
fn convert(image: &str) {
    let options = LegacyOptions {
        guest: LegacyGuest::Pv,
        max_pages: 1 << 26,
        check_registers: true,
    };
    let mut source = LegacySource::new(File::open(image).unwrap(), options);
    let out = File::options().write(true).open("/dev/null").unwrap();
    let mut writer = V2Writer::new(BufWriter::new(out));
    loop {
        let item = source.next().unwrap();
        writer.put(item).unwrap();
        if matches!(item, Item::Finish) {
            break;
        }
    }
    println!("{}", getrusage(UsageWho::RUSAGE_SELF).unwrap().max_rss());
}

/// Reads an image, and nothing more.
fn read(image: &str) {
    let mut file = File::open(image).unwrap();
    let mut buffer = vec![0; 4 << 20];
    while file.read(&mut buffer).unwrap() > 0 {}
}

/// What a run took, in seconds.
#[derive(Clone, Copy)]
struct Took {
    all: f64,
    /// Of the processor, in the program itself and in the system.
    own: f64,
    system: f64,
}

impl Took {
    fn of(what: impl FnOnce()) -> Took {
        let usage = || {
            let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
            let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
            (seconds(usage.user_time()), seconds(usage.system_time()))
        };
        let (before, begun) = (usage(), Instant::now());
        what();
        let all = begun.elapsed().as_secs_f64();
        let after = usage();
        Took {
            all,
            own: after.0 - before.0,
            system: after.1 - before.1,
        }
    }

    fn processor(self) -> f64 {
        self.own + self.system
    }
}

fn median(turns: &[Took], figure: impl Fn(Took) -> f64) -> f64 {
    let mut figures: Vec<f64> = turns.iter().map(|took| figure(*took)).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn measure() -> ExitCode {
    let mib = std::env::var("RELOCD_BENCH_MIB").map_or(1024, |text| text.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    let pages = (mib << 20) / 4096 + 2;
    let legacy = Legacy {
        pages,
        batch: 1024,
        ..Legacy::pv64()
    };
    let mut file = BufWriter::new(File::create(&image).unwrap());
    legacy.write(&mut file).unwrap();
    file.flush().unwrap();
    let length = image.metadata().unwrap().len() as f64;
    let xen = XenTools::find("the comparison with convert-legacy-stream");
    let (mut ours, mut plain, mut theirs, mut kib) = (Vec::new(), Vec::new(), Vec::new(), 0.0_f64);
    for _ in 0..TURNS {
        plain.push(Took::of(|| drop(again("read", &image))));
        ours.push(Took::of(|| {
            kib = kib.max(again("convert", &image).trim().parse().unwrap())
        }));
        if let Some(xen) = &xen {
            theirs.push(Took::of(|| {
                xen.convert(&image, Path::new("/dev/null"), 8, true).unwrap()
            }));
        }
    }
    let mut table = Table::default();
    let speed = |turns: &[Took]| length / MB / median(turns, |took| took.all);
    let busy = |turns: &[Took]| length / MB / median(turns, Took::processor);
    table.bar("conversion: MB/s", speed(&ours), Bar::time_at_least(1000.0));
    table.figure("conversion: MB/s of processor time", busy(&ours));
    table.figure("reading only: MB/s of processor time", busy(&plain));
    if xen.is_some() {
        table.figure("convert-legacy-stream: MB/s", speed(&theirs));
        table.figure("convert-legacy-stream: MB/s of processor time", busy(&theirs));
        table.bar(
            "conversion / convert-legacy-stream",
            speed(&ours) / speed(&theirs),
            Bar::time_at_least(5.0),
        );
        table.figure("the same, of processor time", busy(&ours) / busy(&theirs));
        // Without the copies by the system, which are the same for both. It can be too short to be measured.
        let own = |turns: &[Took]| median(turns, |took| took.own).max(1e-3);
        table.figure("the same, outside the system", own(&theirs) / own(&ours));
    }
    // The bar: 32 MiB, and the p2m.
    let p2m = (pages * 8 / (1 << 20)) as f64;
    table.bar("conversion: memory, MiB", kib / 1024.0, Bar::at_most(32.0 + p2m));
    table.print();
    if table.is_met() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs a part of this program as a process; what it said.
fn again(part: &str, image: &Path) -> String {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program).arg(part).arg(image).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
