//! Daemons of their own for each test, with `xm` towards them.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod disk;
mod guest;
pub mod lives;
pub mod proxy;
pub mod xend_peer;
pub mod xend_receiver;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// The program under test.
pub const RELOCD: &str = env!("CARGO_BIN_EXE_relocd");

/// How long anything may take that does take place. Long: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

static NEXT_ADDRESS: AtomicU32 = AtomicU32::new(0);

/// A loopback address that no other test uses now: hosts of tests don't meet.
pub fn own_address() -> String {
    let number = NEXT_ADDRESS.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id() % 60_000;
    format!("127.{}.{}.{}", 1 + process / 250, 1 + process % 250, 2 + number)
}

/// A host: a daemon with directories of its own.
pub struct Host {
    /// A small disk below the state directory. Goes before the directory.
    pub disk: Option<disk::Disk>,
    pub directory: tempfile::TempDir,
    pub address: String,
    pub port: u16,
    /// What runs its domains.
    pub toolstack: &'static str,
    child: Option<Child>,
    extra: String,
    /// The network namespace that the daemon is in, if not the test's.
    namespace: Option<String>,
    /// Its fault points.
    pub faults: String,
}

impl Host {
    pub fn start() -> Host {
        Host::with("(xend-relocation-hosts-allow '127.0.0.0/8')")
    }

    /// A host whose configuration has these lines as well.
    pub fn with(extra: &str) -> Host {
        let mut host = Host::prepare(extra);
        host.run();
        host
    }

    /// A host that has not been started.
    pub fn prepare(extra: &str) -> Host {
        let directory = tempfile::tempdir().unwrap();
        let host = Host {
            disk: None,
            directory,
            address: own_address(),
            port: 18002,
            child: None,
            extra: extra.to_owned(),
            namespace: None,
            faults: String::new(),
            toolstack: "embedded",
        };
        host.configure(extra);
        host
    }

    /// Gives it another configuration, in place of the one that it was prepared with.
    pub fn set_extra(&mut self, extra: &str) {
        extra.clone_into(&mut self.extra);
        self.configure(extra);
    }

    /// Makes it a host of Xen's, with a stand-in for `xl`. Not started yet.
    pub fn on_xen(mut self) -> Host {
        self.toolstack = "xl";
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/support/xl");
        for name in ["xl", "xenstore-ls", "xenstore-read", "xenstore-write"] {
            std::os::unix::fs::symlink(program, self.path(name)).unwrap();
        }
        self
    }

    pub fn configure(&self, extra: &str) {
        let text = format!(
            "(xend-relocation-server yes)\n(xend-relocation-port {})\n(xend-relocation-address '{}')\n{extra}\n",
            self.port, self.address
        );
        fs::write(self.path("xend-config.sxp"), text).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = lives::inside(self.namespace.as_deref(), RELOCD);
        let path = std::env::var("PATH").unwrap_or_default();
        command
            // Where xl is, if it is a host of Xen's.
            .env("PATH", format!("{}:{path}", self.directory.path().display()))
            .env("RELOCD_FAULT", &self.faults)
            .arg("--config")
            .arg(self.path("xend-config.sxp"))
            .args(["--toolstack", self.toolstack, "--state-dir"])
            .arg(self.path("state"))
            .arg("--control")
            .arg(self.path("control"))
            .env_remove("JOURNAL_STREAM")
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null());
        command
    }

    /// Starts the daemon and waits until it answers.
    pub fn run(&mut self) {
        self.run_with(&[]);
    }

    /// Starts the daemon with these variables in its environment, and waits until it answers.
    pub fn run_with(&mut self, environment: &[(&str, &str)]) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap();
        let mut command = self.command();
        command
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(log);
        self.child = Some(command.spawn().unwrap());
        self.wait("the daemon's start", || self.xm(&["info"]).status.success());
    }

    /// Runs the daemon until it ends by itself.
    pub fn run_to_end(&self) -> Output {
        self.command().output().unwrap()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// The audit trail: what the log says of relocations that are over.
    pub fn audit(&self) -> Vec<String> {
        self.logged("relocation over")
    }

    /// The lines of the log with these words in them.
    pub fn logged(&self, words: &str) -> Vec<String> {
        let log = self.log();
        let lines = log.lines().filter(|line| line.contains(words));
        lines.map(str::to_owned).collect()
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.as_ref().unwrap().id() as i32)
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits for the daemon's end; its exit code.
    pub fn ended(&mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "the daemon does not end: {}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.ended();
    }

    pub fn xm_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(RELOCD);
        command
            .arg0("xm")
            .arg("--control")
            .arg(self.path("control"))
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    pub fn xm(&self, arguments: &[&str]) -> Output {
        self.xm_command(arguments).output().unwrap()
    }

    /// Runs `xm`, which has to succeed; what it prints.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.xm(arguments);
        assert!(
            output.status.success(),
            "xm {arguments:?}: {}\n{}",
            text(&output),
            self.log()
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs `xm`, which has to fail with this exit code; what it says.
    pub fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.xm(arguments);
        assert_eq!(
            output.status.code(),
            Some(code),
            "xm {arguments:?}: {}\n{}",
            text(&output),
            self.log()
        );
        String::from_utf8(output.stderr).unwrap()
    }

    pub fn create(&self, name: &str, memory: u64, extra: &str) {
        let file = self.path("domain.cfg");
        fs::write(
            &file,
            format!("name = '{name}'\nmemory = {memory}\nextra = '{extra}'\n"),
        )
        .unwrap();
        self.ok(&["create", file.to_str().unwrap()]);
    }

    pub fn migrate<'a>(&'a self, to: &'a Host, options: &[&'a str]) -> Vec<String> {
        let mut arguments: Vec<String> = vec!["migrate".to_owned()];
        arguments.extend(options.iter().map(|option| (*option).to_owned()));
        arguments.extend([
            "-p".to_owned(),
            to.port.to_string(),
            "web".to_owned(),
            to.address.clone(),
        ]);
        arguments
    }

    /// Migrates `web`, which has to succeed.
    pub fn migrates(&self, to: &Host, options: &[&str]) -> String {
        let arguments = self.migrate(to, options);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = self.xm(&arguments);
        assert!(
            output.status.success(),
            "{}\nsource:\n{}\ndestination:\n{}",
            text(&output),
            self.log(),
            to.log()
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Migrates `web`, which has to fail; what xm says.
    pub fn migrate_fails(&self, to: &Host, options: &[&str]) -> String {
        let arguments = self.migrate(to, options);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.fails(1, &arguments)
    }

    /// The names of the domains and their states.
    pub fn domains(&self) -> Vec<(String, String)> {
        let list = self.ok(&["list"]);
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        list.lines()
            .skip(1)
            .map(words)
            .filter(|words| words[0] != "Domain-0")
            .map(|words| (words[0].clone(), words[4].clone()))
            .collect()
    }

    /// Whether `web` runs here, and alone.
    pub fn runs(&self) -> bool {
        matches!(&self.domains()[..], [(name, state)] if name == "web" && (state == "r-----" || state == "-b----"))
    }

    pub fn is_empty(&self) -> bool {
        self.domains().is_empty()
    }

    /// Whether `xm status` has this word.
    pub fn status_has(&self, word: &str) -> bool {
        self.ok(&["status"]).split_whitespace().any(|other| other == word)
    }

    /// The journal's files of one direction: `in`, `out`.
    pub fn records(&self, direction: &str) -> Vec<PathBuf> {
        let directory = fs::read_dir(self.path("state/journal"));
        let files = directory.into_iter().flatten().map(|entry| entry.unwrap().path());
        files
            .filter(|path| path.to_string_lossy().ends_with(&format!(".{direction}.sxp")))
            .collect()
    }

    /// Whether a record of the journal says that a relocation of this direction is in this state.
    pub fn journal_has(&self, direction: &str, state: &str) -> bool {
        let word = format!("(state {state})");
        let has = |path: PathBuf| fs::read_to_string(path).is_ok_and(|text| text.contains(&word));
        self.records(direction).into_iter().any(has)
    }

    pub fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !done() {
            assert!(
                begun.elapsed() < PATIENCE,
                "{what} does not come about; log:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// A connection to the relocation port.
    pub fn connect(&self) -> TcpStream {
        let address: SocketAddr = format!("{}:{}", self.address, self.port).parse().unwrap();
        let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// What the relocation port answers to these bytes, up to the end of its first line.
    pub fn says(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        read_line(&mut stream)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.child.is_some() {
            for (name, _) in String::from_utf8(self.xm(&["list"]).stdout)
                .unwrap_or_default()
                .lines()
                .skip(2)
                .filter_map(|line| line.split_whitespace().next().map(|name| (name.to_owned(), ())))
            {
                let _ = self.xm(&["destroy", &name]);
            }
            let _ = kill(self.pid(), Signal::SIGTERM);
            if let Some(mut child) = self.child.take() {
                let _ = child.wait();
            }
        }
        // Machines whose directory goes end by themselves.
    }
}

/// KiB of memory of a process's own: without what it shares, as a daemon does its guests' memory.
pub fn own_memory_kib(process: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// One line, with its newline; less at the end of the stream.
pub fn read_line(stream: &mut impl Read) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while let Ok(1) = stream.read(&mut byte) {
        line.push(byte[0]);
        if byte[0] == b'\n' {
            break;
        }
    }
    String::from_utf8_lossy(&line).into_owned()
}

/// The numbers of the ticks in whole lines.
pub fn ticks(text: &str) -> Vec<u64> {
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    whole
        .lines()
        .filter_map(|line| line.strip_prefix("tick ")?.split(' ').next()?.parse().ok())
        .collect()
}

pub fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A field of a record of the audit trail.
pub fn field(record: &str, name: &str) -> Option<String> {
    let value = record.split_once(&format!(" {name}="))?.1;
    Some(match value.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next().unwrap().to_owned(),
        None => value.split(' ').next().unwrap().to_owned(),
    })
}
