//! The guest that ships with relocd: what its source says, and that it does find memory that is not what it should be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::{fs, path::Path, process::Command, thread, time::Duration};

use common::{Owned, TestHost, Wire, config, depart, relocate, ticks, watch};
use embedded::Embedded;
use image::PAGE_SIZE;
use toolstack::{Arrival, LiveOptions, Mode, Toolstack};
use uuid::Uuid;

#[test]
fn the_source_builds_the_binary_bit_for_bit() {
    if Command::new("riscv64-linux-gnu-as").arg("--version").output().is_err() {
        println!(
            "SKIPPED: no riscv64-linux-gnu-as here (Debian: binutils-riscv64-linux-gnu); guest.bin was not compared with guest.S"
        );
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (guest, built) = (
        Path::new(env!("CARGO_MANIFEST_DIR")).join("guest"),
        directory.path().join("guest.bin"),
    );
    let status = Command::new(guest.join("build")).arg(&built).status().unwrap();
    assert!(status.success());
    assert!(
        fs::read(&built).unwrap() == fs::read(guest.join("guest.bin")).unwrap(),
        "guest.bin is not what guest.S says: run guest/build"
    );
}

/// A guest that checks all of its memory several times a second.
fn create(host: &TestHost, extra: &str) -> u32 {
    let extra = format!("verify=100 fill=random {extra}");
    let id = host.toolstack.create(&config("web", 8, &extra)).unwrap();
    watch(host.toolstack.console(id).unwrap(), |text| !ticks(text).is_empty());
    id
}

/// An image of the domain at rest; it is resumed and goes on.
fn image_of(host: &Embedded, id: u32) -> Wire {
    let mut wire = Wire::default();
    let departed = depart(host, id, Uuid::new_v4(), &Mode::Offline, &mut wire).unwrap();
    departed.resume().map_err(|undone| undone.error).unwrap();
    wire
}

/// The page's bytes in an image.
fn page(wire: &mut Wire, pfn: u64) -> &mut [u8] {
    let pages = wire.items.iter_mut().filter_map(|item| match item {
        Owned::Pages(entries, data) => Some((entries, data)),
        _ => None,
    });
    for (entries, data) in pages {
        let with_data = entries.iter().filter(|entry| entry.content == image::PageContent::Data);
        for (entry, bytes) in with_data.zip(data.chunks_exact_mut(PAGE_SIZE)) {
            if entry.pfn == pfn {
                return bytes;
            }
        }
    }
    panic!("page {pfn} is not in the image");
}

/// An image of the domain in which the guest has written page [`PFN`] since it was `stale`.
fn later_image_of(host: &Embedded, id: u32, stale: &[u8]) -> Wire {
    for _ in 0..200 {
        let mut wire = image_of(host, id);
        if page(&mut wire, PFN) != stale {
            return wire;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("the guest does not write page {PFN}");
}

/// The domain that the image makes, running.
fn arrive(source: &TestHost, id: u32, to: &TestHost, wire: &mut Wire) -> u32 {
    let arrival = Arrival {
        relocation: Uuid::new_v4(),
        config: &source.toolstack.config(id).unwrap(),
        peer: "",
        original: None,
    };
    let arrived = to.toolstack.arrive(&arrival, wire).unwrap();
    arrived.unpause().map_err(|undone| undone.error).unwrap()
}

/// What is bad according to the console: once the guest has been through all of its memory twice since it arrived.
fn bad(host: &TestHost, id: u32) -> Vec<String> {
    let cycles = |text: &str| {
        let last = text
            .lines()
            .rev()
            .find(|line| line.starts_with("tick ") && line.contains(" bad "));
        last.and_then(|line| line.split(" cycles ").nth(1)?.split(' ').next()?.parse::<u64>().ok())
    };
    let before = cycles(&watch(host.toolstack.console(id).unwrap(), |text| {
        cycles(text).is_some()
    }))
    .unwrap();
    let text = watch(host.toolstack.console(id).unwrap(), |text| {
        cycles(text) >= Some(before + 3)
    });
    let bad = text.lines().filter_map(|line| line.strip_prefix("memory BAD "));
    bad.map(str::to_owned).collect()
}

const PFN: u64 = 1000;

#[test]
fn an_image_that_is_left_alone_makes_a_guest_without_complaint() {
    let (a, b) = (TestHost::new(), TestHost::new());
    let id = create(&a, "dirty=20");
    let mut wire = image_of(&a.toolstack, id);
    let copy = arrive(&a, id, &b, &mut wire);
    assert!(bad(&b, copy).is_empty());
    assert!(bad(&a, id).is_empty());
}

#[test]
fn one_wrong_bit_is_found() {
    for (byte, bit) in [(0, 0), (4095, 7), (2049, 3)] {
        let (a, b) = (TestHost::new(), TestHost::new());
        let id = create(&a, "dirty=0");
        let mut wire = image_of(&a.toolstack, id);
        page(&mut wire, PFN)[byte] ^= 1 << bit;
        let copy = arrive(&a, id, &b, &mut wire);
        assert_eq!(
            bad(&b, copy).first(),
            Some(&format!("pfn {PFN}")),
            "byte {byte}, bit {bit}"
        );
    }
}

#[test]
fn two_pages_in_each_others_place_are_found() {
    let (a, b) = (TestHost::new(), TestHost::new());
    let id = create(&a, "dirty=0");
    let mut wire = image_of(&a.toolstack, id);
    let other = page(&mut wire, PFN + 300).to_vec();
    let this = page(&mut wire, PFN).to_vec();
    page(&mut wire, PFN).copy_from_slice(&other);
    page(&mut wire, PFN + 300).copy_from_slice(&this);
    let copy = arrive(&a, id, &b, &mut wire);
    let bad = bad(&b, copy);
    for pfn in [PFN, PFN + 300] {
        assert!(bad.contains(&format!("pfn {pfn}")), "{bad:?}");
    }
}

/// What a dirty log that forgets a page leads to: the page of an earlier round.
#[test]
fn a_stale_page_is_found() {
    let (a, b) = (TestHost::new(), TestHost::new());
    // It writes to each page every two seconds, and looks at each twelve times a second: the stale one is seen before it is written to again.
    let id = create(&a, "dirty=4");
    let mut earlier = image_of(&a.toolstack, id);
    let mut wire = later_image_of(&a.toolstack, id, page(&mut earlier, PFN));
    let stale = page(&mut earlier, PFN).to_vec();
    page(&mut wire, PFN).copy_from_slice(&stale);
    let copy = arrive(&a, id, &b, &mut wire);
    assert_eq!(bad(&b, copy).first(), Some(&format!("pfn {PFN}")));
}

/// A page and its entry in the guest's table that are old together fit each other: only the sum over all pages tells.
#[test]
fn a_page_that_is_stale_with_its_checksum_is_found() {
    let (a, b) = (TestHost::new(), TestHost::new());
    let id = create(&a, "dirty=50");
    let mut earlier = image_of(&a.toolstack, id);
    let mut wire = later_image_of(&a.toolstack, id, page(&mut earlier, PFN));
    // The table is behind the program's 64 KiB, with 8 bytes for each page of RAM; the data pages are behind the table.
    let (table, first) = (16, 16 + 8 * (8 << 20 >> 12) / PAGE_SIZE as u64);
    let entry = (PFN - first) as usize * 8;
    let (table, entry) = (table + (entry / PAGE_SIZE) as u64, entry % PAGE_SIZE);
    let old: [u8; 8] = page(&mut earlier, table)[entry..entry + 8].try_into().unwrap();
    let stale = page(&mut earlier, PFN).to_vec();
    page(&mut wire, PFN).copy_from_slice(&stale);
    page(&mut wire, table)[entry..entry + 8].copy_from_slice(&old);
    let copy = arrive(&a, id, &b, &mut wire);
    assert_eq!(bad(&b, copy).first(), Some(&"sum".to_owned()));
}

#[test]
fn a_live_relocation_leaves_no_stale_page() {
    let (a, b) = (TestHost::new(), TestHost::new());
    let id = create(&a, "dirty=100");
    let live = Mode::Live(LiveOptions {
        max_downtime: Duration::from_millis(1),
        max_rounds: 5,
        ..LiveOptions::default()
    });
    let id = relocate(&a.toolstack, &b.toolstack, id, &live);
    assert!(bad(&b, id).is_empty());
}
