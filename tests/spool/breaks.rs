//! Connections that are cut, and daemons that die.

use std::{
    process::{Child, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    disk_host, files, running, sends, spooled,
    support::{
        Host, PATIENCE,
        proxy::{Cut, Proxy, Stage},
        text,
    },
};

const STAGES: [Stage; 7] = [
    Stage::Ready,
    Stage::FramesEarly,
    Stage::Finished,
    Stage::Loaded,
    Stage::CommitHeld,
    Stage::CommitDelivered,
    Stage::RunningHeld,
];

fn start(from: &Host, to: &Host, proxy: &Proxy, words: &[&str]) -> Child {
    let port = to.port.to_string();
    let arguments = [words, &["-p", &port, "web", &proxy.address]].concat();
    let mut command = from.xm_command(&arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn reached(proxy: &Proxy, xm: &mut Child, from: &Host, to: &Host) {
    proxy.reached(|| {
        let ended = xm.try_wait().unwrap()?;
        Some(format!("xm ended with {ended}\n{}\n{}", from.log(), to.log()))
    });
}

fn ended(mut xm: Child, from: &Host) -> Output {
    let begun = Instant::now();
    while xm.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < PATIENCE, "xm does not end; log:\n{}", from.log());
        thread::sleep(Duration::from_millis(20));
    }
    xm.wait_with_output().unwrap()
}

/// Whether an entry is there that nothing is being done with, and no other file.
fn kept(host: &Host) -> bool {
    let entries = spooled(host);
    entries.len() == 1 && entries[0]["state"] == "kept" && files(host).len() == 2
}

/// Waits until the domain is in exactly one place; whether that is `runs`, where it runs. At no time may it be in neither.
fn settles(runs: &Host, disk: &Host) -> bool {
    let begun = Instant::now();
    loop {
        // In this order: it may go from one to the other in between.
        let doubtful =
            |host: &Host| ["in-doubt", "recovering", "committing", "loaded"].map(|word| host.status_has(word));
        let open = doubtful(runs).contains(&true) || doubtful(disk).contains(&true);
        let (lives, lies) = (runs.runs(), kept(disk));
        let (empty, gone) = (runs.is_empty(), files(disk).is_empty());
        if !open && ((lives && gone) || (empty && lies)) {
            return lives;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "not settled: {:?}, {:?}, open: {open}\n{}\n{}",
            runs.domains(),
            files(disk),
            runs.log(),
            disk.log()
        );
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_send_that_is_cut_leaves_it_in_one_place() {
    let (a, b) = (running(16), disk_host());
    for stage in STAGES {
        println!("{stage:?}");
        a.migrates(&b, &[]);
        let proxy = Proxy::to(&a, Some(stage));
        let mut xm = start(&b, &a, &proxy, &["spool", "send"]);
        reached(&proxy, &mut xm, &b, &a);
        if stage < Stage::CommitHeld {
            // Nobody else can have it meanwhile.
            let said = b.fails(1, &["spool", "delete", "web"]);
            assert!(said.contains("in use"), "{said}");
        }
        if stage.is_committed() {
            // A reset may overtake the commit.
            a.wait("the domain", || a.runs());
        }
        proxy.cut(Cut::Rst);
        let output = ended(xm, &b);
        let lives = settles(&a, &b);
        assert_eq!(lives, stage.is_committed(), "{}", text(&output));
        assert_eq!(output.status.code(), Some(i32::from(!lives)), "{}", text(&output));
        if !lives {
            assert!(text(&output).contains("in the spool here"), "{}", text(&output));
            sends(&b, &a);
        }
        a.verify();
    }
}

#[test]
fn a_sender_that_dies_leaves_it_in_one_place() {
    let (a, mut b) = (running(16), disk_host());
    for stage in STAGES {
        println!("{stage:?}");
        a.migrates(&b, &[]);
        let proxy = Proxy::to(&a, Some(stage));
        let mut xm = start(&b, &a, &proxy, &["spool", "send"]);
        reached(&proxy, &mut xm, &b, &a);
        b.kill();
        proxy.cut(Cut::Fin);
        assert_eq!(ended(xm, &b).status.code(), Some(3));
        // The outcome is asked for through the proxy.
        b.run();
        let lives = settles(&a, &b);
        assert_eq!(lives, stage.is_committed());
        if !lives {
            sends(&b, &a);
        }
        a.verify();
    }
}

#[test]
fn a_spool_that_dies_has_nothing_or_all_of_it() {
    let (a, mut b) = (running(16), disk_host());
    for stage in STAGES {
        println!("{stage:?}");
        let proxy = Proxy::to(&b, Some(stage));
        let mut xm = start(&a, &b, &proxy, &["migrate", "-l"]);
        reached(&proxy, &mut xm, &a, &b);
        if stage.is_committed() {
            // It has been delivered, but perhaps not been read yet.
            b.wait("the entry", || kept(&b));
        }
        b.kill();
        proxy.go_on();
        b.run();
        ended(xm, &a);
        let lives = settles(&a, &b);
        assert_eq!(lives, !stage.is_committed());
        if !lives {
            sends(&b, &a);
        }
        a.verify();
    }
}

#[test]
fn a_spool_that_is_stopped_gives_up_what_is_not_committed() {
    let (a, mut b) = (running(16), disk_host());
    let proxy = Proxy::to(&b, Some(Stage::FramesEarly));
    let mut xm = start(&a, &b, &proxy, &["migrate"]);
    reached(&proxy, &mut xm, &a, &b);
    b.signal(nix::sys::signal::Signal::SIGTERM);
    // Otherwise the rest of the image may come first, and the commit.
    b.wait("the daemon to stop", || b.log().contains("INFO stopping"));
    proxy.go_on();
    assert_eq!(b.ended(), Some(0), "{}", b.log());
    assert!(files(&b).is_empty(), "{:?}", files(&b));
    let output = ended(xm, &a);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    b.run();
    assert!(settles(&a, &b));
    a.verify();
}
