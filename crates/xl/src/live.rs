//! A domain's image goes out while the domain runs: `xl migrate`, with relocd as the receiver.
//!
//! ```text
//! xl → relocd   the image, in rounds; then the domain is suspended and the rest follows
//! xl ← relocd   the banner before it, and nothing behind it
//! ```
//!
//! What stock xl does next, rename, let go, wait for a report, is where it loses domains (its receiver may have started the domain or not). So it never gets
//! there: once it has sent everything and waits for the word `ready`, its whole process group is stopped by signal, before anything is committed. From then on it can't
//! resume the domain, whatever breaks and whoever dies.
//!
//! | the decision | |
//! |---|---|
//! | resume | its pipes are closed and it may run: it finds the end of its pipe, and lets the domain run on |
//! | destroy | it is killed as it stands, and the domain destroyed |
//! | none yet, and this daemon dies | it stays as it is; the next daemon finds it by its note |

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use image::ImageSink;
use nix::sys::signal::Signal;
use toolstack::{Departed, Departure, LiveOptions, Observer, OnNoConvergence, Result, ToolstackError};

use crate::{
    decide::DepartedDomain,
    depart::{self, Broken, Pump, SILENCE, Taken},
    host::Host,
    pipe::Timed,
    program::Running,
    running::Held,
    transport::{PIPE, TRANSPORT_COMMAND},
};

/// What a receiver says first (Xen 4.1 to today).
const BANNER: &[u8] = b"xl migration receiver ready, send binary domain data.\n";
/// How long xl may take to start its transport.
const STARTING: Duration = Duration::from_secs(30);
/// How long a process group may take to stop.
const STOPPING: Duration = Duration::from_secs(5);

pub(crate) fn live(
    host: &Arc<Host>,
    departure: &Departure<'_>,
    options: &LiveOptions,
    image: &mut dyn ImageSink,
    observer: &mut dyn Observer,
) -> Result<Box<dyn Departed>> {
    let id = departure.id;
    if options.on_no_convergence != OnNoConvergence::Stop {
        return Err(ToolstackError::Unsupported {
            toolstack: "xl",
            what: "slow a domain down or tell early that it does not converge: leave out --on-no-convergence, or stop",
        });
    }
    let Taken { own, pages } = depart::take(host, departure)?;
    match migrate(host, departure, pages, options, image, observer) {
        Ok((held, suspended)) => {
            let departed = DepartedDomain::new(Arc::clone(host), id, departure.relocation, own, suspended);
            Ok(Box::new(departed.held(held)))
        }
        Err(broken) => Err(depart::undo(host, departure, &own, broken)),
    }
}

/// The whole copy. The xl that waits for a word, stopped, and since when the domain stands still.
fn migrate(
    host: &Host,
    departure: &Departure<'_>,
    pages: u64,
    options: &LiveOptions,
    image: &mut dyn ImageSink,
    observer: &mut dyn Observer,
) -> std::result::Result<(Held, Instant), Broken> {
    let id = departure.id.to_string();
    let door = Door::open(host, departure)?;
    let command = door.command(host);
    // The name of the host is only handed on to the transport.
    let arguments = ["migrate", "-s", &command, &id, "destination"];
    let mut running = host.program.hold(&host.helper, &arguments)?;
    let noted = host.groups.note(departure.relocation, running.group())?;
    let (socket, process) = door.transport(&mut running)?;
    drop(door);
    let open = |number, file: &mut fs::OpenOptions| {
        let path = format!("/proc/{process}/fd/{number}");
        file.open(&path).map_err(ToolstackError::io(path))
    };
    let from_xl = open(0, File::options().read(true))?;
    let mut to_xl = open(1, File::options().write(true))?;
    to_xl
        .write_all(BANNER)
        .map_err(ToolstackError::io("the pipe to xl migrate"))?;
    let from_xl = Timed::new(from_xl, SILENCE).map_err(ToolstackError::io("the pipe from xl migrate"))?;
    let mut pump = Pump::live(image, observer, pages, options.bandwidth);
    let pumped = depart::read(from_xl, &mut pump);
    if pumped.is_err() {
        // Without its pipes and its transport it lets the domain run on.
        drop((to_xl, socket));
        let ended = depart::end(&mut running, pumped);
        let may_suspend = running.is_cut_short() && pump.may_have_asked();
        if may_suspend {
            noted.cut_short();
        }
        return Err(Broken {
            error: ended
                .err()
                .unwrap_or_else(|| ToolstackError::Failed("xl migrate has ended too early".to_owned())),
            may_suspend,
        });
    }
    // Its transport has this pipe as well, and keeps it until it is let go.
    drop(to_xl);
    let suspended = pump.suspended.unwrap_or_else(Instant::now);
    let held = Held::new(running, socket, noted);
    if let Err(error) = stop(host, departure, &held) {
        held.release();
        return Err(error.into());
    }
    Ok((held, suspended))
}

/// Stops xl, and looks whether it has stopped and the domain stands still. If not, what holds xl goes, and the domain runs on.
fn stop(host: &Host, departure: &Departure<'_>, held: &Held) -> Result<()> {
    let failed = |what: &str| ToolstackError::Failed(format!("xl migrate has sent everything, but {what}"));
    held.signal(Signal::SIGSTOP);
    let begun = Instant::now();
    while !held.is_stopped() {
        if begun.elapsed() > STOPPING {
            return Err(failed("can't be stopped"));
        }
        thread::sleep(Duration::from_millis(1));
    }
    if !host.row(departure.id)?.flags.is_suspended() {
        return Err(failed("the domain does not stand still"));
    }
    Ok(())
}

/// Where the transport comes to.
struct Door {
    path: PathBuf,
    listener: UnixListener,
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Door {
    fn open(host: &Host, departure: &Departure<'_>) -> Result<Door> {
        // Short: the path of a socket has 107 bytes.
        let name = departure.relocation.simple().to_string();
        let path = host.directory.join(name.get(..12).unwrap_or("transport"));
        let _ = fs::remove_file(&path);
        let bound = UnixListener::bind(&path).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        let listener = bound.map_err(ToolstackError::io(path.display().to_string()))?;
        Ok(Door { path, listener })
    }

    /// For `sh -c "exec COMMAND ..."`.
    fn command(&self, host: &Host) -> String {
        let (helper, socket) = (quoted(&host.helper), quoted(&self.path));
        format!("{helper} {TRANSPORT_COMMAND} {PIPE} {socket}")
    }

    /// Waits for the transport: its connection, and the number of its process.
    fn transport(&self, running: &mut Running) -> Result<(UnixStream, i32)> {
        let io = |error: io::Error| ToolstackError::io("the transport of xl migrate")(error);
        let begun = Instant::now();
        let stream = loop {
            match self.listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(io(error)),
            }
            if running.ended()?.is_some() || begun.elapsed() > STARTING {
                running.finish(Duration::ZERO)?;
                return Err(ToolstackError::Failed("xl migrate has ended at once".to_owned()));
            }
            thread::sleep(Duration::from_millis(5));
        };
        stream
            .set_nonblocking(false)
            .and_then(|()| stream.set_read_timeout(Some(STARTING)))
            .map_err(io)?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).map_err(io)?;
        let process = line.trim().parse().map_err(|_| io(io::ErrorKind::InvalidData.into()))?;
        Ok((stream, process))
    }
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}
