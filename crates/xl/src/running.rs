//! Notes of the process groups that relocations have, for a daemon that comes after one that was killed.
//!
//! An `xl save` or `xl restore` whose daemon has died finds its pipe broken, undoes what it did, and ends. Until then its domain is not at rest; and one that
//! hangs keeps the guest's memory. The next daemon waits for it, and ends it if that takes too long.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use toolstack::{Result, ToolstackError};
use uuid::Uuid;

use crate::program::{Running, end_group};

/// How long an `xl` may take to undo what it did, once its pipe is broken.
const UNDOING: Duration = Duration::from_secs(20);
/// How long processes may take to go once they have been killed: they may be in the hypervisor.
const GOING: Duration = Duration::from_secs(5);

/// The directory of the notes.
#[derive(Clone, Debug)]
pub(crate) struct Groups {
    directory: PathBuf,
}

/// A note, which goes with this.
pub(crate) struct Noted {
    path: PathBuf,
}

impl Noted {
    /// It stays: the guest may still suspend itself, and nobody has seen to that yet. Until [`Groups::forget`].
    pub(crate) fn cut_short(self) {
        mark(&self.path);
        std::mem::forget(self);
    }
}

/// What stands behind a group whose xl was killed before it had undone what it did.
const CUT_SHORT: &str = "cut-short";

/// Best effort: without it a daemon that comes after this one does not watch the guest.
fn mark(path: &Path) {
    let file = OpenOptions::new().append(true).open(path);
    if let Err(error) = file.and_then(|mut file| writeln!(file, "{CUT_SHORT}")) {
        tracing::warn!(%error, path = %path.display(), "that an xl was killed can't be noted");
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A process group that can't be mistaken for another one that has its number later.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    boot: String,
    group: i32,
    started: u64,
    cut_short: bool,
}

impl Groups {
    pub(crate) fn open(directory: PathBuf) -> Result<Groups> {
        fs::create_dir_all(&directory).map_err(ToolstackError::io(directory.display().to_string()))?;
        Ok(Groups { directory })
    }

    fn path(&self, relocation: Uuid) -> PathBuf {
        self.directory.join(relocation.hyphenated().to_string())
    }

    /// Notes the group that a relocation has now.
    pub(crate) fn note(&self, relocation: Uuid, group: Pid) -> Result<Noted> {
        let path = self.path(relocation);
        let started = started(group.as_raw()).unwrap_or_default();
        // Lost with the machine, it is not missed: so are the processes.
        fs::write(&path, format!("{} {group} {started}\n", boot()))
            .map_err(ToolstackError::io(path.display().to_string()))?;
        Ok(Noted { path })
    }

    /// Waits until nothing of a relocation's group is left, and ends it if that takes too long: whether it had to, now or before. Then the note stays, as what
    /// follows may fail, until it is [forgotten](Groups::forget).
    pub(crate) fn settle(&self, relocation: Uuid) -> Result<bool> {
        let path = self.path(relocation);
        let Some(group) = read(&path)? else { return Ok(false) };
        let begun = Instant::now();
        let mut cut_short = group.cut_short && group.boot == boot();
        let mut killed = false;
        while group.is_there() {
            if !killed && begun.elapsed() > UNDOING {
                tracing::warn!(%relocation, group = group.group, "an xl of the daemon before does not end: it is killed");
                mark(&path);
                end_group(Pid::from_raw(group.group));
                (killed, cut_short) = (true, true);
            }
            if begun.elapsed() > UNDOING + GOING {
                return Err(ToolstackError::Failed(format!(
                    "process group {} of relocation {relocation} can't be ended",
                    group.group
                )));
            }
            thread::sleep(Duration::from_millis(20));
        }
        if !cut_short {
            drop(Noted { path });
        }
        Ok(cut_short)
    }

    /// Removes a relocation's note, if there is one.
    pub(crate) fn forget(&self, relocation: Uuid) {
        drop(Noted {
            path: self.path(relocation),
        });
    }
}

impl Groups {
    /// A relocation's group that has been stopped: what a daemon before has left of a departure that waits for its decision.
    pub(crate) fn held(&self, relocation: Uuid) -> Result<Option<Held>> {
        let path = self.path(relocation);
        let group = read(&path)?.filter(|group| group.is_there() && is_stopped(group.group));
        Ok(group.map(|group| Held {
            group: Pid::from_raw(group.group),
            left: Some(group),
            running: None,
            socket: None,
            noted: Some(Noted { path }),
        }))
    }
}

/// An `xl migrate` that has sent everything and is stopped. Dropped, it stays so.
pub(crate) struct Held {
    group: Pid,
    /// It is of a daemon before this one.
    left: Option<Group>,
    running: Option<Running>,
    socket: Option<UnixStream>,
    noted: Option<Noted>,
}

/// How long xl may take to let its domain run on.
const RESUMING: Duration = Duration::from_secs(60);

impl Held {
    pub(crate) fn new(running: Running, socket: UnixStream, noted: Noted) -> Held {
        Held {
            group: running.group(),
            left: None,
            running: Some(running),
            socket: Some(socket),
            noted: Some(noted),
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if let Err(error) = killpg(self.group, signal) {
            tracing::error!(group = %self.group, %error, "xl migrate does not take {signal}");
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        is_stopped(self.group.as_raw())
    }

    /// Lets it run to its end: it finds its pipes closed, and lets its domain run on.
    pub(crate) fn release(mut self) {
        // The transport goes as soon as it can see that.
        self.socket = None;
        self.signal(Signal::SIGCONT);
        if let Some(mut running) = self.running.take() {
            // It says that it has failed. That the domain runs is looked up.
            let ended = running.finish(RESUMING);
            tracing::debug!(?ended, "released");
            running.end();
        } else if let Some(group) = &self.left {
            let begun = Instant::now();
            while group.is_there() && begun.elapsed() < RESUMING {
                thread::sleep(Duration::from_millis(20));
            }
            if group.is_there() {
                end_group(self.group);
            }
        }
        self.noted = None;
    }

    /// Ends it as it stands.
    pub(crate) fn end(mut self) {
        match self.running.take() {
            Some(mut running) => running.end(),
            None => end_group(self.group),
        }
        self.noted = None;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Whatever would end it, or forget it.
        if let Some(running) = self.running.take() {
            std::mem::forget(running);
        }
        if let Some(noted) = self.noted.take() {
            std::mem::forget(noted);
        }
    }
}

/// Whether there is such a process group, and all of it is stopped.
fn is_stopped(group: i32) -> bool {
    let states = states(group);
    !states.is_empty() && states.iter().all(|state| state == "T")
}

/// The states of a process group's processes, without those that have ended and only wait to be counted.
fn states(group: i32) -> Vec<String> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let states = processes.filter_map(|process| {
        let stat = fs::read_to_string(process.path().join("stat")).ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_whitespace();
        let state = fields.next()?.to_owned();
        // Behind the state: the parent, the group.
        (fields.nth(1)?.parse() == Ok(group) && state != "Z").then_some(state)
    });
    states.collect()
}

fn read(path: &Path) -> Result<Option<Group>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ToolstackError::io(path.display().to_string())(error)),
    };
    let mut words = text.split_whitespace();
    let mut next = || words.next().unwrap_or_default().to_owned();
    let group = Group {
        boot: next(),
        group: next().parse().unwrap_or_default(),
        started: next().parse().unwrap_or_default(),
        cut_short: next() == CUT_SHORT,
    };
    // A note that was cut short when the machine stopped tells of nothing that could still be there.
    Ok(Some(group).filter(|group| group.group > 1))
}

impl Group {
    fn is_there(&self) -> bool {
        if self.boot != boot() {
            return false;
        }
        match started(self.group) {
            Some(started) if started != self.started => false,
            // With its first process gone, the others still keep the number from being used again.
            _ => !states(self.group).is_empty(),
        }
    }
}

fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// When a process started, in clock ticks since the machine did: the 22nd field of its `stat`. `None`: there is none, or only its remains.
fn started(process: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is a name in parentheses, which may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::CommandExt, process::Command};

    use super::*;

    #[test]
    fn notes_come_and_go() {
        let directory = tempfile::tempdir().unwrap();
        let groups = Groups::open(directory.path().join("a/b")).unwrap();
        let relocation = Uuid::new_v4();
        assert!(!groups.settle(relocation).unwrap());
        let mut child = Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let noted = groups.note(relocation, Pid::from_raw(pid)).unwrap();
        let group = read(&noted.path).unwrap().unwrap();
        assert!(group.is_there());
        let other = |change: fn(&mut Group)| {
            let mut group = read(&noted.path).unwrap().unwrap();
            change(&mut group);
            group.is_there()
        };
        assert!(!other(|group| group.started += 1) && !other(|group| group.boot.push('x')));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!group.is_there());
        let path = noted.path.clone();
        assert!(!groups.settle(relocation).unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn that_an_xl_was_killed_is_known_until_it_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let groups = Groups::open(directory.path().to_owned()).unwrap();
        let relocation = Uuid::new_v4();
        let mut child = Command::new("true").process_group(0).spawn().unwrap();
        let group = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let noted = groups.note(relocation, group).unwrap();
        child.wait().unwrap();
        noted.cut_short();
        assert!(groups.settle(relocation).unwrap() && groups.settle(relocation).unwrap());
        groups.forget(relocation);
        assert!(!groups.settle(relocation).unwrap());
        fs::write(groups.path(relocation), format!("before 12345 1\n{CUT_SHORT}\n")).unwrap();
        assert!(!groups.settle(relocation).unwrap(), "of a boot before this one");
    }
}
