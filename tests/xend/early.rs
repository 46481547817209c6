//! On a host of Xen's (a stand-in for `xl`) a domain is built while it still arrives. What is built counts only once the copy is whole.

use std::{fs, thread};

use crate::{
    started::{restore_fails, restore_works, runs, xen_host},
    support::{
        Host,
        xend_peer::{Domain, Ended, Gate, Version, Xend},
    },
    world::{MEMORY, config, full_image, left_over, port},
};

/// Bytes of the image after which its sender still owns the domain for certain, and after which it may not.
pub const SENDERS: usize = 5 << 20;
pub const UNCLEAR: usize = 20 << 20;

/// What happened to domains, in the words of the stand-in.
pub fn events(host: &Host, word: &str) -> usize {
    let events = fs::read_to_string(host.path("state/events")).unwrap_or_default();
    events.lines().filter(|line| line.starts_with(word)).count()
}

/// It is built, and has not run.
pub fn is_built(host: &Host) -> bool {
    matches!(&host.domains()[..], [(name, state)] if name == "web" && state == "--p---")
}

/// Sends `name`, and does something once so many bytes of its image have gone and no more go until the gate is open.
pub fn sends(host: &Host, name: &str, until: usize, meanwhile: impl FnOnce(&Gate)) -> Ended {
    let gate = Gate::default();
    let xend = Xend {
        gate: Some((until, gate.clone())),
        ..Xend::new(Version::V4_1)
    };
    let image = full_image().bytes();
    thread::scope(|scope| {
        let sender = scope.spawn(|| xend.migrate(port(host), &config(name, MEMORY, ""), &image));
        // A test that fails in between must not wait for the sender.
        let _open = Open(&gate);
        meanwhile(&gate);
        gate.open();
        sender.join().unwrap()
    })
}

pub struct Open<'a>(pub &'a Gate);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open();
    }
}

#[test]
fn it_is_built_before_the_last_byte_is_sent_and_once() {
    let mut host = xen_host();
    host.run();
    let ended = sends(&host, "web", UNCLEAR, |_| {
        host.wait("what is built of it", || is_built(&host));
        // Nobody can touch it, and nothing can have its name.
        assert!(host.fails(1, &["unpause", "web"]).contains("is being relocated"));
    });
    assert_eq!(ended.domain, Domain::Destroyed, "{}", host.log());
    runs(&host);
    assert_eq!((events(&host, "new"), events(&host, "running")), (1, 1));
    assert!(!host.log().contains("spool order over"), "{}", host.log());
}

#[test]
fn a_restore_that_fails_in_the_middle_makes_the_domain_run_on_at_its_xend() {
    for how in [
        "exit libxl: error: no such kernel",
        "fail 3000000 libxl: error: no such kernel",
    ] {
        let mut host = xen_host();
        host.run();
        restore_fails(&host, how);
        let ended = sends(&host, "web", SENDERS, |_| {
            host.wait("the failure", || host.log().contains("can't be built here"));
            host.wait("the last record", || host.journal_has("in", "discarded"));
        });
        assert_eq!(ended.domain, Domain::Runs, "{}", host.log());
        assert!(
            ended.says.contains("this host fails to build it") && ended.says.contains("libxl: error: no such kernel"),
            "{}",
            ended.says
        );
        assert!(host.is_empty() && left_over(&host).is_empty());
        assert_eq!(events(&host, "new"), events(&host, "destroyed"));
    }
}

/// The sender may have given it up by then: the copy is what counts.
#[test]
fn a_restore_that_fails_towards_the_end_is_made_up_for() {
    let mut host = xen_host();
    host.run();
    restore_fails(&host, "fail 15000000 libxl: error: out of luck");
    let ended = sends(&host, "web", UNCLEAR, |_| {
        host.wait("the failure", || host.log().contains("can't be built here"));
        restore_works(&host);
    });
    assert_eq!(ended.domain, Domain::Destroyed, "{}", host.log());
    runs(&host);
    assert_eq!((events(&host, "new"), events(&host, "running")), (2, 1));
}

/// The file is what lies between them.
#[test]
fn a_restore_that_is_slower_than_the_sender_holds_nobody_up() {
    let mut host = xen_host();
    host.run();
    restore_fails(&host, "wait 1000000");
    let ended = sends(&host, "web", SENDERS, |_| {
        host.wait("what is built of it", || is_built(&host))
    });
    assert_eq!(ended.domain, Domain::Destroyed, "{}", host.log());
    host.wait("the copy", || host.journal_has("in", "arrived"));
    assert!(is_built(&host) && host.ok(&["spool", "list"]).contains("web"));
    restore_works(&host);
    runs(&host);
    assert_eq!((events(&host, "new"), events(&host, "running")), (1, 1));
}

/// A sender that fails, or resumes its domain after all: what has been built goes.
#[test]
fn what_is_built_of_a_domain_that_does_not_arrive_goes() {
    for trouble in ["cut", "behind"] {
        let mut host = xen_host();
        host.run();
        let image = full_image().bytes();
        let gate = Gate::default();
        let (cut, behind) = (image[..UNCLEAR + 1000].to_vec(), [&image[..], b"x"].concat());
        let bytes = if trouble == "cut" { cut } else { behind };
        let xend = Xend {
            gate: Some((UNCLEAR, gate.clone())),
            ..Xend::new(Version::V4_1)
        };
        thread::scope(|scope| {
            let _open = Open(&gate);
            scope.spawn(|| xend.migrate(port(&host), &config("web", MEMORY, ""), &bytes));
            host.wait("what is built of it", || is_built(&host));
            gate.open();
        });
        let state = if trouble == "cut" { "discarded" } else { "kept" };
        host.wait("the last record", || host.journal_has("in", state));
        assert!(host.is_empty(), "{trouble}: {}", host.log());
        assert_eq!(
            (
                events(&host, "new"),
                events(&host, "destroyed"),
                events(&host, "running")
            ),
            (1, 1, 0)
        );
        assert_eq!(left_over(&host).is_empty(), trouble == "cut");
    }
}

#[test]
fn a_daemon_that_is_killed_leaves_nothing_of_what_it_was_building() {
    for (until, domain) in [(SENDERS, Domain::Destroyed), (UNCLEAR, Domain::Destroyed)] {
        let mut host = xen_host();
        host.run();
        let gate = Gate::default();
        let xend = Xend {
            gate: Some((until, gate.clone())),
            ..Xend::new(Version::V4_1)
        };
        let (image, to) = (full_image().bytes(), port(&host));
        let ended = thread::scope(|scope| {
            let _open = Open(&gate);
            let sender = scope.spawn(|| xend.migrate(to, &config("web", MEMORY, ""), &image));
            host.wait("what is built of it", || is_built(&host));
            host.kill();
            gate.open();
            sender.join().unwrap()
        });
        // The receiver needs nobody.
        assert_eq!(ended.domain, domain, "{}", host.log());
        host.run();
        host.wait("the last record", || host.journal_has("in", "kept"));
        assert!(host.is_empty(), "{}", host.log());
        assert_eq!(
            (
                events(&host, "new"),
                events(&host, "destroyed"),
                events(&host, "running")
            ),
            (1, 1, 0)
        );
        host.ok(&["spool", "restore", "web"]);
        assert!(host.runs() && left_over(&host).is_empty());
    }
}

/// A stopped daemon gives up what its sender still owns, and what was built with it.
#[test]
fn a_daemon_that_is_stopped_throws_it_away() {
    let mut host = xen_host();
    host.run();
    let gate = Gate::default();
    let xend = Xend {
        gate: Some((SENDERS, gate.clone())),
        ..Xend::new(Version::V4_1)
    };
    let (image, to) = (full_image().bytes(), port(&host));
    let ended = thread::scope(|scope| {
        let _open = Open(&gate);
        let sender = scope.spawn(|| xend.migrate(to, &config("web", MEMORY, ""), &image));
        host.wait("what is built of it", || is_built(&host));
        host.signal(nix::sys::signal::Signal::SIGTERM);
        assert_eq!(host.ended(), Some(0));
        gate.open();
        sender.join().unwrap()
    });
    assert_eq!(ended.domain, Domain::Runs, "{}", host.log());
    assert_eq!((events(&host, "new"), events(&host, "destroyed")), (1, 1));
    host.run();
    assert!(host.is_empty() && host.journal_has("in", "discarded") && left_over(&host).is_empty());
}

/// Only one can be built at a time. One that is here alone comes before one that its xend still has.
#[test]
fn a_domain_that_stands_still_comes_first() {
    let mut host = xen_host();
    host.run();
    let ended = sends(&host, "slow", UNCLEAR, |_| {
        host.wait("what is built of it", || !host.is_empty());
        let image = full_image().bytes();
        let ended = Xend::new(Version::V4_1).migrate(port(&host), &config("web", MEMORY, ""), &image);
        assert_eq!(ended.domain, Domain::Destroyed, "{}", host.log());
        host.wait("its start", || host.runs());
    });
    assert_eq!(ended.domain, Domain::Destroyed, "{}", host.log());
    host.wait("the other's start", || {
        let domains = host.domains();
        domains.len() == 2 && domains.iter().all(|(_, state)| state == "-b----")
    });
    host.wait("the end of the copies", || left_over(&host).is_empty());
    assert_eq!(events(&host, "running"), 2);
}
