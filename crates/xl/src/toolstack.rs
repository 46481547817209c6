//! What the daemon sees.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::{fs::OpenOptionsExt, net::UnixStream},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{DomainConfig, HostFacts};
use image::{ImageSink, ImageSource};
use toolstack::{
    Arrival, Arrived, Departed, Departure, Domain, DomainId, Mode, Observer, Result, Settings, Toolstack,
    ToolstackError,
};
use uuid::Uuid;

use crate::{
    arrive, console,
    decide::{ArrivedDomain, DepartedDomain},
    depart,
    host::Host,
    json, kernel,
    list::Row,
    live,
    names::Name,
    program::Program,
    started,
};

/// How long xl may take to create a domain: memory is freed, a device model started, scripts run.
const CREATING: Duration = Duration::from_secs(180);

/// Runs domains as guests of Xen, through `xl`.
pub struct Xl {
    host: Arc<Host>,
    /// Where it does not, no PV guest has 32 bits. Fixed as long as Xen runs.
    runs_pv32: bool,
}

impl Xl {
    /// The toolstack that keeps its notes below `settings.state_directory`. `program`: a path, or a name that is looked for along `PATH`. `helper`: the path of
    /// what calls [`crate::transport_main`] when it is run with [`crate::TRANSPORT_COMMAND`] and what follows; any process has to understand it.
    ///
    /// # Errors
    /// If its directory can't be made, or `xl` does not work here: then there is no Xen, or no dom0.
    pub fn new(settings: &Settings, program: PathBuf, helper: PathBuf) -> Result<Xl> {
        let host = Host::new(Program::find(program), helper, settings.state_directory.join("xl"))?;
        let facts = host.facts()?;
        for row in host.list()? {
            if let Name::Arriving { relocation, own } | Name::Departing { relocation, own } = &row.name {
                tracing::info!(domid = row.id, %relocation, "domain '{own}' is held by a relocation: xm status tells which, or nobody knows it any more");
            }
        }
        Ok(Xl {
            host: Arc::new(host),
            runs_pv32: facts.virtualization.iter().any(|word| word == "pv32"),
        })
    }

    /// A domain that no relocation holds.
    fn free(&self, id: DomainId, what: &'static str) -> Result<Row> {
        let row = self.host.row(id)?;
        if row.name.is_held() {
            return Err(ToolstackError::Relocating { id, what });
        }
        Ok(row)
    }

    /// A domain that a relocation holds.
    fn held(&self, is: impl Fn(&Row) -> bool) -> Result<Option<Row>> {
        Ok(self.host.list()?.into_iter().find(|row| is(row) && !row.flags.dying))
    }

    fn create_from(&self, text: &[u8], uuid: Uuid) -> Result<()> {
        let path = self.host.directory.join(format!("create-{uuid}.cfg"));
        let io = |error| ToolstackError::io(path.display().to_string())(error);
        // xl wants a regular file, and whatever is in it is the operator's own business.
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(io)?;
        file.write_all(text).map_err(io)?;
        drop(file);
        let created = self.host.program.run(&["create", &path.to_string_lossy()], CREATING);
        let _ = fs::remove_file(&path);
        created.map(|_| ())
    }
}

impl Toolstack for Xl {
    fn name(&self) -> &'static str {
        "xl"
    }

    fn host(&self) -> Result<HostFacts> {
        self.host.facts()
    }

    fn domains(&self) -> Result<Vec<Domain>> {
        Ok(self.host.list()?.iter().map(Row::domain).collect())
    }

    fn config(&self, id: DomainId) -> Result<DomainConfig> {
        let mut config = json::config(&self.host.json(id)?)
            .map_err(|what| ToolstackError::Failed(format!("xl list -l of domain {id}: {what}")))?;
        config.name = Name::parse(&config.name).own().to_owned();
        if self.runs_pv32 {
            config.kernel_bits = kernel::bits(&config, id);
        }
        config.cpu_features = started::cpu_features(id);
        Ok(config)
    }

    fn depart(
        &self,
        departure: &Departure<'_>,
        image: &mut dyn ImageSink,
        observer: &mut dyn Observer,
    ) -> Result<Box<dyn Departed>> {
        match departure.mode {
            Mode::Offline => depart::offline(&self.host, departure, image, observer),
            Mode::Live(options) => live::live(&self.host, departure, options, image, observer),
        }
    }

    fn arrive(&self, arrival: &Arrival<'_>, image: &mut dyn ImageSource) -> Result<Box<dyn Arrived>> {
        arrive::arrive(&self.host, arrival, image)
    }

    fn find_departed(&self, _: Uuid, relocation: Uuid) -> Result<Option<Box<dyn Departed>>> {
        // One that is stopped stays so until the decision. Any other is waited for.
        let held = self.host.groups.held(relocation)?;
        let cut_short = held.is_none() && self.host.groups.settle(relocation)?;
        let found =
            self.held(|row| matches!(&row.name, Name::Departing { relocation: held, .. } if *held == relocation))?;
        if found.is_none() && cut_short {
            self.host.groups.forget(relocation);
        }
        Ok(found.map(|row| {
            // Since when it has stood still is not known any more.
            let (host, own) = (Arc::clone(&self.host), row.name.own().to_owned());
            let departed = DepartedDomain::new(host, row.id, relocation, own, Instant::now());
            let departed = match held {
                Some(held) => departed.held(held),
                None if cut_short => departed.cut_short(),
                None => departed,
            };
            Box::new(departed) as Box<dyn Departed>
        }))
    }

    fn find_arrived(&self, uuid: Uuid, relocation: Uuid) -> Result<Option<Box<dyn Arrived>>> {
        self.host.groups.settle(relocation)?;
        // Its guest has never run.
        self.host.groups.forget(relocation);
        let found = self.held(|row| arrive::is_of(row, relocation, uuid))?;
        Ok(found.map(|row| {
            let arrived = ArrivedDomain::found(Arc::clone(&self.host), row.id, relocation);
            Box::new(arrived) as Box<dyn Arrived>
        }))
    }

    fn dom0_memory_kib(&self) -> Result<Option<u64>> {
        self.host.dom0_kib()
    }

    fn take_from_dom0(&self, wanted_kib: u64, keep_kib: u64, limit: Duration) -> Result<()> {
        self.host.take_from_dom0(wanted_kib, keep_kib, limit)
    }

    fn create(&self, config: &DomainConfig) -> Result<DomainId> {
        let text = config
            .to_xl()
            .map_err(|error| ToolstackError::Config(error.to_string()))?;
        let _building = self.host.build()?;
        let before = self.host.list()?;
        if let Some(row) = before.iter().find(|row| row.name.own() == config.name) {
            return Err(ToolstackError::NameTaken {
                name: config.name.clone(),
                id: row.id,
            });
        }
        let created = self.create_from(&text, config.uuid);
        let is_new = |row: &&Row| row.name.own() == config.name && before.iter().all(|old| old.id != row.id);
        let rows = self.host.list()?;
        let new = rows.iter().find(is_new);
        match (created, new) {
            (Ok(()), Some(row)) => Ok(row.id),
            (Ok(()), None) => Err(ToolstackError::Failed(
                "xl create has ended well, but the domain is not there: it may have ended already".to_owned(),
            )),
            (Err(error), None) => Err(error),
            (Err(error), Some(row)) => {
                // It was killed half-way.
                self.host.destroy(row.id)?;
                Err(error)
            }
        }
    }

    fn destroy(&self, id: DomainId) -> Result<()> {
        self.free(id, "destroy")?;
        self.host.destroy(id)
    }

    fn pause(&self, id: DomainId) -> Result<()> {
        self.free(id, "pause")?;
        self.host.pause(id)
    }

    fn unpause(&self, id: DomainId) -> Result<()> {
        self.free(id, "unpause")?;
        self.host.unpause(id)
    }

    fn console(&self, id: DomainId) -> Result<UnixStream> {
        self.host.row(id)?;
        console::open(&self.host.program, id)
    }
}
