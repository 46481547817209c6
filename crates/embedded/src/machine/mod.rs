//! The machine process: one domain, executing, and the socket that it obeys.
//!
//! Its standard input and output are the two files of [`GuestMemory`]. One thread executes the guest and carries out orders between stretches of instructions, so that an
//! order sees the guest at rest; each connection has a thread that only passes orders on.

mod orders;
mod socket;

use std::{
    env, fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use uuid::Uuid;

use crate::{
    bus::{Bus, Halt, RAM_BASE, TICKS_PER_SECOND},
    console::{Scrollback, Watchers},
    cpu::{Cpu, Stop},
    memory::GuestMemory,
    protocol::Phase,
};
use orders::Order;

/// Instructions between two looks at the orders: a fraction of a millisecond.
const STRETCH: u64 = 50_000;

/// How often a machine looks whether its directory is still there: a machine that nobody can find must not go on for ever.
const LOOK: Duration = Duration::from_secs(1);

/// How long a machine that is being made waits for the daemon that makes it.
const UNCLAIMED: Duration = Duration::from_secs(20);

/// A whole machine.
struct Machine {
    directory: PathBuf,
    cpu: Cpu,
    bus: Bus,
    scrollback: Scrollback,
    watchers: Watchers,
    phase: Phase,
    /// The connection that a machine in the making, or departing, goes along with.
    holder: Option<u64>,
    /// Stands still for the last copy of a departure.
    stopped: bool,
    throttle: u8,
    busy: Duration,
    suspended: Option<Instant>,
    started: Instant,
}

/// The machine process. Arguments: its directory, KiB of console to keep, and for an arriving domain the relocation.
pub fn machine_main(arguments: &[String]) -> ExitCode {
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("machine: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &[String]) -> io::Result<()> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
    let (directory, console_kib, relocation) = match arguments {
        [directory, console] => (directory, console, None),
        [directory, console, relocation] => (directory, console, Some(relocation)),
        _ => return Err(wrong("this is a part of relocd, not for use by hand")),
    };
    let console_kib: usize = console_kib.parse().map_err(|_| wrong("KiB of console"))?;
    let relocation = relocation
        .map(|id| Uuid::parse_str(id))
        .transpose()
        .map_err(|_| wrong("relocation"))?;
    let ram = fs::File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let flags = fs::File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let memory = GuestMemory::map(ram, flags).map_err(io::Error::other)?;
    // A socket's path may have 108 bytes at most, a state directory more.
    env::set_current_dir(directory)?;
    let (orders, received) = channel();
    let listener = socket::bind(Path::new("control"))?;
    thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || socket::serve(&listener, &orders))?;
    let machine = Machine {
        directory: PathBuf::from(directory),
        cpu: Cpu::new(RAM_BASE),
        bus: Bus::new(Arc::new(memory)),
        scrollback: Scrollback::new(console_kib << 10),
        watchers: Watchers::default(),
        phase: Phase::Building { relocation },
        holder: None,
        stopped: false,
        throttle: 0,
        busy: Duration::ZERO,
        suspended: None,
        started: Instant::now(),
    };
    machine.run(&received);
    Ok(())
}

/// Whether the machine process goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Goes,
    Ends,
}

impl Machine {
    fn run(mut self, orders: &Receiver<Order>) {
        let mut looked = Instant::now();
        let mut wait = Duration::ZERO;
        loop {
            let order = if wait.is_zero() {
                orders.try_recv().map_err(|_| RecvTimeoutError::Timeout)
            } else {
                orders.recv_timeout(wait)
            };
            match order {
                Ok(order) => {
                    if self.order(order) == Life::Ends {
                        break;
                    }
                    // All that wait are carried out before the guest goes on.
                    wait = Duration::ZERO;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if looked.elapsed() > LOOK {
                looked = Instant::now();
                if !self.directory.join("control").exists() || self.is_unclaimed() {
                    break;
                }
            }
            if self.watchers.is_behind() {
                self.watchers.print(&[]);
            }
            wait = if self.executes() { self.execute() } else { LOOK };
        }
        let _ = fs::remove_dir_all(&self.directory);
    }

    fn is_unclaimed(&self) -> bool {
        matches!(self.phase, Phase::Building { .. }) && self.holder.is_none() && self.started.elapsed() > UNCLAIMED
    }

    /// Whether the guest executes now.
    fn executes(&self) -> bool {
        match self.phase {
            Phase::Running => true,
            Phase::Departing { paused, .. } => !paused && !self.stopped,
            _ => false,
        }
    }

    /// Keeps the clock in step with whether the guest executes.
    fn watch(&mut self) {
        if self.executes() {
            self.bus.resume_clock();
        } else {
            self.bus.stop_clock();
        }
    }

    /// One stretch; gives how long to wait before the next.
    fn execute(&mut self) -> Duration {
        self.bus.resume_clock();
        self.bus.update_clock();
        let begun = Instant::now();
        let stop = self.cpu.run(&mut self.bus, STRETCH);
        let took = begun.elapsed();
        self.busy += took;
        if !self.bus.output.is_empty() {
            self.scrollback.push(&self.bus.output);
            self.watchers.print(&self.bus.output);
            self.bus.output.clear();
        }
        match stop {
            Stop::Spent if self.throttle > 0 => {
                took.mul_f64(f64::from(self.throttle) / f64::from(100 - self.throttle.min(99)))
            }
            Stop::Spent => Duration::ZERO,
            Stop::Waiting => {
                let ticks = self.bus.time_compare.saturating_sub(self.bus.time);
                let nanoseconds = u128::from(ticks) * 1_000_000_000 / u128::from(TICKS_PER_SECOND);
                Duration::from_nanos(nanoseconds.clamp(1, 100_000_000) as u64)
            }
            Stop::Halted(halt) => {
                self.phase = Phase::Crashed;
                if halt == Halt::PowerOff {
                    let _ = fs::remove_file(self.directory.join("control"));
                }
                Duration::from_millis(1)
            }
        }
    }
}
