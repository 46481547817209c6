//! Domains that wait for a decision.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use toolstack::{Arrived, Departed, DomainId, Result, ToolstackError, Undone};
use uuid::Uuid;

use crate::{host::Host, list::Row, names::Name, running::Held};

/// A domain that is complete here and has not run.
pub(crate) struct ArrivedDomain {
    host: Arc<Host>,
    id: DomainId,
    relocation: Uuid,
    /// Its own name, if it has just been built: then it need not be looked at first. The guest stands still for as long as that takes.
    fresh: Option<String>,
}

impl ArrivedDomain {
    /// One that has just been built, paused.
    pub(crate) fn built(host: Arc<Host>, id: DomainId, relocation: Uuid, own: &str) -> ArrivedDomain {
        ArrivedDomain {
            fresh: Some(own.to_owned()),
            ..ArrivedDomain::found(host, id, relocation)
        }
    }

    /// One that has been found again.
    pub(crate) fn found(host: Arc<Host>, id: DomainId, relocation: Uuid) -> ArrivedDomain {
        ArrivedDomain {
            host,
            id,
            relocation,
            fresh: None,
        }
    }

    /// First it runs, then it gets its own name: until both are done it is found by the other one.
    fn run(&mut self) -> Result<()> {
        let begun = self.fresh.take().map(|own| self.host.begin(self.id).map(|()| own));
        let own = match begun {
            None | Some(Err(ToolstackError::NoDomain(_))) => self.look_and_run()?,
            Some(begun) => Some(begun?),
        };
        if let Some(own) = own
            && let Err(error) = self.host.rename(self.id, &own)
        {
            // It runs, and that is what the source has to hear.
            tracing::error!(
                domid = self.id, %error,
                "the domain runs, but still has the name that it arrived by; once '{own}' is free: xl rename {} {own}", self.id
            );
        }
        Ok(())
    }

    /// It may have run already, and rebooted since: then it has another number. Its own name; `None`: an operator has given it one.
    fn look_and_run(&mut self) -> Result<Option<String>> {
        let is_this = |row: &Row| {
            let named = matches!(&row.name, Name::Arriving { relocation, .. } if *relocation == self.relocation);
            named && !row.flags.dying
        };
        let rows = self.host.list()?;
        let row = match rows.iter().find(|row| row.id == self.id && !row.flags.dying) {
            Some(row) if is_this(row) => row,
            Some(row) if matches!(row.name, Name::Plain(_)) && !row.flags.paused => return Ok(None),
            Some(row) if !matches!(row.name, Name::Arriving { .. }) => {
                return Err(ToolstackError::Failed(format!(
                    "domain {} has been renamed to '{}'",
                    self.id,
                    row.name.own()
                )));
            }
            // One that is paused is still being built by the xl that makes it anew.
            _ => {
                let back = rows.iter().find(|row| is_this(row) && !row.flags.paused);
                back.ok_or(ToolstackError::NoDomain(self.id))?
            }
        };
        self.id = row.id;
        if row.flags.paused {
            self.host.unpause(self.id)?;
        }
        Ok(Some(row.name.own().to_owned()))
    }
}

impl Arrived for ArrivedDomain {
    fn id(&self) -> DomainId {
        self.id
    }

    fn unpause(mut self: Box<Self>) -> std::result::Result<DomainId, Undone<dyn Arrived>> {
        match self.run() {
            Ok(()) => Ok(self.id),
            Err(error) => Err(Undone { error, domain: self }),
        }
    }

    fn discard(self: Box<Self>) -> std::result::Result<(), Undone<dyn Arrived>> {
        match self.host.destroy(self.id) {
            Ok(()) => Ok(()),
            Err(error) => Err(Undone { error, domain: self }),
        }
    }
}

/// A domain that is at rest here and complete there.
pub(crate) struct DepartedDomain {
    host: Arc<Host>,
    id: DomainId,
    relocation: Uuid,
    own: String,
    suspended: Instant,
    /// The `xl migrate` that has it.
    held: Option<Held>,
    /// Its xl was killed before it had undone what it did: see [`Host::run_on`].
    cut_short: bool,
}

impl DepartedDomain {
    /// `own`: its own name. `suspended`: since when it stands still.
    pub(crate) fn new(
        host: Arc<Host>,
        id: DomainId,
        relocation: Uuid,
        own: String,
        suspended: Instant,
    ) -> DepartedDomain {
        DepartedDomain {
            host,
            id,
            relocation,
            own,
            suspended,
            held: None,
            cut_short: false,
        }
    }

    /// One whose xl had to be killed, and whose note is still there.
    pub(crate) fn cut_short(self) -> DepartedDomain {
        DepartedDomain {
            cut_short: true,
            ..self
        }
    }

    /// One that an `xl migrate` has.
    pub(crate) fn held(self, held: Held) -> DepartedDomain {
        DepartedDomain {
            held: Some(held),
            ..self
        }
    }
}

impl Departed for DepartedDomain {
    fn id(&self) -> DomainId {
        self.id
    }

    fn suspended_for(&self) -> Duration {
        self.suspended.elapsed()
    }

    /// Suspended, any `xl save` that fails would let it run: Debian's `xendomains` saves what it finds when the host goes down. Paused, it stays where it is.
    fn guard(&mut self) -> Result<()> {
        if self.host.row(self.id)?.flags.paused {
            return Ok(());
        }
        self.host.pause(self.id)
    }

    fn resume(mut self: Box<Self>) -> std::result::Result<(), Undone<dyn Departed>> {
        if let Some(held) = self.held.take() {
            held.release();
        }
        match self.host.run_on(self.id, self.relocation, &self.own, self.cut_short) {
            Ok(_) => Ok(()),
            Err(error) => Err(Undone { error, domain: self }),
        }
    }

    fn destroy(mut self: Box<Self>) -> std::result::Result<(), Undone<dyn Departed>> {
        // First, so that nobody lets the domain run on, and nobody holds its memory.
        if let Some(held) = self.held.take() {
            held.end();
        }
        match self.host.destroy(self.id) {
            Ok(()) => {
                self.host.groups.forget(self.relocation);
                Ok(())
            }
            Err(error) => Err(Undone { error, domain: self }),
        }
    }
}
