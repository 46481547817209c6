//! Domains go back: from the spool to an old xend host.

use std::{fs, thread, time::Duration};

use domain::DomainConfig;

use crate::{
    images::{Kind, Legacy},
    support::{
        Host,
        xend_peer::{Domain, Version, Xend},
        xend_receiver::{Came, Manner, XendHost},
    },
    world::{self, config, left_over, port, spool_host},
};

/// Short waits for an xend that does not say that the domain runs.
const LIMITS: &str = "(relocd-commit-timeout 1)";

/// Pages of a domain that comes and goes.
const PAGES: u64 = 1000;

/// A host that has taken `web` from an xend.
fn with_domain(image: &Legacy) -> Host {
    let host = spool_host(LIMITS);
    let memory = image.pages.div_ceil(256);
    let ended = Xend::new(Version::V4_1).migrate(port(&host), &config("web", memory, DEVICES), &image.bytes());
    assert_eq!(ended.domain, Domain::Destroyed, "{}\n{}", ended.says, host.log());
    host.wait("the entry", || kept(&host));
    host
}

const DEVICES: &str = "(device (vif (bridge xenbr0) (mac 00:16:3e:aa:bb:cc) (script /etc/xen/scripts/vif-bridge) (uuid 9a) (backend 0))) \
                       (device (tap2 (protocol x86_64-abi) (uname tap:aio:/srv/web.img) (bootable 1) (dev xvda:disk) (mode w) (backend 0)))";

/// `web` is in the spool, and nothing is being done with it.
fn kept(host: &Host) -> bool {
    let list = host.ok(&["spool", "list"]);
    list.split_whitespace().any(|word| word == "kept") && left_over(host).len() == 2
}

fn send<'a>(to: &'a XendHost, port: &'a str, options: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec!["spool", "send", "-p", port];
    words.extend(options);
    words.extend(["web", to.address.as_str()]);
    words
}

/// Sends `web`, which has to succeed.
fn sends(host: &Host, to: &XendHost, options: &[&str]) -> (String, Came) {
    let said = host.ok(&send(to, &to.port.to_string(), options));
    assert!(left_over(host).is_empty(), "{:?}", left_over(host));
    assert!(host.journal_has("out", "destroyed"));
    let mut came = to.came();
    let last = came.pop().unwrap();
    assert!(last.runs && last.failed.is_none(), "{:?}", last.failed);
    (said, last)
}

/// Sends `web`, which has to fail, and to stay; what xm says.
fn stays(host: &Host, to: &XendHost, options: &[&str]) -> String {
    let said = host.fails(1, &send(to, &to.port.to_string(), options));
    assert!(
        said.contains("is in the spool here") || said.contains("in the spool here as before"),
        "{said}"
    );
    assert!(kept(host), "{}", host.log());
    assert!(to.came().iter().all(|came| !came.runs));
    said
}

/// Its relocation is open: an operator has to decide. The relocation's id.
fn in_doubt(host: &Host, to: &XendHost) -> String {
    let said = host.fails(4, &send(to, &to.port.to_string(), &["--xend", "4.1"]));
    assert!(
        said.contains("an xend can't be asked") && said.contains("xm list"),
        "{said}"
    );
    said.split_once("the outcome of relocation ").unwrap().1[..36].to_owned()
}

/// Nobody else gets it, and `xm` tells what there is to look at.
fn held(host: &Host, id: &str) {
    host.wait("the doubt", || host.status_has("in-doubt"));
    assert!(host.journal_has("out", "committed"));
    assert_eq!(left_over(host).len(), 2);
    for command in [&["spool", "delete", "web"][..], &["spool", "send", "web", "127.0.0.1"]] {
        let said = host.fails(1, command);
        assert!(said.contains("in use") || said.contains("not over"), "{said}");
    }
    let told = host.ok(&["resolve", id]);
    assert!(
        told.contains("is an xend, which can't be asked") && told.contains("xend.log"),
        "{told}"
    );
    let said = host.fails(1, &["resolve", id, "--resume"]);
    assert!(said.contains("--yes-i-know"), "{said}");
}

/// The same but for the bytes that a writer is free in.
fn same(image: &Legacy, came: &[u8]) {
    let image = image.returned();
    let (mut before, mut after) = (image.bytes(), came.to_vec());
    assert_eq!(before.len(), after.len());
    for (begin, end) in image.freedoms() {
        before[begin..end].fill(0);
        after[begin..end].fill(0);
    }
    let differs = before.iter().zip(&after).position(|(before, after)| before != after);
    assert_eq!(differs, None);
}

fn understood(config: &[u8]) -> DomainConfig {
    let value = sxp::Reader::new(sxp::Limits::default())
        .feed(config)
        .unwrap()
        .1
        .unwrap();
    DomainConfig::from_xend(&value).unwrap().0
}

#[test]
fn what_an_xend_sent_goes_back_to_one() {
    let live = Legacy {
        rounds: 3,
        ..world::image(PAGES)
    };
    let many = Legacy {
        vcpus: vec![0, 1],
        xsave: Some(608),
        ..world::image(PAGES)
    };
    let plain = Legacy {
        tsc: false,
        last_checkpoint: false,
        ..world::image(PAGES)
    };
    let oldest = Legacy {
        pages: 300,
        ..Legacy::xen_3_0_3(Kind::Pv64, 8)
    };
    for (version, word, image) in [
        ((4, 1), "4.1.6.1", world::image(PAGES)),
        ((4, 4), "4.4", live),
        ((4, 3), "4.3", many),
        ((3, 4), "3.4", plain),
        ((3, 0), "3.0.3", oldest),
    ] {
        let host = with_domain(&image);
        let to = XendHost::start(version, Manner::Takes);
        let options = ["--xend", word];
        let told = host.ok(&send(&to, &to.port.to_string(), &["--dry-run", "--xend", word]));
        assert!(told.contains("Nothing was moved"), "{told}");
        assert!(kept(&host) && to.came().is_empty());
        let (said, came) = sends(&host, &to, &options);
        assert!(said.contains(&format!("(an xend of Xen {word})")), "{said}");
        same(&image, &came.image);
        let memory = image.pages.div_ceil(256);
        let mut expected = understood(&config("web", memory, DEVICES));
        // The default, which some versions take for something else.
        assert_eq!(expected.cpu_weight.take(), Some(256));
        assert_eq!(understood(&came.config), expected, "{version:?}");
        // One connection for the dry run's question, one for the real one's, one for the domain.
        assert_eq!(to.connections(), 3);
    }
}

#[test]
fn what_is_not_known_or_can_not_be_taken_is_said_before_anything_is_sent() {
    let image = Legacy {
        xsave: Some(608),
        ..world::image(PAGES)
    };
    let host = with_domain(&image);
    let to = XendHost::start((3, 4), Manner::Takes);
    for (options, why) in [
        (&[][..], "the version of its Xen is not told on the wire"),
        (&["--xend", "4.5"], "'4.5' is no version of Xen with an xend"),
        (&["--xend", "3.4"], "has xsave data of vcpus"),
        (&["--dry-run", "--xend", "3.4"], "again with --leave-out"),
    ] {
        let said = stays(&host, &to, options);
        assert!(said.contains(why), "{said}");
    }
    assert!(to.came().is_empty());
    assert!(host.records("out").is_empty());
    let (said, _) = sends(&host, &to, &["--xend", "3.4", "--leave-out"]);
    assert!(said.contains("Left out: xsave data of vcpus\n"), "{said}");
}

#[test]
fn guests_that_no_xend_takes_from_here() {
    let to = XendHost::start((4, 4), Manner::Takes);
    // A 32-bit guest.
    let host = with_domain(&Legacy {
        pages: 300,
        ..Legacy::pae(8)
    });
    let said = stays(&host, &to, &["--xend", "4.4"]);
    assert!(said.contains("only 64-bit guests can go back"), "{said}");
    // A software machine.
    let host = Host::start();
    host.create("web", 16, "");
    let arguments = [
        "migrate",
        "-p",
        &to.port.to_string(),
        "--xend",
        "4.4",
        "web",
        &to.address,
    ];
    let said = host.fails(1, &arguments);
    assert!(
        said.contains("paravirtualised guests only; this one is a software machine"),
        "{said}"
    );
    assert!(said.contains("was not touched: it runs here"), "{said}");
    assert!(host.runs() && to.came().is_empty());
}

#[test]
fn an_xend_that_gives_up_before_the_end() {
    let host = with_domain(&world::image(PAGES));
    for (manner, why) in [
        (Manner::RefusesRequest, "Invalid operation: receive"),
        (Manner::RefusesConfig, "VM name 'web' already exists as domain 18"),
        (Manner::ClosesAt(1_000_000), ""),
        (Manner::FailsAt(1_000_000), "xc_restore 4 13 1 2 0 0 0 0 1 failed"),
    ] {
        let to = XendHost::start((4, 1), manner);
        let said = stays(&host, &to, &["--xend", "4.1"]);
        assert!(said.contains(why), "{manner:?}: {said}");
    }
    // It takes other chunks: what it says against them it says before it has all of them.
    let to = XendHost::start((4, 0), Manner::Takes);
    let said = stays(&host, &to, &["--xend", "4.1"]);
    assert!(said.contains("xc_restore"), "{said}");
    sends(&host, &XendHost::start((4, 1), Manner::Takes), &["--xend", "4.1"]);
}

#[test]
fn an_xend_that_does_not_say_that_it_runs_leaves_the_decision_to_an_operator() {
    for (manner, runs) in [
        (Manner::FailsLate, false),
        (Manner::Silent, true),
        (Manner::Resets, true),
    ] {
        let mut host = with_domain(&world::image(PAGES));
        let to = XendHost::start((4, 1), manner);
        let id = in_doubt(&host, &to);
        held(&host, &id);
        assert_eq!(to.came().last().unwrap().runs, runs);
        // A daemon that starts again knows it too, and asks nobody.
        let connections = to.connections();
        let detail = |host: &Host| {
            let status = host.ok(&["status"]);
            let mut lines = status.lines().filter(|line| line.starts_with("    "));
            let is_detail = |line: &&str| !line.contains("pages") && !line.contains("xm resolve");
            lines.find(is_detail).unwrap().to_owned()
        };
        let before = detail(&host);
        host.kill();
        host.run();
        held(&host, &id);
        assert_eq!(detail(&host), before);
        thread::sleep(Duration::from_millis(500));
        assert_eq!(to.connections(), connections, "an xend is asked what it does not know");
        if runs {
            host.ok(&["resolve", &id, "--destroy", "--yes-i-know"]);
            host.wait("the end of it", || left_over(&host).is_empty());
            host.wait("the last record", || host.journal_has("out", "destroyed"));
        } else {
            host.ok(&["resolve", &id, "--resume", "--yes-i-know"]);
            host.wait("the end of it", || kept(&host));
            host.wait("the last record", || host.journal_has("out", "resumed"));
            // It leaves the books a moment later.
            let other = XendHost::start((4, 1), Manner::Takes);
            let port = other.port.to_string();
            let dry = send(&other, &port, &["--xend", "4.1", "--dry-run"]);
            host.wait("the end of the relocation", || host.xm(&dry).status.success());
            sends(&host, &XendHost::start((4, 1), Manner::Takes), &["--xend", "4.1"]);
        }
    }
}

/// Before the last bytes are out: the file stays, and no xend has all of it.
#[test]
fn a_daemon_that_dies_while_it_sends() {
    let mut committed = 0;
    for point in 0..12_u64 {
        let mut host = with_domain(&world::image(PAGES));
        let to = XendHost::start((4, 1), Manner::Takes);
        let port = to.port.to_string();
        let mut xm = host.xm_command(&send(&to, &port, &["--xend", "4.1"])).spawn().unwrap();
        thread::sleep(Duration::from_millis(point * 71));
        host.kill();
        xm.wait().unwrap();
        host.run();
        host.wait("the daemon to have looked", || !host.status_has("recovering"));
        let in_doubt = host.status_has("in-doubt");
        committed += usize::from(in_doubt);
        // The xend notices by itself that nothing more comes.
        thread::sleep(Duration::from_millis(200));
        let runs = to.came().iter().any(|came| came.runs);
        if in_doubt {
            assert_eq!(left_over(&host).len(), 2);
        } else if runs {
            host.wait("the end of it", || left_over(&host).is_empty());
        } else {
            host.wait("the end of it", || kept(&host));
        }
    }
    eprintln!("12 kills: {committed} in doubt");
}

#[test]
fn a_record_says_that_the_other_end_is_an_xend() {
    let host = with_domain(&world::image(300));
    sends(&host, &XendHost::start((4, 1), Manner::Takes), &["--xend", "4.1"]);
    let record = fs::read_to_string(&host.records("out")[0]).unwrap();
    assert!(record.contains("(xend 4.1)"), "{record}");
}
