//! Restores that fail, and daemons that die in the middle of one.

use std::fs;

use crate::{LIMITS, disk_host, files, image, running, send_fails, sends, spooled, support::Host};

/// A host that runs domains, with `web` in its spool, which came from the first.
pub fn restorable(extra: &str) -> (Host, Host) {
    let (a, mut b) = (running(16), disk_host());
    a.migrates(&b, &[]);
    b.kill();
    b.toolstack = "embedded";
    b.configure(&format!("{LIMITS}\n{extra}"));
    b.run();
    (a, b)
}

fn is_kept(host: &Host) -> bool {
    host.is_empty() && spooled(host)[0]["state"] == "kept" && files(host).len() == 2
}

#[test]
fn a_restore_that_fails_keeps_it() {
    let (a, b) = restorable("(relocd-embedded-memory 8)");
    let said = b.fails(1, &["spool", "restore", "web"]);
    assert!(
        said.contains("not enough memory") && said.contains("is in the spool as before"),
        "{said}"
    );
    assert!(is_kept(&b));
    // An image that turns out to be none in its middle.
    b.configure(LIMITS);
    b.signal(nix::sys::signal::Signal::SIGHUP);
    b.wait("the new configuration", || b.log().contains("configuration reloaded"));
    let mut b = b;
    b.kill();
    b.run();
    let file = image(&b);
    let good = fs::read(&file).unwrap();
    let mut bad = good.clone();
    // The type of some record far behind, whatever it is.
    let middle = bad.len() / 2;
    bad[middle..middle + 8192].fill(0xff);
    fs::write(&file, &bad[..]).unwrap();
    let last = bad.len() - 8;
    bad[last..].fill(0xff);
    fs::write(&file, &bad).unwrap();
    let said = b.fails(1, &["spool", "restore", "web"]);
    assert!(said.contains("image at byte"), "{said}");
    assert!(is_kept(&b), "{}", b.log());
    let said = send_fails(&b, &a);
    assert!(
        said.contains("image at byte") && said.contains("in the spool here as before"),
        "{said}"
    );
    assert!(is_kept(&b) && a.is_empty());
    fs::write(&file, &good).unwrap();
    b.ok(&["spool", "restore", "web"]);
    assert!(b.runs() && files(&b).is_empty());
    b.verify();
}

#[test]
fn a_name_that_is_taken_keeps_it() {
    let (a, b) = restorable("");
    a.create("web", 16, "");
    let said = send_fails(&b, &a);
    assert!(
        said.contains("is taken") && said.contains("it is in the spool here"),
        "{said}"
    );
    assert!(is_kept(&b));
    b.create("web", 16, "");
    let said = b.fails(1, &["spool", "restore", "web"]);
    assert!(
        said.contains("is taken") && said.contains("is in the spool as before"),
        "{said}"
    );
    b.ok(&["destroy", "web"]);
    a.ok(&["destroy", "web"]);
    sends(&b, &a);
    a.verify();
}

#[cfg(feature = "fault-points")]
#[test]
fn a_daemon_that_dies_in_a_restore_has_it_in_one_place() {
    for (point, runs) in [
        ("spool.restoring", false),
        ("spool.arrived", false),
        ("spool.starting", true),
        ("spool.runs", true),
    ] {
        println!("{point}");
        let (_a, mut b) = restorable("");
        b.kill();
        b.launch(&format!("{point}=kill"));
        b.wait("the daemon's start", || b.answers());
        b.fails(3, &["spool", "restore", "web"]);
        b.ended();
        b.launch("");
        b.wait("the daemon's start", || b.answers());
        if runs {
            assert!(b.runs() && files(&b).is_empty(), "{}", b.log());
        } else {
            assert!(is_kept(&b), "{}", b.log());
            b.ok(&["spool", "restore", "web"]);
        }
        b.verify();
    }
}

#[cfg(feature = "fault-points")]
#[test]
fn one_that_may_have_run_is_restored_only_by_who_knows() {
    let (_a, mut b) = restorable("");
    b.kill();
    b.launch("spool.starting=kill");
    b.wait("the daemon's start", || b.answers());
    b.fails(3, &["spool", "restore", "web"]);
    b.ended();
    // As after a restart of the whole host: no machine is there any more.
    fs::remove_dir_all(b.path("state/embedded")).unwrap();
    b.launch("");
    b.wait("the daemon's start", || b.answers());
    assert_eq!(spooled(&b)[0]["state"], "starting");
    for command in [&["spool", "restore", "web"][..], &["spool", "send", "web", "127.0.0.1"]] {
        let said = b.fails(1, command);
        assert!(
            said.contains("it may have run since") && said.contains("--yes-i-know"),
            "{said}"
        );
    }
    b.ok(&["spool", "restore", "--yes-i-know", "web"]);
    assert!(b.runs() && files(&b).is_empty());
    b.verify();
}
