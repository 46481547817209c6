//! Where the log goes: to standard error, in a form that journald takes apart, and to the `logfile`.

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, Mutex},
};

use config::{Config, LogLevel};
use tracing::{Level, Metadata, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, Registry,
    field::RecordFields,
    fmt::{
        self, FormatFields, MakeWriter,
        format::{DefaultFields, Writer},
    },
    layer::{Context, SubscriberExt},
    reload,
    util::SubscriberInitExt,
};

use crate::{audit, relocations::lock};

/// Changes level and file while the daemon runs.
pub struct Logging {
    level: reload::Handle<Threshold, Registry>,
    file: LogFile,
}

/// Lines for the service manager's journal: a priority in front, no time, no colours.
struct Journald;

impl<'a> MakeWriter<'a> for Journald {
    type Writer = Prefixed;

    fn make_writer(&'a self) -> Prefixed {
        Prefixed {
            prefix: "<6>",
            line: Vec::new(),
        }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Prefixed {
        let prefix = match *metadata.level() {
            Level::ERROR => "<3>",
            Level::WARN => "<4>",
            Level::INFO => "<6>",
            Level::DEBUG | Level::TRACE => "<7>",
        };
        Prefixed {
            prefix,
            line: Vec::new(),
        }
    }
}

/// A line that goes out whole.
struct Prefixed {
    prefix: &'static str,
    line: Vec<u8>,
}

impl Write for Prefixed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Prefixed {
    fn drop(&mut self) {
        let whole = [self.prefix.as_bytes(), &self.line].concat();
        // There is nowhere to report to that a log can't be written.
        let _ = io::stderr().lock().write_all(&whole);
    }
}

/// The `logfile`: none, or one that can be replaced.
#[derive(Clone, Default)]
struct LogFile(Arc<Mutex<Option<File>>>);

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).as_mut().map_or(Ok(bytes.len()), |file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = LogFile;

    fn make_writer(&'a self) -> LogFile {
        self.clone()
    }
}

/// The fields of spans for the `logfile`. A type of its own: two layers with the same one write into the same place, so that a field which is recorded
/// later would stand there twice, with the terminal's colours.
#[derive(Default)]
struct FileFields(DefaultFields);

impl<'w> FormatFields<'w> for FileFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> std::fmt::Result {
        self.0.format_fields(writer, fields)
    }
}

/// Begins to log.
pub fn start(config: &Config) -> Logging {
    let (level, handle) = reload::Layer::new(filter(config.log_level));
    let file = LogFile::default();
    // Under systemd standard error is a socket of the journal, which adds the time itself.
    let under_journald = std::env::var_os("JOURNAL_STREAM").is_some();
    let terminal = io::stderr().is_terminal();
    let stderr: Box<dyn Layer<_> + Send + Sync> = if under_journald {
        Box::new(
            fmt::layer()
                .without_time()
                .with_level(false)
                .with_target(false)
                .with_ansi(false)
                .with_writer(Journald),
        )
    } else {
        Box::new(
            fmt::layer()
                .with_target(false)
                .with_ansi(terminal)
                .with_writer(io::stderr),
        )
    };
    let to_file = fmt::layer()
        .with_target(false)
        .with_ansi(false)
        .fmt_fields(FileFields::default())
        .with_writer(file.clone());
    // A second start in one process (tests) keeps the first one's log.
    let _ = tracing_subscriber::registry()
        .with(level)
        .with(stderr)
        .with(to_file)
        .try_init();
    let logging = Logging { level: handle, file };
    logging.apply(config);
    logging
}

/// Begins to log in a process that the daemon has started.
pub fn start_receiver(log_file: Option<std::path::PathBuf>) {
    start(&Config {
        log_file,
        ..Config::default()
    });
}

impl Logging {
    /// Makes the log agree with a configuration. Opens the file anew: what rotated it away gets a fresh one.
    pub fn apply(&self, config: &Config) {
        let _ = self.level.reload(filter(config.log_level));
        let file = config.log_file.as_deref().map(open).transpose();
        match file {
            Ok(file) => *lock(&self.file.0) = file,
            // No reason not to run: the other place is there.
            Err(error) => tracing::warn!(%error, file = ?config.log_file, "the logfile can't be opened"),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

/// Lets through what the level lets through, and the audit trail.
struct Threshold(LevelFilter);

impl<S: Subscriber> Layer<S> for Threshold {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= self.0 || metadata.target() == audit::TARGET
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.0.max(LevelFilter::INFO))
    }
}

fn filter(level: LogLevel) -> Threshold {
    Threshold(match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    })
}
