//! The commands on domains.
//!
//! `xl pause` and `xl unpause` say nothing of a failure (Xen 4.17): what a command did is looked up in the list.

use std::{
    io::Read,
    path::PathBuf,
    process::ChildStdout,
    sync::{Mutex, MutexGuard, TryLockError},
    thread,
    time::{Duration, Instant},
};

use domain::HostFacts;
use image::{ImageError, save::SaveHeader};
use serde_json::Value;
use toolstack::{DomainId, Result, ToolstackError, linux};
use uuid::Uuid;

use crate::{
    attach, info, json,
    list::{self, Row},
    names::Name,
    pipe::Timed,
    program::{Program, QUICK, Running},
    running::Groups,
    xenstore,
};

/// How long xl may take to end a domain: its devices are unplugged by scripts.
const DESTROYING: Duration = Duration::from_secs(120);
/// How long a change may take to show in the list.
const SHOWING: Duration = Duration::from_secs(2);
/// How long a domain waits for another one to be built. Shorter than the other host waits for it.
const QUEUEING: Duration = Duration::from_secs(15);

/// A host, as `xl` shows it.
pub(crate) struct Host {
    pub(crate) program: Program,
    pub(crate) groups: Groups,
    pub(crate) directory: PathBuf,
    /// What becomes a process of [`crate::transport`].
    pub(crate) helper: PathBuf,
    building: Mutex<()>,
    /// Held while memory is taken from domain 0.
    pub(crate) ballooning: Mutex<()>,
}

impl Host {
    pub(crate) fn new(program: Program, helper: PathBuf, directory: PathBuf) -> Result<Host> {
        Ok(Host {
            program,
            groups: Groups::open(directory.join("processes"))?,
            directory,
            helper,
            building: Mutex::new(()),
            ballooning: Mutex::new(()),
        })
    }

    pub(crate) fn facts(&self) -> Result<HostFacts> {
        let text = self.program.run(&["info"], QUICK)?;
        let facts = info::parse(&String::from_utf8_lossy(&text)).map_err(ToolstackError::Failed)?;
        Ok(HostFacts {
            bridges: linux::bridges(),
            ..facts
        })
    }

    pub(crate) fn list(&self) -> Result<Vec<Row>> {
        let text = self.program.run(&["list", "-v"], QUICK)?;
        list::parse(&sxp::text_from_bytes(&text)).map_err(ToolstackError::Failed)
    }

    pub(crate) fn find(&self, id: DomainId) -> Result<Option<Row>> {
        Ok(self.list()?.into_iter().find(|row| row.id == id))
    }

    pub(crate) fn row(&self, id: DomainId) -> Result<Row> {
        self.find(id)?.ok_or(ToolstackError::NoDomain(id))
    }

    /// The configuration of a domain as libxl has it.
    pub(crate) fn json(&self, id: DomainId) -> Result<Value> {
        let text = match self.program.run(&["list", "-l", &id.to_string()], QUICK) {
            Ok(text) => text,
            Err(error) => {
                return Err(if self.find(id)?.is_none() {
                    ToolstackError::NoDomain(id)
                } else {
                    error
                });
            }
        };
        let found = json::find(&text, id).map_err(ToolstackError::Failed)?;
        found.ok_or(ToolstackError::NoDomain(id))
    }

    /// Holds what only one domain at a time can have: xl itself builds one after the other, and a second `xl restore` does not read its pipe before the
    /// first has ended.
    pub(crate) fn build(&self) -> Result<MutexGuard<'_, ()>> {
        let begun = Instant::now();
        loop {
            match self.building.try_lock() {
                Ok(guard) => return Ok(guard),
                Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if begun.elapsed() > QUEUEING => {
                    return Err(ToolstackError::Busy(
                        "xl builds one domain at a time, and another one is arriving or being created here: try again when that is done",
                    ));
                }
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Waits until the domain is as it should be; `false` if that does not come.
    fn becomes(&self, id: DomainId, is: impl Fn(Option<&Row>) -> bool) -> Result<bool> {
        let begun = Instant::now();
        loop {
            if is(self.find(id)?.as_ref()) {
                return Ok(true);
            }
            if begun.elapsed() > SHOWING {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs a command on a domain, and looks whether it did what it should. What the list says counts, not the command's word.
    fn command(
        &self,
        arguments: &[&str],
        id: DomainId,
        limit: Duration,
        is: impl Fn(Option<&Row>) -> bool,
    ) -> Result<()> {
        let done = self.program.run(arguments, limit);
        if self.becomes(id, is)? {
            return Ok(());
        }
        done?;
        Err(no_effect(&arguments.join(" "), id))
    }

    pub(crate) fn pause(&self, id: DomainId) -> Result<()> {
        let is_paused = |row: Option<&Row>| row.is_some_and(|row| row.flags.paused);
        self.command(&["pause", &id.to_string()], id, QUICK, is_paused)
    }

    pub(crate) fn unpause(&self, id: DomainId) -> Result<()> {
        let runs = |row: Option<&Row>| row.is_some_and(|row| !row.flags.paused);
        self.command(&["unpause", &id.to_string()], id, QUICK, runs)
    }

    /// Runs a domain for the first time here.
    pub(crate) fn begin(&self, id: DomainId) -> Result<()> {
        let done = self.program.run(&["unpause", &id.to_string()], QUICK);
        attach::leave_alone(id);
        let flags = self.row(id)?.flags;
        if flags.dying {
            return Err(ToolstackError::NoDomain(id));
        }
        if flags.paused {
            done?;
            return self.unpause(id);
        }
        Ok(())
    }

    pub(crate) fn rename(&self, id: DomainId, name: &str) -> Result<()> {
        let number = id.to_string();
        // Otherwise it would be an option.
        let arguments: &[&str] = if name.starts_with('-') {
            &["rename", "--", &number, name]
        } else {
            &["rename", &number, name]
        };
        let done = self.program.run(arguments, QUICK);
        let name = Name::parse(name);
        // Unlike those of `pause` and `unpause`, its exit code says whether it was done.
        if done.is_ok() || self.becomes(id, |row| row.is_some_and(|row| row.name == name))? {
            return Ok(());
        }
        done.map(drop)
    }

    /// Ends a domain; fine if it has gone already. One whose memory somebody still maps stays as a shell that never runs again.
    pub(crate) fn destroy(&self, id: DomainId) -> Result<()> {
        let done = self.program.run(&["destroy", &id.to_string()], DESTROYING);
        if self.becomes(id, |row| row.is_none())? {
            return Ok(());
        }
        if self.find(id)?.is_some_and(|row| !row.flags.dying) {
            done?;
            return Err(no_effect(&format!("destroy {id}"), id));
        }
        tracing::warn!(domid = id, "the domain has ended, but something still holds its memory");
        Ok(())
    }

    /// Ends an `xl` that has lost its pipe: leaves it the time to undo what it did by itself.
    pub(crate) fn undo(running: &mut Running, limit: Duration) -> Result<()> {
        let undone = running.finish(limit);
        running.end();
        undone
    }
}

/// Reads what xl itself writes of a save, and breaks the pipe.
fn read_own(pipe: ChildStdout) -> std::result::Result<(), ImageError> {
    /// The header of libxl's stream (16 bytes), and of its first record (8), whose body is libxc's (version 2 of the stream, Xen 4.6 to 4.20).
    const BEFORE_LIBXC: usize = 24;
    let at = "the pipe from xl save";
    let mut pipe = Timed::new(pipe, RESUMING).map_err(ImageError::io(at))?;
    SaveHeader::read(&mut pipe)?;
    pipe.read_exact(&mut [0; BEFORE_LIBXC]).map_err(ImageError::io(at))
}

fn no_effect(what: &str, id: DomainId) -> ToolstackError {
    ToolstackError::Failed(format!("xl {what} had no effect on domain {id}"))
}

/// How long the guest may take to run on.
const RESUMING: Duration = Duration::from_secs(60);

/// How long a guest is watched that may still suspend itself, where the order could be taken back,
const RECALLED: Duration = Duration::from_secs(5);
/// and where there was none any more: the guest has seen it, or it was never given.
const ASKED: Duration = Duration::from_secs(20);
/// How long the `xl` of a guest that reboots may take to make it anew.
const REBOOTING: Duration = Duration::from_secs(15);
/// Between two looks at such a guest.
const LOOKING: Duration = Duration::from_millis(500);

impl Host {
    /// A relocation has failed: the domain runs on under its own name, wherever it stands. `may_suspend`: it may have been asked to suspend itself, by an xl
    /// that was killed before it had, and would then stand still some time after all others have gone.
    ///
    /// Can be done again and again; and a domain that has gone meanwhile is an error, because nothing of it runs on.
    fn carry_on(&self, id: DomainId, own: &str, may_suspend: bool) -> Result<()> {
        let mut row = self.row(id)?;
        if may_suspend && !row.flags.is_suspended() && !row.flags.dying {
            row = self.await_suspension(id)?;
        }
        if row.flags.dying {
            return Err(ToolstackError::NoDomain(id));
        }
        if row.flags.is_suspended() {
            self.resume(id)?;
        }
        if self.row(id)?.flags.paused {
            self.unpause(id)?;
        }
        if self.row(id)?.name != Name::Plain(own.to_owned()) {
            self.rename(id, own)?;
        }
        Ok(())
    }

    /// As [`Host::carry_on`], also if the guest has rebooted meanwhile: the number that it has then. Nothing of the relocation has to be known after it.
    pub(crate) fn run_on(
        &self,
        id: DomainId,
        relocation: Uuid,
        own: &str,
        may_suspend: bool,
    ) -> Result<Option<DomainId>> {
        let rebooted = match self.carry_on(id, own, may_suspend) {
            Err(gone @ ToolstackError::NoDomain(_)) => Some(self.rename_if_back(relocation, own).ok_or(gone)?),
            carried_on => carried_on.map(|()| None)?,
        };
        self.groups.forget(relocation);
        Ok(rebooted)
    }

    /// Takes back that a guest is to suspend itself, and waits whether it has seen it already and does.
    fn await_suspension(&self, id: DomainId) -> Result<Row> {
        let limit = if self.recall(id)? { RECALLED } else { ASKED };
        let begun = Instant::now();
        loop {
            let row = self.row(id)?;
            if row.flags.is_suspended() || row.flags.dying || begun.elapsed() > limit {
                return Ok(row);
            }
            thread::sleep(LOOKING);
        }
    }

    /// Takes back the order to suspend, if it is there (`control/shutdown`, Xen's `xenstore-paths`). The guest takes it away itself once it has seen it; whoever
    /// comes second finds nothing to do.
    fn recall(&self, id: DomainId) -> Result<bool> {
        let node = xenstore::node(id, "control/shutdown");
        let ordered = xenstore::read(&node).is_some_and(|order| order == "suspend");
        if ordered {
            xenstore::write(&node, "")?;
        }
        Ok(ordered)
    }

    /// A guest that has rebooted in the middle of its relocation comes back under the relocation's name. It gets its own. Its number.
    fn rename_if_back(&self, relocation: Uuid, own: &str) -> Option<DomainId> {
        let begun = Instant::now();
        while begun.elapsed() < REBOOTING {
            let is = |row: &Row| matches!(&row.name, Name::Departing { relocation: held, .. } if *held == relocation);
            let rows = self.list().unwrap_or_default();
            if let Some(row) = rows
                .iter()
                .find(|row| is(row) && !row.flags.dying && !row.flags.is_suspended())
                && self.rename(row.id, own).is_ok()
            {
                return Some(row.id);
            }
            thread::sleep(LOOKING);
        }
        None
    }

    /// Lets a domain run on that has suspended itself and whose `xl` died before it could do so.
    ///
    /// `xl resume` is there since Xen 4.20. Without it there is one way to the same call of libxl: `xl save -c` makes it after a save that is done, and
    /// `xl save` after one that failed. It is made to fail in the moment when xl has written all of its own and libxc is still to begin. Earlier, xl itself
    /// crashes on a broken pipe (Xen 4.17, `datacopier_writable`), and nobody lets the domain run; later, libxc may come to ask the guest to suspend itself.
    fn resume(&self, id: DomainId) -> Result<()> {
        let number = id.to_string();
        let runs = |row: Option<&Row>| row.is_some_and(|row| !row.flags.is_suspended());
        let resumed = self.program.run(&["resume", &number], RESUMING);
        if runs(self.find(id)?.as_ref()) {
            return Ok(());
        }
        tracing::debug!(?resumed, "no xl resume: by a save that is broken off");
        let mut saving = self
            .program
            .start_unheard(&self.helper, &["save", "-c", &number, "/dev/stdout"])?;
        if let Some(pipe) = saving.child().stdout.take() {
            let read = read_own(pipe);
            tracing::debug!(?read, "broken off");
        }
        let saved = saving.finish(RESUMING);
        if self.becomes(id, runs)? {
            return Ok(());
        }
        saved?;
        Err(ToolstackError::Failed(format!(
            "domain {id} is suspended and can't be resumed"
        )))
    }
}
