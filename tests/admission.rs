//! What is looked at before a domain of Xen's is let in, with a stand-in for `xl` (`support/xl`): refused before anything stops, with what to do about it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

#[path = "admission/dom0.rs"]
mod dom0;
#[path = "admission/tunnel.rs"]
mod tunnel;

use std::fs;

use support::{Host, field};

const ALLOW: &str = "(xend-relocation-hosts-allow '127.0.0.0/8')";

fn xen(extra: &str) -> Host {
    let mut host = Host::prepare(&format!("{ALLOW} {extra}")).on_xen();
    host.run();
    host
}

/// A host of Xen's with a domain of 2 MiB, and these lines in its file.
fn source(kind: &str, more: &str) -> Host {
    create(xen(""), "/boot/guest", kind, more)
}

fn create(host: Host, kernel: &str, kind: &str, more: &str) -> Host {
    let file = host.path("domain.cfg");
    let text = format!("name = 'web'\ntype = '{kind}'\nmemory = 2\nkernel = '{kernel}'\n{more}\n");
    fs::write(&file, text).unwrap();
    host.ok(&["create", file.to_str().unwrap()]);
    fs::remove_file(host.path("state/events")).unwrap();
    host
}

fn set(host: &Host, name: &str, value: &str) {
    fs::write(host.path("state").join(name), value).unwrap();
}

/// What has happened to a host's domains since the last look.
fn events(host: &Host) -> Vec<String> {
    let text = fs::read_to_string(host.path("state/events")).unwrap_or_default();
    let _ = fs::remove_file(host.path("state/events"));
    text.lines().map(str::to_owned).collect()
}

/// What happens from here on is what is looked at.
fn forget(hosts: [&Host; 2]) {
    for host in hosts {
        drop(events(host));
    }
}

/// Refused, with these words, and nothing has happened at either end.
fn refused(a: &Host, b: &Host, options: &[&str], words: &[&str]) {
    let said = a.migrate_fails(b, options);
    for word in words.iter().chain(&["was not touched", "Next: "]) {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(a.runs());
    assert_eq!((events(a), events(b)), (vec![], vec![]), "{said}");
}

fn forced(host: &Host) -> Option<String> {
    field(host.audit().last().unwrap(), "forced")
}

#[test]
fn an_older_xen_takes_it_only_by_force() {
    let (a, b) = (source("pvh", ""), xen(""));
    set(&b, "minor", "16");
    for options in [&["-l"][..], &[], &["--dry-run"]] {
        refused(
            &a,
            &b,
            options,
            &["Xen 4.17.5 at the source, 4.16.5 at the destination", "--force"],
        );
        assert_eq!(forced(&a), None);
    }
    assert!(
        a.ok(&[
            "migrate",
            "--dry-run",
            "--force",
            "-p",
            &b.port.to_string(),
            "web",
            &b.address
        ])
        .contains("can be moved")
    );
    for host in [&a, &b] {
        assert_eq!(forced(host).as_deref(), Some("older-xen"));
    }
    // It is tried, and the older Xen can't: the domain runs on.
    set(
        &b,
        "fault-restore",
        "exit xc: error: Unable to restore HVM context (22 = Invalid argument): Internal error",
    );
    let said = a.migrate_fails(&b, &["-l", "--force"]);
    assert!(
        said.contains("Unable to restore HVM context") && said.contains("runs on here as before"),
        "{said}"
    );
    set(&b, "fault-restore", "");
    a.migrates(&b, &["-l", "--force"]);
    assert!(a.is_empty() && b.runs());
    for host in [&a, &b] {
        assert_eq!(forced(host).as_deref(), Some("older-xen"));
        assert!(!host.logged("--force").is_empty());
    }
    // There is no need of it on the way back.
    b.migrates(&a, &["--force"]);
    assert_eq!(
        (forced(&a).as_deref(), forced(&b).as_deref()),
        (Some("nothing"), Some("nothing"))
    );
}

/// As the stand-in has it, but for avx2 in leaf 7 and sse4a in leaf 0x80000001.
const OTHER_PROCESSOR: &str = "078bf3fd:86982203:28100800:00000025:00000000:00000020:00000000:00000000";

/// All that the stand-in has, and avx2.
const BETTER_PROCESSOR: &str = "078bf3fd:86982203:28100800:00000065:00000000:00000020:00000000:00000000";

#[test]
fn a_processor_that_lacks_features() {
    let (a, b) = (source("pv", ""), xen(""));
    set(&b, "hw_caps", OTHER_PROCESSOR);
    refused(&a, &b, &[], &["the destination lacks: sse4a;", "cpuid", "--force"]);
    a.migrates(&b, &["--force"]);
    assert_eq!(forced(&b).as_deref(), Some("cpu-features"));
    assert!(!events(&a).is_empty() && !events(&b).is_empty());
    // avx2 is new for it here, and a PV guest may have found it.
    refused(&b, &a, &[], &["avx2"]);
    // What it was started with still counts where it runs without.
    let c = xen("");
    set(&c, "hw_caps", OTHER_PROCESSOR);
    refused(&b, &c, &[], &["the destination lacks: sse4a;"]);
    // A guest that was started without them can go.
    let mask = |bit: usize| format!("{}0{}", "x".repeat(31 - bit), "x".repeat(bit));
    let a = source("pv", &format!("cpuid = [ '0x80000001:ecx={}' ]", mask(6)));
    b.ok(&["destroy", "web"]);
    a.migrates(&b, &[]);
    assert_eq!(forced(&b), None);
}

#[test]
fn the_features_that_a_guest_was_started_with_go_with_it() {
    let (a, b, mut c) = (source("pvh", ""), xen(""), xen(""));
    for host in [&b, &c] {
        set(host, "hw_caps", BETTER_PROCESSOR);
    }
    a.migrates(&b, &["-l"]);
    // Also by way of a host that is as its last one was, and whose daemon is another one by now.
    b.migrates(&c, &["-l"]);
    c.kill();
    c.run();
    c.migrates(&a, &["-l"]);
    // Once it has rebooted there, it finds what is there.
    set(&b, "fault-unpause", "reboot");
    a.migrates(&b, &[]);
    b.wait("the guest that reboots", || b.runs());
    forget([&a, &b]);
    refused(&b, &a, &[], &["the destination lacks: avx2;", "--force"]);
}

#[test]
fn without_a_store_a_guest_is_taken_for_one_of_its_present_host() {
    let (a, b) = (source("pvh", ""), xen(""));
    set(&b, "hw_caps", BETTER_PROCESSOR);
    fs::remove_file(b.path("xenstore-write")).unwrap();
    a.migrates(&b, &[]);
    assert!(!b.logged("xenstore-write: starting it").is_empty());
    forget([&a, &b]);
    refused(&b, &a, &[], &["the destination lacks: avx2;"]);
}

#[test]
fn an_old_xen_shows_a_guest_the_features_of_its_new_host() {
    let (a, b) = (source("pvh", ""), xen(""));
    for host in [&a, &b] {
        set(host, "minor", "13");
    }
    set(&b, "hw_caps", BETTER_PROCESSOR);
    a.migrates(&b, &[]);
    forget([&a, &b]);
    refused(&b, &a, &[], &["the destination lacks: avx2;"]);
}

#[test]
fn a_32_bit_guest_that_the_destination_does_not_run() {
    let directory = tempfile::tempdir().unwrap();
    let kernel = directory.path().join("vmlinuz");
    let elf = |class: u8| [b"\x7fELF".as_slice(), &[class, 1, 1]].concat();
    fs::write(&kernel, elf(1)).unwrap();
    let narrow_source = |more: &str| {
        let mut host = Host::prepare(ALLOW).on_xen();
        fs::create_dir_all(host.path("state")).unwrap();
        set(&host, "xen_caps", "xen-3.0-x86_32p");
        host.run();
        create(host, kernel.to_str().unwrap(), "pv", more)
    };
    let (a, b) = (narrow_source(""), xen(""));
    for options in [&["-l"][..], &[], &["--dry-run"]] {
        refused(&a, &b, options, &["32-bit PV", "xen-3.0-x86_32p", "--force"]);
    }
    a.migrates(&b, &["-l", "--force"]);
    assert!(b.runs());
    assert_eq!(forced(&a).as_deref(), Some("no-32-bit-pv"));
    // A Xen that runs no such guests does not take its guest for one.
    let other = xen("");
    b.migrates(&other, &[]);

    // What a guest wrote for its disks counts for more than a file.
    let disk = directory.path().join("disk");
    fs::write(&disk, "").unwrap();
    let a = narrow_source(&format!("disk = ['file:{},xvda,w']", disk.display()));
    drop(events(&b));
    for (protocol, word) in [("x86_32-abi", Some("32-bit PV")), ("x86_64-abi", None)] {
        set(
            &a,
            "xenstore",
            &format!("51712 = \"\"\n protocol = \"{protocol}\"\n state = \"4\"\n"),
        );
        match word {
            Some(word) => refused(&a, &b, &["-l"], &[word]),
            None => drop(a.migrates(&b, &["-l"])),
        }
    }
    assert!(b.runs());
}

#[test]
fn a_disk_that_is_missing_there() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("web.img");
    let disks = format!("disk = [ 'file:{},xvda,w', 'drbd:web,xvdb,w' ]", image.display());
    let (a, b) = (source("pv", &disks), xen(""));
    let missing = format!("disk 'xvda': '{}' does not exist at the destination", image.display());
    // Force does not make a disk.
    for options in [&["-l"][..], &[], &["--force"]] {
        refused(&a, &b, options, &[&missing, "disks are not copied"]);
    }
    fs::write(&image, "").unwrap();
    a.migrates(&b, &[]);
    assert!(b.runs());
}

#[test]
fn names_that_are_taken_there() {
    let (a, b) = (source("pv", ""), source("pv", ""));
    refused(&a, &b, &["--force"], &["domain name 'web' is taken here by domain 1"]);
}
