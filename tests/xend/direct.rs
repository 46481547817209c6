//! A domain that runs on a host of Xen's (a stand-in for `xl`) goes straight to an old xend host.

use std::{collections::HashMap, fs};

use image::{
    ImageSource, Item,
    legacy::{LegacyGuest, LegacyOptions, LegacySource},
};

use crate::{
    started::xen_host,
    support::{
        Host,
        xend_receiver::{Manner, XendHost},
    },
};

/// A host on which `web` runs, with so much XSAVE state.
fn with_domain(xsave: &str) -> Host {
    let mut host = xen_host();
    host.run();
    let config = host.path("domain.cfg");
    fs::write(
        &config,
        "name = 'web'\ntype = 'pv'\nmemory = 2\nkernel = '/boot/guest'\n",
    )
    .unwrap();
    host.ok(&["create", config.to_str().unwrap()]);
    fs::write(host.path("state/xsave"), xsave).unwrap();
    host
}

fn migrate<'a>(to: &'a XendHost, port: &'a str, options: &[&'a str]) -> Vec<&'a str> {
    [
        &["migrate", "-p", port, "--xend", "4.1"],
        options,
        &["web", &to.address],
    ]
    .concat()
}

/// How often it has been stopped.
fn stops(host: &Host) -> usize {
    let events = fs::read_to_string(host.path("state/events")).unwrap();
    events.lines().filter(|line| line.starts_with("suspended ")).count()
}

fn memory(host: &Host) -> Vec<u8> {
    fs::read(host.path("state/1.mem")).unwrap()
}

/// The pages of an image as it came.
fn pages(image: &[u8]) -> HashMap<u64, Vec<u8>> {
    let options = LegacyOptions {
        guest: LegacyGuest::Pv,
        max_pages: 1 << 20,
        check_registers: false,
    };
    let mut source = LegacySource::new(image, options);
    let mut pages = HashMap::new();
    loop {
        match source.next().unwrap() {
            Item::Pages(batch) => {
                let with_data = batch
                    .pages()
                    .filter_map(|(entry, page)| Some((entry.pfn, page?.to_vec())));
                pages.extend(with_data);
            }
            Item::Finish => return pages,
            _ => {}
        }
    }
}

#[test]
fn what_can_not_be_known_is_said_before_it_stops() {
    let host = with_domain("832");
    let to = XendHost::start((4, 1), Manner::Takes);
    let port = to.port.to_string();
    for options in [&[][..], &["-l"], &["--dry-run"]] {
        let said = host.fails(1, &migrate(&to, &port, options));
        for words in [
            "XSAVE state",
            "--leave-out",
            "xm spool send",
            "was not touched: it runs here",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }
    assert!(host.runs() && stops(&host) == 0 && to.came().is_empty() && host.records("out").is_empty());
    let said = host.ok(&migrate(&to, &port, &["--dry-run", "--leave-out"]));
    assert!(said.contains("Nothing was moved"), "{said}");
    assert!(host.runs() && stops(&host) == 0 && to.came().is_empty());
}

#[test]
fn it_goes_there_offline_and_live() {
    for (live, xsave) in [(false, "832"), (true, "832"), (false, "")] {
        let host = with_domain(xsave);
        let to = XendHost::start((4, 1), Manner::Takes);
        let port = to.port.to_string();
        let before = memory(&host);
        let options = if live {
            &["-l", "--leave-out"][..]
        } else {
            &["--leave-out"]
        };
        let said = host.ok(&migrate(&to, &port, options));
        assert!(said.contains("(an xend of Xen 4.1)"), "{said}");
        assert_eq!(
            said.contains("Left out: xsave data of vcpus"),
            !xsave.is_empty(),
            "{said}"
        );
        assert!(host.is_empty() && host.journal_has("out", "destroyed"));
        let came = to.came().pop().unwrap();
        assert!(came.runs && came.failed.is_none(), "{:?}", came.failed);
        let text = String::from_utf8_lossy(&came.config);
        assert!(
            text.contains("(name web)") && text.contains("(kernel /boot/guest)"),
            "{text}"
        );
        let (after, mut changed) = (pages(&came.image), 0);
        for (pfn, page) in before.chunks(4096).enumerate() {
            changed += usize::from(after.get(&(pfn as u64)).is_none_or(|other| other != page));
        }
        // One that ran meanwhile has written to a page.
        assert_eq!(changed, usize::from(live));
    }
}

#[test]
fn an_xend_that_gives_up_leaves_it_running_here() {
    for (manner, why) in [
        (Manner::RefusesRequest, "Invalid operation: receive"),
        (Manner::RefusesConfig, "VM name 'web' already exists as domain 18"),
        (Manner::FailsAt(1_000_000), "xc_restore 4 13 1 2 0 0 0 0 1 failed"),
        (Manner::ClosesAt(1_000_000), ""),
    ] {
        for live in [false, true] {
            let host = with_domain("832");
            let to = XendHost::start((4, 1), manner);
            let port = to.port.to_string();
            let options = if live {
                &["-l", "--leave-out"][..]
            } else {
                &["--leave-out"]
            };
            let said = host.fails(1, &migrate(&to, &port, options));
            assert!(said.contains(why), "{manner:?}: {said}");
            assert!(host.runs(), "{manner:?}: {said}\n{}", host.log());
            assert!(to.came().iter().all(|came| !came.runs));
        }
    }
}

/// It stands still here until an operator has looked there.
#[test]
fn an_xend_that_does_not_say_that_it_runs_leaves_it_in_doubt() {
    for (manner, decision) in [(Manner::FailsLate, "--resume"), (Manner::Silent, "--destroy")] {
        let mut host = with_domain("832");
        let text = fs::read_to_string(host.path("xend-config.sxp")).unwrap();
        fs::write(
            host.path("xend-config.sxp"),
            format!("{text}(relocd-commit-timeout 1)\n"),
        )
        .unwrap();
        host.kill();
        host.run();
        let to = XendHost::start((4, 1), manner);
        let said = host.fails(4, &migrate(&to, &to.port.to_string(), &["--leave-out"]));
        assert!(said.contains("an xend can't be asked"), "{said}");
        let id = &said.split_once("the outcome of relocation ").unwrap().1[..36];
        assert!(!host.runs() && host.status_has("in-doubt"));
        host.ok(&["resolve", id, decision, "--yes-i-know"]);
        let runs = decision == "--resume";
        host.wait("the end of it", || if runs { host.runs() } else { host.is_empty() });
        assert_eq!(to.came().last().unwrap().runs, !runs);
    }
}
