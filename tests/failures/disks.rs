//! Disks below the journal that are full, or have become read-only. (Writes that fail in the middle: the fault runs.)

use std::fs;

use crate::{
    ended, migrating, reached, settles,
    support::{
        self, Host,
        disk::{Disk, ReadOnly},
        proxy::{Proxy, Stage},
        text,
    },
};

const ALLOW: &str = "(xend-relocation-hosts-allow '127.0.0.0/8')";

/// What is wrong with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Full,
    ReadOnly,
}

impl Fault {
    /// A host whose disk can have this fault. `None` where that takes rights that the test does not have.
    fn host(self) -> Option<Host> {
        let mut host = Host::prepare(ALLOW);
        if self == Fault::Full {
            host.disk = Some(Disk::mount(&host.path("state"))?);
        } else if !ReadOnly::is_possible() {
            return None;
        }
        host.run();
        Some(host)
    }

    /// It strikes. Until [`Fault::heal`].
    fn strike(self, host: &Host) -> Option<ReadOnly> {
        match self {
            Fault::Full => {
                host.disk.as_ref().unwrap().fill();
                None
            }
            Fault::ReadOnly => Some(ReadOnly::make(&host.path("state/journal"))),
        }
    }

    fn heal(self, host: &Host, fault: Option<ReadOnly>) {
        drop(fault);
        if self == Fault::Full {
            host.disk.as_ref().unwrap().clear();
        }
    }

    fn words(self) -> &'static str {
        match self {
            Fault::Full => "No space left on device",
            Fault::ReadOnly => "Read-only file system",
        }
    }

    fn tells_what_to_do(self, said: &str, host: &str) {
        assert!(said.contains(self.words()), "{said}");
        assert!(said.contains("it runs here"), "{said}");
        assert!(said.contains("Next: make room") && said.contains(host), "{said}");
    }

    /// The disk fails while a stage holds; then everything goes on. The fault, and what xm says.
    fn strikes_at(self, from: &Host, proxy: &Proxy, to: &Host, ill: &Host) -> (Option<ReadOnly>, Option<i32>, String) {
        let mut xm = migrating(from, proxy, &["-l"]);
        reached(proxy, &mut xm, from, to);
        if from.journal_has("out", "committed") {
            to.wait("the domain at the destination", || to.journal_has("in", "running"));
        }
        let fault = self.strike(ill);
        proxy.go_on();
        let output = ended(xm, from);
        (fault, output.status.code(), text(&output))
    }
}

fn web(host: &Host) {
    host.create("web", 16, "dirty=5 verify=100");
    host.console(|text| !support::ticks(text).is_empty());
}

macro_rules! with_both {
    ($($name:ident: $full:ident, $read_only:ident;)*) => {
        $(
            #[test]
            fn $full() {
                $name(Fault::Full);
            }

            #[test]
            fn $read_only() {
                $name(Fault::ReadOnly);
            }
        )*
    };
}

with_both! {
    first_record_at_source: the_source_has_no_room_for_a_record, the_source_is_read_only_from_the_start;
    first_record_at_destination: the_destination_has_no_room_for_a_record, the_destination_is_read_only_from_the_start;
    commit_at_source: the_source_can_not_write_the_commit, the_source_is_read_only_at_the_commit;
    commit_at_destination: the_destination_can_not_write_the_commit, the_destination_is_read_only_at_the_commit;
    end_at_source: the_source_can_not_write_the_end, the_source_is_read_only_at_the_end;
    end_at_destination: the_destination_has_no_room_for_the_end, the_destination_is_read_only_at_the_end;
}

fn first_record_at_source(fault: Fault) {
    let Some(a) = fault.host() else { return };
    let b = Host::start();
    web(&a);
    let ill = fault.strike(&a);
    fault.tells_what_to_do(&a.migrate_fails(&b, &["-l"]), "");
    settles(&a, &b);
    a.verify();
    fault.heal(&a, ill);
    a.migrates(&b, &["-l"]);
    b.verify();
}

fn first_record_at_destination(fault: Fault) {
    let Some(b) = fault.host() else { return };
    let a = Host::start();
    web(&a);
    let ill = fault.strike(&b);
    fault.tells_what_to_do(&a.migrate_fails(&b, &["-l"]), &b.address);
    settles(&a, &b);
    a.verify();
    fault.heal(&b, ill);
    a.migrates(&b, &["-l"]);
    b.verify();
}

fn commit_at_source(fault: Fault) {
    let Some(mut a) = fault.host() else { return };
    let b = Host::start();
    web(&a);
    let proxy = Proxy::to(&b, Some(Stage::Loaded));
    let (ill, code, said) = fault.strikes_at(&a, &proxy, &b, &a);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains(fault.words()) && said.contains("runs on here") && said.contains("was never told to run it"),
        "{said}"
    );
    assert!(said.contains("Next: make room"), "{said}");
    settles(&a, &b);
    a.verify();
    // Whatever the disk has of it: it is settled after a crash, too.
    a.kill();
    fault.heal(&a, ill);
    a.run();
    settles(&a, &b);
    a.migrates(&b, &["-l"]);
    b.verify();
}

fn commit_at_destination(fault: Fault) {
    let Some(b) = fault.host() else { return };
    let a = Host::start();
    web(&a);
    let proxy = Proxy::to(&b, Some(Stage::Loaded));
    let (ill, code, said) = fault.strikes_at(&a, &proxy, &b, &b);
    assert_eq!(code, Some(1), "{said}\n{}\n{}", a.log(), b.log());
    assert!(said.contains("runs on here"), "{said}");
    assert!(said.contains("could not be journalled"), "{said}");
    settles(&a, &b);
    a.verify();
    assert!(b.status_has("discarded"), "{}", b.ok(&["status"]));
    fault.heal(&b, ill);
    // The last record follows as soon as it can.
    b.wait("the last record", || b.journal_has("in", "discarded"));
    a.migrates(&b, &["-l"]);
    b.verify();
}

fn end_at_source(fault: Fault) {
    let Some(mut a) = fault.host() else { return };
    let b = Host::start();
    web(&a);
    let proxy = Proxy::to(&b, Some(Stage::CommitDelivered));
    let (ill, code, said) = fault.strikes_at(&a, &proxy, &b, &a);
    assert_eq!(code, Some(0), "{said}");
    settles(&b, &a);
    b.verify();
    a.kill();
    fault.heal(&a, ill);
    a.run();
    settles(&b, &a);
}

/// The commit is on disk, and from then on nothing can be written: as if the disk had failed between two records.
fn end_at_destination(fault: Fault) {
    let Some(mut b) = fault.host() else { return };
    let a = Host::start();
    web(&a);
    let proxy = Proxy::to(&b, Some(Stage::CommitHeld));
    let mut xm = migrating(&a, &proxy, &["-l"]);
    reached(&proxy, &mut xm, &a, &b);
    let record = b.records("in").pop().unwrap();
    proxy.go_on();
    b.wait("the domain at the destination", || b.journal_has("in", "running"));
    let output = ended(xm, &a);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let text = fs::read_to_string(&record).unwrap();
    let value = |key: &str| text.split(key).nth(1).unwrap().split(')').next().unwrap();
    let question = format!("(outcome (id {}) (secret {}))\n", value("(id "), value("(secret "));
    b.kill();
    fs::write(&record, text.replace("(state running)", "(state committed)")).unwrap();
    let mut ill = None;
    if fault == Fault::Full {
        ill = fault.strike(&b);
        b.run();
    } else {
        // Without a place for its lock no daemon starts: it becomes read-only behind its back, before it has the end on disk.
        b.run_with(&[]);
        b.wait("the end of it", || b.journal_has("in", "running"));
        ill = ill.or(fault.strike(&b));
    }
    b.wait("the answer", || {
        b.says(question.as_bytes()).starts_with("(ok (outcome (running")
    });
    assert!(b.runs());
    fault.heal(&b, ill);
    b.wait("the last record", || b.journal_has("in", "running"));
    settles(&b, &a);
    b.verify();
}
