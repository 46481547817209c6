//! A daemon that says what a test wants it to say.

#![allow(dead_code, reason = "each test program uses a part")]

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread::{self, JoinHandle},
};

use peer::control::{Failure, Migrated, Progress, Reply};
use tempfile::TempDir;
use uuid::Uuid;

/// A socket with one conversation behind it.
pub struct Daemon {
    dir: TempDir,
    thread: JoinHandle<String>,
}

impl Daemon {
    /// Takes one request and lets `talk` answer.
    pub fn new(talk: impl FnOnce(UnixStream) + Send + 'static) -> Daemon {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("control")).unwrap();
        let thread = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            BufReader::new(&stream).read_line(&mut request).unwrap();
            talk(stream);
            request
        });
        Daemon { dir, thread }
    }

    /// Answers with these bytes, then closes.
    pub fn saying(bytes: Vec<u8>) -> Daemon {
        Daemon::new(move |mut stream| stream.write_all(&bytes).unwrap())
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("control")
    }

    pub fn xm(&self, args: &[&str]) -> Command {
        let mut command = xm();
        command.env("RELOCD_CONTROL", self.socket()).args(args);
        command
    }

    /// Runs xm against it; gives the request that came, and what xm did.
    pub fn run(self, args: &[&str]) -> (String, Output) {
        let output = self.xm(args).output().unwrap();
        (self.thread.join().unwrap(), output)
    }

    pub fn request(self) -> String {
        self.thread.join().unwrap()
    }
}

pub fn xm() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xm"));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub fn without_daemon(socket: &Path, args: &[&str]) -> Output {
    xm().arg("--control").arg(socket).args(args).output().unwrap()
}

pub fn line(reply: &Reply) -> Vec<u8> {
    let mut line = sxp::to_bytes(&sxp::to_sexp(reply).unwrap());
    line.push(b'\n');
    line
}

pub fn progress(stage: &str, round: u32) -> Reply {
    Reply::Progress(Progress {
        id: Uuid::nil(),
        stage: stage.to_owned(),
        round,
        round_done: 5,
        round_total: 10,
        pages_sent: 5,
        wire_bytes: 20_000,
        rate: 1_000_000,
        dirty_rate: 0,
        estimated_downtime_ms: None,
        throttle: 0,
    })
}

pub fn migrated() -> Reply {
    Reply::Migrated(Box::new(Migrated {
        id: Uuid::nil(),
        domain: "web".to_owned(),
        host: "10.0.0.2".to_owned(),
        domid: 5,
        xend: None,
        left_out: Vec::new(),
        spooled: false,
        mode: "live".to_owned(),
        rounds: 4,
        pages: 65536,
        zero_pages: 0,
        wire_bytes: 70_100_000,
        total_ms: 1900.0,
        downtime_ms: 23.0,
    }))
}

pub fn failure(kind: &str) -> Reply {
    Reply::Err(Failure {
        r#type: kind.to_owned(),
        value: "it broke\x1b[2J".to_owned(),
        domain_state: Some("domain 'web' runs on here".to_owned()),
        next: Some("try again".to_owned()),
    })
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
