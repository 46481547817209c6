//! `xm console`, on a terminal and without one.

#![allow(clippy::unwrap_used, reason = "a test that can't go on shall say where")]

mod support;

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::AsFd,
    process::Stdio,
    sync::mpsc,
};

use nix::{
    pty::openpty,
    sys::{
        signal::{Signal, kill},
        termios::{LocalFlags, tcgetattr},
    },
    unistd::Pid,
};
use peer::control::Reply;
use support::{Daemon, line, text};

fn greeting(rest: &[u8]) -> Vec<u8> {
    let mut bytes = line(&Reply::Console {
        name: "web".to_owned(),
        domid: 5,
    });
    bytes.extend_from_slice(rest);
    bytes
}

#[test]
fn without_a_terminal_all_is_copied_until_the_end() {
    let daemon = Daemon::new(|mut stream| {
        // The message in pieces, and the console's beginning with its end.
        let bytes = greeting(b"\ntick 1\n\x1b[1m");
        let (first, second) = bytes.split_at(10);
        stream.write_all(first).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
        stream.write_all(second).unwrap();
        let mut typed = [0; 7];
        stream.read_exact(&mut typed).unwrap();
        assert_eq!(&typed, b"typed\x1d\n");
        // The end of stdin ends nothing.
        std::thread::sleep(std::time::Duration::from_millis(100));
        stream.write_all(b"tick 2\n").unwrap();
    });
    let mut child = daemon.xm(&["console", "web"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"typed\x1d\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(daemon.request(), "(console (domain web))\n");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), "\ntick 1\n\x1b[1mtick 2\n");
    assert!(text(&output.stderr).contains("has ended or been relocated"));
    assert!(text(&output.stderr).contains("xm console web on its new host"));
}

#[test]
fn a_reader_who_goes_ends_it() {
    let daemon = Daemon::new(|mut stream| {
        let _ = stream.write_all(&greeting(b"tick 1\n"));
        while stream.write_all(b"tick\n").is_ok() {}
    });
    let mut child = daemon.xm(&["console", "web"]).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
    daemon.request();
}

/// Runs xm on a terminal; `act` gets the terminal's other end and xm's process.
fn on_terminal(act: impl FnOnce(&mut File, Pid)) -> (String, std::process::Output) {
    let pty = openpty(None, None).unwrap();
    let before = tcgetattr(&pty.slave).unwrap();
    let (sent, typed) = mpsc::channel();
    let daemon = Daemon::new(move |mut stream| {
        stream.write_all(&greeting(b"scrollback\n")).unwrap();
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        sent.send(bytes).unwrap();
    });
    let mut child = daemon
        .xm(&["console", "web"])
        .stdin(Stdio::from(pty.slave.try_clone().unwrap()))
        .spawn()
        .unwrap();
    // Once this has come, the terminal is raw.
    let mut seen = [0; 11];
    child.stdout.as_mut().unwrap().read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"scrollback\n");
    assert!(
        !tcgetattr(pty.slave.as_fd())
            .unwrap()
            .local_flags
            .intersects(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
    );
    let mut master = File::from(pty.master);
    act(&mut master, Pid::from_raw(i32::try_from(child.id()).unwrap()));
    let output = child.wait_with_output().unwrap();
    daemon.request();
    let after = tcgetattr(&pty.slave).unwrap();
    assert_eq!(
        (before.local_flags, before.input_flags, before.output_flags),
        (after.local_flags, after.input_flags, after.output_flags)
    );
    (String::from_utf8(typed.recv().unwrap()).unwrap(), output)
}

#[test]
fn ctrl_bracket_detaches_and_restores_the_terminal() {
    let (typed, output) = on_terminal(|master, _| master.write_all(b"ls\r\x03\x1dlost").unwrap());
    assert_eq!(typed, "ls\r\x03");
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).starts_with("Console of 'web' (domain 5). Ctrl-] detaches.\n"));
}

#[test]
fn signals_restore_the_terminal() {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGHUP, 129), (Signal::SIGINT, 130)] {
        let (_, output) = on_terminal(|_, pid| kill(pid, signal).unwrap());
        assert_eq!(output.status.code(), Some(code));
    }
}
