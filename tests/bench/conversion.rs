//! `cargo bench --bench conversion`: how fast and how lean a legacy image in a file is converted, next to Xen's own converter and to reading it only.
//!
//! The image is of a 64-bit PV guest; its file is one that the system has in memory. What runs is the program itself, `relocd image convert IMAGE - >OUT`; what
//! it does through buffers when its input is no file (in this program, without the program's start); and `convert-legacy-stream`. Each is a process of its
//! own and a single thread; they take turns, and the median counts. Exits with 1 if the bar on memory is missed; bars on time are printed only.
//!
//! What the figures mean: the work of a conversion is in entries and registers, a few MiB; all the rest is the contents of pages, which every converter
//! hands on as they are. From a file the program leaves them to the system. To `/dev/null`, where the bar is, the system then has nothing to copy, and what
//! is measured is the conversion without a single copy of its pages; the others have read theirs. To a file (on the file system of `TMPDIR`) the pages
//! are copied for everybody, once by the system, twice through buffers, and part of the time is the file system's: that is the figure for practice. With
//! the names of two files the program also waits until all is on the disk, which nobody else does.
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
    fs::{self, File},
    io::{BufWriter, Read as _},
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use image::{
    convert::legacy_to_xl_save,
    legacy::{LegacyGuest, LegacyOptions, LegacySource},
    save::SaveConfig,
};
use images::Legacy;
use nix::sys::resource::{UsageWho, getrusage};
use table::{Bar, Table};
use xen::XenTools;

const RELOCD: &str = env!("CARGO_BIN_EXE_relocd");

const NOWHERE: &str = "/dev/null";

const TURNS: usize = 5;

/// MB/s: 10^6 bytes.
const MB: f64 = 1e6;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["buffered", image, out] => buffered(image, out),
        ["read", image] => read(image),
        ["memory", image] => memory(image),
        _ => return measure(),
    }
    ExitCode::SUCCESS
}

/// Converts an image through buffers, as the program does it from a pipe or a connection.
fn buffered(image: &str, out: &str) {
    let options = LegacyOptions {
        guest: LegacyGuest::Pv,
        max_pages: 1 << 26,
        check_registers: true,
    };
    let mut source = LegacySource::new(File::open(image).unwrap(), options);
    let out = BufWriter::new(open(Path::new(out)));
    legacy_to_xl_save(&mut source, SaveConfig::Absent, out).unwrap();
}

/// Reads an image, and nothing more.
fn read(image: &str) {
    let mut file = File::open(image).unwrap();
    let mut buffer = vec![0; 4 << 20];
    while file.read(&mut buffer).unwrap() > 0 {}
}

/// Converts an image, and says how many KiB of memory that took. In a process of its own, for what a process has had before it becomes another program
/// counts as well.
fn memory(image: &str) {
    program(Path::new(image), Path::new(NOWHERE));
    println!("{}", getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss());
}

/// `relocd image convert IMAGE - >OUT`.
fn program(image: &Path, out: &Path) {
    succeeds(
        Command::new(RELOCD)
            .args(["image", "convert"])
            .arg(image)
            .arg("-")
            .stdout(open(out)),
    );
}

/// `relocd image convert IMAGE OUT`.
fn program_synced(image: &Path, out: &Path) {
    succeeds(Command::new(RELOCD).args(["image", "convert"]).args([image, out]));
}

/// A file or a device, to be written.
fn open(out: &Path) -> File {
    File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .open(out)
        .unwrap()
}

/// Runs a part of this program as a process; what it said.
fn again(part: &str, arguments: &[&Path]) -> String {
    let program = std::env::current_exe().unwrap();
    succeeds(Command::new(program).arg(part).args(arguments))
}

fn succeeds(command: &mut Command) -> String {
    let output = command.stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
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

/// Programs that do the same, in turn.
struct Race<'a> {
    to: &'a Path,
    ours: Vec<Took>,
    buffered: Vec<Took>,
    theirs: Vec<Took>,
}

impl<'a> Race<'a> {
    fn run(image: &Path, to: &'a Path, xen: Option<&XenTools>) -> Race<'a> {
        let mut race = Race {
            to,
            ours: Vec::new(),
            buffered: Vec::new(),
            theirs: Vec::new(),
        };
        for _ in 0..TURNS {
            race.ours.push(race.turn(|| program(image, to)));
            race.buffered.push(race.turn(|| drop(again("buffered", &[image, to]))));
            if let Some(xen) = xen {
                race.theirs.push(race.turn(|| xen.convert(image, to, 8, true).unwrap()));
            }
        }
        race
    }

    /// One turn. A file is made anew in each.
    fn turn(&self, what: impl FnOnce()) -> Took {
        let took = Took::of(what);
        if self.to.is_file() {
            fs::remove_file(self.to).unwrap();
        }
        took
    }
}

fn measure() -> ExitCode {
    let mib = std::env::var("RELOCD_BENCH_MIB").map_or(1024, |text| text.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let (image, out) = (directory.path().join("image"), directory.path().join("out"));
    let pages = (mib << 20) / 4096 + 2;
    let legacy = Legacy {
        pages,
        batch: 1024,
        ..Legacy::pv64()
    };
    let mut file = BufWriter::new(File::create(&image).unwrap());
    legacy.write(&mut file).unwrap();
    file.into_inner().unwrap().sync_all().unwrap();
    let length = image.metadata().unwrap().len() as f64;
    let xen = XenTools::find("the comparison with convert-legacy-stream");
    let plain: Vec<Took> = (0..TURNS)
        .map(|_| Took::of(|| drop(again("read", &[&image]))))
        .collect();
    let nowhere = Race::run(&image, Path::new(NOWHERE), xen.as_ref());
    let file = Race::run(&image, &out, xen.as_ref());
    let synced: Vec<Took> = (0..TURNS).map(|_| file.turn(|| program_synced(&image, &out))).collect();
    let kib: f64 = again("memory", &[&image]).trim().parse().unwrap();

    let mut table = Table::default();
    let speed = |turns: &[Took]| length / MB / median(turns, |took| took.all);
    let busy = |turns: &[Took]| length / MB / median(turns, Took::processor);
    table.figure("reading only: MB/s", speed(&plain));
    table.bar("to /dev/null: MB/s", speed(&nowhere.ours), Bar::time_at_least(1000.0));
    table.figure("to /dev/null, buffered: MB/s", speed(&nowhere.buffered));
    table.figure("to a file: MB/s", speed(&file.ours));
    table.figure("to a file, buffered: MB/s", speed(&file.buffered));
    table.figure("to a file, and until it is on the disk: MB/s", speed(&synced));
    if xen.is_some() {
        table.figure("convert-legacy-stream, to /dev/null: MB/s", speed(&nowhere.theirs));
        table.figure("convert-legacy-stream, to a file: MB/s", speed(&file.theirs));
        table.bar(
            "to /dev/null / convert-legacy-stream",
            speed(&nowhere.ours) / speed(&nowhere.theirs),
            Bar::time_at_least(5.0),
        );
        table.figure(
            "to /dev/null, buffered / convert-legacy-stream",
            speed(&nowhere.buffered) / speed(&nowhere.theirs),
        );
        table.figure(
            "to a file / convert-legacy-stream",
            speed(&file.ours) / speed(&file.theirs),
        );
        table.figure(
            "to a file / the same, of processor time",
            busy(&file.ours) / busy(&file.theirs),
        );
    }
    // The bar: 32 MiB, and the p2m.
    let p2m = (pages * 8 / (1 << 20)) as f64;
    table.bar("memory, MiB", kib / 1024.0, Bar::at_most(32.0 + p2m));
    table.print();
    if table.is_met() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
