//! The daemon and its configuration file: what is wrong with it is said, and never takes a running daemon down.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use nix::sys::signal::Signal;
use support::{Host, RELOCD, text};

#[test]
fn files_that_are_wrong_keep_the_daemon_from_starting() {
    let host = Host::prepare("");
    let file = host.path("xend-config.sxp");
    for (content, expected) in [
        (&b"(xend-relocation-port abc)"[..], "xend-relocation-port"),
        (b"(xend-relocation-port 8002", "1:1"),
        (b"(xend-relocation-hosts-allow 'abc", "1:"),
        (b"\x7fELF\x02\x01\x01\x00\x00\x00", "1:1"),
        (b"(xend-relocation-hosts-allow '(?=x)')", "(?=x)"),
        (b"(xend-relocation-server perhaps)", "perhaps"),
    ] {
        fs::write(&file, content).unwrap();
        let output = host.run_to_end();
        assert_eq!(output.status.code(), Some(78), "{}", text(&output));
        let said = text(&output);
        assert!(said.contains("xend-config.sxp:1:") && said.contains(expected), "{said}");
        let check = Command::new(RELOCD).arg("check-config").arg(&file).output().unwrap();
        assert_eq!(check.status.code(), Some(1));
        assert!(text(&check).contains(expected), "{}", text(&check));
    }
    fs::File::create(&file).unwrap().set_len(100 << 20).unwrap();
    assert_eq!(host.run_to_end().status.code(), Some(78));
    fs::remove_file(&file).unwrap();
    let output = host.run_to_end();
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output).contains("No such file"), "{}", text(&output));
}

#[test]
fn a_bad_reload_keeps_the_old_one_and_a_good_one_counts() {
    let host = Host::start();
    let help = |host: &Host| host.says(b"help\n");
    assert!(help(&host).starts_with("(ok"));
    host.configure("(xend-relocation-hosts-allow '192.0.2.1') (xend-relocation-port oops)");
    fs::write(host.path("xend-config.sxp"), "(xend-relocation-port oops)").unwrap();
    host.signal(Signal::SIGHUP);
    host.wait("the reload", || host.log().contains("configuration not reloaded"));
    assert!(help(&host).starts_with("(ok"));
    host.configure("(xend-relocation-hosts-allow '192.0.2.1')");
    host.signal(Signal::SIGHUP);
    host.wait("the reload", || host.log().contains("configuration reloaded"));
    assert_eq!(help(&host), "");
    fs::write(host.path("xend-config.sxp"), "(xend-relocation-server no)").unwrap();
    host.signal(Signal::SIGHUP);
    host.wait("the end of listening", || host.log().contains("no longer listening"));
    assert!(std::net::TcpStream::connect((host.address.as_str(), host.port)).is_err());
}

#[test]
fn a_reload_does_not_touch_what_runs() {
    let (a, b) = (Host::start(), Host::start());
    a.create("web", 64, "fill=random verify=0");
    a.console(|text| text.contains("filled"));
    let slow = a
        .xm_command(&[
            "migrate",
            "-l",
            "--bandwidth",
            "30M",
            "-p",
            &b.port.to_string(),
            "web",
            &b.address,
        ])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    b.wait("the relocation", || b.ok(&["status"]).contains("web"));
    b.configure("(xend-relocation-hosts-allow '192.0.2.1')");
    b.signal(Signal::SIGHUP);
    a.signal(Signal::SIGHUP);
    let output = slow.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}\nsource:\n{}\ndestination:\n{}",
        text(&output),
        a.log(),
        b.log()
    );
    assert!(b.runs() && a.is_empty());
}

#[test]
fn what_can_lose_a_domain_is_said() {
    let mut host = Host::prepare("(relocd-safety-copy no)");
    let check = |host: &Host| {
        let config = host.path("xend-config.sxp");
        let output = Command::new(RELOCD).arg("check-config").arg(config).output().unwrap();
        (output.status.code(), text(&output))
    };
    let (code, said) = check(&host);
    assert!(
        code == Some(0) && said.contains("warning: relocd-safety-copy no: a domain from an xend that can't be started here after its last byte is lost"),
        "{said}"
    );
    host.run();
    assert_eq!(
        host.logged("relocd-safety-copy no: a domain from an xend").len(),
        1,
        "{}",
        host.log()
    );
    host.kill();
    host.toolstack = "spool";
    host.run();
    assert_eq!(
        host.logged("has no effect with --toolstack spool").len(),
        1,
        "{}",
        host.log()
    );
    host.configure("(relocd-safety-copy yes)");
    let (code, said) = check(&host);
    assert!(code == Some(0) && !said.contains("warning"), "{said}");
}

#[test]
fn check_host_says_which_entry() {
    let host = Host::prepare("(xend-relocation-hosts-allow '10.0.0.0/24 ^192\\\\.0\\\\.2\\\\.1$')");
    let check_by = |file: &str, address: &str| {
        let output = Command::new(RELOCD)
            .args(["check-host", address, "--config"])
            .arg(host.path(file))
            .output()
            .unwrap();
        (output.status.code(), text(&output))
    };
    let check = |address: &str| check_by("xend-config.sxp", address);
    let (code, said) = check("10.0.0.7");
    assert!(
        code == Some(0) && said.contains("allowed by entry '10.0.0.0/24'"),
        "{said}"
    );
    let (code, said) = check("::ffff:192.0.2.1");
    assert!(code == Some(0) && said.contains("^192"), "{said}");
    let (code, said) = check("10.0.1.7");
    assert!(code == Some(1) && said.contains("refused"), "{said}");
    assert_eq!(check("nonsense").0, Some(2));
    std::fs::write(host.path("nobody.sxp"), "(xend-relocation-hosts-allow '10.0.0.7')").unwrap();
    let (_, said) = check_by("nobody.sxp", "10.0.0.7");
    assert!(said.contains("no relocation is taken at all"), "{said}");
    for format in ["nft", "iptables"] {
        let config = host.path("xend-config.sxp");
        let output = Command::new(RELOCD)
            .args(["firewall", "--format", format, "--config"])
            .arg(config)
            .output()
            .unwrap();
        assert!(
            output.status.success() && text(&output).contains("10.0.0.0/24"),
            "{}",
            text(&output)
        );
    }
}

#[test]
fn ports_and_sockets_that_can_not_be_had() {
    let first = Host::start();
    let mut second = Host::prepare("");
    second.address = first.address.clone();
    second.configure("");
    let output = second.run_to_end();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output).contains("another program has this port"),
        "{}",
        text(&output)
    );
    let output = first.run_to_end();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output).contains("another relocd answers there"),
        "{}",
        text(&output)
    );
    assert!(first.says(b"help\n").starts_with("(ok"));
    // The socket is the operator's alone.
    let mode = fs::metadata(first.path("control")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let third = Host::prepare("");
    fs::write(third.path("control"), "a file").unwrap();
    assert!(text(&third.run_to_end()).contains("something else with that name"));
}

#[test]
fn xm_without_a_daemon() {
    let host = Host::prepare("");
    let said = host.fails(3, &["list"]);
    assert!(
        said.contains("can't connect to relocd") && said.contains("systemctl status relocd"),
        "{said}"
    );
    assert_eq!(host.xm(&["frobnicate"]).status.code(), Some(2));
}

#[test]
fn sigterm_ends_it_in_good_order_however_often() {
    let mut host = Host::start();
    for _ in 0..3 {
        host.signal(Signal::SIGTERM);
    }
    assert_eq!(host.ended(), Some(0));
    assert!(!host.path("control").exists());
}

#[test]
fn old_records_go_while_the_daemon_runs() {
    let allow = "(xend-relocation-hosts-allow '127.0.0.0/8') (relocd-journal-keep-days 2)";
    let (a, b) = (Host::with(allow), Host::with(allow));
    a.create("web", 16, "dirty=5");
    a.migrates(&b, &["-l"]);
    let record = a.records("out").pop().unwrap();
    let whole = std::fs::read_to_string(&record).unwrap();
    let updated = whole.split("(updated ").nth(1).unwrap().split(')').next().unwrap();
    let days_ago = |days: u64| {
        let then = updated.parse::<u64>().unwrap() - days * 86400;
        whole.replace(&format!("(updated {updated})"), &format!("(updated {then})"))
    };
    let reload = |times: usize| {
        a.signal(nix::sys::signal::Signal::SIGHUP);
        a.wait("the reload", || {
            a.log().matches("configuration reloaded").count() == times
        });
    };
    std::fs::write(&record, days_ago(1)).unwrap();
    reload(1);
    assert!(a.status_has("destroyed"), "{}", a.ok(&["status"]));
    // One that is not over stays, however old it is.
    std::fs::write(&record, days_ago(3).replace("(state destroyed)", "(state committed)")).unwrap();
    reload(2);
    assert!(record.exists());
    std::fs::write(&record, days_ago(3)).unwrap();
    reload(3);
    a.wait("the end of the record", || !record.exists());
    assert!(!a.status_has("destroyed"), "{}", a.ok(&["status"]));
}
