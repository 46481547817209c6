//! The toolstack of software machines: the daemon's side.

mod arrive;
mod decide;
mod machines;

use std::{
    io::Write,
    os::unix::net::UnixStream,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use domain::{DomainConfig, GuestKind, HostFacts};
use image::{DomainHeader, ImageSink, Item, record::RecordType};
use precopy::SystemClock;
use toolstack::{
    Arrival, Arrived, DEPARTING_PREFIX, Departed, Departure, Domain, DomainId, DomainState, Mode, Observer, Result,
    Settings, Toolstack, ToolstackError,
};
use uuid::Uuid;

use crate::{
    boot,
    bus::Bus,
    console::Scrollback,
    guest::{MachineGuest, order},
    host,
    memory::{GuestMemory, MAX_RAM},
    protocol::{Command, Line, Phase, ProtocolError},
    state::VcpuState,
};
use decide::{ArrivedMachine, DepartedMachine};
use machines::{Found, Machines};

/// How long the last orders of a daemon that has died may take to reach a machine.
const ON_ITS_WAY: Duration = Duration::from_secs(3);

/// Runs domains as software machines, each in a process of its own.
pub struct Embedded {
    machines: Machines,
    memory_kib: Option<u64>,
}

impl Embedded {
    /// The toolstack below `settings.state_directory`. `program` becomes a machine process when it is run with [`crate::MACHINE_COMMAND`] and what follows.
    ///
    /// # Errors
    /// If its directory can't be made.
    pub fn new(settings: &Settings, program: PathBuf) -> Result<Embedded> {
        let machines = Machines::open(
            &settings.state_directory.join("embedded"),
            program,
            settings.console_limit_kib,
        )?;
        Ok(Embedded {
            machines,
            memory_kib: settings.embedded_memory_kib,
        })
    }

    fn find(&self, id: DomainId) -> Result<Found> {
        self.machines.find(id)?.ok_or(ToolstackError::NoDomain(id))
    }

    /// A machine in a phase that only a decision ends. The last orders of a daemon that has just died may still be on their way to a machine that is
    /// about to get there: as long as there is such a one, its end or its arrival is waited for.
    fn find_settled(
        &self,
        uuid: Uuid,
        is_on_its_way: impl Fn(Phase) -> bool,
        is_settled: impl Fn(Phase) -> bool,
    ) -> Result<Option<Found>> {
        let begun = Instant::now();
        loop {
            let mut machines = self.machines.of(uuid)?;
            if let Some(at) = machines.iter().position(|found| is_settled(found.phase)) {
                return Ok(Some(machines.swap_remove(at)));
            }
            // One that has not been told for so long won't be any more: it goes its own way.
            if !machines.iter().any(|found| is_on_its_way(found.phase)) || begun.elapsed() > ON_ITS_WAY {
                return Ok(None);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn tell(&self, id: DomainId, what: &'static str, command: &Command) -> Result<()> {
        let mut found = self.find(id)?;
        if matches!(
            found.phase,
            Phase::Departing { .. } | Phase::Suspended { .. } | Phase::Arrived { .. } | Phase::Building { .. }
        ) {
            return Err(ToolstackError::Relocating { id, what });
        }
        order(&mut found.line, command).map_err(|error| failed(id, &error))
    }
}

fn failed(id: DomainId, error: &dyn std::fmt::Display) -> ToolstackError {
    ToolstackError::Failed(format!("domain {id}: {error}"))
}

/// Whether a machine of this toolstack can be made of the configuration.
fn check_config(config: &DomainConfig) -> Result<()> {
    let wrong = |what: String| Err(ToolstackError::Config(what));
    if config.kind != GuestKind::Embedded {
        return wrong(format!(
            "the embedded toolstack runs no {} guests",
            config.kind.image_word()
        ));
    }
    if config.vcpus != 1 {
        return wrong(format!("{} vcpus: the embedded toolstack has one", config.vcpus));
    }
    let bytes = config.memory_kib.saturating_mul(1024);
    if !(1 << 20..=MAX_RAM).contains(&bytes) || !bytes.is_multiple_of(4096) {
        return wrong(format!(
            "{} KiB of memory: the embedded toolstack has 1 MiB to 64 GiB, in whole pages",
            config.memory_kib
        ));
    }
    Ok(())
}

impl Toolstack for Embedded {
    fn name(&self) -> &'static str {
        "embedded"
    }

    fn host(&self) -> Result<HostFacts> {
        let used = self
            .machines
            .configs()?
            .iter()
            .map(|(_, config)| config.memory_kib)
            .sum();
        Ok(host::facts(used, self.memory_kib))
    }

    fn domains(&self) -> Result<Vec<Domain>> {
        let mut domains = Vec::new();
        for (id, config) in self.machines.configs()? {
            match self.machines.ask(id, config.clone()) {
                Ok(found) => domains.extend(found.as_ref().map(Found::domain)),
                Err(_) => domains.push(silent(id, config)),
            }
        }
        Ok(domains)
    }

    fn config(&self, id: DomainId) -> Result<DomainConfig> {
        Ok(self.find(id)?.config)
    }

    fn depart(
        &self,
        departure: &Departure<'_>,
        image: &mut dyn ImageSink,
        observer: &mut dyn Observer,
    ) -> Result<Box<dyn Departed>> {
        let id = departure.id;
        let Found { mut line, .. } = self.find(id)?;
        let memory = machines::map(&line)?;
        order(
            &mut line,
            &Command::Depart {
                relocation: departure.relocation,
            },
        )
        .map_err(|error| failed(id, &error))?;
        // From here on the connection holds the departure: when it ends without a decision, the machine goes on as before.
        let mut guest = MachineGuest { line, memory };
        image.put(Item::Start(DomainHeader {
            version: 3,
            guest: DomainHeader::EMBEDDED,
            xen_major: 0,
            xen_minor: 0,
        }))?;
        image.put(Item::Record {
            kind: RecordType::STATIC_DATA_END,
            body: &[],
        })?;
        let clock = SystemClock::start();
        let summary = match departure.mode {
            Mode::Offline => precopy::offline(&mut guest, &clock, image, observer)?,
            Mode::Live(options) => precopy::live(&mut guest, options, &clock, image, observer)?,
        };
        tracing::debug!(?summary, "the image is complete");
        let departed = DepartedMachine::new(id, guest.line);
        // Suspended by now: a sink that fails at the end needs a decision of its own.
        match image.put(Item::End).and_then(|()| image.put(Item::Finish)) {
            Ok(()) => Ok(Box::new(departed)),
            Err(error) => match Box::new(departed).resume() {
                Ok(()) => Err(error.into()),
                Err(undone) => Err(ToolstackError::Failed(format!(
                    "{error}; and then the domain could not be resumed: {}",
                    undone.error
                ))),
            },
        }
    }

    fn arrive(&self, arrival: &Arrival<'_>, image: &mut dyn image::ImageSource) -> Result<Box<dyn Arrived>> {
        arrive::arrive(&self.machines, arrival, image)
    }

    fn find_departed(&self, uuid: Uuid, relocation: Uuid) -> Result<Option<Box<dyn Departed>>> {
        let is_on_its_way = |phase| matches!(phase, Phase::Departing { relocation: held, .. } if held == relocation);
        let is = |phase| matches!(phase, Phase::Suspended { relocation: held, .. } if held == relocation);
        let found = self.find_settled(uuid, is_on_its_way, is)?;
        Ok(found
            .map(|found| Box::new(DepartedMachine::found(found.id, found.line, found.suspended)) as Box<dyn Departed>))
    }

    fn find_arrived(&self, uuid: Uuid, relocation: Uuid) -> Result<Option<Box<dyn Arrived>>> {
        let is_on_its_way = |phase| matches!(phase, Phase::Building { relocation: held } if held == Some(relocation));
        let is = |phase| phase == Phase::Arrived { relocation };
        let found = self.find_settled(uuid, is_on_its_way, is)?;
        Ok(found.map(|found| {
            Box::new(ArrivedMachine {
                id: found.id,
                line: found.line,
            }) as Box<dyn Arrived>
        }))
    }

    fn create(&self, config: &DomainConfig) -> Result<DomainId> {
        check_config(config)?;
        let facts = self.host()?;
        if config.memory_kib > facts.free_memory_kib {
            return Err(ToolstackError::Memory {
                needed_kib: config.memory_kib,
                free_kib: facts.free_memory_kib,
            });
        }
        let memory = std::sync::Arc::new(
            GuestMemory::new(config.memory_kib * 1024).map_err(|error| ToolstackError::Failed(error.to_string()))?,
        );
        let cpu = boot::load(&memory, config)?;
        let mut built = self.machines.build(config, None, &memory)?;
        let state = VcpuState::of(&cpu, &Bus::new(memory), &Scrollback::new(0));
        load(&mut built.line, &state).map_err(|error| failed(built.id, &error))?;
        Ok(built.id)
    }

    fn destroy(&self, id: DomainId) -> Result<()> {
        self.tell(id, "destroy", &Command::Destroy)
    }

    fn pause(&self, id: DomainId) -> Result<()> {
        self.tell(id, "pause", &Command::Pause)
    }

    fn unpause(&self, id: DomainId) -> Result<()> {
        self.tell(id, "unpause", &Command::Unpause)
    }

    fn console(&self, id: DomainId) -> Result<UnixStream> {
        let mut found = self.find(id)?;
        found.line.send(&Command::Console).map_err(|error| failed(id, &error))?;
        let io = ToolstackError::io("the console's socket");
        found
            .line
            .stream
            .set_read_timeout(None)
            .and_then(|()| found.line.stream.set_write_timeout(None))
            .map_err(io)?;
        Ok(found.line.stream)
    }
}

/// Gives a machine in the making its state.
fn load(line: &mut Line, state: &VcpuState) -> std::result::Result<(), ProtocolError> {
    let bytes = state.to_bytes();
    line.send(&Command::Load { length: bytes.len() })?;
    line.stream.write_all(&bytes)?;
    match line.receive()? {
        crate::protocol::Answer::Done => Ok(()),
        other => Err(ProtocolError::Syntax(format!("unexpected answer {other:?}"))),
    }
}

/// A domain whose machine does not answer.
fn silent(id: DomainId, config: DomainConfig) -> Domain {
    Domain {
        id,
        name: config.name,
        uuid: config.uuid,
        memory_kib: config.memory_kib,
        vcpus: config.vcpus,
        state: DomainState::Unknown,
        cpu_time: Duration::ZERO,
    }
}

impl Found {
    fn domain(&self) -> Domain {
        let departs = matches!(self.phase, Phase::Departing { .. } | Phase::Suspended { .. });
        // As xend named a domain on its way out.
        let name = if departs {
            format!("{DEPARTING_PREFIX}{}", self.config.name)
        } else {
            self.config.name.clone()
        };
        let state = match self.phase {
            Phase::Building { .. } | Phase::Arrived { .. } => DomainState::Arriving,
            Phase::Running | Phase::Departing { paused: false, .. } if self.waiting => DomainState::Blocked,
            Phase::Running | Phase::Departing { paused: false, .. } => DomainState::Running,
            Phase::Paused | Phase::Departing { .. } => DomainState::Paused,
            Phase::Suspended { .. } => DomainState::Suspended,
            Phase::Crashed => DomainState::Crashed,
        };
        Domain {
            id: self.id,
            name,
            uuid: self.config.uuid,
            memory_kib: self.config.memory_kib,
            vcpus: self.config.vcpus,
            state,
            cpu_time: Duration::from_micros(self.cpu_microseconds),
        }
    }
}
