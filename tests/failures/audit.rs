//! The audit trail: who moved this domain, and when.

use std::process::Stdio;

use nix::sys::signal::Signal;

use crate::{
    LIMITS, ended, settles, source,
    support::{Host, field, text},
};

fn fields(record: &str, names: &[&str]) -> Vec<Option<String>> {
    names.iter().map(|name| field(record, name)).collect()
}

fn number(record: &str, name: &str) -> u64 {
    let value = field(record, name).unwrap_or_else(|| panic!("no {name}: {record}"));
    value.parse().unwrap()
}

fn last(host: &Host) -> String {
    host.audit()
        .pop()
        .unwrap_or_else(|| panic!("no record:\n{}", host.log()))
}

/// Moves `web`; the process that asked.
fn moves(from: &Host, to: &Host, options: &[&str]) -> String {
    let arguments = from.migrate(to, options);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = from.xm_command(&arguments);
    let xm = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let process = xm.id().to_string();
    let output = ended(xm, from);
    assert!(output.status.success(), "{}", text(&output));
    process
}

#[test]
fn both_logs_tell_who_moved_a_domain_and_when() {
    let (a, b) = (source(LIMITS), Host::with(LIMITS));
    let long = a.ok(&["list", "-l", "web"]);
    let uuid = long.split("(uuid ").nth(1).unwrap().split(')').next().unwrap();
    let xm = moves(&a, &b, &["-l"]);
    b.wait("the record", || !b.audit().is_empty());
    let (out, arrival) = (last(&a), last(&b));
    let same = ["id", "domain", "uuid", "mode", "outcome", "bytes", "pages"];
    assert_eq!(fields(&out, &same), fields(&arrival, &same), "{out}\n{arrival}");
    assert_eq!(
        fields(&out, &["domain", "uuid", "mode", "outcome", "direction", "peer"]),
        [
            "web",
            uuid,
            "live",
            "moved",
            "out",
            &format!("{}:{}", b.address, b.port)
        ]
        .map(|value| Some(value.to_owned()))
    );
    let asked_by = field(&out, "asked_by").unwrap();
    let uid = format!("uid {}", nix::unistd::geteuid());
    assert!(
        asked_by.starts_with(&uid) && asked_by.ends_with(&format!("process {xm}")),
        "{out}"
    );
    assert!(number(&out, "bytes") > 0 && number(&out, "pages") >= 4096 && number(&out, "total_ms") > 0);
    assert!(number(&out, "downtime_ms") <= number(&out, "total_ms"), "{out}");
    assert_eq!(
        fields(&arrival, &["direction", "allowed_by"]),
        ["in", "127.0.0.0/8"].map(|value| Some(value.to_owned()))
    );
    let came_from = field(&arrival, "asked_by").unwrap();
    assert!(
        came_from.starts_with("127.") && Some(came_from) == field(&arrival, "peer"),
        "{arrival}"
    );
    // When: each line begins with it.
    for record in [&out, &arrival] {
        let time = record.split_whitespace().next().unwrap();
        assert!(
            time.starts_with("20") && time.contains('T') && time.ends_with('Z'),
            "{record}"
        );
    }
    // And back, offline.
    moves(&b, &a, &[]);
    a.wait("the record", || a.audit().len() == 2);
    assert_eq!(b.audit().len(), 2);
    let (back, arrived) = (last(&b), last(&a));
    assert_eq!(fields(&back, &same), fields(&arrived, &same), "{back}\n{arrived}");
    assert_eq!(field(&back, "mode").unwrap(), "offline");
    assert_ne!(field(&back, "id"), field(&out, "id"));
}

#[test]
fn refusals_and_dry_runs_are_recorded_whatever_the_level() {
    let quiet = format!("{LIMITS} (loglevel ERROR)");
    let (mut a, mut b) = (Host::with(&quiet), Host::with(&quiet));
    a.create("web", 16, "dirty=5");
    a.migrates(&b, &["--dry-run"]);
    let (out, asked) = (last(&a), last(&b));
    let same = ["id", "domain", "uuid", "outcome"];
    assert_eq!(fields(&out, &same), fields(&asked, &same), "{out}\n{asked}");
    assert_eq!(field(&out, "outcome").unwrap(), "dry-run");
    b.create("web", 16, "dirty=5");
    a.migrate_fails(&b, &["-l"]);
    let (out, asked) = (last(&a), last(&b));
    assert_eq!(fields(&out, &same), fields(&asked, &same), "{out}\n{asked}");
    for record in [&out, &asked] {
        assert_eq!(field(record, "outcome").unwrap(), "refused", "{record}");
        assert_eq!(field(record, "kind").unwrap(), "name-taken", "{record}");
        assert!(field(record, "reason").unwrap().contains("is taken here"), "{record}");
    }
    a.fails(1, &["migrate", "nobody", "127.0.0.1"]);
    let out = last(&a);
    assert_eq!(
        fields(&out, &["domain", "outcome", "kind"]),
        ["nobody", "refused", "no-domain"].map(|value| Some(value.to_owned()))
    );
    assert_eq!((a.audit().len(), b.audit().len()), (3, 2));
    assert!(!a.log().contains("relocd is ready"), "the level is not in force");
    for host in [&mut a, &mut b] {
        host.signal(Signal::SIGTERM);
        host.ended();
    }
}

#[test]
fn what_a_restart_decides_is_recorded_with_who_had_asked() {
    use crate::{
        migrating, reached,
        support::proxy::{Cut, Proxy, Stage},
    };
    let (mut a, mut b) = (source(LIMITS), Host::with(LIMITS));
    let proxy = Proxy::to(&b, Some(Stage::CommitDelivered));
    let mut xm = migrating(&a, &proxy, &["-l"]);
    reached(&proxy, &mut xm, &a, &b);
    let process = xm.id().to_string();
    b.wait("the commit", || b.journal_has("in", "running"));
    a.kill();
    b.kill();
    proxy.cut(Cut::Fin);
    ended(xm, &a);
    // The destination died with all decided but its record written once more: as if it had been a moment earlier.
    let record = b.records("in").pop().unwrap();
    let committed = std::fs::read_to_string(&record)
        .unwrap()
        .replace("(state running)", "(state committed)");
    std::fs::write(&record, committed).unwrap();
    let had = b.audit().len();
    b.run();
    a.run();
    settles(&b, &a);
    a.wait("the record", || !a.audit().is_empty());
    b.wait("the record", || b.audit().len() > had);
    let (out, arrival) = (last(&a), last(&b));
    let same = ["id", "domain", "uuid", "outcome", "decided_by", "bytes", "pages"];
    assert_eq!(fields(&out, &same), fields(&arrival, &same), "{out}\n{arrival}");
    assert_eq!(field(&out, "outcome").unwrap(), "moved");
    assert_eq!(field(&out, "decided_by").unwrap(), "relocd, after a restart");
    assert!(
        field(&out, "asked_by")
            .unwrap()
            .ends_with(&format!("process {process}")),
        "{out}"
    );
    assert_eq!(field(&arrival, "allowed_by").unwrap(), "127.0.0.0/8");
}
