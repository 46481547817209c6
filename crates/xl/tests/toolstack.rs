//! The toolstack towards a stand-in for `xl` that behaves as that of Xen 4.17 was seen to behave.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::{
    io::{Read, Write},
    time::Duration,
};

use common::{Host, config, error};
use domain::GuestKind;
use toolstack::{DomainState, Toolstack};

#[test]
fn the_host_and_its_domains() {
    let host = Host::new();
    let facts = host.xl.host().unwrap();
    assert_eq!((facts.name.as_str(), facts.version.as_str()), ("hosta", "4.17.5"));
    assert_eq!(facts.virtualization, ["pv", "hvm", "hap", "shadow", "svm"]);
    let wanted = config("two words", GuestKind::Pvh);
    let id = host.xl.create(&wanted).unwrap();
    assert_eq!(host.domains(), [("two words".to_owned(), DomainState::Blocked)]);
    assert_eq!(host.xl.config(id).unwrap(), wanted);
    assert_eq!(host.xl.host().unwrap().free_memory_kib, facts.free_memory_kib - 1024);
    host.xl.pause(id).unwrap();
    assert_eq!(host.domains()[0].1, DomainState::Paused);
    host.xl.unpause(id).unwrap();
    host.xl.destroy(id).unwrap();
    assert_eq!(host.domains(), []);
    assert_eq!(
        host.events(),
        [
            format!("new {id} two words"),
            format!("paused {id} two words"),
            format!("running {id} two words"),
            format!("destroyed {id} two words")
        ]
    );
    for result in [host.xl.pause(id), host.xl.destroy(id), host.xl.config(id).map(|_| ())] {
        assert_eq!(error(result), format!("domain {id} does not exist"));
    }
}

#[test]
fn what_xl_says_of_a_failure_is_in_the_error() {
    let host = Host::new();
    host.fault("create", "exit libxl: error: no bridge called xenbr0");
    let said = error(host.xl.create(&config("web", GuestKind::Pv)));
    assert!(
        said.ends_with("failed (exit status: 1): libxl: error: no bridge called xenbr0"),
        "{said}"
    );
    host.fault("create", "");
    host.create("web");
    assert_eq!(
        error(host.xl.create(&config("web", GuestKind::Pv))),
        "domain name 'web' is taken by domain 1"
    );
    assert!(error(host.xl.create(&config("x", GuestKind::Embedded))).contains("embedded"));
    host.fault(
        "list",
        "exit xc: error: Could not obtain handle on privileged command interface",
    );
    assert!(error(host.xl.domains()).contains("privileged command interface"));
}

#[test]
fn a_command_that_only_says_that_it_worked_has_failed() {
    let host = Host::new();
    let id = host.create("web");
    for command in ["pause", "destroy"] {
        host.fault(command, "ignore");
    }
    assert_eq!(
        error(host.xl.pause(id)),
        format!("xl pause {id} had no effect on domain {id}")
    );
    assert_eq!(
        error(host.xl.destroy(id)),
        format!("xl destroy {id} had no effect on domain {id}")
    );
    assert_eq!(host.domains(), [("web".to_owned(), DomainState::Blocked)]);
}

#[test]
fn a_console_takes_and_gives() {
    let host = Host::new();
    let id = host.create("web");
    let mut console = host.xl.console(id).unwrap();
    console.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut expect = |expected: &str| {
        let mut text = vec![0; expected.len()];
        console.read_exact(&mut text).unwrap();
        assert_eq!(String::from_utf8_lossy(&text), expected);
        console.write_all(b"ls\n").unwrap();
    };
    expect("console of web\r\n");
    expect("guest got ls\n");
    drop(console);
    common::wait("the end of xl console", || host.processes().is_empty());
}

#[test]
fn without_xen_there_is_no_toolstack() {
    let directory = tempfile::tempdir().unwrap();
    let settings = toolstack::Settings {
        state_directory: directory.path().to_owned(),
        embedded_memory_kib: None,
        console_limit_kib: 16,
    };
    let said = error(xl::Xl::new(&settings, "/nonexistent/xl".into(), "/bin/false".into()));
    assert!(said.starts_with("/nonexistent/xl: starting it: No such file"), "{said}");
    let said = error(xl::Xl::new(&settings, "/bin/false".into(), "/bin/false".into()));
    assert!(said.starts_with("false info failed"), "{said}");
}
