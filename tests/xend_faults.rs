//! The daemon, or the process that receives, dies at every boundary of a relocation from a xend: the xend or the spool has the domain, whole.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

#[path = "images/mod.rs"]
mod images;
mod support;
#[path = "xend/world.rs"]
mod world;

use support::xend_peer::{Domain, Version, Xend};
use world::{config, full_image, port, prepare, settles, spooled};

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
