//! The machine processes of this host: made, found again, cleared away.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::{
        fd::AsRawFd,
        unix::{fs::DirBuilderExt, net::UnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{self, Stdio},
    thread,
    time::{Duration, Instant},
};

use domain::DomainConfig;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use toolstack::{DomainId, Result, ToolstackError};
use uuid::Uuid;

use crate::{
    MACHINE_COMMAND,
    guest::order,
    memory::GuestMemory,
    protocol::{ANSWER_TIME, Answer, Command, Line, Phase},
};

/// How long a machine process may take to open its socket.
const START_TIME: Duration = Duration::from_secs(10);

/// A directory without a machine is cleared away once it is this old: a younger one is being made.
const STALE: Duration = Duration::from_secs(30);

/// The directory of all machines. Each has one of its own, named by its domain's number, with `config.sxp` and the socket `control`.
pub(super) struct Machines {
    directory: PathBuf,
    program: PathBuf,
    console_kib: u32,
}

/// A machine that answers.
pub(super) struct Found {
    pub(super) id: DomainId,
    pub(super) config: DomainConfig,
    pub(super) line: Line,
    pub(super) phase: Phase,
    pub(super) waiting: bool,
    pub(super) cpu_microseconds: u64,
    pub(super) suspended: Duration,
}

/// A machine in the making; it goes away with the line.
pub(super) struct Built {
    pub(super) id: DomainId,
    pub(super) line: Line,
}

impl Machines {
    pub(super) fn open(directory: &Path, program: PathBuf, console_kib: u32) -> Result<Machines> {
        let directory = std::path::absolute(directory).map_err(ToolstackError::io("the state directory"))?;
        let making = ToolstackError::io(format!("making {}", directory.display()));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(making)?;
        Ok(Machines {
            directory,
            program,
            console_kib,
        })
    }

    /// The numbers and configurations of all machines, whether they answer or not.
    pub(super) fn configs(&self) -> Result<Vec<(DomainId, DomainConfig)>> {
        let reading = || ToolstackError::io(format!("reading {}", self.directory.display()));
        let mut machines = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(reading())? {
            let entry = entry.map_err(reading())?;
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // One that is being made or cleared away has none.
            let text = match fs::read(entry.path().join("config.sxp")) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                // Not to be able to look is not to see nothing.
                Err(error) => return Err(reading()(error)),
            };
            match parse_config(&text) {
                Ok(config) => machines.push((id, config)),
                Err(reason) => tracing::error!(id, reason, "the configuration of a domain can't be read"),
            }
        }
        machines.sort_by_key(|(id, _)| *id);
        Ok(machines)
    }

    /// The machines of a domain. An error if one does not answer: what it would say is not known.
    pub(super) fn of(&self, uuid: Uuid) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        for (id, config) in self.configs()? {
            if config.uuid == uuid {
                found.extend(self.ask(id, config)?);
            }
        }
        Ok(found)
    }

    pub(super) fn find(&self, id: DomainId) -> Result<Option<Found>> {
        let config = self.configs()?.into_iter().find(|(other, _)| *other == id);
        config.map_or(Ok(None), |(id, config)| self.ask(id, config))
    }

    /// A machine's phase; `None` if its process has ended.
    ///
    /// # Errors
    /// If it is there, or may be, and does not answer.
    pub(super) fn ask(&self, id: DomainId, config: DomainConfig) -> Result<Option<Found>> {
        let path = self.path(id);
        let stream = match connect(&path) {
            Ok(stream) => stream,
            Err(error) => {
                if !matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) {
                    return Err(ToolstackError::io(format!("asking domain {id}"))(error));
                }
                self.clear(&path, &error);
                return Ok(None);
            }
        };
        let mut line = Line::new(stream);
        let status = line.send(&Command::Status).and_then(|()| line.receive());
        match status {
            Ok(Answer::Status {
                phase,
                waiting,
                cpu_microseconds,
                suspended_microseconds,
            }) => {
                let suspended = Duration::from_micros(suspended_microseconds);
                Ok(Some(Found {
                    id,
                    config,
                    line,
                    phase,
                    waiting,
                    cpu_microseconds,
                    suspended,
                }))
            }
            // It has ended since the connection was made.
            Err(error) if error.is_gone() => Ok(None),
            other => {
                tracing::warn!(id, ?other, "a machine does not answer");
                Err(ToolstackError::Failed(format!(
                    "the machine of domain {id} does not answer"
                )))
            }
        }
    }

    /// Clears a directory whose machine has died: with it went the domain.
    fn clear(&self, path: &Path, error: &io::Error) {
        let dead = match error.kind() {
            io::ErrorKind::ConnectionRefused => true,
            io::ErrorKind::NotFound => fs::metadata(path)
                .and_then(|data| data.modified())
                .is_ok_and(|at| at.elapsed().is_ok_and(|age| age > STALE)),
            _ => false,
        };
        if dead {
            tracing::warn!(path = %path.display(), "a machine has gone without clearing up");
            let _ = fs::remove_dir_all(path);
        }
    }

    fn path(&self, id: DomainId) -> PathBuf {
        self.directory.join(id.to_string())
    }

    /// Makes a machine process around this memory, and holds it.
    pub(super) fn build(&self, config: &DomainConfig, relocation: Option<Uuid>, memory: &GuestMemory) -> Result<Built> {
        // Names and numbers are given out one at a time, whichever process asks.
        let lock = self.directory.join("lock");
        let locking = || ToolstackError::io(format!("locking {}", lock.display()));
        let lock = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&lock)
            .map_err(locking())?;
        lock.lock().map_err(ToolstackError::io("locking the machines"))?;
        self.check_name(config, relocation)?;
        let id = self.next_id()?;
        let path = self.path(id);
        let built = self.start(id, &path, config, relocation, memory);
        if built.is_err() {
            let _ = fs::remove_dir_all(&path);
        }
        built
    }

    fn check_name(&self, config: &DomainConfig, relocation: Option<Uuid>) -> Result<()> {
        for (id, other) in self.configs()? {
            if other.name != config.name && other.uuid != config.uuid {
                continue;
            }
            // The same domain on its way from this host to this host. One that does not answer has its name all the same.
            let itself = match self.ask(id, other) {
                Ok(None) => true,
                Ok(Some(found)) => match found.phase {
                    Phase::Departing { relocation: held, .. } | Phase::Suspended { relocation: held, .. } => {
                        relocation == Some(held)
                    }
                    _ => false,
                },
                Err(_) => false,
            };
            if !itself {
                return Err(ToolstackError::NameTaken {
                    name: config.name.clone(),
                    id,
                });
            }
        }
        Ok(())
    }

    /// A number that no domain has had here.
    fn next_id(&self) -> Result<DomainId> {
        let path = self.directory.join("next-domid");
        let last = fs::read_to_string(&path)
            .ok()
            .and_then(|text| text.trim().parse::<DomainId>().ok())
            .unwrap_or(1);
        let highest = self.configs()?.last().map_or(0, |(id, _)| *id);
        let id = last.max(highest.saturating_add(1));
        // Beside it first: on a full disk the old one must not be lost.
        let new = path.with_extension("new");
        fs::write(&new, format!("{}\n", id.saturating_add(1)))
            .and_then(|()| fs::rename(&new, &path))
            .map_err(ToolstackError::io(format!("writing {}", path.display())))?;
        Ok(id)
    }

    fn start(
        &self,
        id: DomainId,
        path: &Path,
        config: &DomainConfig,
        relocation: Option<Uuid>,
        memory: &GuestMemory,
    ) -> Result<Built> {
        let failed = |what: &str| ToolstackError::io(format!("{what} {}", path.display()));
        DirBuilder::new().mode(0o700).create(path).map_err(failed("making"))?;
        let mut text = sxp::to_bytes(&config.to_sxp());
        text.push(b'\n');
        fs::write(path.join("config.sxp"), text).map_err(failed("writing config.sxp in"))?;
        let log = File::create(path.join("log")).map_err(failed("making the log in"))?;
        let (ram, flags) = memory.files();
        let clone = |file: std::os::fd::BorrowedFd<'_>| {
            file.try_clone_to_owned()
                .map_err(ToolstackError::io("sharing guest memory"))
        };
        let mut child = process::Command::new(&self.program)
            .arg(MACHINE_COMMAND)
            .arg(path)
            .arg(self.console_kib.to_string())
            .args(relocation.map(|id| id.to_string()))
            .env_clear()
            .stdin(Stdio::from(clone(ram)?))
            .stdout(Stdio::from(clone(flags)?))
            .stderr(Stdio::from(log))
            // A terminal's Ctrl-C is for the daemon, not for its domains.
            .process_group(0)
            .spawn()
            .map_err(ToolstackError::io(format!("starting {}", self.program.display())))?;
        let begun = Instant::now();
        let stream = loop {
            match connect(path) {
                Ok(stream) => break stream,
                Err(error) => {
                    let ended = child.try_wait().ok().flatten();
                    if ended.is_some() || begun.elapsed() > START_TIME {
                        let _ = child.kill();
                        let _ = child.wait();
                        let said = fs::read_to_string(path.join("log")).unwrap_or_default();
                        return Err(ToolstackError::Failed(format!(
                            "the machine process did not start: {error} {}",
                            said.trim()
                        )));
                    }
                    thread::sleep(Duration::from_millis(2));
                }
            }
        };
        // Its end is waited for, so that it leaves no zombie.
        thread::spawn(move || child.wait());
        let mut line = Line::new(stream);
        order(&mut line, &Command::Hold).map_err(|error| ToolstackError::Failed(error.to_string()))?;
        Ok(Built { id, line })
    }
}

fn parse_config(text: &[u8]) -> std::result::Result<DomainConfig, String> {
    let values = sxp::read_all(text, sxp::Limits::default()).map_err(|error| error.to_string())?;
    let value = values.first().ok_or("it is empty")?;
    DomainConfig::from_sxp(&value.to_sexp()).map_err(|error| error.to_string())
}

/// Connects to a machine. Its socket's path may be longer than a socket's address can be, its directory's descriptor is not.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let directory = File::open(path)?;
    let stream = UnixStream::connect(format!("/proc/self/fd/{}/control", directory.as_raw_fd()))?;
    stream.set_read_timeout(Some(ANSWER_TIME))?;
    stream.set_write_timeout(Some(ANSWER_TIME))?;
    Ok(stream)
}

/// Maps the memory of the machine at the other end: its standard input and output.
pub(super) fn map(line: &Line) -> Result<GuestMemory> {
    let credentials =
        getsockopt(&line.stream, PeerCredentials).map_err(|errno| ToolstackError::Failed(errno.to_string()))?;
    let open = |descriptor: u32| {
        let path = format!("/proc/{}/fd/{descriptor}", credentials.pid());
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(ToolstackError::io(format!("opening guest memory at {path}")))
    };
    GuestMemory::map(open(0)?, open(1)?).map_err(|error| ToolstackError::Failed(error.to_string()))
}
