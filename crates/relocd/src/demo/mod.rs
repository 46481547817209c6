//! `relocd demo`: a domain relocates between two daemons on this machine, live and back offline.
//!
//! Everything is real: two processes of this program, their configuration files, their relocation ports, `xm`. Only the guest is a small one.

mod console;
mod daemons;

use std::{
    fs, io,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use console::Console;
use daemons::Daemon;
use peer::control::Migrated;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Why the demo stopped.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("interrupted")]
    Interrupted,
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("{0}")]
    Failed(String),
}

fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> DemoError {
    let what = what.into();
    move |source| DemoError::Io { what, source }
}

/// Set by Ctrl-C: whoever waits looks at it.
#[derive(Clone, Default)]
struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    fn check(&self) -> Result<(), DemoError> {
        if self.0.load(Ordering::Relaxed) {
            Err(DemoError::Interrupted)
        } else {
            Ok(())
        }
    }
}

/// Runs the demo with a domain of `memory` MiB that dirties `dirty` MB per second. 0 also after Ctrl-C: everything has been cleared away.
pub fn run(memory: u64, dirty: u64) -> ExitCode {
    let interrupt = Interrupt::default();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&interrupt.0)) {
            eprintln!("relocd demo: {error}");
            return ExitCode::FAILURE;
        }
    }
    match Demo::prepare(interrupt).and_then(|mut demo| demo.play(memory, dirty)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(DemoError::Interrupted) => {
            println!("\nInterrupted; everything has been cleared away.");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("relocd demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Removes the demo's directory when it is dropped: last of all.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Dropped in this order: the daemons end, then their directory goes.
struct Demo {
    interrupt: Interrupt,
    a: Daemon,
    b: Daemon,
    directory: Directory,
    _port: daemons::Port,
}

/// One line of the table.
struct Row {
    way: &'static str,
    moved: Migrated,
    verified: u64,
    bad: u64,
}

impl Demo {
    fn prepare(interrupt: Interrupt) -> Result<Demo, DemoError> {
        let path = std::env::temp_dir().join(format!("relocd-demo-{}", std::process::id()));
        let directory = Directory(path.clone());
        let make = fs::DirBuilder::new();
        make.create(&path)
            .map_err(io_error(format!("making {} (TMPDIR says where)", path.display())))?;
        let claimed = daemons::Port::choose()?;
        let port = claimed.number;
        if port == daemons::USUAL_PORT {
            println!("Two relocation daemons, on port {port}:");
        } else {
            println!(
                "Port {} is taken on this machine. Two relocation daemons, on port {port}:",
                daemons::USUAL_PORT
            );
        }
        let a = Daemon::start("A", "127.0.0.1", port, &path, &interrupt)?;
        let b = Daemon::start("B", "127.0.0.2", port, &path, &interrupt)?;
        Ok(Demo {
            interrupt,
            a,
            b,
            directory,
            _port: claimed,
        })
    }

    fn play(&mut self, memory: u64, dirty: u64) -> Result<(), DemoError> {
        let config = self.directory.0.join("web.cfg");
        let text = format!("name = \"web\"\nmemory = {memory}\nextra = \"dirty={dirty} verify=200 fill=random\"\n");
        fs::write(&config, &text).map_err(io_error(format!("writing {}", config.display())))?;
        println!(
            "\nA domain that dirties {dirty} MB/s and checks all of its memory, over and over. web.cfg:\n{}",
            indent(&text)
        );
        println!("A# xm create web.cfg");
        self.a.xm(&["create", &config.display().to_string()])?;
        println!("A# xm console web");
        let mut console = Console::open(&self.a, "web", &self.interrupt)?;
        console.show_ticks("A", 2)?;
        drop(console);

        let mut rows = Vec::new();
        // Live as over a gigabit link, so that there is something to see of it.
        let live = &["-l", "--bandwidth", "1Gbit"][..];
        for (way, from, to, options) in [("A to B", &self.a, &self.b, live), ("B to A", &self.b, &self.a, &[])] {
            println!(
                "\n{}# xm migrate {}",
                from.name,
                [options, &["web", to.address]].concat().join(" ")
            );
            let moved = from.migrate(to, options)?;
            println!("{}# xm list", to.name);
            to.xm(&["list"])?;
            println!("{}# xm console web", to.name);
            let mut console = Console::open(to, "web", &self.interrupt)?;
            // The second cycle to end has begun here.
            let (verified, bad) = console.verify(to.name, 2)?;
            console.check_ticks()?;
            rows.push(Row {
                way,
                moved,
                verified,
                bad,
            });
        }
        println!("\n{}", table(&rows));
        if rows.iter().any(|row| row.bad > 0 || row.verified == 0) {
            return Err(DemoError::Failed("the guest found its memory damaged".to_owned()));
        }
        println!("No tick is missing on the console, and every page is what the guest wrote.");
        println!("\nA# xm destroy web");
        self.a.xm(&["destroy", "web"])
    }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<8} {:<8} {:>6} {:>8} {:>12} {:>9} {:>10} {:>9} {:>5}\n",
        "way", "mode", "rounds", "pages", "on the wire", "total", "downtime", "verified", "bad"
    );
    for Row {
        way,
        moved,
        verified,
        bad,
    } in rows
    {
        let wire = format!("{:.1} MB", moved.wire_bytes as f64 / 1e6);
        let total = format!("{:.2} s", moved.total_ms / 1000.0);
        let downtime = format!("{:.1} ms", moved.downtime_ms);
        text += &format!(
            "{way:<8} {:<8} {:>6} {:>8} {wire:>12} {total:>9} {downtime:>10} {verified:>9} {bad:>5}\n",
            moved.mode, moved.rounds, moved.pages
        );
    }
    text
}

/// How long anything in the demo may take that should be quick.
const PATIENCE: Duration = Duration::from_secs(20);
