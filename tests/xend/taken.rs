//! What comes whole is taken, whoever sends it and however it comes.

use std::{
    io::{Read, Write},
    time::Duration,
};

use image::{
    legacy::{LegacyGuest, LegacyOptions, LegacySource},
    v2::V2Writer,
};

use crate::{
    captures::Capture,
    images::{Kind, Legacy},
    support::{
        Host,
        xend_peer::{Domain, Version, Xend},
    },
    world::{self, config, full_image, left_over, nothing_left, port, spool_host, spooled},
    xen::XenTools,
};

/// What the program makes of an image.
fn converted(image: &[u8]) -> Vec<u8> {
    let options = LegacyOptions {
        guest: LegacyGuest::Pv,
        max_pages: 1 << 20,
        check_registers: true,
    };
    let mut source = LegacySource::new(image, options);
    let mut writer = V2Writer::new(Vec::new());
    image::copy(&mut source, &mut writer).unwrap();
    writer.into_inner()
}

/// Relocates a domain, which has to be taken and to come back byte for byte.
fn taken(host: &Host, xend: &Xend, name: &str, image: &Legacy) {
    let memory = image.pages.div_ceil(256).max(1);
    let ended = xend.migrate(port(host), &config(name, memory, ""), &image.bytes());
    assert_eq!(
        (ended.domain, ended.says.as_str()),
        (Domain::Destroyed, ""),
        "{}",
        host.log()
    );
    host.wait("the entry", || host.journal_has("in", "kept"));
    host.wait("the end of it", || left_over(host).len() == 2);
    let found = spooled(host);
    let [(found_name, stream)] = &found[..] else {
        panic!("{} entries", found.len());
    };
    assert_eq!(found_name, name);
    assert!(*stream == image.today(), "another image");
}

#[test]
fn from_every_version_live_and_offline() {
    for version in [
        Version::V3_0,
        Version::V3_1,
        Version::V3_2,
        Version::V3_3,
        Version::V4_0,
        Version::V4_1,
    ] {
        for live in [true, false] {
            let host = spool_host("");
            let image = match version {
                Version::V3_0 => Legacy {
                    pages: 300,
                    ..Legacy::xen_3_0_3(Kind::Pv64, 8)
                },
                _ => Legacy {
                    rounds: if live { 3 } else { 1 },
                    ..world::image(300)
                },
            };
            let xend = Xend {
                live,
                ..Xend::new(version)
            };
            taken(&host, &xend, "web", &image);
            let log = host.log();
            assert!(
                log.contains("a domain arrives from a xend") && log.contains("allowed_by"),
                "{log}"
            );
        }
    }
}

#[test]
fn in_whatever_pieces() {
    for (piece, pause) in [(1, 0), (7, 0), (1000, 1), (4096 + 1, 0), (1 << 20, 20)] {
        let host = spool_host("");
        let xend = Xend {
            piece,
            pause: Duration::from_millis(pause),
            ..Xend::new(Version::V4_1)
        };
        taken(&host, &xend, "web", &world::image(40));
    }
}

#[test]
fn from_a_32_bit_host() {
    let host = spool_host("");
    let image = Legacy {
        pages: 300,
        ..Legacy::xen_3_0_3(Kind::Pae, 4)
    };
    taken(&host, &Xend::new(Version::V3_0), "web", &image);
}

#[test]
fn a_name_with_odd_characters() {
    let host = spool_host("");
    taken(&host, &Xend::new(Version::V4_1), "a:b+c_d.e-f", &world::image(40));
}

#[test]
fn several_at_once() {
    let host = spool_host("");
    let image = full_image();
    let bytes = image.bytes();
    std::thread::scope(|scope| {
        let senders: Vec<_> = ["a", "b", "c"]
            .map(|name| scope.spawn(|| Xend::new(Version::V4_1).migrate(port(&host), &config(name, 32, ""), &bytes)))
            .into_iter()
            .collect();
        for sender in senders {
            assert_eq!(sender.join().unwrap().domain, Domain::Destroyed);
        }
    });
    host.wait("the entries", || {
        spooled(&host).len() == 3 && left_over(&host).len() == 6
    });
    let today = image.today();
    assert!(spooled(&host).iter().all(|(_, stream)| *stream == today));
}

/// As a relocd or a probe sends: it keeps open and reads, and is answered as by a xend.
#[test]
fn who_listens_is_told_that_it_arrived() {
    let host = spool_host("");
    let image = world::image(40);
    for (name, request, ready) in [
        ("a", &b"receive\n"[..], "(ready receive)\n"),
        ("b", b"(receive)\r\n", "(ready receive)\n"),
        ("c", b"sslreceive\n", "(ready sslreceive)\n"),
    ] {
        let mut stream = host.connect();
        stream.write_all(request).unwrap();
        assert_eq!(crate::support::read_line(&mut stream), ready);
        let config = config(name, 1, "");
        stream.write_all(b"LinuxGuestRecord").unwrap();
        stream.write_all(&(config.len() as i32).to_be_bytes()).unwrap();
        stream.write_all(&config).unwrap();
        stream.write_all(&image.bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        assert_eq!(said, "(ok)\n");
        // What is said is so.
        assert!(
            spooled(&host)
                .iter()
                .any(|(other, stream)| other == name && *stream == image.today())
        );
    }
}

#[test]
fn what_real_xends_sent() {
    const TEST: &str = "what_real_xends_sent";
    let Some(captures) = Capture::all(TEST) else { return };
    let verifier = XenTools::find(TEST);
    for capture in captures {
        let host = spool_host("");
        let xend = Xend {
            piece: 100_000,
            ..Xend::new(Version::V4_1)
        };
        let ended = xend.migrate(port(&host), capture.config(), capture.image());
        assert_eq!(
            ended.domain,
            Domain::Destroyed,
            "{}: {}\n{}",
            capture.name,
            ended.says,
            host.log()
        );
        host.wait("the entry", || {
            host.journal_has("in", "kept") && left_over(&host).len() == 2
        });
        let found = spooled(&host);
        assert_eq!(found.len(), 1);
        // What becomes of it is compared with Xen's own tools in tests/conversion.rs; here, that nothing is lost on the way.
        assert!(found[0].1 == converted(capture.image()), "{}", capture.name);
        if let Some(xen) = &verifier {
            let stream = host.path("stream");
            std::fs::write(&stream, &found[0].1).unwrap();
            xen.verify(&stream)
                .unwrap_or_else(|error| panic!("{}: {error}", capture.name));
        }
    }
}

#[test]
fn nothing_is_left_of_senders_that_fail() {
    use crate::support::xend_peer::Trouble;
    let host = spool_host("");
    let image = full_image().bytes();
    for at in [0, 1, 8, 5000, 100_000, image.len() / 2, image.len() - 1] {
        for trouble in [Trouble::Fails(at), Trouble::Dies(at)] {
            let xend = Xend {
                trouble: Some(trouble),
                ..Xend::new(Version::V4_1)
            };
            let ended = xend.migrate(port(&host), &config("web", 32, ""), &image);
            assert_eq!(ended.domain, Domain::Runs);
            nothing_left(&host);
        }
    }
    assert!(!host.journal_has("in", "kept"));
}

/// When the sender may have given up its copy already, nothing is refused any more: what can't be read is kept as it came.
#[test]
fn what_is_not_understood_at_its_end_is_kept_as_it_came() {
    let host = spool_host("");
    let mut image = full_image().bytes();
    // The chunk that ends the body of an image of xend 4.1 and later: LAST_CHECKPOINT, the end, two unmapped pages; then a vcpu and the shared info.
    let at = image.len() - (5168 + 128 + 4096) - 12 - 2 * 8;
    assert_eq!(image[at..at + 8], [(-9_i32).to_le_bytes(), [0; 4]].concat());
    image[at..at + 4].copy_from_slice(&(-99_i32).to_le_bytes());
    let ended = Xend::new(Version::V4_1).migrate(port(&host), &config("web", 32, ""), &image);
    assert_eq!(ended.domain, Domain::Destroyed);
    host.wait("the end of it", || host.journal_has("in", "broken"));
    let mut files = left_over(&host);
    files.sort();
    let [broken, rest, record] = &files[..] else {
        panic!("{files:?}")
    };
    assert!(
        std::fs::read(broken)
            .unwrap()
            .starts_with(b"Xen saved domain, xl format")
    );
    assert!(image.ends_with(&std::fs::read(rest).unwrap()));
    // Up to the last batch of pages it is an image of today, and the rest begins behind that.
    let pages = std::fs::metadata(broken).unwrap().len();
    assert!(pages > 32 << 20, "{pages}");
    let log = host.log();
    assert!(
        log.contains("chunk -99") && log.contains(rest.to_str().unwrap()),
        "{log}"
    );
    let record = std::fs::read_to_string(record).unwrap();
    assert!(
        record.starts_with("(spooled ") && record.contains("(name web)"),
        "{record}"
    );
    let list = host.ok(&["spool", "list"]);
    assert!(list.starts_with("No domains.\n"), "{list}");
    assert!(list.contains("the remains of domain 'web' from 127."), "{list}");
    // A start says whose it is, and never that it may go.
    let mut host = host;
    host.kill();
    host.run();
    let log = host.log();
    assert!(
        log.contains("the remains of domain 'web' from 127.") && log.contains("never delete"),
        "{log}"
    );
}
