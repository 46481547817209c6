//! The daemon's life: start, reload, end.

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use config::{Config, ConfigErrors, Loaded, Severity};
use domain::HostFacts;
use sd_notify::NotifyState;
use tokio::time::sleep;
use toolstack::{
    ToolstackError,
    spool::{Spool, SpoolError},
};

use crate::{
    allocator,
    blocking::blocking,
    check,
    control::{self, ControlError},
    fault,
    host::Host,
    journal::{Journal, JournalError},
    listeners::{ListenError, Listeners},
    logging::{self, Logging},
    recovery, spooled,
    system::{self, Asked, LAST_WAIT},
    toolstacks,
};

/// How the daemon is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file.
    pub config: PathBuf,
    /// Which toolstack.
    pub toolstack: toolstacks::Choice,
    /// Where the journal is, and what the toolstack keeps.
    pub state_directory: PathBuf,
    /// The operators' socket.
    pub control: PathBuf,
}

/// Why the daemon does not start. The number is the exit code, in systemd's range for configuration errors where that is what it is.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration file.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// The toolstack.
    #[error("toolstack: {0}")]
    Toolstack(#[from] ToolstackError),
    /// The journal.
    #[error("{0}")]
    Journal(#[from] JournalError),
    /// The spool.
    #[error("{0}")]
    Spool(#[from] SpoolError),
    /// The operators' socket.
    #[error("{0}")]
    Control(#[from] ControlError),
    /// The relocation port.
    #[error("{0}")]
    Listen(#[from] ListenError),
    /// The system.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

impl StartError {
    /// 78 (EX_CONFIG) for a configuration that can't be used, else 1.
    pub fn exit_code(&self) -> u8 {
        if matches!(self, StartError::Config(_)) { 78 } else { 1 }
    }
}

/// Runs the daemon until it is told to end.
///
/// # Errors
/// [`StartError`], if it can't begin.
pub fn run(options: Options) -> Result<(), StartError> {
    fault::check().map_err(|what| StartError::Io {
        what: "fault points",
        source: io::Error::other(what),
    })?;
    allocator::use_one_arena();
    let loaded = Config::load(&options.config)?;
    let logging = logging::start(&loaded.config);
    tell(&loaded);
    let io_error = |what| move |source| StartError::Io { what, source };
    // Before any thread, so that none of them is ended by a signal.
    let signals = system::signals().map_err(io_error("setting signal handlers"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(io_error("starting the runtime"))?;
    system::watchdog(runtime.handle().clone());
    let result = runtime.block_on(serve(options, loaded.config, &logging, signals));
    // A machine's answer may still be waited for: that is bounded, and nobody's business any more.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

fn tell(loaded: &Loaded) {
    for note in &loaded.notes {
        match note.severity {
            Severity::Note => tracing::info!("{note}"),
            Severity::Warning | Severity::Error => tracing::warn!("{note}"),
        }
    }
    for what in check::cautions(&loaded.config) {
        tracing::warn!("{what}");
    }
}

async fn serve(
    options: Options,
    config: Config,
    logging: &Logging,
    mut signals: tokio::sync::mpsc::UnboundedReceiver<Asked>,
) -> Result<(), StartError> {
    // The socket comes first: it is what keeps two daemons from sharing a state directory.
    let operators = control::bind(&options.control)?;
    let journal = Journal::open(&options.state_directory)?;
    let spool = open_spool(&options, &config).await?;
    let toolstack = toolstacks::open(options.toolstack, &config, &options.state_directory, &spool)?;
    if !config.safety_copy && toolstack.name() == HostFacts::SPOOL {
        tracing::warn!("relocd-safety-copy no has no effect with --toolstack spool, where domains are to stay on disk");
    }
    let host = Arc::new(Host::new(toolstack, spool, journal, options.config.clone(), config));
    // First what was being started from the spool: whether it runs decides about the relocation that brought it.
    spooled::recover(&host).await;
    recovery::recover(&host).await?;
    let mut listeners = Listeners::default();
    listeners.apply(&host, &host.config()).await?;
    let operators = tokio::spawn(control::serve(Arc::clone(&host), operators));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"), toolstack = host.toolstack.name(), config = %options.config.display(), "relocd is ready"
    );
    let expiry = tokio::spawn(expire(Arc::clone(&host)));
    let status = status(&host);
    system::notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
    while let Some(asked) = signals.recv().await {
        match asked {
            Asked::Reload => reload(&host, &mut listeners, logging).await,
            Asked::Stop => break,
        }
    }
    stop(&host, &mut listeners).await;
    operators.abort();
    expiry.abort();
    let _ = std::fs::remove_file(&options.control);
    Ok(())
}

async fn open_spool(options: &Options, config: &Config) -> Result<Spool, SpoolError> {
    let directory = config.spool_directory.clone();
    let directory = directory.unwrap_or_else(|| options.state_directory.join("spool"));
    // It may have to read images of gigabytes that a crash has left.
    blocking(move || Spool::open(&directory)).await
}

/// How often records are looked at that may have expired.
const EXPIRY: Duration = Duration::from_secs(3600);

/// Removes expired records for as long as the daemon runs.
async fn expire(host: Arc<Host>) {
    loop {
        sleep(EXPIRY).await;
        recovery::expire(&host).await;
    }
}

fn status(host: &Host) -> String {
    match host.listening() {
        addresses if addresses.is_empty() => "not listening for relocations (xend-relocation-server no)".to_owned(),
        addresses => format!("listening for relocations on {}", addresses.join(" ")),
    }
}

/// Reads the configuration again. Whatever is wrong with it, the one in force stays.
async fn reload(host: &Arc<Host>, listeners: &mut Listeners, logging: &Logging) {
    system::notify_reloading();
    match Config::load(&host.config_file) {
        Ok(loaded) => {
            tell(&loaded);
            if loaded.config.spool_directory != host.config().spool_directory {
                tracing::warn!("relocd-spool-directory takes effect when relocd is started the next time");
            }
            match listeners.apply(host, &loaded.config).await {
                Ok(()) => {
                    logging.apply(&loaded.config);
                    host.set_config(loaded.config);
                    tracing::info!("configuration reloaded");
                    recovery::expire(host).await;
                }
                Err(error) => tracing::error!("configuration not reloaded, the old one stays in force: {error}"),
            }
        }
        Err(errors) => tracing::error!("configuration not reloaded, the old one stays in force:\n{errors}"),
    }
    let status = status(host);
    system::notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// No new relocations; those that are not committed are given up, and their domains run on where they were.
async fn stop(host: &Arc<Host>, listeners: &mut Listeners) {
    system::notify(&[NotifyState::Stopping]);
    tracing::info!("stopping");
    listeners.close();
    host.relocations.stop("relocd is stopping");
    let begun = Instant::now();
    loop {
        let running = host.relocations.all();
        // A relocation is out of the books a moment before its operator has heard of it.
        let answered = Arc::strong_count(&host.answering) == 1;
        if (running.is_empty() && answered) || begun.elapsed() > LAST_WAIT {
            for relocation in running {
                tracing::warn!(id = %relocation.id, domain = relocation.domain, "left to the next start: the journal knows where it stands");
            }
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
    tracing::info!("stopped");
}
