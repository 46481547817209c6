//! Images of any content, owned, and ways to push them through sinks and out of sources.

use image::{
    DomainHeader, ImageError, ImageSink, ImageSource, Item, PAGE_SIZE, PageBatch, PageContent, PageEntry, PageType,
    record::RecordType,
};
use proptest::prelude::*;

/// An [`Item`] that owns its parts.
#[derive(Clone, Debug, PartialEq)]
pub enum Owned {
    Start(DomainHeader),
    Record(u32, Vec<u8>),
    Pages(Vec<PageEntry>, Vec<u8>),
    End,
    Libxl(u32, Vec<u8>),
    Finish,
}

impl Owned {
    pub fn of(item: Item<'_>) -> Owned {
        match item {
            Item::Start(header) => Owned::Start(header),
            Item::Record { kind, body } => Owned::Record(kind.0, body.to_vec()),
            Item::Pages(batch) => Owned::Pages(batch.entries.to_vec(), batch.data.to_vec()),
            Item::End => Owned::End,
            Item::Libxl { kind, body } => Owned::Libxl(kind, body.to_vec()),
            Item::Finish => Owned::Finish,
        }
    }

    pub fn item(&self) -> Item<'_> {
        match self {
            Owned::Start(header) => Item::Start(*header),
            Owned::Record(kind, body) => Item::Record {
                kind: RecordType(*kind),
                body,
            },
            Owned::Pages(entries, data) => Item::Pages(PageBatch { entries, data }),
            Owned::End => Item::End,
            Owned::Libxl(kind, body) => Item::Libxl { kind: *kind, body },
            Owned::Finish => Item::Finish,
        }
    }

    /// With the zeros written out, as a stream v2 has them.
    #[allow(dead_code)] // Not every test that has this module needs it.
    pub fn with_zeros(&self) -> Owned {
        let Owned::Pages(entries, data) = self else {
            return self.clone();
        };
        let batch = PageBatch { entries, data };
        let mut written = (Vec::new(), Vec::new());
        for (mut entry, page) in batch.pages() {
            if entry.content != PageContent::Nothing {
                entry.content = PageContent::Data;
                written.1.extend_from_slice(page.unwrap_or(&[0; PAGE_SIZE]));
            }
            written.0.push(entry);
        }
        Owned::Pages(written.0, written.1)
    }
}

/// Puts all items into a sink.
pub fn put_all(sink: &mut impl ImageSink, items: &[Owned]) -> Result<(), ImageError> {
    items.iter().try_for_each(|item| sink.put(item.item()))
}

/// Takes everything out of a source, up to the end or an error.
pub fn take_all(source: &mut impl ImageSource) -> Result<Vec<Owned>, ImageError> {
    let mut items = Vec::new();
    loop {
        let item = Owned::of(source.next()?);
        items.push(item);
        if items.last() == Some(&Owned::Finish) {
            return Ok(items);
        }
    }
}

fn header() -> impl Strategy<Value = DomainHeader> {
    let guest = prop::sample::select(vec![DomainHeader::PV, DomainHeader::HVM, DomainHeader::EMBEDDED]);
    (2..=3_u32, guest, any::<u32>(), any::<u32>()).prop_map(|(version, guest, xen_major, xen_minor)| DomainHeader {
        version,
        guest,
        xen_major,
        xen_minor,
    })
}

fn pages() -> impl Strategy<Value = Owned> {
    let pfn = prop_oneof![0..64_u64, 0..1_u64 << 52];
    let entry = (
        pfn,
        prop::sample::select(vec![0_u8, 1, 4, 9, 12, 13, 14, 15]),
        any::<bool>(),
    );
    (prop::collection::vec(entry, 1..6), any::<u8>()).prop_map(|(entries, seed)| {
        let entries: Vec<PageEntry> = entries
            .into_iter()
            .map(|(pfn, nibble, zero)| {
                let kind = PageType::from_nibble(nibble).unwrap();
                let content = match (kind.has_data(), zero) {
                    (false, _) => PageContent::Nothing,
                    (true, true) => PageContent::Zero,
                    (true, false) => PageContent::Data,
                };
                PageEntry { pfn, kind, content }
            })
            .collect();
        let data = entries
            .iter()
            .filter(|entry| entry.content == PageContent::Data)
            .count();
        let data = (0..data * PAGE_SIZE).map(|at| (at / 7) as u8 ^ seed).collect();
        Owned::Pages(entries, data)
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..40)
}

/// Sound images of any content.
pub fn images() -> impl Strategy<Value = Vec<Owned>> {
    let kinds = vec![0x02, 0x06, 0x09, 0x0a, 0x11, 0x8000_1234];
    let record = (prop::sample::select(kinds), body()).prop_map(|(kind, body)| Owned::Record(kind, body));
    let middle = prop::collection::vec(prop_oneof![record, pages()], 0..6);
    let libxl = (2..=3_u32, body()).prop_map(|(kind, body)| Owned::Libxl(kind, body));
    (header(), middle, prop::collection::vec(libxl, 0..3)).prop_map(|(header, middle, libxl)| {
        let mut items = vec![Owned::Start(header), Owned::Record(0x10, Vec::new())];
        items.extend(middle);
        if header.guest == DomainHeader::EMBEDDED {
            items.push(Owned::Record(RecordType::EMBEDDED_FIRST.0 + 1, b"own".to_vec()));
        }
        items.push(Owned::End);
        items.extend(libxl);
        items.push(Owned::Finish);
        items
    })
}

/// A small image with one item of each sort, and pages with and without content.
pub fn small_image() -> Vec<Owned> {
    let entry = |pfn, nibble, content| PageEntry {
        pfn,
        kind: PageType::from_nibble(nibble).unwrap(),
        content,
    };
    vec![
        Owned::Start(DomainHeader {
            version: 3,
            guest: DomainHeader::HVM,
            xen_major: 4,
            xen_minor: 17,
        }),
        Owned::Record(0x11, vec![1; 24]),
        Owned::Record(0x10, Vec::new()),
        Owned::Pages(
            vec![entry(7, 0, PageContent::Data), entry(8, 15, PageContent::Nothing)],
            (0..PAGE_SIZE).map(|at| at as u8).collect(),
        ),
        Owned::Record(0x09, b"context".to_vec()),
        Owned::End,
        Owned::Libxl(3, b"emulator".to_vec()),
        Owned::Finish,
    ]
}
