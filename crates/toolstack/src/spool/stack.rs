//! The toolstack that runs nothing: arriving domains become files.

use std::os::unix::net::UnixStream;

use domain::{DomainConfig, HostFacts};
use image::{ImageSink, ImageSource};
use nix::sys::utsname::uname;
use uuid::Uuid;

use super::{EntryState, Held, Incoming, Purpose, Spool, departure::NO_NUMBER};
use crate::{
    Arrival, Arrived, Departed, Departure, Domain, DomainId, Observer, Result, Toolstack, ToolstackError, Undone,
};

/// Takes domains in as files that `xl restore` takes, and runs none. They leave as what they are, entries of the [`Spool`], and not as domains.
pub struct SpoolToolstack {
    spool: Spool,
}

impl SpoolToolstack {
    /// The toolstack of a spool.
    pub fn new(spool: Spool) -> SpoolToolstack {
        SpoolToolstack { spool }
    }
}

fn unsupported<T>(what: &'static str) -> Result<T> {
    Err(ToolstackError::Unsupported {
        toolstack: HostFacts::SPOOL,
        what,
    })
}

impl Toolstack for SpoolToolstack {
    fn name(&self) -> &'static str {
        HostFacts::SPOOL
    }

    /// Of the host only its disk matters: the free memory is what the images of domains with so much memory fit into. What other arriving domains have
    /// written counts as free, for admission subtracts all that they will need. Domains of any architecture and with any bridges can be kept:
    /// [`domain::admission`] does not ask about them.
    fn host(&self) -> Result<HostFacts> {
        let name = uname().map(|names| names.nodename().to_string_lossy().into_owned());
        Ok(HostFacts {
            name: name.unwrap_or_else(|_| "localhost".to_owned()),
            toolstack: HostFacts::SPOOL.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            architecture: "any".to_owned(),
            virtualization: Vec::new(),
            free_memory_kib: Spool::memory_in(self.spool.room_before_arrivals()?) / 1024,
            total_memory_kib: self.spool.size()? / 1024,
            processors: 0,
            ..HostFacts::default()
        })
    }

    /// None: what is in the spool is no domain.
    fn domains(&self) -> Result<Vec<Domain>> {
        Ok(Vec::new())
    }

    fn config(&self, id: DomainId) -> Result<DomainConfig> {
        Err(ToolstackError::NoDomain(id))
    }

    fn depart(
        &self,
        _departure: &Departure<'_>,
        _image: &mut dyn ImageSink,
        _observer: &mut dyn Observer,
    ) -> Result<Box<dyn Departed>> {
        unsupported("send running domains, as it runs none; xm spool send sends one of its files")
    }

    fn arrive(&self, arrival: &Arrival<'_>, image: &mut dyn ImageSource) -> Result<Box<dyn Arrived>> {
        let mut writer = self.spool.begin(&Incoming {
            id: arrival.relocation,
            config: arrival.config,
            original: arrival.original,
            peer: arrival.peer,
            purpose: Purpose::Relocation,
        })?;
        image::copy(image, &mut writer)?;
        Ok(Box::new(ArrivedEntry { held: writer.finish()? }))
    }

    fn find_departed(&self, _uuid: Uuid, _relocation: Uuid) -> Result<Option<Box<dyn Departed>>> {
        Ok(None)
    }

    /// Also finds one that is kept already: its record is written before the journal's.
    fn find_arrived(&self, uuid: Uuid, relocation: Uuid) -> Result<Option<Box<dyn Arrived>>> {
        let (entries, _) = self.spool.list()?;
        let is = |entry: &&super::Entry| entry.id == relocation && entry.uuid == uuid;
        match entries.iter().find(is) {
            None => Ok(None),
            Some(entry) => {
                let held = self.spool.hold(entry.id)?;
                Ok(Some(Box::new(ArrivedEntry { held })))
            }
        }
    }

    fn create(&self, _config: &DomainConfig) -> Result<DomainId> {
        unsupported("create domains: it runs none")
    }

    fn destroy(&self, id: DomainId) -> Result<()> {
        Err(ToolstackError::NoDomain(id))
    }

    fn pause(&self, id: DomainId) -> Result<()> {
        Err(ToolstackError::NoDomain(id))
    }

    fn unpause(&self, id: DomainId) -> Result<()> {
        Err(ToolstackError::NoDomain(id))
    }

    fn console(&self, id: DomainId) -> Result<UnixStream> {
        Err(ToolstackError::NoDomain(id))
    }
}

/// A domain whose image is complete here. That it "runs" means that it is this host's: kept for an operator.
struct ArrivedEntry {
    held: Held,
}

impl Arrived for ArrivedEntry {
    fn id(&self) -> DomainId {
        NO_NUMBER
    }

    fn unpause(self: Box<Self>) -> std::result::Result<DomainId, Undone<dyn Arrived>> {
        self.held.keep("relocated to disk");
        Ok(NO_NUMBER)
    }

    fn discard(self: Box<Self>) -> std::result::Result<(), Undone<dyn Arrived>> {
        if self.held.entry().state != EntryState::Complete {
            // It was handed over to this host, whatever the journal says.
            tracing::error!(id = %self.held.entry().id, "not discarded: it is kept for an operator");
            return Ok(());
        }
        self.held.delete().map_err(|(error, held)| Undone {
            error: error.into(),
            domain: Box::new(ArrivedEntry { held }) as Box<dyn Arrived>,
        })
    }
}
