//! `xm migrate` against daemons of all kinds.

#![allow(clippy::unwrap_used, reason = "a test that can't go on shall say where")]

mod support;

use std::{
    io::{Read, Write},
    sync::mpsc,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use support::{Daemon, failure, line, migrated, progress, text, without_daemon};

const LIVE: [&str; 4] = ["migrate", "-l", "web", "10.0.0.2"];

fn talk(replies: &[peer::control::Reply]) -> Vec<u8> {
    replies.iter().flat_map(line).collect()
}

#[test]
fn progress_then_success() {
    let daemon = Daemon::saying(talk(&[progress("connecting", 0), progress("copying", 1), migrated()]));
    let args = [
        "migrate",
        "-l",
        "-p",
        "8003",
        "-n",
        "1",
        "-s",
        "--max-downtime",
        "50",
        "--bandwidth",
        "100Mbit",
        "--on-no-convergence",
        "throttle",
        "--force",
        "web",
        "10.0.0.2",
    ];
    let (request, output) = daemon.run(&args);
    assert_eq!(output.status.code(), Some(0));
    let success = "Domain 'web' now runs on 10.0.0.2 (domain 5): live, 4 rounds, 65536 pages, 70.1 MB on the wire, 1.9 s in all, \
                   23 ms downtime\n";
    assert_eq!(text(&output.stdout), success);
    let told = text(&output.stderr);
    assert!(told.starts_with("connecting\ncopying: round 1: "), "{told}");
    for part in [
        "(domain web)",
        "(host 10.0.0.2)",
        "(port 8003)",
        "(live yes)",
        "(node 1)",
        "(ssl yes)",
        "(force yes)",
        "(max-downtime 50)",
        "(bandwidth 12500000)",
        "(on-no-convergence throttle)",
    ] {
        assert!(request.contains(part), "{part} in {request}");
    }
    let (_, output) =
        Daemon::saying(talk(&[progress("copying", 1), migrated()])).run(&["migrate", "--json", "web", "b"]);
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["migrated"]["downtime-ms"], 23.0);
    assert_eq!(text(&output.stderr), "");
    let (_, output) = Daemon::saying(talk(&[progress("copying", 1), migrated()])).run(&[
        "migrate",
        "--json",
        "--progress",
        "web",
        "b",
    ]);
    assert!(serde_json::from_slice::<serde_json::Value>(&output.stdout).is_ok());
    assert!(text(&output.stderr).contains("copying"), "{}", text(&output.stderr));
}

#[test]
fn refusals_say_what_where_and_what_next() {
    let (_, output) = Daemon::saying(talk(&[progress("copying", 1), failure("refused")])).run(&LIVE);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    let expected = "Error: it broke\\x1b[2J\nState: domain 'web' runs on here\nNext: try again\n";
    assert!(text(&output.stderr).ends_with(expected), "{}", text(&output.stderr));

    let (_, output) = Daemon::saying(talk(&[failure("in-doubt")])).run(&["migrate", "--json", "web", "b"]);
    assert_eq!(output.status.code(), Some(4));
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["error"]["type"], "in-doubt");
    assert_eq!(text(&output.stdout).lines().count(), 1);
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn a_dry_run_moves_nothing() {
    let reply = || {
        line(&peer::control::Reply::Admitted {
            host: "dom0-b".to_owned(),
            free_memory_kib: 8 << 20,
        })
    };
    let (request, output) = Daemon::saying(reply()).run(&["migrate", "--dry-run", "web", "b"]);
    assert!(request.contains("(dry-run yes)"));
    let expected = "Domain 'web' can be moved to b (dom0-b): 8192 MiB are free there. Nothing was moved.\n";
    assert_eq!(text(&output.stdout), expected);
    let (_, output) = Daemon::saying(reply()).run(&["migrate", "--dry-run", "--json", "web", "b"]);
    assert_eq!(
        text(&output.stdout),
        "{\"admitted\":{\"free-memory-kib\":8388608,\"host\":\"dom0-b\"}}\n"
    );
}

#[test]
fn daemons_that_go_away_or_speak_otherwise() {
    let half = line(&migrated());
    let cases = [
        Vec::new(),
        talk(&[progress("copying", 1)]),
        half[..half.len() / 2].to_vec(),
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        b")".to_vec(),
        b"\x00\xff\xfe\n".to_vec(),
        b"(err)\n".to_vec(),
        b"(what-is-this (a b))\n".to_vec(),
        vec![b'('; 100_000],
        line(&peer::control::Reply::Done),
    ];
    for bytes in cases {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
        let (_, output) = Daemon::saying(bytes).run(&LIVE);
        assert_eq!(output.status.code(), Some(3), "{shown}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "");
        assert!(
            text(&output.stderr).contains("Error: ") && text(&output.stderr).contains("Next: "),
            "{shown}"
        );
    }
    let (_, output) = Daemon::saying(talk(&[progress("copying", 1)])).run(&LIVE);
    assert!(text(&output.stderr).contains("journal") && text(&output.stderr).contains("xm status"));
}

#[test]
fn no_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none");
    let output = without_daemon(&path, &LIVE);
    assert_eq!(output.status.code(), Some(3));
    let expected = format!(
        "Error: can't connect to relocd at {}: No such file or directory\nNext: systemctl status relocd\n",
        path.display()
    );
    assert_eq!(text(&output.stderr), expected);
    let output = without_daemon(&path, &["migrate", "--json", "web", "b"]);
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["error"]["type"], "no-daemon");
    for args in [
        &["migrate", "web"][..],
        &["migrate", "--bandwidth", "fast", "web", "b"],
        &["migrate", "--bandwidth", "0", "web", "b"],
        &["migrate", "-p", "0", "web", "b"],
        &["migrate", "-p", "65536", "web", "b"],
        &["migrate", "--on-no-convergence", "hope", "web", "b"],
        &["migrate", "", "b"],
        &["resolve", "00000000-0000-0000-0000-000000000000", "--yes-i-know"],
        &[
            "resolve",
            "00000000-0000-0000-0000-000000000000",
            "--resume",
            "--destroy",
        ],
        &["resolve", "5", "--resume"],
        &[],
    ] {
        assert_eq!(without_daemon(&path, args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn ctrl_c_asks_the_daemon_to_cancel() {
    for (last, code) in [(failure("cancelled"), 130), (failure("in-doubt"), 4), (migrated(), 0)] {
        let (ready, go) = mpsc::channel();
        let daemon = Daemon::new(move |mut stream| {
            stream.write_all(&line(&progress("copying", 1))).unwrap();
            ready.send(()).unwrap();
            // Ends when xm closes its sending side.
            assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
            stream.write_all(&line(&last)).unwrap();
        });
        let child = daemon.xm(&LIVE).spawn().unwrap();
        go.recv().unwrap();
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
        let output = child.wait_with_output().unwrap();
        daemon.request();
        assert_eq!(output.status.code(), Some(code));
        assert!(text(&output.stderr).contains("Interrupted: "));
        match code {
            0 => assert!(text(&output.stderr).contains("too late")),
            _ => assert!(text(&output.stderr).contains("State: domain 'web' runs on here")),
        }
    }
}

#[test]
fn a_second_ctrl_c_leaves_at_once() {
    let (asked, cancelled) = mpsc::channel();
    let (done, end) = mpsc::channel();
    let daemon = Daemon::new(move |mut stream| {
        asked.send(()).unwrap();
        assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
        asked.send(()).unwrap();
        // Never answers.
        end.recv().unwrap();
    });
    let child = daemon.xm(&LIVE).spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    for _ in 0..2 {
        cancelled.recv().unwrap();
        kill(pid, Signal::SIGINT).unwrap();
    }
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    done.send(()).unwrap();
    daemon.request();
}
