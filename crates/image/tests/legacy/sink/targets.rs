//! What differs from one xend to another in what they take.

use image::{
    DomainHeader, ImageSink as _, ImageSource as _, Item, PAGE_SIZE, PageBatch, PageContent, PageEntry, PageType,
    legacy::{LegacySink, LegacySource, LegacyTarget},
    record::RecordType,
};

use super::{changed, towards};
use crate::{images::Legacy, options};

/// The pages of a batch, in words.
fn batches(bytes: &[u8]) -> Vec<(u64, u8, Option<u8>)> {
    let mut source = LegacySource::new(bytes, options(false, true));
    let mut pages = Vec::new();
    loop {
        match source.next().unwrap() {
            Item::Pages(batch) => {
                pages.extend(
                    batch
                        .pages()
                        .map(|(entry, page)| (entry.pfn, entry.kind.nibble(), page.map(|page| page[9]))),
                );
            }
            Item::Finish => return pages,
            _ => {}
        }
    }
}

#[test]
fn pages_of_all_sorts_become_what_the_target_knows() {
    let sorts = [
        (20, PageType::NORMAL, PageContent::Zero),
        (21, PageType::NORMAL, PageContent::Data),
        (22, PageType::ALLOCATE_ONLY, PageContent::Nothing),
        (23, PageType::ABSENT, PageContent::Nothing),
        (24, PageType::NORMAL, PageContent::Data),
    ];
    let entries = sorts.map(|(pfn, kind, content)| PageEntry { pfn, kind, content });
    let written = |target, entries: &[PageEntry]| {
        let data = [[1; PAGE_SIZE], [2; PAGE_SIZE]].concat();
        let data = &data[..entries
            .iter()
            .filter(|entry| entry.content == PageContent::Data)
            .count()
            * PAGE_SIZE];
        changed(&Legacy::pv64(), towards(target), |item, sink| {
            if matches!(item, Item::End) {
                sink.put(Item::Pages(PageBatch { entries, data }))?;
            }
            sink.put(item)
        })
        .unwrap()
        .into_inner()
    };
    // No item of the tail is written before the end, so the batch is one like the others.
    let before = batches(&written(LegacyTarget::Xen43, &entries[3..4])).len();
    let pages = |target| batches(&written(target, &entries)).split_off(before);
    let data = |pfn, byte| (pfn, 0, Some(byte));
    assert_eq!(
        pages(LegacyTarget::Xen42),
        [data(20, 0), data(21, 1), (22, 14, None), data(24, 2)]
    );
    assert_eq!(
        pages(LegacyTarget::Xen41),
        [data(20, 0), data(21, 1), data(22, 0), data(24, 2)]
    );
    // The one that has gone is in the list of those that are not there; a page that is to be allocated is not.
    let unmapped = |bytes: &[u8]| {
        let count = bytes.len() - 4096 - 128 - 5168 - 3 * 8 - 4;
        bytes[count..count + 28].to_vec()
    };
    let expected = [&3_u32.to_le_bytes()[..], &[23, 38, 39].map(u64::to_le_bytes).concat()].concat();
    assert_eq!(unmapped(&written(LegacyTarget::Xen42, &entries)), expected);
}

#[test]
fn extended_contexts_have_a_length_that_the_target_takes() {
    let mut body = [vec![0; 8], vec![0xee; 128]].concat();
    body[12..16].copy_from_slice(&56_u32.to_le_bytes());
    let written = |target| {
        let bytes = changed(&Legacy::pv64(), towards(target), |item, sink| match item {
            Item::Record {
                kind: kind @ RecordType::X86_PV_VCPU_EXTENDED,
                ..
            } => sink.put(Item::Record { kind, body: &body }),
            item => sink.put(item),
        });
        let bytes = bytes.unwrap().into_inner();
        bytes[bytes.len() - 4096 - 128..bytes.len() - 4096].to_vec()
    };
    let expected = |length: usize| {
        let mut context = vec![0; 128];
        context[8..length].fill(0xee);
        context[4..8].copy_from_slice(&(length as u32).to_le_bytes());
        context
    };
    assert_eq!(written(LegacyTarget::Xen43), expected(56));
    assert_eq!(written(LegacyTarget::Xen41), expected(32));
    let header = DomainHeader {
        version: 3,
        guest: DomainHeader::EMBEDDED,
        xen_major: 0,
        xen_minor: 1,
    };
    let mut sink = LegacySink::new(Vec::new(), towards(LegacyTarget::Xen43));
    let error = sink.put(Item::Start(header)).unwrap_err().to_string();
    assert!(error.contains("it is no Xen guest"), "{error}");
}
