//! Domains on disk: they arrive there, leave from there, and come back to life, whatever breaks on the way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "spool/audit.rs"]
mod audit;
#[path = "spool/breaks.rs"]
mod breaks;
#[path = "spool/disks.rs"]
mod disks;
#[path = "spool/restores.rs"]
mod restores;
mod support;

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::Value;
use support::Host;

/// Short limits, so that a connection that has stalled is noticed soon.
const LIMITS: &str = "(xend-relocation-hosts-allow '127.0.0.0/8') (relocd-handshake-timeout 4) (relocd-idle-timeout 4) \
                      (relocd-commit-timeout 4)";

/// A host that keeps domains on disk; not started.
fn prepare_disk_host() -> Host {
    let mut host = Host::prepare(LIMITS);
    host.toolstack = "spool";
    host
}

/// A host that keeps domains on disk.
fn disk_host() -> Host {
    let mut host = prepare_disk_host();
    host.run();
    host
}

/// A host on which `web` runs.
fn running(memory: u64) -> Host {
    let host = Host::with(LIMITS);
    host.create("web", memory, "dirty=5 verify=100 fill=random");
    host.console(|text| !support::ticks(text).is_empty());
    host
}

/// What `xm spool list` tells.
fn spooled(host: &Host) -> Vec<Value> {
    let said: Value = serde_json::from_str(&host.ok(&["spool", "list", "--json"])).unwrap();
    assert_eq!(said["spool"]["faults"], Value::Array(vec![]), "{said}");
    said["spool"]["entries"].as_array().unwrap().clone()
}

/// The names of the spool's files.
fn files(host: &Host) -> BTreeSet<String> {
    fs::read_dir(host.path("state/spool"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "lock")
        .collect()
}

/// The image of the only entry.
fn image(host: &Host) -> PathBuf {
    match &spooled(host)[..] {
        [entry] => PathBuf::from(entry["image"].as_str().unwrap()),
        other => panic!("{other:?}"),
    }
}

fn send<'a>(to: &'a Host, address: &'a str, port: &'a str) -> Vec<&'a str> {
    assert_eq!(port, to.port.to_string());
    vec!["spool", "send", "-p", port, "web", address]
}

/// Sends `web` from the spool, which has to succeed.
fn sends(from: &Host, to: &Host) -> String {
    let port = to.port.to_string();
    let output = from.xm(&send(to, &to.address, &port));
    let said = support::text(&output);
    assert!(output.status.success(), "{said}\n{}\n{}", from.log(), to.log());
    said
}

/// Sends `web` from the spool, which has to fail.
fn send_fails(from: &Host, to: &Host) -> String {
    let port = to.port.to_string();
    from.fails(1, &send(to, &to.address, &port))
}

#[test]
fn a_domain_goes_to_disk_and_from_there_back_to_its_host() {
    let (a, b) = (running(64), disk_host());
    let said = a.migrates(&b, &["-l"]);
    assert!(
        said.starts_with(&format!("Domain 'web' is now in the spool of {}, on disk", b.address)),
        "{said}"
    );
    assert!(a.is_empty() && b.is_empty());
    let entries = spooled(&b);
    let [entry] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!(entry["name"], "web");
    assert_eq!(entry["state"], "kept");
    assert!(entry["peer"].as_str().unwrap().starts_with("127."), "{entry}");
    let bytes = fs::read(image(&b)).unwrap();
    assert!(bytes.starts_with(b"Xen saved domain, xl format\n \0 \r"));
    assert_eq!(entry["bytes"], bytes.len());
    assert!(bytes.len() > 64 << 20);
    drop(bytes);
    // Written as it came: nothing of it stays in memory.
    let memory = support::own_memory_kib(b.pid().as_raw());
    assert!(memory < 32 << 10, "{memory} KiB");
    let listed = b.ok(&["spool", "list"]);
    assert!(
        listed.contains("web") && listed.contains("relocated to disk"),
        "{listed}"
    );
    // Whoever runs nothing says what to do instead.
    let said = b.fails(1, &["spool", "restore", "web"]);
    assert!(said.contains("xm spool send"), "{said}");
    let said = b.fails(1, &["migrate", "web", &a.address]);
    assert!(said.contains("does not exist"), "{said}");
    assert!(b.journal_has("in", "running"));

    let port = a.port.to_string();
    let said = b.ok(&["spool", "send", "--dry-run", "-p", &port, "web", &a.address]);
    assert!(said.contains("can be moved"), "{said}");
    assert!(a.is_empty());
    let said = sends(&b, &a);
    assert!(said.contains("now runs on"), "{said}");
    assert!(a.runs() && b.is_empty());
    assert!(files(&b).is_empty(), "{:?}", files(&b));
    assert_eq!(b.ok(&["spool", "list"]).lines().next(), Some("No domains."));
    a.verify();
    let memory = support::own_memory_kib(b.pid().as_raw());
    assert!(memory < 32 << 10, "{memory} KiB");
}

#[test]
fn a_domain_on_disk_outlives_its_daemon_and_runs_under_another() {
    let (a, mut b) = (running(16), disk_host());
    a.migrates(&b, &[]);
    b.kill();
    // The same directory, with a toolstack that runs domains.
    b.toolstack = "embedded";
    b.run();
    let said = b.ok(&["spool", "restore", "web"]);
    assert_eq!(said, "Domain 'web' now runs here (domain 1)\n");
    assert!(b.runs() && spooled(&b).is_empty() && files(&b).is_empty());
    b.verify();
    // And as any other it goes where it likes.
    b.migrates(&a, &["-l"]);
    assert!(a.runs());
    a.verify();
}

#[test]
fn from_disk_to_disk() {
    let (a, b, c) = (running(16), disk_host(), disk_host());
    a.migrates(&b, &["-l"]);
    let said = sends(&b, &c);
    assert!(said.contains("is now in the spool of"), "{said}");
    assert!(files(&b).is_empty() && spooled(&c).len() == 1);
    // To itself: one goes, one comes.
    let before = spooled(&c)[0]["id"].clone();
    sends(&c, &c);
    assert_eq!(spooled(&c).len(), 1);
    assert_ne!(spooled(&c)[0]["id"], before);
    sends(&c, &a);
    assert!(a.runs() && files(&c).is_empty());
    a.verify();
}

#[test]
fn two_of_one_name_are_told_apart_by_their_ids() {
    let (a, b) = (running(16), disk_host());
    a.migrates(&b, &[]);
    a.create("web", 16, "");
    a.migrates(&b, &[]);
    let ids: Vec<String> = spooled(&b)
        .iter()
        .map(|entry| entry["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 2);
    for command in [["spool", "delete", "web"], ["spool", "restore", "web"]] {
        // A toolstack that runs nothing says that first.
        let said = b.fails(1, &command);
        let told = said.contains(&ids[0]) && said.contains(&ids[1]);
        assert!(told || command[1] == "restore", "{said}");
    }
    b.ok(&["spool", "delete", "--yes-i-know", &ids[1]]);
    assert_eq!(spooled(&b)[0]["id"], ids[0].as_str());
    sends(&b, &a);
    a.verify();
    let said = b.fails(1, &["spool", "delete", "web"]);
    assert!(said.contains("no domain 'web' in the spool"), "{said}");
}

#[test]
fn the_only_copy_is_deleted_only_by_who_knows() {
    let (a, b) = (running(16), disk_host());
    a.migrates(&b, &[]);
    let entry = spooled(&b)[0].clone();
    let (id, peer) = (entry["id"].as_str().unwrap(), entry["peer"].as_str().unwrap());
    for name in ["web", id] {
        let said = b.fails(1, &["spool", "delete", name]);
        for told in [
            "domain 'web' may be nowhere else",
            &format!("it came from {peer}, "),
            " s ago",
            "in state kept (relocated to disk)",
            "is in the spool as before",
            &format!("xm spool delete --yes-i-know {id}"),
        ] {
            assert!(said.contains(told), "{told}: {said}");
        }
    }
    assert_eq!(spooled(&b), [entry]);
    let records = b.logged("spool order over");
    assert_eq!(records.len(), 2, "{}", b.log());
    for record in records {
        assert_eq!(
            support::field(&record, "kind").as_deref(),
            Some("dangerous"),
            "{record}"
        );
        assert_eq!(
            support::field(&record, "outcome").as_deref(),
            Some("refused"),
            "{record}"
        );
    }
    b.ok(&["spool", "delete", "--yes-i-know", "web"]);
    assert!(spooled(&b).is_empty() && files(&b).is_empty());
}

#[test]
fn an_entry_is_left_alone_while_something_is_wrong_with_it() {
    let (a, b) = (running(16), disk_host());
    a.migrates(&b, &[]);
    let file = image(&b);
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 8]).unwrap();
    fs::write(b.path("state/spool/README"), "mine").unwrap();
    let said = b.ok(&["spool", "list"]);
    assert!(said.starts_with("No domains."), "{said}");
    assert_eq!(said.matches("Warning: spool ").count(), 2, "{said}");
    let said = b.fails(1, &["spool", "delete", "web"]);
    assert!(said.contains("no domain 'web'"), "{said}");
    fs::write(&file, &bytes).unwrap();
    fs::remove_file(b.path("state/spool/README")).unwrap();
    sends(&b, &a);
    a.verify();
}
