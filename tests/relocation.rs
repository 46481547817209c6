//! Relocations that succeed, between real daemons.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use nix::sys::signal::Signal;
use support::Host;

#[test]
fn a_domain_goes_there_live_and_comes_back_offline() {
    let (a, b) = (Host::start(), Host::start());
    a.create("web", 32, "dirty=20 verify=100");
    a.console(|text| !support::ticks(text).is_empty());
    let said = a.migrates(&b, &["-l"]);
    assert!(
        said.starts_with(&format!("Domain 'web' now runs on {}", b.address)),
        "{said}"
    );
    assert!(a.is_empty() && b.runs());
    b.verify();
    let said = b.migrates(&a, &[]);
    assert!(said.contains("offline"), "{said}");
    assert!(b.is_empty() && a.runs());
    a.verify();
    // Both ends know what happened.
    for host in [&a, &b] {
        let status = host.ok(&["status"]);
        assert_eq!(status.matches("web").count(), 2, "{status}");
    }
}

#[test]
fn back_and_forth_without_a_bad_page_or_a_lost_tick() {
    // The bar is 200; fewer where time is short.
    let times = std::env::var("RELOCD_SOAK")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(6);
    let (a, b) = (Host::start(), Host::start());
    a.create("web", 64, "dirty=50 verify=100 wss=32");
    let mut seen = *support::ticks(&a.console(|text| !support::ticks(text).is_empty()))
        .last()
        .unwrap();
    let (mut from, mut to) = (&a, &b);
    let mut early = [0; 2];
    for round in 0..times {
        from.migrates(to, &["-l"]);
        std::mem::swap(&mut from, &mut to);
        // The console keeps a limited past, so each stretch is checked as it comes: it goes on from the last tick that was seen.
        let text = from.console(|text| support::ticks(text).last() > Some(&seen));
        assert!(!text.contains("BAD"), "relocation {round}: {text}");
        let ticks = support::ticks(&text);
        let last = *ticks.last().unwrap();
        let new: Vec<u64> = ticks.into_iter().filter(|tick| *tick > seen).collect();
        assert_eq!(new, (seen + 1..=last).collect::<Vec<_>>(), "relocation {round}: {text}");
        seen = last;
        if round == times / 4 {
            early = [&a, &b].map(|host| support::own_memory_kib(host.pid().as_raw()));
        }
    }
    from.verify();
    let late = [&a, &b].map(|host| support::own_memory_kib(host.pid().as_raw()));
    println!(
        "{times} relocations, {seen} ticks; anonymous memory of the daemons: {early:?} KiB early, {late:?} KiB late"
    );
    for (early, late) in early.into_iter().zip(late) {
        // One thing that is taken once and kept may come late.
        assert!(late <= early + 1024, "the daemons grow: {early} KiB, then {late} KiB");
    }
}

#[test]
fn a_domain_relocates_to_its_own_host() {
    let a = Host::start();
    a.create("web", 16, "dirty=10 verify=100");
    a.migrates(&a, &["-l"]);
    assert!(a.runs());
    a.migrates(&a, &[]);
    assert!(a.runs());
    a.verify();
}

#[test]
fn a_dry_run_moves_nothing() {
    let (a, b) = (Host::start(), Host::start());
    a.create("web", 16, "");
    a.migrates(&b, &["-l", "--dry-run"]);
    assert!(a.runs() && b.is_empty());
    assert!(
        b.ok(&["status"]).matches("web").count() == 0,
        "a dry run is not in the journal"
    );
}

#[test]
fn json_is_one_object() {
    let (a, b) = (Host::start(), Host::start());
    a.create("web", 16, "");
    let said = a.migrates(&b, &["-l", "--json"]);
    let object: serde_json::Value = serde_json::from_str(&said).unwrap();
    let object = &object["migrated"];
    assert_eq!(object["mode"], "live", "{said}");
    assert!(object["pages"].as_u64().unwrap() >= 4096, "{said}");
    assert!(object["zero-pages"].as_u64().unwrap() > 3000, "{said}");
}

#[test]
fn a_guest_that_dirties_faster_than_the_link_ends_by_policy() {
    let (a, b) = (Host::start(), Host::start());
    a.create("web", 64, "dirty=60 verify=20 fill=random");
    a.console(|text| text.contains("filled"));
    let slow = ["-l", "--bandwidth", "20M", "--max-downtime", "20"];
    let said = a.migrate_fails(&b, &[&slow[..], &["--on-no-convergence", "abort"]].concat());
    assert!(
        said.contains("faster than it can be sent") && said.contains("runs on here"),
        "{said}"
    );
    assert!(a.runs() && b.is_empty());
    a.migrates(&b, &[&slow[..], &["--on-no-convergence", "stop"]].concat());
    assert!(a.is_empty() && b.runs());
    b.verify();
}

#[test]
fn a_paused_domain_can_be_seen_and_unpaused() {
    let a = Host::start();
    a.create("web", 16, "");
    a.ok(&["pause", "web"]);
    assert_eq!(a.domains()[0].1, "--p---");
    a.ok(&["unpause", "web"]);
    assert!(a.runs());
    assert!(a.ok(&["list", "-l", "web"]).contains("(name web)"));
    a.ok(&["destroy", "web"]);
    assert!(a.is_empty());
}

#[test]
fn domains_outlive_the_daemon() {
    let mut a = Host::start();
    a.create("web", 16, "dirty=10 verify=100");
    a.console(|text| !support::ticks(text).is_empty());
    a.signal(Signal::SIGTERM);
    assert_eq!(a.ended(), Some(0));
    a.run();
    assert!(a.runs());
    a.verify();
    a.kill();
    a.run();
    assert!(a.runs());
}
