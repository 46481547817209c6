//! Journals that are lost, torn, or from elsewhere.

use std::fs;

use crate::{
    LIMITS, ended, migrating, reached, settles, source,
    support::{
        Host,
        proxy::{Cut, Proxy, Stage},
        text,
    },
};

const ARRIVED: (&str, &str) = ("web", "--p---");

fn has_arrived(host: &Host) -> bool {
    matches!(&host.domains()[..], [(name, state)] if (name.as_str(), state.as_str()) == ARRIVED)
}

#[test]
fn a_record_that_can_not_be_understood_is_reported_and_not_acted_on() {
    let (a, mut b) = (source(LIMITS), Host::with(LIMITS));
    let proxy = Proxy::to(&b, Some(Stage::Loaded));
    let mut xm = migrating(&a, &proxy, &["-l"]);
    reached(&proxy, &mut xm, &a, &b);
    b.kill();
    proxy.cut(Cut::Fin);
    assert_eq!(ended(xm, &a).status.code(), Some(1));
    let path = b.records("in").pop().unwrap();
    let whole = fs::read_to_string(&path).unwrap();
    let torn = whole[..whole.len() / 2].to_owned();
    let newer = whole.replace("(version 1)", "(version 2)");
    let strange = whole.replace("(state loaded)", "(state dancing)");
    for (record, report) in [
        (torn, "the record is torn"),
        (newer, "version 2, this program knows 1"),
        (strange, "a state that this program does not know"),
        (String::new(), "the record is torn"),
        ("\x7fELF\n".to_owned(), "left alone"),
    ] {
        fs::write(&path, &record).unwrap();
        b.run();
        b.wait("the report", || b.log().contains(report));
        assert!(has_arrived(&b), "{:?}\n{}", b.domains(), b.log());
        b.ok(&["status"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), record);
        b.kill();
    }
    // It can be understood again.
    fs::write(&path, &whole).unwrap();
    b.run();
    settles(&a, &b);
    a.migrates(&b, &["-l"]);
    b.verify();
}

#[test]
fn a_source_whose_destination_can_not_read_its_record_stays_in_doubt() {
    let (a, mut b) = (source(LIMITS), Host::with(LIMITS));
    let proxy = Proxy::to(&b, Some(Stage::CommitDelivered));
    let mut xm = migrating(&a, &proxy, &["-l"]);
    reached(&proxy, &mut xm, &a, &b);
    b.wait("the domain at the destination", || b.journal_has("in", "running"));
    b.kill();
    let path = b.records("in").pop().unwrap();
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    proxy.cut(Cut::Fin);
    b.run();
    let output = ended(xm, &a);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    assert!(text(&output).contains("the record is torn"), "{}", text(&output));
    assert!(b.runs() && !a.runs());
    fs::write(&path, &whole).unwrap();
    settles(&b, &a);
    b.verify();
}

#[test]
fn a_destination_that_has_lost_its_journal_looks_for_the_domain() {
    let (a, mut b) = (source(LIMITS), Host::with(LIMITS));
    let proxy = Proxy::to(&b, Some(Stage::CommitDelivered));
    let mut xm = migrating(&a, &proxy, &["-l"]);
    reached(&proxy, &mut xm, &a, &b);
    b.wait("the domain at the destination", || b.journal_has("in", "running"));
    b.kill();
    fs::remove_dir_all(b.path("state/journal")).unwrap();
    proxy.cut(Cut::Fin);
    b.run();
    let output = ended(xm, &a);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    settles(&b, &a);
    b.verify();
}

#[test]
fn a_relocation_to_the_own_host_is_settled_after_a_crash() {
    let mut a = source(LIMITS);
    for (stage, lose) in [
        (Stage::CommitHeld, false),
        (Stage::CommitDelivered, false),
        (Stage::CommitDelivered, true),
    ] {
        println!("{stage:?}, journal of the destination lost: {lose}");
        let proxy = Proxy::to(&a, Some(stage));
        let mut xm = migrating(&a, &proxy, &["-l"]);
        reached(&proxy, &mut xm, &a, &a);
        if stage == Stage::CommitDelivered {
            a.wait("the domain's arrival", || a.journal_has("in", "running"));
        }
        a.kill();
        if lose {
            for record in a.records("in") {
                fs::remove_file(record).unwrap();
            }
        }
        proxy.cut(Cut::Fin);
        ended(xm, &a);
        a.run();
        a.wait("the end", || a.runs() && !a.status_has("in-doubt"));
        a.verify();
        for record in [a.records("in"), a.records("out")].concat() {
            fs::remove_file(record).unwrap();
        }
    }
}
