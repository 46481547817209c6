//! The audit trail: who restored a domain from the spool, or deleted it there.

use crate::{
    LIMITS, disk_host,
    restores::restorable,
    running, spooled,
    support::{Host, field},
};

fn records(host: &Host) -> Vec<String> {
    host.logged("spool order over")
}

fn last(host: &Host) -> String {
    records(host)
        .pop()
        .unwrap_or_else(|| panic!("no record:\n{}", host.log()))
}

/// Gives an order, which has to end with this exit code; the process that asked.
fn order(host: &Host, words: &[&str], code: i32) -> String {
    let mut command = host.xm_command(words);
    let mut xm = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    assert_eq!(xm.wait().unwrap().code(), Some(code), "{words:?}: {}", host.log());
    xm.id().to_string()
}

/// The record tells of this entry, and of who asked.
fn tells(record: &str, entry: &serde_json::Value, process: &str, order: &str, outcome: &str) {
    for name in ["id", "uuid", "peer"] {
        assert_eq!(field(record, name).as_deref(), entry[name].as_str(), "{name}: {record}");
    }
    for (name, value) in [("domain", "web"), ("order", order), ("outcome", outcome)] {
        assert_eq!(field(record, name).as_deref(), Some(value), "{record}");
    }
    let uid = format!("uid {}", nix::unistd::geteuid());
    let asked_by = field(record, "asked_by").unwrap();
    assert!(
        asked_by.starts_with(&uid) && asked_by.ends_with(&format!("process {process}")),
        "{record}"
    );
}

#[test]
fn the_log_tells_who_restored_a_domain() {
    // Whatever the level.
    let (_a, b) = restorable("(relocd-embedded-memory 8) (loglevel ERROR)");
    let entry = spooled(&b)[0].clone();
    let process = order(&b, &["spool", "restore", "web"], 1);
    assert_eq!(records(&b).len(), 1);
    tells(&last(&b), &entry, &process, "restore", "refused");
    assert_eq!(field(&last(&b), "kind").as_deref(), Some("insufficient-memory"));
    assert!(field(&last(&b), "reason").unwrap().contains("not enough memory"));
    let mut b = b;
    b.kill();
    b.configure(&format!("{LIMITS} (loglevel ERROR)"));
    b.run();
    let process = order(&b, &["spool", "restore", "web"], 0);
    assert_eq!(records(&b).len(), 2);
    tells(&last(&b), &entry, &process, "restore", "restored");
    assert_eq!(field(&last(&b), "reason"), None);
    order(&b, &["spool", "restore", "web"], 1);
    let record = last(&b);
    assert_eq!(field(&record, "kind").as_deref(), Some("no-domain"), "{record}");
    assert_eq!((field(&record, "id"), field(&record, "peer")), (None, None), "{record}");
}

#[test]
fn the_log_tells_who_deleted_a_domain() {
    let (a, b) = (running(16), disk_host());
    a.migrates(&b, &[]);
    let entry = spooled(&b)[0].clone();
    let process = order(&b, &["spool", "delete", "--yes-i-know", "web"], 0);
    assert_eq!(records(&b).len(), 1);
    tells(&last(&b), &entry, &process, "delete", "deleted");
    order(&b, &["spool", "delete", "--yes-i-know", "web"], 1);
    assert_eq!(records(&b).len(), 2);
    assert_eq!(field(&last(&b), "outcome").as_deref(), Some("refused"));
    assert_eq!(field(&last(&b), "kind").as_deref(), Some("no-domain"));
}

#[cfg(feature = "fault-points")]
#[test]
fn what_a_restart_decides_is_recorded_with_who_had_asked() {
    for (point, outcome) in [
        ("spool.restoring", "kept"),
        ("spool.runs", "restored"),
        ("spool.starting", "in-doubt"),
    ] {
        println!("{point}");
        let (_a, mut b) = restorable("");
        let entry = spooled(&b)[0].clone();
        b.kill();
        b.launch(&format!("{point}=kill"));
        b.wait("the daemon's start", || b.answers());
        let process = order(&b, &["spool", "restore", "web"], 3);
        b.ended();
        assert!(records(&b).is_empty());
        if outcome == "in-doubt" {
            // As after a restart of the whole host: no machine is there any more.
            std::fs::remove_dir_all(b.path("state/embedded")).unwrap();
        }
        // The second start has nothing to add.
        for _ in 0..2 {
            b.launch("");
            b.wait("the daemon's start", || b.answers());
            b.kill();
        }
        assert_eq!(records(&b).len(), 1, "{}", b.log());
        tells(&last(&b), &entry, &process, "restore", outcome);
        assert_eq!(
            field(&last(&b), "decided_by").as_deref(),
            Some("relocd, after a restart")
        );
    }
}
