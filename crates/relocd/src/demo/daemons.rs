//! The demo's two daemons, and `xm` towards them.

use std::{
    fs::{self, File},
    net::TcpListener,
    os::unix::{net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use peer::control::Migrated;

use super::{DemoError, Interrupt, PATIENCE, io_error};

/// xend's relocation port.
pub(super) const USUAL_PORT: u16 = 8002;

/// The sample configuration, of which each daemon's is made.
const SAMPLE: &str = include_str!("../../../../config/xend-config.sxp");

/// This program, whatever has become of its file.
const SELF: &str = "/proc/self/exe";

/// What `xm migrate --json` prints.
#[derive(serde::Deserialize)]
struct Said {
    migrated: Migrated,
}

/// A daemon of the demo; ends with it.
pub(super) struct Daemon {
    pub(super) name: &'static str,
    pub(super) address: &'static str,
    port: u16,
    pub(super) control: PathBuf,
    log: PathBuf,
    interrupt: Interrupt,
    child: Child,
}

/// A port that is free on both daemons' addresses: the usual one or, if it is taken, another.
pub(super) struct Port {
    pub(super) number: u16,
    /// Held on a third address, so that two demos at once don't choose the same one.
    _claim: TcpListener,
}

/// Where a demo claims its port.
const CLAIM_ADDRESS: &str = "127.0.0.3";

impl Port {
    pub(super) fn choose() -> Result<Port, DemoError> {
        let claim = |wanted: u16| {
            let claim = TcpListener::bind((CLAIM_ADDRESS, wanted))?;
            let number = claim.local_addr()?.port();
            TcpListener::bind(("127.0.0.1", number))?;
            TcpListener::bind(("127.0.0.2", number))?;
            Ok(Port { number, _claim: claim })
        };
        claim(USUAL_PORT)
            .or_else(|_| claim(0))
            .or_else(|_| claim(0))
            .map_err(io_error("looking for a free port"))
    }
}

/// The sample with this daemon's address and port.
fn configuration(address: &str, port: u16) -> Result<String, DemoError> {
    let replace = |text: String, key: &str, value: &str| {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("({key} ")))
            .map(str::to_owned);
        line.map(|line| text.replacen(&line, &format!("({key} {value})"), 1))
            .ok_or_else(|| DemoError::Failed(format!("the sample configuration has no ({key} ...)")))
    };
    let text = replace(SAMPLE.to_owned(), "xend-relocation-address", &format!("'{address}'"))?;
    replace(text, "xend-relocation-port", &port.to_string())
}

impl Daemon {
    pub(super) fn start(
        name: &'static str,
        address: &'static str,
        port: u16,
        directory: &Path,
        interrupt: &Interrupt,
    ) -> Result<Daemon, DemoError> {
        let home = directory.join(name);
        fs::create_dir(&home).map_err(io_error(format!("making {}", home.display())))?;
        let config = home.join("xend-config.sxp");
        fs::write(&config, configuration(address, port)?).map_err(io_error(format!("writing {}", config.display())))?;
        let (control, log) = (home.join("control"), home.join("log"));
        let log_file = File::create(&log).map_err(io_error(format!("making {}", log.display())))?;
        println!(
            "  {name}: relocd --config {} --toolstack embedded --state-dir {} --control {}",
            config.display(),
            home.join("state").display(),
            control.display()
        );
        let child = Command::new(SELF)
            .arg0("relocd")
            .arg("--config")
            .arg(&config)
            .args(["--toolstack", "embedded", "--state-dir"])
            .arg(home.join("state"))
            .arg("--control")
            .arg(&control)
            .env_remove("NOTIFY_SOCKET")
            .env_remove("JOURNAL_STREAM")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log_file)
            // Ctrl-C is for the demo, which then ends the daemons in good order.
            .process_group(0)
            .spawn()
            .map_err(io_error("starting a daemon"))?;
        let mut daemon = Daemon {
            name,
            address,
            port,
            control,
            log,
            interrupt: interrupt.clone(),
            child,
        };
        daemon.await_start()?;
        Ok(daemon)
    }

    fn await_start(&mut self) -> Result<(), DemoError> {
        let begun = Instant::now();
        let listening = (self.address, self.port);
        while UnixStream::connect(&self.control).is_err() || std::net::TcpStream::connect(listening).is_err() {
            self.interrupt.check()?;
            let ended = self.child.try_wait().map_err(io_error("watching a daemon"))?;
            if ended.is_some() || begun.elapsed() > PATIENCE {
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                return Err(DemoError::Failed(format!(
                    "daemon {} did not start:\n{said}",
                    self.name
                )));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(SELF);
        command
            .arg0("xm")
            .arg("--control")
            .arg(&self.control)
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Runs `xm`, for everyone to see.
    pub(super) fn xm(&self, arguments: &[&str]) -> Result<(), DemoError> {
        self.interrupt.check()?;
        let status = self.command(arguments).status().map_err(io_error("running xm"))?;
        self.interrupt.check()?;
        if status.success() {
            Ok(())
        } else {
            Err(self.failed(&format!("xm {} failed", arguments.join(" "))))
        }
    }

    /// Runs `xm migrate`, with its progress for everyone to see.
    pub(super) fn migrate(&self, to: &Daemon, options: &[&str]) -> Result<Migrated, DemoError> {
        self.interrupt.check()?;
        let port = to.port.to_string();
        let mut arguments = vec!["migrate", "--json", "--progress", "-p", &port];
        arguments.extend(options);
        arguments.extend(["web", to.address]);
        let output = self
            .command(&arguments)
            .stderr(Stdio::inherit())
            .output()
            .map_err(io_error("running xm"))?;
        self.interrupt.check()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout);
            return Err(self.failed(&format!("xm migrate failed: {said}")));
        }
        let Said { migrated } = serde_json::from_slice(&output.stdout)
            .map_err(|error| DemoError::Failed(format!("xm migrate --json: {error}")))?;
        Ok(migrated)
    }

    fn failed(&self, what: &str) -> DemoError {
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        DemoError::Failed(format!("{what}; the log of {}:\n{said}", self.name))
    }

    /// Ends the domains here, then the daemon.
    fn end(&mut self) {
        let quiet = |arguments: &[&str]| {
            self.command(arguments)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        };
        quiet(&["destroy", "web"]);
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let begun = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if begun.elapsed() > PATIENCE {
                let _ = self.child.kill();
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}
