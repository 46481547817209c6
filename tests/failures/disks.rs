//! Full disks below the journal.

use crate::{
    ended, migrating, reached, settles,
    support::{
        self, Host,
        disk::Disk,
        proxy::{Proxy, Stage},
        text,
    },
};

const ALLOW: &str = "(xend-relocation-hosts-allow '127.0.0.0/8')";

/// A host whose state is on a small disk. `None` where none can be mounted.
fn small() -> Option<Host> {
    let mut host = Host::prepare(ALLOW);
    host.disk = Some(Disk::mount(&host.path("state"))?);
    host.run();
    Some(host)
}

fn disk(host: &Host) -> &Disk {
    host.disk.as_ref().unwrap()
}

fn web(host: &Host) {
    host.create("web", 16, "dirty=5 verify=100");
    host.console(|text| !support::ticks(text).is_empty());
}

fn tells_what_to_do(said: &str, host: &str) {
    assert!(said.contains("No space left on device"), "{said}");
    assert!(said.contains("it runs here"), "{said}");
    assert!(said.contains("Next: make room") && said.contains(host), "{said}");
}

#[test]
fn the_source_has_no_room_for_a_record() {
    let Some(a) = small() else { return };
    let b = Host::start();
    web(&a);
    disk(&a).fill();
    tells_what_to_do(&a.migrate_fails(&b, &["-l"]), "");
    settles(&a, &b);
    a.verify();
    disk(&a).clear();
    a.migrates(&b, &["-l"]);
    b.verify();
}

#[test]
fn the_destination_has_no_room_for_a_record() {
    let Some(b) = small() else { return };
    let a = Host::start();
    web(&a);
    disk(&b).fill();
    tells_what_to_do(&a.migrate_fails(&b, &["-l"]), &b.address);
    settles(&a, &b);
    a.verify();
    disk(&b).clear();
    a.migrates(&b, &["-l"]);
    b.verify();
}

/// The disk fills up while a stage holds; then everything goes on. What xm says.
fn fills(from: &Host, to: &Host, full: &Host, stage: Stage) -> (Option<i32>, String) {
    let proxy = Proxy::to(to, Some(stage));
    let mut xm = migrating(from, &proxy, &["-l"]);
    reached(&proxy, &mut xm, from, to);
    if stage == Stage::CommitDelivered {
        to.wait("the domain at the destination", || to.journal_has("in", "running"));
    }
    disk(full).fill();
    proxy.go_on();
    let output = ended(xm, from);
    (output.status.code(), text(&output))
}

#[test]
fn the_source_can_not_write_the_commit() {
    let Some(mut a) = small() else { return };
    let b = Host::start();
    web(&a);
    let (code, said) = fills(&a, &b, &a, Stage::Loaded);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("No space left on device") && said.contains("runs on here"),
        "{said}"
    );
    assert!(said.contains("Next: make room"), "{said}");
    settles(&a, &b);
    a.verify();
    // Whatever the disk has of it: it is settled after a crash, too.
    a.kill();
    disk(&a).clear();
    a.run();
    settles(&a, &b);
    a.migrates(&b, &["-l"]);
    b.verify();
}

#[test]
fn the_destination_can_not_write_the_commit() {
    let Some(b) = small() else { return };
    let a = Host::start();
    web(&a);
    let (code, said) = fills(&a, &b, &b, Stage::Loaded);
    assert_eq!(code, Some(1), "{said}\n{}\n{}", a.log(), b.log());
    assert!(said.contains("runs on here"), "{said}");
    assert!(said.contains("could not be journalled"), "{said}");
    settles(&a, &b);
    a.verify();
    disk(&b).clear();
    a.migrates(&b, &["-l"]);
    b.verify();
}

#[test]
fn the_source_can_not_write_the_end() {
    let Some(mut a) = small() else { return };
    let b = Host::start();
    web(&a);
    let (code, said) = fills(&a, &b, &a, Stage::CommitDelivered);
    assert_eq!(code, Some(0), "{said}");
    settles(&b, &a);
    b.verify();
    a.kill();
    disk(&a).clear();
    a.run();
    settles(&b, &a);
}

#[test]
fn the_destination_can_not_write_the_end() {
    let Some(mut b) = small() else { return };
    let a = Host::start();
    web(&a);
    // The commit is on disk. From here on nothing can be written, and the source has to ask.
    let proxy = Proxy::to(&b, Some(Stage::CommitHeld));
    let mut xm = migrating(&a, &proxy, &["-l"]);
    reached(&proxy, &mut xm, &a, &b);
    let record = b.records("in").pop().unwrap();
    proxy.go_on();
    b.wait("the domain at the destination", || b.journal_has("in", "running"));
    let output = ended(xm, &a);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let committed = std::fs::read_to_string(&record)
        .unwrap()
        .replace("(state running)", "(state committed)");
    let id = record
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .split('.')
        .next()
        .unwrap()
        .to_owned();
    std::fs::write(&record, committed).unwrap();
    disk(&b).fill();
    let said = b.says(format!("(outcome (id {id}))\n").as_bytes());
    assert!(said.starts_with("(ok (outcome (running"), "{said}");
    b.kill();
    b.run();
    let said = b.says(format!("(outcome (id {id}))\n").as_bytes());
    assert!(said.starts_with("(ok (outcome (running"), "{said}");
    disk(&b).clear();
    settles(&b, &a);
    b.verify();
}
