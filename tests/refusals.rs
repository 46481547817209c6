//! Everything that is refused is refused before the domain is touched, with a reason.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::{
    io::Write,
    net::{TcpListener, TcpStream},
    thread,
};

use support::{Host, read_line};

/// After a refusal: the domain runs as before, nothing is left at the other end, nothing in doubt.
fn untouched(a: &Host) {
    assert!(a.runs(), "{}", a.log());
    a.verify();
}

fn source() -> Host {
    let a = Host::start();
    a.create("web", 16, "dirty=5 verify=100");
    a
}

#[test]
fn a_host_that_is_not_on_the_list() {
    let (a, b) = (source(), Host::with("(xend-relocation-hosts-allow '192.0.2.1')"));
    let said = a.migrate_fails(&b, &["-l"]);
    assert!(said.contains("xend-relocation-hosts-allow"), "{said}");
    assert!(
        b.log().contains("refused: not in xend-relocation-hosts-allow"),
        "{}",
        b.log()
    );
    assert!(b.is_empty());
    untouched(&a);
}

#[test]
fn a_host_that_is_not_there_or_does_not_listen() {
    let (a, mut b) = (source(), Host::prepare(""));
    let said = a.migrate_fails(&b, &[]);
    assert!(
        said.contains("Connection refused") && said.contains("relocd firewall"),
        "{said}"
    );
    let said = a.fails(1, &["migrate", "web", "no-such-host.invalid"]);
    assert!(said.contains("no-such-host.invalid"), "{said}");
    std::fs::write(b.path("xend-config.sxp"), "(xend-relocation-server no)").unwrap();
    b.run();
    let said = a.migrate_fails(&b, &[]);
    assert!(said.contains("Connection refused"), "{said}");
    untouched(&a);
}

#[test]
fn a_destination_short_of_memory() {
    let allow = "(xend-relocation-hosts-allow '127.0.0.0/8')";
    let a = source();
    let b = Host::with(&format!("{allow} (relocd-embedded-memory 8)"));
    let said = a.migrate_fails(&b, &["-l"]);
    assert!(said.contains("16384 KiB needed, 8192 KiB free"), "{said}");
    let b = Host::with(&format!("{allow} (relocd-max-arriving-memory 8)"));
    let said = a.migrate_fails(&b, &["-l"]);
    assert!(said.contains("16384 KiB needed"), "{said}");
    assert!(b.is_empty());
    untouched(&a);
}

#[test]
fn a_name_that_is_taken_there() {
    let (a, b) = (source(), Host::start());
    b.create("web", 16, "");
    let said = a.migrate_fails(&b, &["-l"]);
    assert!(said.contains("domain name 'web' is taken"), "{said}");
    assert!(b.runs());
    untouched(&a);
}

#[test]
fn a_bridge_that_is_missing_there() {
    let (a, b) = (Host::start(), Host::start());
    let file = a.path("vif.cfg");
    std::fs::write(
        &file,
        "name='web'\nmemory=16\nextra='verify=100'\nvif=['mac=00:16:3e:00:00:01,bridge=xenbr77']\n",
    )
    .unwrap();
    a.ok(&["create", file.to_str().unwrap()]);
    let said = a.migrate_fails(&b, &["-l"]);
    assert!(
        said.contains("bridge 'xenbr77' does not exist at the destination"),
        "{said}"
    );
    untouched(&a);
}

#[test]
fn a_domain_that_does_not_exist() {
    let a = Host::start();
    for arguments in [
        &["destroy", "nobody"][..],
        &["console", "nobody"],
        &["pause", "7"],
        &["migrate", "nobody", "127.0.0.1"],
    ] {
        let said = a.fails(1, arguments);
        assert!(said.contains("does not exist"), "{said}");
    }
    assert!(
        a.fails(1, &["migrate", "Domain-0", "127.0.0.1"])
            .contains("the host itself")
    );
}

#[test]
fn as_many_as_are_allowed() {
    let (a, b) = (
        source(),
        Host::with("(xend-relocation-hosts-allow '127.0.0.0/8') (relocd-max-incoming 1)"),
    );
    a.create("big", 64, "fill=random verify=0");
    a.wait("the guest's memory", || a.xm(&["list"]).status.success());
    let mut slow = a
        .xm_command(&[
            "migrate",
            "-l",
            "--bandwidth",
            "4M",
            "-p",
            &b.port.to_string(),
            "big",
            &b.address,
        ])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    b.wait("the first relocation", || b.ok(&["status"]).contains("big"));
    let said = a.migrate_fails(&b, &["-l"]);
    assert!(
        said.contains("busy: 1 incoming relocations run, 1 are allowed"),
        "{said}"
    );
    let said = a.fails(1, &["migrate", "big", "127.0.0.1"]);
    assert!(said.contains("is being relocated already"), "{said}");
    let said = a.fails(1, &["destroy", "migrating-big"]);
    assert!(said.contains("is being relocated"), "{said}");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(slow.id() as i32),
        nix::sys::signal::Signal::SIGINT,
    )
    .unwrap();
    assert_eq!(slow.wait().unwrap().code(), Some(130));
    b.wait("the end of the first", || b.is_empty());
    a.wait("its return", || a.domains().iter().any(|(name, _)| name == "big"));
}

/// A destination that answers each line with the next of these, and then closes, or waits.
fn peer(answers: &'static [&'static str], wait: bool) -> (u16, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for answer in answers {
            if read_line(&mut stream).is_empty() {
                return;
            }
            stream.write_all(answer.as_bytes()).unwrap();
        }
        if wait {
            // Until the other end has had enough.
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    (port, thread)
}

fn against(a: &Host, answers: &'static [&'static str], wait: bool) -> String {
    let (port, thread) = peer(answers, wait);
    let said = a.fails(1, &["migrate", "-l", "-p", &port.to_string(), "web", "127.0.0.1"]);
    thread.join().unwrap();
    said
}

#[test]
fn peers_of_all_kinds() {
    let a = Host::with("(xend-relocation-hosts-allow '') (relocd-handshake-timeout 1)");
    a.create("web", 16, "dirty=5 verify=100");
    const XEND: &str = "(err (type \"<class 'xen.xend.XendError.XendError'>\") (value 'Invalid operation: hello'))\n";
    const OTHER: &str = "(ok (hello (version 1) (features) (host ((name x)) (name far) (toolstack embedded) (version 1) (architecture x86_64) \
                         (virtualization svm) (free-memory-kib 9999999) (total-memory-kib 9999999) (processors 1))))\n";
    for (answers, wait, expected) in [
        (&[XEND][..], false, "is an xend host"),
        (
            &["(ok (hello (version 9)))\n"],
            false,
            "does not speak relocd's protocol",
        ),
        (&["SSH-2.0-OpenSSH_9.2p1\r\n"], true, "does not speak relocd's protocol"),
        (&["\x00\x01\x02\x03\n"], true, "does not speak relocd's protocol"),
        (
            &["((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((\n"],
            true,
            "does not speak relocd's protocol",
        ),
        (&[], true, "does not answer"),
        (&[], false, "closed the connection"),
        (
            &["(err (type busy) (value 'too \x1b[31mmuch'))\n"],
            false,
            "refused: too",
        ),
        (
            &[OTHER],
            false,
            "architecture: riscv64 at the source, x86_64 at the destination",
        ),
    ] {
        let said = against(&a, answers, wait);
        assert!(said.contains(expected), "{answers:?}: {said}");
        assert!(!said.contains('\x1b'), "{said}");
    }
    untouched(&a);
}

#[test]
fn a_peer_that_takes_the_image_and_says_nothing() {
    let a = Host::with(
        "(xend-relocation-hosts-allow '') (relocd-handshake-timeout 2) (relocd-idle-timeout 2) (relocd-commit-timeout 2)",
    );
    a.create("web", 16, "dirty=5 verify=100");
    const HELLO: &str = "(ok (hello (version 1) (features) (host (name far) (toolstack embedded) (version 1) (architecture riscv64) \
                         (virtualization rv64ima) (free-memory-kib 9999999) (total-memory-kib 9999999) (processors 1))))\n";
    // Takes everything, never says that it is loaded.
    let said = against(&a, &[HELLO, "(ready relocate (streams 1))\n"], true);
    assert!(
        said.contains("has not built the domain yet")
            && said.contains("relocd-idle-timeout")
            && said.contains("runs on here"),
        "{said}"
    );
    // Gives up in the middle, with its reason.
    let said = against(
        &a,
        &[
            HELLO,
            "(ready relocate (streams 1))\n(err (type x) (value 'no more room'))\n",
        ],
        true,
    );
    assert!(said.contains("no more room") && said.contains("runs on here"), "{said}");
    untouched(&a);
}

#[test]
fn five_hundred_connections_that_say_nothing() {
    let allow = "(xend-relocation-hosts-allow '127.0.0.0/8') (relocd-handshake-timeout 4) (relocd-max-connections 20)";
    let (a, b) = (source(), Host::with(allow));
    let silent: Vec<TcpStream> = (0..500).map(|_| b.connect()).collect();
    let refused = silent
        .iter()
        .filter(|stream| read_line(&mut &**stream).starts_with("(err (type busy)"))
        .count();
    assert!(refused >= 480, "{refused} were refused");
    // Those that were let in have been dropped by now, and a host that has something to say gets through.
    a.migrates(&b, &["-l"]);
    assert!(b.runs());
}
