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

/// Debian's `xendomains` saves what it finds when the host goes down, and a save that fails lets a suspended domain run on.
#[test]
fn a_copy_that_waits_for_the_outcome_is_not_let_run_by_others() {
    let host = Host::new();
    let id = host.create("web");
    let mut departed = host.depart_live(id, Uuid::new_v4(), &mut Cut(1000)).unwrap();
    for _ in 0..2 {
        departed.guard().unwrap();
    }
    host.fault("save", "cut 100");
    let mut save = Command::new(host.directory.path().join("xl"));
    let saved = save.args(["save", &id.to_string(), "/dev/null"]).output().unwrap();
    assert!(!saved.status.success());
    assert_eq!(host.domains(), [("migrating-web".to_owned(), DomainState::Suspended)]);
    host.fault("save", "");
    departed.resume().map_err(|undone| undone.error).unwrap();
    runs(&host);

    let mut departed = host.depart_live(id, Uuid::new_v4(), &mut Cut(1000)).unwrap();
    departed.guard().unwrap();
    departed.destroy().map_err(|undone| undone.error).unwrap();
    assert_eq!(host.domains(), []);
}

/// The guest is asked by xl, and does what it was asked to do when xl has been killed and the relocation given up.
#[test]
fn a_guest_that_suspends_itself_after_all_runs_on() {
    let host = Host::new();
    let id = host.create("web");
    for live in [true, false] {
        host.fault(if live { "migrate" } else { "save" }, "late 2");
        let mut image = Cut(usize::MAX);
        let departed = if live {
            host.depart_live(id, Uuid::new_v4(), &mut image)
        } else {
            host.depart(id, Uuid::new_v4(), &mut image)
        };
        assert!(error(departed).contains("signal: 9"));
        runs(&host);
        assert!(host.events().iter().any(|event| event.starts_with("suspended")));
    }
}

/// The toolstack can't be asked just then, and the daemon is another one afterwards.
#[test]
fn a_guest_that_may_suspend_itself_is_watched_by_whoever_comes_next() {
    struct Silence<'a>(&'a Host);
    impl Observer for Silence<'_> {
        fn progress(&mut self, progress: &Progress) -> Result<(), ImageError> {
            if progress.pages_sent > 200 {
                self.0.fault("list", "exit no answer");
            }
            Ok(())
        }
    }
    let mut host = Host::new();
    let id = host.create("web");
    host.fault("migrate", "late 3");
    let mode = Mode::Live(LiveOptions::default());
    let relocation = Uuid::new_v4();
    let departure = Departure {
        relocation,
        id,
        mode: &mode,
    };
    let said = error(host.xl.depart(&departure, &mut Cut(usize::MAX), &mut Silence(&host)));
    assert!(
        said.contains("signal: 9") && said.contains("could not be resumed"),
        "{said}"
    );
    host.fault("list", "");
    host.restart();
    let find = |host: &Host| host.xl.find_departed(Uuid::nil(), relocation).unwrap();
    // Twice: what the first has found may be lost as well.
    assert!(find(&host).is_some());
    let departed = find(&host).unwrap();
    departed.resume().map_err(|undone| undone.error).unwrap();
    runs(&host);
    assert!(host.events().iter().any(|event| event.starts_with("suspended")));
    assert!(find(&host).is_none());
}

#[test]
fn a_guest_that_reboots_meanwhile_gets_its_name_back() {
    struct Reboot<'a>(&'a Host);
    impl Observer for Reboot<'_> {
        fn progress(&mut self, _: &Progress) -> Result<(), ImageError> {
            self.0
                .change_domains(|text| text.replace("\"1\": {", "\"7\": {").replace("\"id\": 1,", "\"id\": 7,"));
            Ok(())
        }
    }
    let host = Host::new();
    let id = host.create("web");
    assert_eq!(id, 1);
    let mode = Mode::Live(LiveOptions::default());
    let departure = Departure {
        relocation: Uuid::new_v4(),
        id,
        mode: &mode,
    };
    let said = error(host.xl.depart(&departure, &mut Cut(usize::MAX), &mut Reboot(&host)));
    assert!(said.contains("has rebooted meanwhile, as domain 7"), "{said}");
    runs(&host);
    assert_eq!(host.xen_names(), ["web"]);
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
