mod departures;
mod entries;
mod faults;
mod foreign;

use std::collections::BTreeSet;

use domain::GuestKind;
use image::{
    DomainHeader, ImageError, ImageSink, ImageSource, Item, PAGE_SIZE, PageBatch, PageContent, PageEntry, PageType,
    record::RecordType,
};

use super::*;

fn config(name: &str) -> DomainConfig {
    DomainConfig::new(name, Uuid::new_v4(), 64, GuestKind::Embedded)
}

fn incoming(config: &DomainConfig, purpose: Purpose) -> Incoming<'_> {
    Incoming {
        id: Uuid::new_v4(),
        config,
        original: None,
        peer: "10.0.0.1:8002",
        purpose,
    }
}

/// An image of four pages; page `n` is full of `n`.
pub(super) fn put(sink: &mut dyn ImageSink) -> Result<(), ImageError> {
    sink.put(Item::Start(DomainHeader {
        version: 3,
        guest: DomainHeader::EMBEDDED,
        xen_major: 0,
        xen_minor: 0,
    }))?;
    sink.put(Item::Record {
        kind: RecordType::STATIC_DATA_END,
        body: &[],
    })?;
    for pfn in 0..4 {
        let entry = PageEntry {
            pfn,
            kind: PageType::NORMAL,
            content: PageContent::Data,
        };
        sink.put(Item::Pages(PageBatch {
            entries: &[entry],
            data: &[pfn as u8; PAGE_SIZE],
        }))?;
    }
    sink.put(Item::End)?;
    sink.put(Item::Finish)
}

/// The pages that come out again.
fn pages(source: &mut dyn ImageSource) -> Vec<(u64, u8)> {
    let mut pages = Vec::new();
    loop {
        match source.next().unwrap() {
            Item::Pages(batch) => pages.extend(batch.pages().map(|(entry, page)| (entry.pfn, page.unwrap()[4095]))),
            Item::Finish => return pages,
            _ => {}
        }
    }
}

const PAGES: [(u64, u8); 4] = [(0, 0), (1, 1), (2, 2), (3, 3)];

fn keep(spool: &Spool, incoming: &Incoming<'_>) -> Result<Entry, SpoolError> {
    let mut writer = spool.begin(incoming)?;
    put(&mut writer)?;
    let mut held = writer.finish()?;
    held.set(EntryState::Kept, None, Some("a test".to_owned()))?;
    Ok(held.entry().clone())
}

fn names(spool: &Path) -> BTreeSet<String> {
    let names = fs::read_dir(spool).unwrap();
    names
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "lock")
        .collect()
}
