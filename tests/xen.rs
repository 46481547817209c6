//! Relocations between hosts of Xen's: real daemons, with a stand-in for `xl` (`support/xl`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::{fs, process::Stdio};

use support::{Host, text};

fn xen() -> Host {
    let mut host = Host::prepare("(xend-relocation-hosts-allow '127.0.0.0/8')").on_xen();
    host.run();
    host
}

fn create(host: &Host, kind: &str) {
    let file = host.path("domain.cfg");
    fs::write(
        &file,
        format!("name = 'web'\ntype = '{kind}'\nmemory = 2\nkernel = '/boot/guest'\n"),
    )
    .unwrap();
    host.ok(&["create", file.to_str().unwrap()]);
}

/// The memory of the only domain.
fn memory(host: &Host) -> Vec<u8> {
    let mut found = fs::read_dir(host.path("state"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    fs::read(
        found
            .find(|path| path.extension().is_some_and(|extension| extension == "mem"))
            .unwrap(),
    )
    .unwrap()
}

fn set(host: &Host, name: &str, value: &str) {
    fs::write(host.path("state").join(name), value).unwrap();
}

#[test]
fn a_domain_goes_there_and_back() {
    let (a, b) = (xen(), xen());
    for kind in ["pv", "pvh", "hvm"] {
        create(&a, kind);
        let before = memory(&a);
        let said = a.migrates(&b, &[]);
        assert!(
            said.starts_with(&format!("Domain 'web' now runs on {}", b.address)),
            "{said}"
        );
        assert!(a.is_empty() && b.runs());
        assert!(memory(&b) == before);
        b.migrates(&a, &[]);
        assert!(b.is_empty() && a.runs());
        assert!(memory(&a) == before);
        a.ok(&["destroy", "web"]);
    }
    assert!(a.ok(&["info"]).contains("4.17.5"));
}

#[test]
fn what_xl_says_is_what_the_operator_hears() {
    let (a, b) = (xen(), xen());
    create(&a, "pv");
    set(
        &b,
        "fault-restore",
        "exit libxl: error: failed to free memory for the domain",
    );
    let said = a.migrate_fails(&b, &[]);
    assert!(
        said.contains("libxl: error: failed to free memory for the domain"),
        "{said}"
    );
    assert!(said.contains("domain 'web' runs on here as before"), "{said}");
    assert!(a.runs() && b.is_empty());
    set(&b, "fault-restore", "");
    set(&a, "fault-save", "deaf");
    let said = a.migrate_fails(&b, &[]);
    assert!(said.contains("guest did not suspend, timed out"), "{said}");
    assert!(a.runs() && b.is_empty());
    set(&a, "fault-save", "");
    a.migrates(&b, &[]);
}

/// Both sides' daemons die in the middle of the image, one after the other, and the `xl` of the side that died hangs.
#[test]
fn a_daemon_that_is_killed_in_the_middle_leaves_one_domain_and_no_rest() {
    for victim in ["source", "destination"] {
        let (mut a, mut b) = (xen(), xen());
        create(&a, "pv");
        let (end, command) = if victim == "source" {
            (&a, "save")
        } else {
            (&b, "restore")
        };
        set(end, &format!("fault-{command}"), "hang 300000");
        let arguments = a.migrate(&b, &[]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let xm = a
            .xm_command(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        b.wait("the arrival", || !b.is_empty());
        // As long as it is on its way, operators can't touch it, and nothing else can have its name.
        assert!(text(&b.xm(&["unpause", "web"])).contains("is being relocated"));
        let dying = if victim == "source" { &mut a } else { &mut b };
        dying.kill();
        set(dying, &format!("fault-{command}"), "");
        dying.run();
        let output = xm.wait_with_output().unwrap();
        assert!(!output.status.success(), "{}", text(&output));
        a.wait("the domain at the source", || a.runs());
        b.wait("the end of what had arrived", || b.is_empty());
        a.migrates(&b, &[]);
        assert!(b.runs() && a.is_empty());
    }
}
