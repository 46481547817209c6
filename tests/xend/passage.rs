//! `relocd-safety-copy no`: what a xend sends passes through the spool into the restore, and nothing of it is kept.

use std::{fs, os::unix::fs::MetadataExt, path::Path, thread};

use crate::{
    early::{Open, SENDERS, UNCLEAR, events, is_built, sends},
    started::{restore_fails, restore_works},
    support::{
        Host,
        xend_peer::{Domain, Gate, Version, Xend},
    },
    world::{ALLOW, MEMORY, config, full_image, image, left_over, port},
};

fn xen_host() -> Host {
    let mut host = Host::prepare("").on_xen();
    let spool = host.path("spool");
    host.set_extra(&format!(
        "{ALLOW} (relocd-spool-directory '{}') (relocd-safety-copy no)",
        spool.display()
    ));
    host.run();
    host
}

/// Bytes of disk below a directory.
fn on_disk(directory: &Path) -> u64 {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    files
        .map(|file| match file.metadata() {
            Ok(found) if found.is_dir() => on_disk(&file.path()),
            Ok(found) => found.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

fn runs(host: &Host) {
    host.wait("the domain's start", || host.runs());
    host.wait("the last record", || host.journal_has("in", "running"));
    host.wait("the end of what came", || left_over(host).is_empty());
    assert_eq!((events(host, "new"), events(host, "running")), (1, 1));
}

#[test]
fn it_passes_and_little_of_it_is_on_disk() {
    let host = xen_host();
    let ended = sends(&host, "web", UNCLEAR, |_| {
        // The restore has most of it, the disk has the rest.
        host.wait("what has been taken", || {
            is_built(&host) && on_disk(&host.path("spool")) < 6 << 20
        });
        let part = fs::read_dir(host.path("spool/incoming"))
            .unwrap()
            .flatten()
            .next()
            .unwrap()
            .path();
        let mut files = fs::read_dir(part).unwrap().flatten();
        assert!(files.any(|file| file.metadata().unwrap().len() > 15 << 20));
    });
    assert_eq!(ended.domain, Domain::Destroyed, "{}", host.log());
    runs(&host);
    assert!(host.log().contains("no safety copy is kept (relocd-safety-copy no)"));
}

#[test]
fn one_that_is_slow_gets_all_of_it() {
    let host = xen_host();
    restore_fails(&host, "wait 1000000");
    let ended = sends(&host, "web", SENDERS, |_| {
        host.wait("what is built of it", || is_built(&host))
    });
    assert_eq!(ended.domain, Domain::Destroyed, "{}", host.log());
    restore_works(&host);
    runs(&host);
}

/// As long as the sender has something to write it resumes its domain, whatever may be under way.
#[test]
fn a_restore_that_fails_before_the_last_byte_is_a_refusal() {
    for until in [SENDERS, UNCLEAR] {
        let host = xen_host();
        restore_fails(&host, "fail 3000000 libxl: error: out of luck");
        let ended = sends(&host, "web", until, |_| {
            host.wait("the last record", || host.journal_has("in", "discarded"));
        });
        assert_eq!(ended.domain, Domain::Runs, "{}", host.log());
        assert!(ended.says.contains("out of luck"), "{}", ended.says);
        assert!(host.is_empty() && left_over(&host).is_empty());
    }
}

/// What the operator has chosen, and is told.
#[test]
fn a_restore_that_fails_after_the_last_byte_loses_the_domain() {
    let host = xen_host();
    restore_fails(&host, "late libxl: error: out of luck");
    let ended = Xend::new(Version::V4_1).migrate(port(&host), &config("web", MEMORY, ""), &full_image().bytes());
    assert_eq!(ended.domain, Domain::Destroyed, "{}", host.log());
    host.wait("the last record", || host.journal_has("in", "lost"));
    assert!(host.is_empty());
    host.wait("the end of what came", || left_over(&host).is_empty());
    let audit = host.audit();
    assert!(audit.len() == 1 && audit[0].contains("outcome=\"lost\""), "{audit:?}");
    assert!(host.status_has("lost"));
}

/// The sender is seen to go on: it may have its domain, and what is here may be all that there is.
#[test]
fn one_whose_sender_may_have_it_waits_for_an_operator() {
    let host = xen_host();
    let bytes = [&full_image().bytes()[..], b"x"].concat();
    Xend::new(Version::V4_1).migrate(port(&host), &config("web", MEMORY, ""), &bytes);
    host.wait("the last record", || host.journal_has("in", "kept"));
    assert!(is_built(&host) && events(&host, "running") == 0);
    let record = fs::read_to_string(&host.records("in")[0]).unwrap();
    assert!(
        record.contains("Make sure that it does not run at 127.") && record.contains("xl unpause 1"),
        "{record}"
    );
}

#[test]
fn without_the_daemon_nothing_passes() {
    for until in [SENDERS, UNCLEAR] {
        let mut host = xen_host();
        let gate = Gate::default();
        let xend = Xend {
            gate: Some((until, gate.clone())),
            ..Xend::new(Version::V4_1)
        };
        let (bytes, to) = (full_image().bytes(), port(&host));
        let ended = thread::scope(|scope| {
            let _open = Open(&gate);
            let sender = scope.spawn(|| xend.migrate(to, &config("web", MEMORY, ""), &bytes));
            host.wait("what is built of it", || is_built(&host));
            host.kill();
            host.run();
            host.wait("the last record", || host.journal_has("in", "discarded"));
            gate.open();
            sender.join().unwrap()
        });
        assert_eq!(ended.domain, Domain::Runs, "{}", host.log());
        assert!(host.is_empty() && left_over(&host).is_empty(), "{}", host.log());
    }
}

/// Of one that buffers hold nothing could be refused: it is copied all the same.
#[test]
fn a_small_one_is_copied() {
    let host = xen_host();
    restore_fails(&host, "late libxl: error: out of luck");
    let ended = Xend::new(Version::V4_1).migrate(port(&host), &config("web", 8, ""), &image(8 * 256).bytes());
    assert_eq!(ended.domain, Domain::Destroyed, "{}", host.log());
    host.wait("the first attempt", || host.log().contains("is tried again"));
    restore_works(&host);
    host.wait("the domain's start", || host.runs());
}
