//! Images to and from the stand-in for `xl`, and every way in which that may fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Cut, Host, config, error, source};
use domain::GuestKind;
use image::{
    ImageError, ImageSource, Item, PageContent,
    record::RecordType,
    v2::{V2Reader, V2Writer},
};
use toolstack::{DomainState, Toolstack, ToolstackError};
use uuid::Uuid;

#[test]
fn a_domain_moves_and_is_the_same() {
    for kind in [GuestKind::Pv, GuestKind::Pvh, GuestKind::Hvm] {
        let (here, there) = (Host::new(), Host::new());
        let id = here.xl.create(&config("web", kind)).unwrap();
        let memory = here.memory(id);
        let config = here.xl.config(id).unwrap();
        let relocation = Uuid::new_v4();
        let mut image = V2Writer::new(Vec::new());
        let departed = here.depart(id, relocation, &mut image).unwrap();
        assert_eq!(here.domains(), [("migrating-web".to_owned(), DomainState::Suspended)]);
        let arrived = there
            .arrive(relocation, &config, &mut source(&image.into_inner()))
            .unwrap();
        assert_eq!(there.domains(), [("web".to_owned(), DomainState::Arriving)]);
        assert_eq!(there.xen_names(), [format!("arriving-{relocation}-web")]);
        let domid = arrived.unpause().map_err(|undone| undone.error).unwrap();
        departed.destroy().map_err(|undone| undone.error).unwrap();
        assert_eq!(here.domains(), []);
        assert_eq!(there.domains(), [("web".to_owned(), DomainState::Blocked)]);
        assert_eq!(there.xen_names(), ["web"]);
        assert!(there.memory(domid) == memory);
        assert_eq!(there.xl.config(domid).unwrap(), config);
        assert_eq!(
            here.events(),
            [
                format!("new {id} web"),
                format!("renamed {id} migrating-{relocation}-web"),
                format!("suspended {id} migrating-{relocation}-web"),
                format!("paused {id} migrating-{relocation}-web"),
                format!("destroyed {id} migrating-{relocation}-web"),
            ]
        );
        // It ran before it got its name, and was never seen without either.
        assert_eq!(
            there.events(),
            [
                format!("new {domid} arriving-{relocation}-web"),
                format!("running {domid} arriving-{relocation}-web"),
                format!("renamed {domid} web"),
            ]
        );
    }
}

#[test]
fn the_image_carries_the_configuration_and_no_zeros() {
    let (_, image) = Host::image("web", GuestKind::Pv);
    let mut source = source(&image);
    assert!(matches!(source.next().unwrap(), Item::Start(_)));
    match source.next().unwrap() {
        Item::Record {
            kind: RecordType::XL_CONFIG,
            body,
        } => {
            let value: serde_json::Value = serde_json::from_slice(body).unwrap();
            assert_eq!(value["b_info"]["sched_params"]["sched"], "credit2");
        }
        other => panic!("{other:?}"),
    }
    struct Zeros(usize);
    impl image::ImageSink for Zeros {
        fn put(&mut self, item: Item<'_>) -> Result<(), ImageError> {
            if let Item::Pages(batch) = item {
                self.0 += batch
                    .entries
                    .iter()
                    .filter(|entry| entry.content == PageContent::Zero)
                    .count();
            }
            Ok(())
        }
    }
    let host = Host::new();
    let id = host.create("web");
    let mut zeros = Zeros(0);
    host.depart(id, Uuid::new_v4(), &mut zeros).unwrap();
    // Every third page of the stand-in's guests.
    assert_eq!(zeros.0, 85);
}

#[test]
fn an_image_of_another_origin_gets_a_configuration_of_ours() {
    let (config, image) = Host::image("web", GuestKind::Pv);
    let mut bare = V2Writer::new(Vec::new());
    let mut from = source(&image);
    loop {
        let item = from.next().unwrap();
        let last = matches!(item, Item::Finish);
        if !matches!(
            item,
            Item::Record {
                kind: RecordType::XL_CONFIG,
                ..
            }
        ) {
            image::ImageSink::put(&mut bare, item).unwrap();
        }
        if last {
            break;
        }
    }
    let host = Host::new();
    let arrived = host
        .arrive(Uuid::new_v4(), &config, &mut source(&bare.into_inner()))
        .unwrap();
    let id = arrived.unpause().map_err(|undone| undone.error).unwrap();
    assert_eq!(host.xl.config(id).unwrap(), config);
}

#[test]
fn a_departure_that_fails_lets_the_domain_run_on() {
    let host = Host::new();
    let id = host.create("web");
    let runs = || assert_eq!(host.domains(), [("web".to_owned(), DomainState::Blocked)]);
    for items in [0, 1, 2, 5, 8] {
        assert_eq!(
            error(host.depart(id, Uuid::new_v4(), &mut Cut(items))),
            "the other end has gone"
        );
        runs();
    }
    for (fault, expected) in [
        ("cut 1000", "Failed to save domain, resuming domain"),
        ("cut 500000", "Failed to save domain, resuming domain"),
        ("deaf", "guest did not suspend, timed out"),
        (
            "exit Failed to open temp file /dev/stdout for writing",
            "Failed to open temp file",
        ),
    ] {
        host.fault("save", fault);
        let said = error(host.depart(id, Uuid::new_v4(), &mut Cut(1000)));
        assert!(said.contains(expected), "{fault}: {said}");
        runs();
    }
    host.fault("save", "");
    host.fault("rename", "exit no");
    assert!(error(host.depart(id, Uuid::new_v4(), &mut Cut(1000))).starts_with("xl rename"));
    runs();
    host.fault("rename", "");
    host.xl.pause(id).unwrap();
    assert!(error(host.depart(id, Uuid::new_v4(), &mut Cut(1000))).contains("unpause it first"));
    assert_eq!(host.domains(), [("web".to_owned(), DomainState::Paused)]);
    assert!(host.processes().is_empty(), "{:?}", host.processes());
}

#[test]
fn a_departed_domain_is_held_until_the_decision() {
    let mut host = Host::new();
    let id = host.create("web");
    let uuid = host.xl.config(id).unwrap().uuid;
    let relocation = Uuid::new_v4();
    drop(host.depart(id, relocation, &mut Cut(1000)).unwrap());
    for result in [host.xl.unpause(id), host.xl.pause(id), host.xl.destroy(id)] {
        assert!(error(result).contains("is being relocated"));
    }
    assert!(error(host.depart(id, Uuid::new_v4(), &mut Cut(1000))).contains("is being relocated"));
    host.restart();
    assert!(host.xl.find_departed(uuid, Uuid::new_v4()).unwrap().is_none());
    let departed = host.xl.find_departed(uuid, relocation).unwrap().unwrap();
    assert_eq!(departed.id(), id);
    host.fault("unpause", "ignore");
    let undone = departed.resume().unwrap_err();
    assert_eq!(host.domains()[0].1, DomainState::Suspended);
    host.fault("unpause", "");
    undone.domain.resume().map_err(|undone| undone.error).unwrap();
    assert_eq!(host.domains(), [("web".to_owned(), DomainState::Blocked)]);
    assert!(host.xl.find_departed(uuid, relocation).unwrap().is_none());
}

#[test]
fn a_domain_whose_xl_died_at_the_worst_moment_runs_on() {
    for newer in [false, true] {
        let host = Host::new();
        if newer {
            host.set("has-resume", "");
        }
        let id = host.create("web");
        let uuid = host.xl.config(id).unwrap().uuid;
        let relocation = Uuid::new_v4();
        host.fault("rename", "");
        // As a daemon leaves it that was killed together with its xl.
        let name = format!("migrating-{relocation}-web");
        let xl = |arguments: &[&str]| {
            std::process::Command::new(host.directory.path().join("xl"))
                .args(arguments)
                .status()
                .unwrap()
        };
        assert!(xl(&["rename", &id.to_string(), &name]).success());
        let text = std::fs::read_to_string(host.directory.path().join("state/domains")).unwrap();
        host.set("domains", &text.replace("\"running\"", "\"suspended\""));
        let departed = host.xl.find_departed(uuid, relocation).unwrap().unwrap();
        departed.resume().map_err(|undone| undone.error).unwrap();
        assert_eq!(host.domains(), [("web".to_owned(), DomainState::Blocked)]);
    }
}

/// As `xl save` is run, which says what it does to a daemon that may have gone.
#[test]
fn a_program_that_nobody_hears_goes_on() {
    let ignored = |helper: &[&str]| {
        let mut words = helper.iter().chain(&["grep", "SigIgn", "/proc/self/status"]);
        let mut command = std::process::Command::new(words.next().unwrap());
        let said = command.args(words).output().unwrap().stdout;
        let said = String::from_utf8(said).unwrap();
        let mask = u64::from_str_radix(said.trim_start_matches("SigIgn:").trim(), 16).unwrap();
        mask >> (nix::libc::SIGPIPE - 1) & 1 == 1
    };
    let helper = env!("CARGO_BIN_EXE_xl-transport");
    assert!(ignored(&[helper, xl::TRANSPORT_COMMAND, "unheard"]));
    assert!(!ignored(&["env"]), "the check sees nothing");
}

#[test]
fn an_arrival_that_fails_leaves_nothing() {
    let (config, image) = Host::image("web", GuestKind::Pv);
    let host = Host::new();
    let clean = |what: &str| {
        assert_eq!(host.domains(), [], "{what}");
        assert!(host.processes().is_empty(), "{what}: {:?}", host.processes());
    };
    // Cut within the header, the configuration, pages, the end.
    for length in [30, 100, 600, 50_000, image.len() - 4] {
        let said = error(host.arrive(Uuid::new_v4(), &config, &mut V2Reader::new(&image[..length])));
        assert!(said.starts_with("the image ends in its middle"), "{length}: {said}");
        clean(&said);
    }
    host.fault("restore", "exit libxl: error: not enough memory");
    let said = error(host.arrive(Uuid::new_v4(), &config, &mut source(&image)));
    assert!(said.ends_with("libxl: error: not enough memory"), "{said}");
    clean(&said);
    host.fault("restore", "ignore");
    let said = error(host.arrive(Uuid::new_v4(), &config, &mut source(&image)));
    clean(&said);
    host.fault("restore", "");
    // The rest of a relocation before, of another name: nothing is in the way of the next.
    let arrived = host.arrive(Uuid::new_v4(), &config, &mut source(&image)).unwrap();
    arrived.discard().map_err(|undone| undone.error).unwrap();
    clean("discarded");
}

#[test]
fn a_configuration_that_was_not_let_in_is_refused() {
    let (config, image) = Host::image("web", GuestKind::Pv);
    let host = Host::new();
    let mut others = vec![config.clone(); 5];
    others[0].uuid = Uuid::new_v4();
    others[1].vcpus = 2;
    others[2].vifs.clear();
    others[3].max_memory_kib -= 1024;
    others[4].vbds.push(domain::Vbd::default());
    for (other, word) in others.iter().zip(["uuid", "vcpus", "bridges", "memory", "disks"]) {
        let said = error(host.arrive(Uuid::new_v4(), other, &mut source(&image)));
        assert!(said.contains(&format!("its {word} are not those")), "{said}");
    }
    let mut other = config;
    other.kind = GuestKind::Hvm;
    assert!(error(host.arrive(Uuid::new_v4(), &other, &mut source(&image))).contains("is of a guest of type 0x1"));
    assert_eq!(host.domains(), []);
}

#[test]
fn an_arrived_domain_is_found_again() {
    let (config, image) = Host::image("web", GuestKind::Pvh);
    let mut host = Host::new();
    let relocation = Uuid::new_v4();
    let id = host.arrive(relocation, &config, &mut source(&image)).unwrap().id();
    assert!(error(host.xl.unpause(id)).contains("is being relocated"));
    host.restart();
    assert!(host.xl.find_arrived(config.uuid, Uuid::new_v4()).unwrap().is_none());
    let arrived = host.xl.find_arrived(config.uuid, relocation).unwrap().unwrap();
    host.fault("unpause", "ignore");
    let undone = arrived.unpause().unwrap_err();
    host.fault("unpause", "");
    // It ran, and the daemon died before it had its name.
    host.fault("rename", "exit no");
    assert_eq!(undone.domain.unpause().map_err(|undone| undone.error).unwrap(), id);
    assert_eq!(host.domains(), [("web".to_owned(), DomainState::Blocked)]);
    host.fault("rename", "");
    host.restart();
    let arrived = host.xl.find_arrived(config.uuid, relocation).unwrap().unwrap();
    assert_eq!(arrived.unpause().map_err(|undone| undone.error).unwrap(), id);
    assert_eq!(host.xen_names(), ["web"]);
    assert!(host.xl.find_arrived(config.uuid, relocation).unwrap().is_none());
}

#[test]
fn an_arrived_guest_that_reboots_at_once_is_found_by_its_name_and_one_that_ends_is_gone() {
    let (config, image) = Host::image("web", GuestKind::Pvh);
    let host = Host::new();
    let arrive = |fault| {
        let arrived = host.arrive(Uuid::new_v4(), &config, &mut source(&image)).unwrap();
        host.fault("unpause", fault);
        let id = arrived.id();
        let unpaused = arrived.unpause().map_err(|undone| undone.error);
        host.fault("unpause", "");
        (id, unpaused)
    };
    let (id, unpaused) = arrive("reboot");
    let new = unpaused.unwrap();
    assert!(new != id);
    assert_eq!(host.xen_names(), ["web"]);
    assert_eq!(host.domains(), [("web".to_owned(), DomainState::Blocked)]);
    host.xl.destroy(new).unwrap();
    let (id, unpaused) = arrive("end");
    assert!(matches!(unpaused, Err(ToolstackError::NoDomain(gone)) if gone == id));
    assert_eq!(host.domains(), []);
}

/// As an xl leaves it that is killed between making a domain and naming it.
#[test]
fn a_domain_without_a_name_is_what_has_arrived() {
    let (config, image) = Host::image("web", GuestKind::Pv);
    let host = Host::new();
    let relocation = Uuid::new_v4();
    drop(host.arrive(relocation, &config, &mut source(&image)).unwrap());
    let name = host.xen_names().remove(0);
    host.change_domains(|text| text.replace(&name, "(null)"));
    assert!(host.xl.find_arrived(Uuid::new_v4(), relocation).unwrap().is_none());
    let arrived = host.xl.find_arrived(config.uuid, relocation).unwrap().unwrap();
    arrived.discard().map_err(|undone| undone.error).unwrap();
    assert_eq!(host.domains(), []);
}

#[test]
fn an_xl_that_hangs_with_half_a_domain_is_ended_and_the_half_removed() {
    let (config, image) = Host::image("web", GuestKind::Pv);
    let host = Host::new();
    host.fault("restore", "hang 300000");
    let relocation = Uuid::new_v4();
    // The source gives up, and xl does not notice.
    let said = error(host.arrive(relocation, &config, &mut V2Reader::new(&image[..500_000])));
    assert!(said.starts_with("the image ends in its middle"), "{said}");
    assert_eq!(
        host.events(),
        [
            format!("new 1 arriving-{relocation}-web"),
            format!("destroyed 1 arriving-{relocation}-web")
        ]
    );
    // Nothing holds what the next one needs.
    host.fault("restore", "");
    let arrived = host.arrive(Uuid::new_v4(), &config, &mut source(&image)).unwrap();
    arrived.unpause().map_err(|undone| undone.error).unwrap();
}
