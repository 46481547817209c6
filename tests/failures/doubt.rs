//! Outcomes that can't be learnt, and operators who decide.

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
    assert!(status.contains("no answer from"), "{status}");
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
    std::fs::remove_dir_all(b.path("state")).unwrap();
    a.ok(&["resolve", &id, "--resume", "--yes-i-know"]);
    a.wait("the domain's return", || a.runs());
    a.verify();
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
