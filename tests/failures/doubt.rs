//! Outcomes that can't be learnt, and operators who decide.

use std::fs;

use crate::{
    LIMITS, ended, migrating, reached, settles, source,
    support::{
        Host,
        proxy::{Cut, Proxy, Stage},
        text,
    },
};

/// The destination has the commit, and is gone; the source is in doubt. The relocation's id.
fn doubtful(a: &Host, b: &mut Host, proxy: &Proxy) -> String {
    let mut xm = migrating(a, proxy, &["-l"]);
    reached(proxy, &mut xm, a, b);
    b.wait("the domain at the destination", || b.journal_has("in", "running"));
    b.kill();
    proxy.close(true);
    proxy.cut(Cut::Fin);
    let output = ended(xm, a);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(
        said.contains("is not known") && said.contains("stands still here, and may run on"),
        "{said}"
    );
    let status = a.ok(&["status"]);
    let line = status.lines().find(|line| line.contains("in-doubt")).unwrap();
    assert!(line.contains("web"), "{status}");
    assert!(
        status.contains("no answer from") && status.contains("xm resolve"),
        "{status}"
    );
    assert_eq!(a.domains(), [("migrating-web".to_owned(), "---s--".to_owned())]);
    let id = line.split_whitespace().next().unwrap().to_owned();
    assert!(said.contains(&id), "{said}");
    for forbidden in [
        &["unpause", "web"][..],
        &["destroy", "migrating-web"],
        &["migrate", "web", "127.0.0.1"],
    ] {
        let said = a.fails(1, forbidden);
        assert!(said.contains("relocat"), "{said}");
    }
    id
}

#[test]
fn it_is_settled_once_the_destination_is_back() {
    let (mut a, mut b) = (source(LIMITS), Host::with(LIMITS));
    let proxy = Proxy::to(&b, Some(Stage::CommitDelivered));
    doubtful(&a, &mut b, &proxy);
    // Also by a daemon that was restarted in the meantime.
    a.kill();
    a.run();
    a.wait("the doubt", || a.status_has("in-doubt"));
    assert_eq!(a.domains(), [("migrating-web".to_owned(), "---s--".to_owned())]);
    b.run();
    proxy.close(false);
    settles(&b, &a);
    b.verify();
}

#[test]
fn an_operator_says_resume() {
    let (a, mut b) = (source(LIMITS), Host::with(LIMITS));
    let proxy = Proxy::to(&b, Some(Stage::CommitDelivered));
    let id = doubtful(&a, &mut b, &proxy);
    let said = a.fails(1, &["resolve", &id, "--resume"]);
    assert!(
        said.contains("makes two of it") && said.contains("--yes-i-know"),
        "{said}"
    );
    assert_eq!(a.domains(), [("migrating-web".to_owned(), "---s--".to_owned())]);
    // That host is gone for good, with all that ran there.
    fs::remove_dir_all(b.path("state")).unwrap();
    a.ok(&["resolve", &id, "--resume", "--yes-i-know"]);
    a.wait("the domain's return", || a.runs());
    a.verify();
    let over = a.audit().pop().unwrap();
    assert!(over.contains(&id) && over.contains("outcome=\"stayed\""), "{over}");
    assert!(over.contains("decided_by=\"operator: uid "), "{over}");
    assert!(
        !a.status_has("in-doubt") && a.status_has("resumed"),
        "{}",
        a.ok(&["status"])
    );
    let said = a.fails(1, &["resolve", &id, "--resume", "--yes-i-know"]);
    assert!(said.contains("waits for a decision"), "{said}");
}

#[test]
fn an_operator_says_destroy() {
    let (a, mut b) = (source(LIMITS), Host::with(LIMITS));
    let proxy = Proxy::to(&b, Some(Stage::CommitDelivered));
    let id = doubtful(&a, &mut b, &proxy);
    let said = a.fails(1, &["resolve", &id, "--destroy"]);
    assert!(said.contains("loses it") && said.contains("--yes-i-know"), "{said}");
    a.ok(&["resolve", &id, "--destroy", "--yes-i-know"]);
    a.wait("the end of the copy", || a.is_empty());
    b.run();
    settles(&b, &a);
    assert!(a.status_has("destroyed"), "{}", a.ok(&["status"]));
    b.verify();
}

#[test]
fn a_source_that_crashed_before_its_commit_was_heard_resumes_by_itself() {
    let (mut a, mut b) = (source(LIMITS), Host::with(LIMITS));
    let proxy = Proxy::to(&b, Some(Stage::CommitHeld));
    let mut xm = migrating(&a, &proxy, &["-l"]);
    reached(&proxy, &mut xm, &a, &b);
    assert!(a.journal_has("out", "committed"));
    a.kill();
    b.kill();
    proxy.close(true);
    proxy.cut(Cut::Rst);
    assert_eq!(ended(xm, &a).status.code(), Some(3));
    a.run();
    a.wait("the doubt", || a.status_has("in-doubt"));
    assert_eq!(a.domains(), [("migrating-web".to_owned(), "---s--".to_owned())]);
    b.run();
    assert!(!a.runs(), "nobody could be asked");
    proxy.close(false);
    settles(&a, &b);
    a.verify();
}

#[test]
fn an_operator_is_told_what_there_is_to_decide() {
    let (a, mut b) = (source(LIMITS), Host::with(LIMITS));
    let proxy = Proxy::to(&b, Some(Stage::CommitDelivered));
    let id = doubtful(&a, &mut b, &proxy);
    let said = a.ok(&["resolve", &id]);
    for part in [
        "in-doubt",
        "What happened: this host had committed",
        "no answer from",
        "--resume\n      the domain runs on here\n      danger: ",
        "--destroy\n      the copy here ends\n      danger: ",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let json: serde_json::Value = serde_json::from_str(&a.ok(&["resolve", "--json", &id])).unwrap();
    assert_eq!(json["doubt"]["choices"][0]["decision"], "resume");
    assert_eq!(a.domains(), [("migrating-web".to_owned(), "---s--".to_owned())]);
    b.run();
    proxy.close(false);
    settles(&b, &a);
    let said = a.fails(1, &["resolve", &id]);
    assert!(said.contains("is over: destroyed"), "{said}");
    let said = b.fails(1, &["resolve", &id, "--resume", "--yes-i-know"]);
    assert!(said.contains("is over: running"), "{said}");
}

/// The destination has the commit, and its host fails before the domain runs there; its record says `committed`. The relocation's id.
fn lost(a: &Host, b: &mut Host, proxy: &Proxy) -> String {
    let id = doubtful(a, b, proxy);
    let record = b.records("in").pop().unwrap();
    let committed = fs::read_to_string(&record)
        .unwrap()
        .replace("(state running)", "(state committed)");
    fs::write(&record, committed).unwrap();
    // As if the machine had been restarted: the domain is gone with it.
    fs::remove_dir_all(b.path("state/embedded")).unwrap();
    b.run();
    proxy.close(false);
    b.wait("the loss", || b.status_has("lost"));
    a.wait("the news of it", || {
        a.ok(&["status"])
            .contains("it was committed to this host, but is not here")
    });
    assert!(b.is_empty() && a.status_has("in-doubt"));
    let status = b.ok(&["status"]);
    assert!(
        status.contains("may have run and ended") && status.contains(&format!("xm resolve {id} tells")),
        "{status}"
    );
    let said = b.ok(&["resolve", &id]);
    for part in [
        "from 127.",
        "lost",
        "never run",
        "runs it on\n      danger:",
        "ends its copy\n      danger:",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    for option in ["--resume", "--destroy"] {
        let said = b.fails(1, &["resolve", &id, option]);
        assert!(said.contains("--yes-i-know"), "{said}");
    }
    assert!(b.status_has("lost") && a.status_has("in-doubt"));
    id
}

#[test]
fn a_lost_arrival_never_ran_an_operator_says() {
    let (a, mut b) = (source(LIMITS), Host::with(LIMITS));
    let proxy = Proxy::to(&b, Some(Stage::CommitDelivered));
    let id = lost(&a, &mut b, &proxy);
    b.ok(&["resolve", &id, "--resume", "--yes-i-know"]);
    // The source hears of it by itself.
    settles(&a, &b);
    a.verify();
    b.wait("the end of it", || b.journal_has("in", "discarded"));
    assert!(
        !b.status_has("lost") && b.status_has("discarded"),
        "{}",
        b.ok(&["status"])
    );
    let over = b.audit();
    let last = over.last().unwrap();
    assert!(last.contains(&id) && last.contains("outcome=\"discarded\""), "{last}");
    assert!(last.contains("decided_by=\"operator: uid "), "{last}");
    // Nothing has been worn out, and a restart finds nothing to do.
    b.kill();
    b.run();
    assert!(!b.status_has("lost"));
    a.migrates(&b, &["-l"]);
    b.verify();
}

#[test]
fn a_lost_arrival_ran_an_operator_says() {
    let (a, mut b) = (source(LIMITS), Host::with(LIMITS));
    let proxy = Proxy::to(&b, Some(Stage::CommitDelivered));
    let id = lost(&a, &mut b, &proxy);
    // Also after one more restart.
    b.kill();
    b.run();
    b.wait("the loss", || b.status_has("lost"));
    b.ok(&["resolve", &id, "--destroy", "--yes-i-know"]);
    a.wait("the end of the copy", || a.is_empty() && a.status_has("destroyed"));
    b.wait("the end of it", || b.journal_has("in", "running"));
    assert!(!b.status_has("lost") && b.is_empty());
}

#[test]
fn a_lost_arrival_that_has_come_again_can_not_be_called_never_run() {
    let (a, mut b) = (source(LIMITS), Host::with(LIMITS));
    let proxy = Proxy::to(&b, Some(Stage::CommitDelivered));
    let id = lost(&a, &mut b, &proxy);
    // Resumed at the source by an operator there, and moved once more.
    a.ok(&["resolve", &id, "--resume", "--yes-i-know"]);
    a.wait("the domain's return", || a.runs());
    a.migrates(&b, &["-l"]);
    assert!(b.ok(&["resolve", &id]).contains("it runs here now"));
    let said = b.fails(1, &["resolve", &id, "--resume", "--yes-i-know"]);
    assert!(said.contains("runs here"), "{said}");
    // This one can't be wrong.
    b.ok(&["resolve", &id, "--destroy"]);
    b.wait("the end of it", || !b.status_has("lost"));
    settles(&b, &a);
    b.verify();
}

#[test]
fn a_source_that_is_on_the_list_no_more_learns_the_outcome_and_strangers_nothing() {
    let (a, mut b) = (source(LIMITS), Host::with(LIMITS));
    let proxy = Proxy::to(&b, Some(Stage::CommitDelivered));
    let id = doubtful(&a, &mut b, &proxy);
    // As if its address had changed.
    b.configure("(xend-relocation-hosts-allow '192.0.2.1')");
    b.run();
    let uuid = fs::read_to_string(b.records("in").pop().unwrap()).unwrap();
    let secret = uuid
        .split("(secret ")
        .nth(1)
        .unwrap()
        .split(')')
        .next()
        .unwrap()
        .to_owned();
    for question in [
        format!("(outcome (id {id}))\n"),
        format!("(outcome (id {id}) (secret {id}))\n"),
        format!("(outcome (id {secret}) (secret {secret}))\n"),
        format!("(outcome (id {id}) (secret {secret}) (padding {}))\n", "x".repeat(300)),
        "(hello (protocol relocd) (versions 1))\n".to_owned(),
        "help\n".to_owned(),
    ] {
        assert_eq!(b.says(question.as_bytes()), "", "{question}");
    }
    assert!(!a.log().contains(&secret) && !b.log().contains(&secret));
    proxy.close(false);
    settles(&b, &a);
    b.verify();
}

/// On the list, and not the source: it may not end what it knows the identity of.
#[test]
fn nobody_but_the_source_may_ask() {
    let (a, b) = (source(LIMITS), Host::with(LIMITS));
    let proxy = Proxy::to(&b, Some(Stage::Loaded));
    let mut xm = migrating(&a, &proxy, &["-l"]);
    reached(&proxy, &mut xm, &a, &b);
    let record = b.records("in").pop().unwrap();
    let id = record
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .split('.')
        .next()
        .unwrap()
        .to_owned();
    let said = b.says(format!("(outcome (id {id}))\n").as_bytes());
    assert!(said.starts_with("(err (type secret)"), "{said}");
    proxy.go_on();
    let output = ended(xm, &a);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    settles(&b, &a);
    b.verify();
}
