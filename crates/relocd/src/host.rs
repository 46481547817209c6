//! This host: what every part of the daemon shares.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use config::Config;
use domain::HostFacts;
use peer::control::Failure;
use toolstack::{
    DEPARTING_PREFIX, Departed, Domain, DomainId, DomainState, Toolstack, ToolstackError,
    spool::{self, Spool},
};
use uuid::Uuid;

use crate::{
    blocking::blocking,
    failure::{self, Tell},
    incoming::xend::Early,
    journal::Journal,
    memory,
    relocations::{Relocations, lock},
};

/// What every part of the daemon shares.
pub struct Host {
    /// What runs domains here.
    pub toolstack: Arc<dyn Toolstack>,
    /// Domains on disk.
    pub spool: Spool,
    /// The relocations' journal.
    pub journal: Journal,
    /// The relocations that run now.
    pub relocations: Arc<Relocations>,
    /// Domains that are built while they arrive.
    pub early: Early,
    /// Cloned by whoever owes an operator the answer to a relocation, until it has gone out.
    pub answering: Arc<()>,
    /// The configuration file.
    pub config_file: PathBuf,
    config: RwLock<Arc<Config>>,
    listening: Mutex<Vec<String>>,
}

/// Numbers from the configuration that bound what peers and operators can ask for.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Relocations that may arrive at once.
    pub max_incoming: usize,
    /// Relocations that may depart at once.
    pub max_outgoing: usize,
    /// Connections that have not been granted a relocation.
    pub max_connections: usize,
    /// Time for a whole message, and for a connection to be made.
    pub handshake: Duration,
    /// Time in which something must come, or go out, while an image is on its way.
    pub idle: Duration,
    /// Time for the other end to commit, or to answer the commit.
    pub commit: Duration,
    /// Time for a look-up of the peer's name.
    pub name_lookup: Duration,
    /// Bytes in a message from a peer at most: the configuration of a domain.
    pub max_message: usize,
    /// KiB that all arriving domains together may have; `None` = what the host has free.
    pub max_arriving_kib: Option<u64>,
    /// This host's relocation port, and the destination's unless told otherwise.
    pub port: u16,
}

impl Host {
    /// A host at the daemon's start.
    pub fn new(
        toolstack: Arc<dyn Toolstack>,
        spool: Spool,
        journal: Journal,
        config_file: PathBuf,
        config: Config,
    ) -> Host {
        Host {
            toolstack,
            spool,
            journal,
            relocations: Arc::default(),
            early: Early::default(),
            answering: Arc::default(),
            config_file,
            config: RwLock::new(Arc::new(config)),
            listening: Mutex::default(),
        }
    }

    /// The configuration now. A reload does not change what has been taken before.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another configuration in force.
    pub fn set_config(&self, config: Config) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    /// The addresses that are listened on.
    pub fn listening(&self) -> Vec<String> {
        lock(&self.listening).clone()
    }

    /// Tells which addresses are listened on.
    pub fn set_listening(&self, addresses: Vec<String>) {
        *lock(&self.listening) = addresses;
    }

    /// The limits now.
    pub fn limits(&self) -> Limits {
        let config = self.config();
        Limits {
            max_incoming: config.max_incoming,
            max_outgoing: config.max_outgoing,
            max_connections: config.max_connections,
            handshake: config.handshake_timeout,
            idle: config.idle_timeout,
            commit: config.commit_timeout,
            name_lookup: config.name_lookup_timeout,
            max_message: config.max_config_bytes,
            max_arriving_kib: config.max_arriving_kib,
            port: config.relocation_port,
        }
    }

    /// What this host offers, now. Memory that domain 0 gives up for a domain that arrives is free.
    ///
    /// # Errors
    /// The toolstack's.
    pub async fn facts(&self) -> Result<HostFacts, ToolstackError> {
        let toolstack = Arc::clone(&self.toolstack);
        let config = self.config();
        blocking(move || memory::facts(&*toolstack, &config)).await
    }

    /// A copy that waits for the outcome of a departure, in the spool or in the toolstack. Gives a blocking call, to be asked again and again.
    pub fn find_departed(
        &self,
        uuid: Uuid,
        relocation: Uuid,
    ) -> impl Fn() -> toolstack::Result<Option<Box<dyn Departed>>> + Clone + Send + 'static {
        let (toolstack, spool) = (Arc::clone(&self.toolstack), self.spool.clone());
        move || match spool::find_departed(&spool, uuid, relocation)? {
            Some(departed) => Ok(Some(departed)),
            None => toolstack.find_departed(uuid, relocation),
        }
    }

    /// Whether a domain is here, in the toolstack and not on its way out, or in the spool. `None`: that can't be told now.
    pub async fn has(&self, uuid: Uuid) -> Option<bool> {
        let (toolstack, spool) = (Arc::clone(&self.toolstack), self.spool.clone());
        blocking(move || {
            let domains = toolstack.domains().ok()?;
            let stays = |domain: &Domain| domain.uuid == uuid && domain.state != DomainState::Dying;
            Some(domains.iter().any(stays) || spool.list().ok()?.0.iter().any(|entry| entry.uuid == uuid))
        })
        .await
    }

    /// All domains here.
    ///
    /// # Errors
    /// The toolstack's.
    pub async fn domains(&self) -> Result<Vec<Domain>, Failure> {
        let toolstack = Arc::clone(&self.toolstack);
        blocking(move || toolstack.domains())
            .await
            .map_err(|error| failure::toolstack(&error))
    }

    /// The domain that an operator means: a number, or a name, also of a domain that departs.
    ///
    /// # Errors
    /// `no-domain` if there is none; the toolstack's.
    pub async fn find_domain(&self, wanted: &str) -> Result<Domain, Failure> {
        let id = wanted.parse::<DomainId>().ok();
        if id == Some(0) || wanted == "Domain-0" {
            return Err(failure::simple("domain-0", "domain 0 is the host itself"));
        }
        let domains = self.domains().await?;
        let found = match id {
            Some(id) => domains.into_iter().find(|domain| domain.id == id),
            None => {
                let departing = format!("{DEPARTING_PREFIX}{wanted}");
                let named = |name: &str| domains.iter().find(|domain| domain.name == name).cloned();
                named(wanted).or_else(|| named(&departing))
            }
        };
        found.ok_or_else(|| {
            failure::simple("no-domain", format!("Domain '{wanted}' does not exist."))
                .next("xm list shows what there is")
        })
    }
}
