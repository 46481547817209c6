//! The daemon, or the process that receives, dies at every boundary of a relocation from a xend: the xend or the spool has the domain, whole.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

#[path = "images/mod.rs"]
mod images;
mod support;
#[path = "xend/world.rs"]
mod world;

use std::{fs, thread};

use support::{
    Host,
    xend_peer::{Domain, Gate, Version, Xend},
};
use world::{ALLOW, config, full_image, port, prepare, settles, spooled};

/// Where, and what the sender must conclude; `None`: either.
const POINTS: [(&str, Option<Domain>); 27] = [
    ("in.receive.received", Some(Domain::Runs)),
    ("in.receive.ready", Some(Domain::Runs)),
    ("in.envelope.received", Some(Domain::Runs)),
    ("journal.in.receiving.create", Some(Domain::Runs)),
    ("journal.in.receiving.write", Some(Domain::Runs)),
    ("journal.in.receiving.rename", Some(Domain::Runs)),
    ("journal.in.receiving.sync", Some(Domain::Runs)),
    ("journal.in.receiving.synced", Some(Domain::Runs)),
    ("in.admitted.journalled", Some(Domain::Runs)),
    ("in.receiver.start", Some(Domain::Runs)),
    ("in.receiver.started", Some(Domain::Runs)),
    ("in.go.send", Some(Domain::Runs)),
    ("in.go.sent", Some(Domain::Destroyed)),
    ("in.concluded.before", Some(Domain::Destroyed)),
    ("journal.in.kept.create", Some(Domain::Destroyed)),
    ("journal.in.kept.write", Some(Domain::Destroyed)),
    ("journal.in.kept.rename", Some(Domain::Destroyed)),
    ("journal.in.kept.sync", Some(Domain::Destroyed)),
    ("journal.in.kept.synced", Some(Domain::Destroyed)),
    // The process that receives.
    ("receiver.begun.say", Some(Domain::Runs)),
    ("receiver.go.received", Some(Domain::Runs)),
    ("in.frame@3", Some(Domain::Runs)),
    ("receiver.finish.before", Some(Domain::Destroyed)),
    ("receiver.finish.after", Some(Domain::Destroyed)),
    ("receiver.adopt.image", Some(Domain::Destroyed)),
    ("receiver.adopt.record", Some(Domain::Destroyed)),
    ("receiver.whole.after", Some(Domain::Destroyed)),
];

#[test]
fn at_every_boundary() {
    let image = full_image();
    let (bytes, today) = (image.bytes(), image.today());
    for (point, expected) in POINTS {
        let mut host = prepare("");
        host.faults = format!("{point}=kill");
        host.run();
        let ended = Xend::new(Version::V4_1).migrate(port(&host), &config("web", 32, ""), &bytes);
        if let Some(expected) = expected {
            assert_eq!(ended.domain, expected, "{point}: {}\n{}", ended.says, host.log());
        }
        host.wait("the fault", || {
            host.log()
                .contains(&format!("fault point {}", point.split('@').next().unwrap()))
        });
        if point.starts_with("receiver.adopt") {
            // The daemon sees to what is left, and dies of the same.
            host.ended();
        } else if point.starts_with("receiver.") || point.starts_with("in.frame") {
            host.wait("the end of it", || {
                host.journal_has("in", "kept") || host.journal_has("in", "discarded")
            });
            host.kill();
        } else {
            host.ended();
        }
        host.faults.clear();
        settles(&mut host, ended.domain, &today, point);
    }
}

/// Where the daemon dies on a host that builds the domain while it arrives; what the sender concludes, and whether the domain runs at last without an operator: `None`,
/// if that depends on what comes first.
const BUILDING: [(&str, Domain, Option<bool>); 21] = [
    ("in.go.sent", Domain::Destroyed, Some(false)),
    ("in.early.begin", Domain::Destroyed, Some(false)),
    ("in.early.built", Domain::Destroyed, None),
    ("in.concluded.before", Domain::Destroyed, Some(false)),
    ("journal.in.arrived.create", Domain::Destroyed, Some(false)),
    ("journal.in.arrived.write", Domain::Destroyed, Some(false)),
    ("journal.in.arrived.rename", Domain::Destroyed, Some(false)),
    ("journal.in.arrived.sync", Domain::Destroyed, Some(true)),
    ("journal.in.arrived.synced", Domain::Destroyed, Some(true)),
    ("spool.arrived", Domain::Destroyed, Some(true)),
    ("spool.starting", Domain::Destroyed, Some(true)),
    ("spool.runs", Domain::Destroyed, Some(true)),
    ("journal.in.running.create", Domain::Destroyed, Some(true)),
    ("journal.in.running.rename", Domain::Destroyed, Some(true)),
    ("journal.in.running.sync", Domain::Destroyed, Some(true)),
    ("journal.in.running.synced", Domain::Destroyed, Some(true)),
    // The process that receives.
    ("receiver.begun.say", Domain::Runs, Some(false)),
    ("in.frame@3", Domain::Runs, Some(false)),
    ("receiver.finish.before", Domain::Destroyed, Some(false)),
    ("receiver.adopt.record", Domain::Destroyed, Some(false)),
    ("receiver.whole.after", Domain::Destroyed, Some(false)),
];

/// Domains that the stand-in has let run.
fn runs_of(host: &Host) -> usize {
    let events = fs::read_to_string(host.path("state/events")).unwrap_or_default();
    events.lines().filter(|line| line.starts_with("running ")).count()
}

fn xen_host() -> Host {
    let mut host = Host::prepare("").on_xen();
    let spool = host.path("spool");
    host.set_extra(&format!("{ALLOW} (relocd-spool-directory '{}')", spool.display()));
    host
}

/// Started again, the daemon settles it: the domain runs at its xend, or here, or is in the spool; never at two of them, and it never runs twice.
fn one_place(host: &mut Host, domain: Domain, runs: Option<bool>, point: &str) {
    host.faults.clear();
    host.run();
    host.wait("the end of the relocation", || {
        let open = ["receiving", "arrived"]
            .iter()
            .any(|state| host.journal_has("in", state));
        !open && !host.status_has("recovering") && !host.status_has("copying")
    });
    let kept = spooled(host).len();
    let found = (host.runs(), host.is_empty(), kept, runs_of(host));
    let expected = match (domain, runs.unwrap_or(kept == 0)) {
        (Domain::Destroyed, true) => (true, false, 0, 1),
        (Domain::Destroyed, false) => (false, true, 1, 0),
        _ => (false, true, 0, 0),
    };
    assert_eq!(found, expected, "{point}: {:?}\n{}", host.domains(), host.log());
    if kept == 1 {
        host.ok(&["spool", "restore", "web"]);
        assert!(host.runs() && spooled(host).is_empty(), "{point}");
    }
}

#[test]
fn at_every_boundary_of_a_host_that_builds_it_while_it_arrives() {
    let bytes = full_image().bytes();
    for (point, expected, runs) in BUILDING {
        let mut host = xen_host();
        host.faults = format!("{point}=kill");
        host.run();
        let ended = Xend::new(Version::V4_1).migrate(port(&host), &config("web", 32, ""), &bytes);
        assert_eq!(ended.domain, expected, "{point}: {}\n{}", ended.says, host.log());
        host.wait("the fault", || {
            host.log()
                .contains(&format!("fault point {}", point.split('@').next().unwrap()))
        });
        if point.starts_with("receiver.adopt") {
            host.ended();
        } else if point.starts_with("receiver.") || point.starts_with("in.frame") {
            host.wait("the end of it", || {
                host.journal_has("in", "kept") || host.journal_has("in", "discarded")
            });
            host.kill();
        } else {
            host.ended();
        }
        one_place(&mut host, ended.domain, runs, point);
    }
}

/// The restore fails while the sender owns its domain: wherever the daemon dies then, the sender resumes it or the spool has it.
#[test]
fn at_every_boundary_of_a_restore_that_fails_in_the_middle() {
    let bytes = full_image().bytes();
    for (point, expected) in [
        ("in.early.failed", Domain::Destroyed),
        ("in.early.told", Domain::Runs),
        ("in.early.end", Domain::Runs),
        ("in.early.ended", Domain::Runs),
        ("journal.in.discarded.write", Domain::Runs),
        ("journal.in.discarded.synced", Domain::Runs),
    ] {
        let mut host = xen_host();
        let fault = host.path("state/fault-restore");
        fs::create_dir_all(host.path("state")).unwrap();
        fs::write(&fault, "fail 2000000 libxl: error: out of luck").unwrap();
        host.faults = format!("{point}=kill");
        host.run();
        let gate = Gate::default();
        let xend = Xend {
            gate: Some((5 << 20, gate.clone())),
            ..Xend::new(Version::V4_1)
        };
        let to = port(&host);
        let ended = thread::scope(|scope| {
            let sender = scope.spawn(|| xend.migrate(to, &config("web", 32, ""), &bytes));
            host.ended();
            gate.open();
            sender.join().unwrap()
        });
        assert_eq!(ended.domain, expected, "{point}: {}\n{}", ended.says, host.log());
        fs::remove_file(&fault).unwrap();
        one_place(&mut host, ended.domain, Some(false), point);
    }
}

/// Without a safety copy: where the daemon dies, what the sender concludes, and what the next daemon makes of it.
#[test]
fn at_every_boundary_of_a_domain_that_comes_without_a_copy() {
    let bytes = full_image().bytes();
    for (point, expected, state, runs) in [
        ("in.go.send", Domain::Runs, "discarded", 0),
        ("in.early.begin", Domain::Runs, "discarded", 0),
        ("in.concluded.before", Domain::Destroyed, "kept", 0),
        ("journal.in.starting.write", Domain::Destroyed, "kept", 0),
        ("journal.in.starting.synced", Domain::Destroyed, "running", 1),
        ("in.passed.starting", Domain::Destroyed, "running", 1),
        ("in.passed.runs", Domain::Destroyed, "running", 1),
        ("journal.in.running.write", Domain::Destroyed, "running", 1),
        ("journal.in.running.synced", Domain::Destroyed, "running", 1),
        ("in.frame@3", Domain::Runs, "discarded", 0),
        ("receiver.whole.after", Domain::Destroyed, "kept", 0),
    ] {
        let mut host = xen_host();
        let spool = host.path("spool");
        host.set_extra(&format!(
            "{ALLOW} (relocd-spool-directory '{}') (relocd-safety-copy no)",
            spool.display()
        ));
        host.faults = format!("{point}=kill");
        host.run();
        // Nothing is refused once it is whole: as long as it is not, the sender has more to write.
        let gate = Gate::default();
        let xend = Xend {
            gate: Some((5 << 20, gate.clone())),
            ..Xend::new(Version::V4_1)
        };
        let to = port(&host);
        let ended = thread::scope(|scope| {
            let sender = scope.spawn(|| xend.migrate(to, &config("web", 32, ""), &bytes));
            if point == "in.early.begin" {
                host.ended();
            }
            gate.open();
            sender.join().unwrap()
        });
        assert_eq!(ended.domain, expected, "{point}: {}\n{}", ended.says, host.log());
        if point.starts_with("receiver.") || point.starts_with("in.frame") {
            host.wait("the end of it", || host.journal_has("in", state));
            host.kill();
        } else if point != "in.early.begin" {
            host.ended();
        }
        host.faults.clear();
        host.run();
        host.wait("the last record", || host.journal_has("in", state));
        let built = host
            .domains()
            .iter()
            .any(|(name, state)| name == "web" && state == "--p---");
        let found = (host.runs(), built, runs_of(&host), spooled(&host).len());
        assert_eq!(found, (runs == 1, state == "kept", runs, 0), "{point}\n{}", host.log());
        host.wait("the end of what came", || {
            let left = fs::read_dir(host.path("spool")).unwrap().flatten();
            left.filter(|file| file.file_name() != "lock").count() == 0
        });
    }
}

/// What can't be written down at last is written down later, and the domain is in the spool meanwhile.
#[test]
fn a_journal_that_can_not_be_written() {
    let image = full_image();
    for point in ["journal.in.receiving.write", "journal.in.kept.write"] {
        let mut host = prepare("");
        host.faults = format!("{point}=error=ENOSPC");
        host.run();
        let ended = Xend::new(Version::V4_1).migrate(port(&host), &config("web", 32, ""), &image.bytes());
        if point.contains("receiving") {
            assert!(
                ended.domain == Domain::Runs && ended.says.contains("journal"),
                "{ended:?}"
            );
            assert!(spooled(&host).is_empty() && host.records("in").is_empty());
        } else {
            assert_eq!(ended.domain, Domain::Destroyed);
            host.wait("the last record", || host.journal_has("in", "kept"));
            assert!(spooled(&host)[0].1 == image.today());
        }
    }
}
