//! The configuration as the daemon uses it.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use sxp::Position;

use crate::{
    allow::AllowList,
    diagnostic::{ConfigErrors, Diagnostic, Report, Severity, shown},
    file::{self, MAX_BYTES},
    keys::HOSTS_ALLOW,
    settings::Settings,
    value::{ListenAddress, LogLevel},
};

/// What a configuration file says, and the defaults for the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Listen for domains that arrive.
    pub relocation_server: bool,
    /// The port for them, and the one that departing domains are sent to.
    pub relocation_port: u16,
    /// Where to listen.
    pub relocation_address: ListenAddress,
    /// Send departing domains over TLS unless told otherwise.
    pub relocation_ssl: bool,
    /// Listen for domains that arrive over TLS. Key and certificate are there then.
    pub ssl_server: bool,
    /// The port for them.
    pub ssl_port: u16,
    /// The TLS private key.
    pub ssl_key_file: Option<PathBuf>,
    /// The TLS certificate.
    pub ssl_cert_file: Option<PathBuf>,
    /// Who may send domains here.
    pub hosts_allow: AllowList,
    /// A file to log to; unset: stderr or the journal only.
    pub log_file: Option<PathBuf>,
    /// How much is logged.
    pub log_level: LogLevel,
    /// Write the memory of guests that crash to disk.
    pub enable_dump: bool,
    /// KiB of console output kept for each domain.
    pub console_limit_kib: u32,
    /// MiB that dom0 keeps.
    pub dom0_min_mem_mib: u64,
    /// Take memory from dom0 for domains. Unset it follows from `dom0_min_mem_mib`: no if that is 0.
    pub enable_dom0_ballooning: bool,
    /// Connections at once that have not been granted a relocation.
    pub max_connections: usize,
    /// Domains that may arrive at once.
    pub max_incoming: usize,
    /// Domains that may depart at once.
    pub max_outgoing: usize,
    /// Time for a peer to say what it wants.
    pub handshake_timeout: Duration,
    /// Time without a byte after which a relocation has failed.
    pub idle_timeout: Duration,
    /// Time for the other host to confirm that a domain runs.
    pub commit_timeout: Duration,
    /// Time for looking up a peer's name.
    pub name_lookup_timeout: Duration,
    /// Bytes of a domain's configuration, or of any other message.
    pub max_config_bytes: usize,
    /// KiB that arriving domains may take together; unset: what is free.
    pub max_arriving_kib: Option<u64>,
    /// KiB for domains of the embedded toolstack; unset: what is free.
    pub embedded_memory_kib: Option<u64>,
    /// Where images and safety copies are kept; unset: in `spool` below the state directory.
    pub spool_directory: Option<PathBuf>,
    /// Keep a copy of what an xend sends until the domain runs.
    pub safety_copy: bool,
    /// How long the journal of a finished relocation is kept.
    pub journal_keep: Duration,
}

/// A configuration that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// It.
    pub config: Config,
    /// Warnings and notes about the file.
    pub notes: Vec<Diagnostic>,
}

impl Default for Config {
    fn default() -> Self {
        Config::build(&Settings::default(), &mut Report::new(""))
    }
}

impl Config {
    /// Reads a configuration. `file` is its name for messages.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(bytes: &[u8], file: &str) -> Result<Loaded, ConfigErrors> {
        let mut report = Report::new(file);
        let settings = file::settings(bytes, &mut report);
        let config = Config::build(&settings, &mut report);
        Ok(Loaded {
            config,
            notes: report.finish()?,
        })
    }

    /// Reads a configuration file of 1 MiB at most.
    ///
    /// # Errors
    /// As [`Config::parse`], and if the file can't be read.
    pub fn load(path: &Path) -> Result<Loaded, ConfigErrors> {
        let name = path.to_string_lossy();
        let refuse = |what: String| {
            let diagnostic = Diagnostic {
                severity: Severity::Error,
                file: name.clone().into_owned(),
                line: 0,
                column: 0,
                message: what,
            };
            ConfigErrors(vec![diagnostic])
        };
        let bytes = read(path).map_err(|error| refuse(error.to_string()))?;
        Config::parse(&bytes, &name)
    }

    fn build(settings: &Settings, report: &mut Report) -> Config {
        let seconds = |name| Duration::from_secs(settings.number(name));
        let kib_of_mib = |name| Some(settings.number::<u64>(name).saturating_mul(1024)).filter(|&kib| kib != 0);
        let dom0_min_mem_mib = settings.number("dom0-min-mem");
        let config = Config {
            relocation_server: settings.bool("xend-relocation-server"),
            relocation_port: settings.number("xend-relocation-port"),
            relocation_address: settings.address("xend-relocation-address"),
            relocation_ssl: settings.bool("xend-relocation-ssl"),
            ssl_server: settings.bool("xend-relocation-ssl-server"),
            ssl_port: settings.number("xend-relocation-ssl-port"),
            ssl_key_file: settings.path("xend-relocation-server-ssl-key-file"),
            ssl_cert_file: settings.path("xend-relocation-server-ssl-cert-file"),
            hosts_allow: hosts_allow(settings, report),
            log_file: settings.path("logfile"),
            log_level: settings.level("loglevel"),
            enable_dump: settings.bool("enable-dump"),
            console_limit_kib: settings.number("console-limit"),
            dom0_min_mem_mib,
            enable_dom0_ballooning: settings
                .optional_bool("enable-dom0-ballooning")
                .unwrap_or(dom0_min_mem_mib != 0),
            max_connections: settings.number("relocd-max-connections"),
            max_incoming: settings.number("relocd-max-incoming"),
            max_outgoing: settings.number("relocd-max-outgoing"),
            handshake_timeout: seconds("relocd-handshake-timeout"),
            idle_timeout: seconds("relocd-idle-timeout"),
            commit_timeout: seconds("relocd-commit-timeout"),
            name_lookup_timeout: seconds("relocd-name-lookup-timeout"),
            max_config_bytes: settings.number::<usize>("relocd-max-config-size").saturating_mul(1024),
            max_arriving_kib: kib_of_mib("relocd-max-arriving-memory"),
            embedded_memory_kib: kib_of_mib("relocd-embedded-memory"),
            spool_directory: settings
                .at("relocd-spool-directory")
                .and_then(|_| settings.path("relocd-spool-directory")),
            safety_copy: settings.bool("relocd-safety-copy"),
            journal_keep: Duration::from_secs(settings.number::<u64>("relocd-journal-keep-days").saturating_mul(86400)),
        };
        config.check_ssl(settings, report);
        config
    }

    fn check_ssl(&self, settings: &Settings, report: &mut Report) {
        let Some(at) = settings.at("xend-relocation-ssl-server").filter(|_| self.ssl_server) else {
            return;
        };
        if self.relocation_server && self.relocation_port == self.ssl_port {
            let at = settings.at("xend-relocation-ssl-port").unwrap_or(at);
            report.error(
                at,
                format!(
                    "xend-relocation-ssl-port: found {}, which is xend-relocation-port too",
                    self.ssl_port
                ),
            );
        }
        for (name, file) in [
            ("xend-relocation-server-ssl-key-file", &self.ssl_key_file),
            ("xend-relocation-server-ssl-cert-file", &self.ssl_cert_file),
        ] {
            match (file, settings.at(name)) {
                // It was told already, or may stand where the file could not be read.
                (None, _) if settings.is_wrong(name) || !settings.complete => {}
                (None, at_name) => {
                    report.error(
                        at_name.unwrap_or(at),
                        format!("xend-relocation-ssl-server needs {name}"),
                    );
                }
                (Some(file), at_name) => check_file(name, file, at_name.unwrap_or(at), report),
            }
        }
    }
}

fn check_file(name: &str, file: &Path, at: Position, report: &mut Report) {
    let shown = shown(&file.to_string_lossy(), 200);
    match fs::metadata(file) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => report.error(at, format!("{name}: {shown} is not a file")),
        // Whoever only checks a file may not be allowed to look at keys.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            report.warning(at, format!("{name}: {shown} can't be checked: {error}"));
        }
        Err(error) => report.error(at, format!("{name}: {shown}: {error}")),
    }
}

fn hosts_allow(settings: &Settings, report: &mut Report) -> AllowList {
    let (Some(text), Some(at)) = (settings.text(HOSTS_ALLOW), settings.at(HOSTS_ALLOW)) else {
        return AllowList::default();
    };
    let (list, said) = AllowList::read(&text);
    for (severity, what) in said {
        report.add(severity, Some(at), format!("{HOSTS_ALLOW}: {what}"));
    }
    list
}

/// A regular file's bytes. Others could block, or never end.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other(if metadata.is_dir() {
            "is a directory"
        } else {
            "is not a regular file"
        }));
    }
    let too_long = |length: u64| io::Error::other(format!("{length} bytes; expected {MAX_BYTES} at most"));
    if metadata.len() > MAX_BYTES as u64 {
        return Err(too_long(metadata.len()));
    }
    let mut bytes = Vec::new();
    // It may be growing.
    File::open(path)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_BYTES {
        return Err(too_long(bytes.len() as u64));
    }
    Ok(bytes)
}
