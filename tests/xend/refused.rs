//! What is not taken is refused so that a xend resumes its domain, and from 4.0 on tells its operator why.

use std::{net::SocketAddr, time::Duration};

use crate::{
    images::Legacy,
    support::{
        Host,
        disk::Disk,
        xend_peer::{Domain, Trouble, Version, Xend, reason},
    },
    world::{config, full_image, nothing_left, port, prepare, spool_host},
};

const VERSIONS: [Version; 5] = [
    Version::V3_1,
    Version::V3_2,
    Version::V3_3,
    Version::V4_0,
    Version::V4_1,
];

/// Every version concludes that its domain runs on, and those that can say why.
fn refused(host: &Host, config: &[u8], image: &[u8], why: &str) {
    for version in VERSIONS {
        for live in [true, false] {
            let xend = Xend {
                live,
                ..Xend::new(version)
            };
            let ended = xend.migrate(port(host), config, image);
            assert_eq!(ended.domain, Domain::Runs, "{version:?}: {}", host.log());
            assert_eq!(ended.ready, b"(ready receive)\n");
            host.wait("the end of it", || !host.ok(&["status"]).contains("copying"));
            if version >= Version::V4_0 {
                let from = format!(" (from {})", host.address);
                assert!(
                    ended.says.contains(why) && ended.says.ends_with(&from),
                    "{version:?}: {}",
                    ended.says
                );
            }
        }
    }
    let logged = why.replace('`', "'");
    host.wait("the reason in the log", || host.log().contains(&logged));
}

#[test]
fn the_peers_own_regular_expression() {
    assert_eq!(
        reason(b"(err (type T) (value 'no, (really)'))\n").unwrap(),
        "no, (really)"
    );
    assert_eq!(reason(b"(err (type \"<class 'x'>\") (value 'a'))").unwrap(), "a");
    for other in [
        &b"(ok)\n"[..],
        b"(err (type T) (value word))\n",
        b"(err (type T) (value \"it's\"))\n",
        b"x(err (type T) (value 'a'))",
        b"",
    ] {
        assert_eq!(reason(other), None);
    }
}

#[test]
fn configurations_that_can_not_be_taken() {
    let host = spool_host("");
    let image = full_image().bytes();
    let good = String::from_utf8(config("web", 32, "")).unwrap();
    let with = |from: &str, to: &str| good.replacen(from, to, 1).into_bytes();
    for (config, why) in [
        (b"(domain".to_vec(), "configuration can`t be read: it is not complete"),
        (b"hello".to_vec(), "configuration can`t be read"),
        (b"\x01(domain)".to_vec(), "configuration can`t be read"),
        (b"(domain)".to_vec(), "missing"),
        (b"(machine (name web))".to_vec(), "expected (domain ...)"),
        (with("(memory 32)", "(memory much)"), "memory"),
        (with("(image (linux", "(image (hvm"), "qemu-xen-traditional"),
        (with("(nomigrate 0)", "(nomigrate 1)"), "nomigrate"),
        (with("(name 'web')", "(name 7)"), "taken for something else"),
        (with("(name 'web')", "(name Domain-0)"), "taken for something else"),
        (with("(bootloader '')", "(bootloader /bin/sh)"), "pygrub"),
        (config("web", 32, "(device (vif (script /tmp/x)))"), "script `/tmp/x`"),
    ] {
        refused(&host, &config, &image, why);
    }
    nothing_left(&host);
    assert!(host.records("in").is_empty());
}

#[test]
fn an_envelope_that_is_none_or_too_large() {
    use std::io::{Read, Write};
    let host = spool_host("(relocd-max-config-size 64)");
    let image = full_image().bytes();
    let large = config(
        "web",
        32,
        &format!(
            "(device (vbd (dev xvda:disk) (uname file:/{}) (mode w)))",
            "x".repeat(70_000)
        ),
    );
    refused(&host, &large, &image, "65536 are taken (relocd-max-config-size)");
    for start in [
        &b"XXXXXXXXXXXXXXXXXXXX"[..],
        b"LinuxGuestRecord\xff\xff\xff\xff",
        b"LinuxGuestRecord\0\0\0\0",
    ] {
        let mut stream = host.connect();
        stream.write_all(b"receive\n").unwrap();
        assert_eq!(crate::support::read_line(&mut stream), "(ready receive)\n");
        stream.write_all(start).unwrap();
        let said = crate::support::read_line(&mut stream);
        assert!(reason(said.as_bytes()).is_some(), "{said}");
        // And at once the reset.
        let reset = stream.read(&mut [0]).unwrap_err();
        assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset);
    }
    nothing_left(&host);
}

#[test]
fn a_domain_that_is_here_already() {
    let host = spool_host("");
    let image = full_image().bytes();
    let config = config("web", 32, "");
    assert_eq!(
        Xend::new(Version::V4_1).migrate(port(&host), &config, &image).domain,
        Domain::Destroyed
    );
    host.wait("the entry", || host.journal_has("in", "kept"));
    refused(&host, &config, &image, "domain `web` is in the spool here already");
}

#[test]
fn more_memory_than_arriving_domains_may_have() {
    let host = spool_host("(relocd-max-arriving-memory 16)");
    refused(&host, &config("web", 32, ""), &full_image().bytes(), "32768 KiB needed");
    nothing_left(&host);
}

#[test]
fn more_than_may_arrive_at_once() {
    let host = spool_host("(relocd-max-incoming 1)");
    let image = full_image().bytes();
    let slow = Xend {
        pause: Duration::from_millis(5),
        ..Xend::new(Version::V4_1)
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| slow.migrate(port(&host), &config("first", 32, ""), &image));
        host.wait("the first one", || host.status_has("copying"));
        // The same domain a second time, and another.
        let ended = Xend::new(Version::V4_1).migrate(port(&host), &config("second", 32, ""), &image);
        assert!(
            ended.domain == Domain::Runs && ended.says.contains("busy: 1 incoming"),
            "{ended:?}"
        );
        assert_eq!(first.join().unwrap().domain, Domain::Destroyed);
    });
}

#[test]
fn a_spool_without_room() {
    let mut host = prepare("");
    host.disk = Disk::mount(&host.path("spool"));
    if host.disk.is_none() {
        return;
    }
    host.run();
    refused(
        &host,
        &config("web", 32, ""),
        &full_image().bytes(),
        "not enough room for a safety copy",
    );
    nothing_left(&host);
}

/// The embedded toolstack has no processor for them.
#[test]
fn a_host_that_does_not_run_such_guests() {
    let host = Host::start();
    refused(
        &host,
        &config("web", 32, ""),
        &full_image().bytes(),
        "this host can`t run Xen guests: its toolstack is embedded",
    );
    assert!(host.records("in").is_empty());
}

#[test]
fn a_host_that_is_not_on_the_list() {
    let mut host = prepare("");
    host.set_extra("(xend-relocation-hosts-allow '192.0.2.1')");
    host.run();
    let ended = Xend::new(Version::V4_1).migrate(port(&host), &config("web", 32, ""), &full_image().bytes());
    assert_eq!(ended.domain, Domain::Runs);
    assert!(host.log().contains("refused: not in xend-relocation-hosts-allow"));
}

/// As long as more must come than buffers hold, what is no image is refused like everything else.
#[test]
fn an_image_that_is_none_from_early_on() {
    let host = spool_host("");
    let good = full_image().bytes();
    let mut unknown = good.clone();
    // The first chunk, behind p2m size, extended information and 16 pages' worth of frames.
    let first = 8 + 8 + 4 + 5184 + 16 * 8;
    assert_eq!(good[first..first + 4], (-7_i32).to_le_bytes());
    unknown[first..first + 4].copy_from_slice(&(-77_i32).to_le_bytes());
    refused(&host, &config("web", 32, ""), &unknown, "chunk -77");
    let huge = Legacy {
        pages: 40,
        ..full_image()
    };
    let mut huge = huge.bytes();
    huge[..8].copy_from_slice(&0x0fff_ffff_u64.to_le_bytes());
    huge.resize(good.len(), 0);
    refused(&host, &config("web", 32, ""), &huge, "p2m");
    nothing_left(&host);
}

#[test]
fn a_sender_that_falls_silent() {
    let host = spool_host("(relocd-idle-timeout 1)");
    let image = full_image().bytes();
    let xend = Xend {
        trouble: Some(Trouble::Sleeps(1 << 20)),
        ..Xend::new(Version::V4_1)
    };
    let ended = xend.migrate(port(&host), &config("web", 32, ""), &image);
    assert!(
        ended.domain == Domain::Runs && ended.says.contains("nothing came for"),
        "{ended:?}"
    );
    nothing_left(&host);
}

/// The kernel does not end a connection whose network fails for half a minute: what the sender has written may still come.
#[test]
fn a_silence_is_for_relocd_to_judge() {
    let host = spool_host("(relocd-idle-timeout 5)");
    let image = full_image().bytes();
    let xend = Xend {
        trouble: Some(Trouble::Sleeps(1 << 20)),
        ..Xend::new(Version::V4_1)
    };
    let SocketAddr::V4(address) = port(&host) else {
        panic!("{}", host.address)
    };
    let octets = u32::from_le_bytes(address.ip().octets());
    let local = format!("{octets:08X}:{:04X}", address.port());
    // The established connection's timer: 00 is none, 02 is that of keepalive.
    let has_no_timer = || {
        let connections = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let mut connections = connections
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        connections.any(|words| {
            words.get(1) == Some(&local.as_str()) && words.get(3) == Some(&"01") && words[5].starts_with("00:")
        })
    };
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| xend.migrate(port(&host), &config("web", 32, ""), &image));
        host.wait("a connection without keepalive", has_no_timer);
        assert_eq!(sender.join().unwrap().domain, Domain::Runs);
    });
    nothing_left(&host);
}

#[test]
fn a_daemon_that_is_stopped_lets_the_domain_run_on_there() {
    let mut host = spool_host("");
    let image = full_image().bytes();
    let slow = Xend {
        pause: Duration::from_millis(20),
        ..Xend::new(Version::V4_1)
    };
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| slow.migrate(port(&host), &config("web", 32, ""), &image));
        host.wait("the relocation", || host.status_has("copying"));
        host.signal(nix::sys::signal::Signal::SIGTERM);
        let ended = sender.join().unwrap();
        assert!(
            ended.domain == Domain::Runs && ended.says.contains("relocd is stopping"),
            "{ended:?}"
        );
    });
    assert_eq!(host.ended(), Some(0));
    assert!(host.journal_has("in", "discarded"));
}
