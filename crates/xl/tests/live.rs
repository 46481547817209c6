//! Departures of domains that run, and every way in which they may fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::process::Command;

use common::{Cut, Host, config, error, source, wait};
use domain::GuestKind;
use image::{ImageError, v2::V2Writer};
use toolstack::{Departure, DomainState, LiveOptions, Mode, Observer, OnNoConvergence, Progress, Toolstack};
use uuid::Uuid;

fn runs(host: &Host) {
    assert_eq!(host.domains(), [("web".to_owned(), DomainState::Blocked)]);
}

/// The states of the processes of `xl migrate`, its transport too.
fn states(host: &Host) -> Vec<String> {
    let directory = host.directory.path().to_string_lossy().into_owned();
    let mut states = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let read = |name: &str| {
            String::from_utf8_lossy(&std::fs::read(entry.path().join(name)).unwrap_or_default()).into_owned()
        };
        let command = read("cmdline").replace('\0', " ");
        if command.contains(&directory) && (command.contains("migrate") || command.contains("xl-transport")) {
            let stat = read("stat");
            states.extend(
                stat.rsplit_once(") ")
                    .and_then(|(_, rest)| rest.split(' ').next())
                    .map(str::to_owned),
            );
        }
    }
    states
}

#[test]
fn a_domain_moves_with_what_it_wrote_last() {
    for kind in [GuestKind::Pv, GuestKind::Pvh] {
        let (here, there) = (Host::new(), Host::new());
        let id = here.xl.create(&config("web", kind)).unwrap();
        let before = here.memory(id);
        let config = here.xl.config(id).unwrap();
        let relocation = Uuid::new_v4();
        let mut image = V2Writer::new(Vec::new());
        let departed = here.depart_live(id, relocation, &mut image).unwrap();
        let memory = here.memory(id);
        assert!(memory != before);
        assert_eq!(here.domains(), [("migrating-web".to_owned(), DomainState::Suspended)]);
        // Nothing that could let it run on can do so by itself: not xl, not its transport.
        assert_eq!(states(&here), ["T", "T"]);
        let arrived = there
            .arrive(relocation, &config, &mut source(&image.into_inner()))
            .unwrap();
        let domid = arrived.unpause().map_err(|undone| undone.error).unwrap();
        departed.destroy().map_err(|undone| undone.error).unwrap();
        assert_eq!(here.domains(), []);
        assert!(states(&here).is_empty());
        runs(&there);
        assert!(there.memory(domid) == memory);
        assert!(!here.events().iter().any(|event| event.starts_with("running")));
    }
}

#[test]
fn a_decision_to_resume_is_xls_to_carry_out() {
    let host = Host::new();
    let id = host.create("web");
    let departed = host.depart_live(id, Uuid::new_v4(), &mut Cut(1000)).unwrap();
    departed.resume().map_err(|undone| undone.error).unwrap();
    runs(&host);
    assert!(states(&host).is_empty());
    // And it can depart again.
    host.depart_live(id, Uuid::new_v4(), &mut Cut(1000))
        .unwrap()
        .resume()
        .map_err(|undone| undone.error)
        .unwrap();
    runs(&host);
}

#[test]
fn a_departure_that_fails_lets_the_domain_run_on() {
    let host = Host::new();
    let id = host.create("web");
    for items in [0, 1, 2, 5, 8] {
        assert_eq!(
            error(host.depart_live(id, Uuid::new_v4(), &mut Cut(items))),
            "the other end has gone"
        );
        runs(&host);
    }
    for (fault, expected) in [
        ("cut 500000", "Migration failed, resuming at sender."),
        ("deaf", "Migration failed, failed to suspend at sender."),
        ("exit libxl: error: no", "libxl: error: no"),
    ] {
        host.fault("migrate", fault);
        let said = error(host.depart_live(id, Uuid::new_v4(), &mut Cut(1000)));
        assert!(said.contains(expected), "{fault}: {said}");
        runs(&host);
        assert!(states(&host).is_empty());
    }
}

#[test]
fn what_xl_can_not_do_is_refused_before_anything_happens() {
    let host = Host::new();
    let id = host.create("web");
    host.events();
    let mode = Mode::Live(LiveOptions {
        on_no_convergence: OnNoConvergence::Throttle,
        ..LiveOptions::default()
    });
    let departure = Departure {
        relocation: Uuid::new_v4(),
        id,
        mode: &mode,
    };
    let said = error(host.xl.depart(&departure, &mut Cut(1000), &mut common::Quiet));
    assert!(said.contains("--on-no-convergence"), "{said}");
    assert_eq!(host.events(), [] as [String; 0]);
}

#[test]
fn the_next_daemon_finds_what_is_held_and_decides() {
    for decision in ["resume", "destroy"] {
        let mut host = Host::new();
        let id = host.create("web");
        let uuid = host.xl.config(id).unwrap().uuid;
        let relocation = Uuid::new_v4();
        // Its daemon goes without a decision.
        drop(host.depart_live(id, relocation, &mut Cut(1000)).unwrap());
        assert_eq!(states(&host), ["T", "T"]);
        host.restart();
        assert_eq!(host.domains(), [("migrating-web".to_owned(), DomainState::Suspended)]);
        // Asking decides nothing either.
        drop(host.xl.find_departed(uuid, relocation).unwrap().unwrap());
        let departed = host.xl.find_departed(uuid, relocation).unwrap().unwrap();
        assert_eq!(states(&host), ["T", "T"]);
        if decision == "resume" {
            departed.resume().map_err(|undone| undone.error).unwrap();
            runs(&host);
        } else {
            departed.destroy().map_err(|undone| undone.error).unwrap();
            assert_eq!(host.domains(), []);
        }
        wait("the end of xl", || states(&host).iter().all(|state| state == "Z"));
        assert!(host.xl.find_departed(uuid, relocation).unwrap().is_none());
    }
}

#[test]
fn an_xl_that_is_killed_while_it_is_held_makes_no_difference() {
    for decision in ["resume", "destroy"] {
        let host = Host::new();
        let id = host.create("web");
        let departed = host.depart_live(id, Uuid::new_v4(), &mut Cut(1000)).unwrap();
        let xl = host.directory.path().join("xl").to_string_lossy().into_owned();
        let is_xl = |process: &std::path::Path| {
            let command = std::fs::read(process.join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains(&format!("{xl}\0migrate"))
        };
        let mut processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let process = processes.find(|process| is_xl(process)).unwrap();
        let number = process.file_name().unwrap();
        assert!(
            Command::new("kill")
                .arg("-KILL")
                .arg(number)
                .status()
                .unwrap()
                .success()
        );
        wait("the end of xl", || states(&host) == ["T"]);
        assert_eq!(host.domains(), [("migrating-web".to_owned(), DomainState::Suspended)]);
        if decision == "resume" {
            departed.resume().map_err(|undone| undone.error).unwrap();
            runs(&host);
        } else {
            departed.destroy().map_err(|undone| undone.error).unwrap();
            assert_eq!(host.domains(), []);
        }
    }
}

#[test]
fn rounds_are_seen() {
    struct Rounds(Vec<u32>, u64);
    impl Observer for Rounds {
        fn progress(&mut self, progress: &Progress) -> Result<(), ImageError> {
            assert!(!progress.suspended);
            self.0.push(progress.round);
            self.1 = progress.pages_sent;
            Ok(())
        }
    }
    let host = Host::new();
    let id = host.create("web");
    let mode = Mode::Live(LiveOptions::default());
    let departure = Departure {
        relocation: Uuid::new_v4(),
        id,
        mode: &mode,
    };
    let mut rounds = Rounds(Vec::new(), 0);
    let departed = host.xl.depart(&departure, &mut Cut(1000), &mut rounds).unwrap();
    departed.destroy().map_err(|undone| undone.error).unwrap();
    assert_eq!(rounds.0, [1, 1, 1, 1, 2]);
    assert_eq!(rounds.1, 257);
}
