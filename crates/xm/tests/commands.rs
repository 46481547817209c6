//! The other commands.

#![allow(clippy::unwrap_used, reason = "a test that can't go on shall say where")]

mod support;

use std::{fs, os::unix::fs::PermissionsExt};

use peer::control::{Choice, Decision, DomainLine, Doubt, Reply};
use support::{Daemon, failure, line, text, without_daemon, xm};

fn list() -> Vec<u8> {
    let domain = DomainLine {
        domid: 5,
        name: "we\x1bb".to_owned(),
        uuid: None,
        memory_mib: 256,
        vcpus: 1,
        state: "-b----".to_owned(),
        cpu_time: 1.0,
        config: None,
    };
    line(&Reply::Domains { domains: vec![domain] })
}

#[test]
fn lists() {
    let (request, output) = Daemon::saying(list()).run(&["list"]);
    assert!(request.starts_with("(list"), "{request}");
    assert_eq!(
        text(&output.stdout),
        "Name                                        ID   Mem VCPUs      State   Time(s)\n\
         we\\x1bb                                      5   256     1     -b----       1.0\n"
    );
    let (request, output) = Daemon::saying(list()).run(&["list", "-l", "5"]);
    assert!(
        request.contains("(long yes)") && request.contains("(domain 5)"),
        "{request}"
    );
    assert!(text(&output.stdout).starts_with("(domain\n    (domid 5)\n    (name 'we\\x1bb')\n"));
    let (_, output) = Daemon::saying(list()).run(&["list", "--json"]);
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["domains"][0]["name"], "we\x1bb");
}

#[test]
fn orders() {
    let done = || Daemon::saying(line(&Reply::Done));
    for word in ["destroy", "pause", "unpause"] {
        let (request, output) = done().run(&[word, "web"]);
        assert_eq!(request, format!("({word} (domain web))\n"));
        assert_eq!(
            (output.status.code(), output.stdout.len(), output.stderr.len()),
            (Some(0), 0, 0)
        );
    }
    for (options, sure) in [
        (&["spool", "delete", "web"][..], "no"),
        (&["spool", "delete", "--yes-i-know", "web"], "yes"),
    ] {
        let (request, output) = done().run(options);
        assert_eq!(request, format!("(spool-delete (entry web) (yes-i-know {sure}))\n"));
        assert_eq!(output.status.code(), Some(0));
    }
    let id = "4e2b4a1c-5f0e-4c7b-9d3f-0a1b2c3d4e5f";
    let (request, output) = done().run(&["resolve", id, "--destroy", "--yes-i-know"]);
    assert!(
        request.contains("(decision destroy)") && request.contains("(yes-i-know yes)"),
        "{request}"
    );
    assert_eq!(
        text(&output.stdout),
        format!("Relocation {id} is decided: the source's copy ends\n")
    );
    let doubt = Doubt {
        id: id.parse().unwrap(),
        direction: "out".to_owned(),
        domain: "web".to_owned(),
        peer: "10.0.0.2:8002".to_owned(),
        state: "in-doubt".to_owned(),
        started: 100,
        happened: "cut\x1b".to_owned(),
        known: vec!["it stands still".to_owned()],
        choices: vec![Choice {
            decision: Decision::Resume,
            means: "it runs on here".to_owned(),
            danger: Some("two of it".to_owned()),
        }],
    };
    let (request, output) = Daemon::saying(line(&Reply::Doubt(Box::new(doubt)))).run(&["resolve", id]);
    assert!(!request.contains("decision"), "{request}");
    assert_eq!(
        text(&output.stdout),
        format!(
            "Relocation {id} of domain 'web' to 10.0.0.2:8002: in-doubt\nWhat happened: cut\\x1b\nWhat is known:\n  - it stands still\n\
             What can be decided:\n  xm resolve {id} --resume\n      it runs on here\n      danger: two of it\n"
        )
    );
    let (_, output) = Daemon::saying(line(&failure("no-domain"))).run(&["destroy", "web"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("Error: it broke\\x1b[2J\n"));
    let (_, output) = Daemon::saying(list()).run(&["status"]);
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn create_sends_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("web.cfg");
    fs::write(&file, "name = 'web'\nmemory = 64\nbootloader = 'pygrub'\n").unwrap();
    let path = file.to_str().unwrap();
    let (request, output) = Daemon::saying(line(&Reply::Created { domid: 7 })).run(&["create", path, "memory=32"]);
    assert!(
        request.contains("(create (config (domain (name web)") && request.contains("(memory 32)"),
        "{request}"
    );
    assert_eq!(text(&output.stdout), "Domain 'web' started (domain 7)\n");
    assert_eq!(
        text(&output.stderr),
        format!("Warning: {path}:3:1: bootloader has no effect on this kind of guest\n")
    );

    let output = without_daemon(&dir.path().join("none"), &["create", path]);
    assert_eq!(output.status.code(), Some(3));
    for (content, expected) in [
        ("", "name is missing"),
        ("name = [", "not closed"),
        ("\x1b", "found '\\x1b'"),
    ] {
        fs::write(&file, content).unwrap();
        let output = without_daemon(&dir.path().join("none"), &["create", path]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(expected), "{}", text(&output.stderr));
    }
    fs::write(&file, vec![b'#'; 3 << 20]).unwrap();
    assert!(text(&without_daemon(&file, &["create", path]).stderr).contains("more than 1048576 bytes"));
    let missing = without_daemon(&file, &["create", "/no/such/file"]);
    assert_eq!(
        text(&missing.stderr),
        "Error: can't read /no/such/file: No such file or directory\n"
    );
    let directory = without_daemon(&file, &["create", dir.path().to_str().unwrap()]);
    assert!(text(&directory.stderr).contains("Is a directory"));
}

#[test]
fn a_socket_of_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let output = without_daemon(&path, &["list"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("Connection refused\nNext: systemctl status relocd"));
}

#[test]
fn help_pages_and_completions() {
    let help = xm().arg("--help").output().unwrap();
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).contains("Exit codes:") && text(&help.stdout).contains("Examples:"));
    for shell in ["bash", "zsh", "fish"] {
        let output = xm().args(["completions", shell]).output().unwrap();
        assert!(text(&output.stdout).contains("migrate"), "{shell}");
    }
    let page = xm().arg("man").output().unwrap();
    assert!(text(&page.stdout).contains(".TH xm 1") && text(&page.stdout).contains("in doubt"));
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man1");
    assert!(xm().arg("man").arg(&pages).status().unwrap().success());
    let mut names: Vec<String> = fs::read_dir(&pages)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names.join(" "),
        "xm-completions.1 xm-console.1 xm-create.1 xm-destroy.1 xm-info.1 xm-list.1 xm-man.1 xm-migrate.1 xm-pause.1 \
         xm-resolve.1 xm-spool-delete.1 xm-spool-list.1 xm-spool-restore.1 xm-spool-send.1 xm-spool.1 xm-status.1 \
         xm-unpause.1 xm.1"
    );
    assert!(
        fs::read_to_string(pages.join("xm-migrate.1"))
            .unwrap()
            .contains("xm migrate")
    );
    xm::command().debug_assert();
}
