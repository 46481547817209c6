//! The toolstack of software machines, with real machine processes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::{Owned, TestHost, Wire, config, depart, relocate, ticks, watch};
use toolstack::{Arrival, DomainState, LiveOptions, Mode, Toolstack, ToolstackError};
use uuid::Uuid;

fn live() -> Mode {
    Mode::Live(LiveOptions::default())
}

fn cycles(text: &str) -> u64 {
    let last = text
        .lines()
        .rev()
        .find(|line| line.starts_with("tick ") && line.contains(" bad "));
    last.and_then(|line| line.split(" cycles ").nth(1)?.split(' ').next()?.parse().ok())
        .unwrap_or_default()
}

#[test]
fn a_guest_ticks_and_is_seen() {
    let host = TestHost::new();
    let id = host.toolstack.create(&config("web", 8, "dirty=2 verify=16")).unwrap();
    let text = watch(host.toolstack.console(id).unwrap(), |text| ticks(text).len() >= 2);
    assert!(text.starts_with("relocd guest: "), "{text}");
    assert_eq!(ticks(&text)[..2], [1, 2]);
    let domains = host.toolstack.domains().unwrap();
    assert_eq!(
        (domains[0].id, domains[0].name.as_str(), domains[0].memory_kib),
        (id, "web", 8192)
    );
    assert!(domains[0].cpu_time > Duration::ZERO);
    assert!(matches!(
        host.toolstack.create(&config("web", 8, "")),
        Err(ToolstackError::NameTaken { .. })
    ));
    host.toolstack.pause(id).unwrap();
    assert_eq!(host.toolstack.domains().unwrap()[0].state, DomainState::Paused);
    host.toolstack.unpause(id).unwrap();
    host.toolstack.destroy(id).unwrap();
    assert!(host.toolstack.domains().unwrap().is_empty());
    assert!(matches!(host.toolstack.destroy(id), Err(ToolstackError::NoDomain(_))));
}

#[test]
fn a_domain_moves_live_and_offline_and_its_memory_verifies() {
    let (a, b) = (TestHost::new(), TestHost::new());
    let mut id = a
        .toolstack
        .create(&config("web", 16, "dirty=50 verify=100 fill=random"))
        .unwrap();
    watch(a.toolstack.console(id).unwrap(), |text| !ticks(text).is_empty());
    for (from, to, mode) in [
        (&a, &b, live()),
        (&b, &a, Mode::Offline),
        (&a, &b, live()),
        (&b, &a, live()),
    ] {
        id = relocate(&from.toolstack, &to.toolstack, id, &mode);
        assert!(from.toolstack.domains().unwrap().is_empty());
    }
    let before = cycles(&watch(a.toolstack.console(id).unwrap(), |text| !ticks(text).is_empty()));
    let text = watch(a.toolstack.console(id).unwrap(), |text| cycles(text) >= before + 3);
    assert!(!text.contains("BAD"), "{text}");
    // The console's past has come along, and no tick is missing.
    let ticks = ticks(&text);
    assert_eq!(ticks, (1..=ticks.len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_page_that_was_damaged_on_its_way_is_found() {
    let (a, b) = (TestHost::new(), TestHost::new());
    let id = a
        .toolstack
        .create(&config("web", 8, "dirty=0 verify=100 fill=random"))
        .unwrap();
    watch(a.toolstack.console(id).unwrap(), |text| !ticks(text).is_empty());
    let (relocation, config) = (Uuid::new_v4(), a.toolstack.config(id).unwrap());
    let mut wire = Wire::default();
    let departed = depart(&a.toolstack, id, relocation, &Mode::Offline, &mut wire).unwrap();
    let mut pages = wire.items.iter_mut().filter_map(|item| match item {
        Owned::Pages(entries, data) => Some((entries, data)),
        _ => None,
    });
    // Two neighbouring pages change places.
    let (entries, data) = pages.nth(4).unwrap();
    let pfns = [entries[0].pfn, entries[1].pfn];
    data[..8192].rotate_left(4096);
    let arrived = b
        .toolstack
        .arrive(
            &Arrival {
                relocation,
                config: &config,
                peer: "",
                original: None,
            },
            &mut wire,
        )
        .unwrap();
    let id = arrived.unpause().map_err(|undone| undone.error).unwrap();
    departed.destroy().map_err(|undone| undone.error).unwrap();
    let text = watch(b.toolstack.console(id).unwrap(), |text| {
        text.matches("memory BAD pfn").count() >= 2
    });
    for pfn in pfns {
        assert!(text.contains(&format!("memory BAD pfn {pfn}\n")), "{text}");
    }
}

#[test]
fn a_domain_relocates_to_its_own_host() {
    let host = TestHost::new();
    let id = host.toolstack.create(&config("web", 8, "dirty=10")).unwrap();
    let new = relocate(&host.toolstack, &host.toolstack, id, &live());
    assert!(new > id);
    let domains = host.toolstack.domains().unwrap();
    assert_eq!(
        (domains.len(), domains[0].name.as_str(), domains[0].id),
        (1, "web", new)
    );
}

#[test]
fn a_cut_leaves_the_domain_running_and_nothing_there() {
    let (a, b) = (TestHost::new(), TestHost::new());
    let id = a
        .toolstack
        .create(&config("web", 8, "dirty=10 verify=100 fill=random"))
        .unwrap();
    watch(a.toolstack.console(id).unwrap(), |text| !ticks(text).is_empty());
    for items in [0, 1, 2, 5, 10, 18] {
        let mut wire = Wire {
            fail_after: Some(items),
            ..Wire::default()
        };
        let relocation = Uuid::new_v4();
        let mode = if items % 2 == 0 { live() } else { Mode::Offline };
        let failed = depart(&a.toolstack, id, relocation, &mode, &mut wire)
            .map(|_| ())
            .unwrap_err();
        assert!(failed.to_string().contains("cut"), "{failed}");
        let config = a.toolstack.config(id).unwrap();
        assert!(
            b.toolstack
                .arrive(
                    &Arrival {
                        relocation,
                        config: &config,
                        peer: "",
                        original: None,
                    },
                    &mut wire
                )
                .is_err()
        );
        let state = a.toolstack.domains().unwrap()[0].state;
        assert!(
            matches!(state, DomainState::Running | DomainState::Blocked),
            "{state:?}"
        );
        // The half-built machine goes with its line; its process may take a moment.
        for _ in 0..200 {
            if b.toolstack.domains().unwrap().is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(b.toolstack.domains().unwrap().is_empty());
    }
    let seen = ticks(&watch(a.toolstack.console(id).unwrap(), |text| !ticks(text).is_empty())).len();
    let text = watch(a.toolstack.console(id).unwrap(), |text| ticks(text).len() > seen + 1);
    assert!(!text.contains("BAD"), "{text}");
}

#[test]
fn a_restarted_daemon_finds_what_waits_for_a_decision() {
    let (a, b) = (TestHost::new(), TestHost::new());
    let id = a.toolstack.create(&config("web", 8, "dirty=10")).unwrap();
    let (relocation, config) = (Uuid::new_v4(), a.toolstack.config(id).unwrap());
    let mut wire = Wire::default();
    // Dropped without a decision, as a daemon that dies drops them.
    drop(depart(&a.toolstack, id, relocation, &live(), &mut wire).unwrap());
    drop(
        b.toolstack
            .arrive(
                &Arrival {
                    relocation,
                    config: &config,
                    peer: "",
                    original: None,
                },
                &mut wire,
            )
            .unwrap(),
    );
    let (a, b) = (a.reopen(), b.reopen());
    assert_eq!(a.domains().unwrap()[0].state, DomainState::Suspended);
    assert_eq!(a.domains().unwrap()[0].name, "migrating-web");
    assert_eq!(b.domains().unwrap()[0].state, DomainState::Arriving);
    assert!(matches!(a.unpause(id), Err(ToolstackError::Relocating { .. })));
    assert!(a.find_departed(config.uuid, Uuid::new_v4()).unwrap().is_none());
    let departed = a.find_departed(config.uuid, relocation).unwrap().unwrap();
    let arrived = b.find_arrived(config.uuid, relocation).unwrap().unwrap();
    arrived.discard().map_err(|undone| undone.error).unwrap();
    departed.resume().map_err(|undone| undone.error).unwrap();
    assert!(b.domains().unwrap().is_empty());
    let text = watch(a.console(id).unwrap(), |text| ticks(text).len() >= 2);
    assert!(!text.contains("BAD"), "{text}");
    a.destroy(id).unwrap();
}

#[test]
fn a_copy_that_has_gone_already_counts_as_destroyed() {
    let host = TestHost::new();
    let config = config("web", 8, "");
    let id = host.toolstack.create(&config).unwrap();
    let relocation = Uuid::new_v4();
    let first = depart(&host.toolstack, id, relocation, &Mode::Offline, &mut Wire::default()).unwrap();
    let second = host.toolstack.find_departed(config.uuid, relocation).unwrap().unwrap();
    let third = host.toolstack.find_departed(config.uuid, relocation).unwrap().unwrap();
    first.destroy().map_err(|undone| undone.error).unwrap();
    // As if the answer had been lost. At first the machine may still be about to end.
    let mut left = Some(second);
    while let Some(departed) = left.take() {
        left = departed.destroy().err().map(|undone| undone.domain);
    }
    // What is gone can't run on.
    assert!(third.resume().is_err());
    assert!(host.toolstack.domains().unwrap().is_empty());
}

#[test]
fn configurations_that_no_machine_can_have_are_refused() {
    let host = TestHost::new();
    let mut two = config("two", 8, "");
    two.vcpus = 2;
    let mut pv = config("pv", 8, "");
    pv.kind = domain::GuestKind::Pv;
    let mut missing = config("missing", 8, "");
    missing.kernel = Some("/nonexistent/kernel".to_owned());
    let long = config("long", 8, &"x".repeat(5000));
    for wrong in [
        two,
        pv,
        missing,
        long,
        config("none", 0, ""),
        config("large", 1 << 20, ""),
        config("more", 2048, ""),
    ] {
        assert!(host.toolstack.create(&wrong).is_err(), "{}", wrong.name);
    }
    assert!(host.toolstack.domains().unwrap().is_empty());
}
