//! On a host of Xen's (a stand-in for `xl`) what a xend sent is started, from its safety copy if need be, however often that takes.

use std::fs;

use crate::{
    images::Legacy,
    support::{
        Host,
        xend_peer::{Domain, Version, Xend},
    },
    world::{ALLOW, MEMORY, config, full_image, left_over, port},
};

/// A host on which the stand-in runs PV guests. Not started.
pub fn xen_host() -> Host {
    let mut host = Host::prepare("").on_xen();
    let spool = host.path("spool");
    host.set_extra(&format!("{ALLOW} (relocd-spool-directory '{}')", spool.display()));
    host
}

fn xend() -> Xend {
    Xend::new(Version::V4_1)
}

pub fn restore_fails(host: &Host, how: &str) {
    fs::write(host.path("state").join("fault-restore"), how).unwrap();
}

pub fn restore_works(host: &Host) {
    fs::remove_file(host.path("state").join("fault-restore")).unwrap();
}

fn sent(host: &Host, image: &Legacy) {
    let ended = xend().migrate(port(host), &config("web", MEMORY, ""), &image.bytes());
    assert_eq!(
        (ended.domain, ended.says.as_str()),
        (Domain::Destroyed, ""),
        "{}",
        host.log()
    );
}

/// It runs under its name, nothing of it is in the spool, and the journal and the audit trail say so.
pub fn runs(host: &Host) {
    host.wait("the domain's start", || host.runs());
    host.wait("the last record", || host.journal_has("in", "running"));
    host.wait("the end of the copy", || left_over(host).is_empty());
    let over = host.log();
    let over: Vec<&str> = over.lines().filter(|line| line.contains("relocation over")).collect();
    assert_eq!(over.len(), 1, "{over:?}");
    for word in [
        "outcome=\"moved\"",
        "allowed_by=\"127.0.0.0/8\"",
        "mode=\"xend\"",
        "domain=\"web\"",
    ] {
        assert!(over[0].contains(word), "{word}: {}", over[0]);
    }
}

#[test]
fn a_domain_runs_once_it_is_there() {
    let mut host = xen_host();
    host.run();
    sent(&host, &full_image());
    runs(&host);
}

#[test]
fn a_start_that_fails_is_tried_again() {
    let mut host = xen_host();
    host.run();
    restore_fails(&host, "late libxl: error: failed to free memory for the domain");
    sent(&host, &full_image());
    host.wait("the first attempt", || host.log().contains("is tried again"));
    assert!(host.is_empty() && host.ok(&["spool", "list"]).contains("web"));
    restore_works(&host);
    runs(&host);
}

#[test]
fn a_daemon_that_was_killed_before_the_start_makes_up_for_it() {
    let mut host = xen_host();
    host.run();
    restore_fails(&host, "late libxl: error: failed to free memory for the domain");
    sent(&host, &full_image());
    host.wait("the first attempt", || host.log().contains("is tried again"));
    assert!(host.journal_has("in", "arrived"));
    host.kill();
    restore_works(&host);
    host.run();
    runs(&host);
}

#[test]
fn a_guest_of_32_bits_is_refused_where_it_can_not_run() {
    let mut host = xen_host();
    host.run();
    let image = Legacy {
        pages: MEMORY * 256,
        batch: 1024,
        ..Legacy::pae(8)
    };
    let ended = xend().migrate(port(&host), &config("web", MEMORY, ""), &image.bytes());
    assert_eq!(ended.domain, Domain::Runs, "{}", host.log());
    assert!(ended.says.contains("32 bits"), "{}", ended.says);
    host.wait("the end of it", || left_over(&host).is_empty());
    assert!(host.is_empty());
}

#[test]
fn a_guest_with_xsave_state_is_refused_where_there_is_no_xsave() {
    let mut host = xen_host();
    fs::create_dir_all(host.path("state")).unwrap();
    let hw_caps = "078bf3fd:82982203:28100800:00000065:00000000:00000000:00000000:00000000";
    fs::write(host.path("state/hw_caps"), hw_caps).unwrap();
    host.run();
    let image = Legacy {
        xsave: Some(1024),
        ..full_image()
    };
    let ended = xend().migrate(port(&host), &config("web", MEMORY, ""), &image.bytes());
    assert_eq!(ended.domain, Domain::Runs, "{}", host.log());
    assert!(ended.says.contains("XSAVE"), "{}", ended.says);
    host.wait("the end of it", || left_over(&host).is_empty());
    host.wait("the end of its relocation", || host.log().contains("relocation over"));
    // It takes what has none.
    sent(&host, &full_image());
    host.wait("the domain's start", || host.runs());
}

/// One whose last bytes are not taken resumes its domain: it may run there.
#[test]
fn a_sender_that_goes_on_behind_its_image_may_have_its_domain_still() {
    let mut host = xen_host();
    host.run();
    let image = [&full_image().bytes()[..], b"x"].concat();
    xend().migrate(port(&host), &config("web", MEMORY, ""), &image);
    host.wait("the last record", || host.journal_has("in", "kept"));
    assert!(!host.runs(), "{}", host.log());
    let list = host.ok(&["spool", "list"]);
    assert!(list.contains("web") && list.contains("kept"), "{list}");
    let records = host.records("in");
    let record = fs::read_to_string(&records[0]).unwrap();
    assert!(
        record.contains("make sure that the domain does not run at 127."),
        "{record}"
    );
}
