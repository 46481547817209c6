//! The coding of a batch's pfns: runs, as `frame` describes them.

use image::{PAGE_SIZE, PageBatch, PageContent, PageEntry, PageType};

/// Writes the runs of `entries` to `out`, which is cleared first.
pub(super) fn encode(entries: &[PageEntry], out: &mut Vec<u8>) {
    out.clear();
    let mut expected = 0_u64;
    let mut rest = entries;
    while let Some(first) = rest.first() {
        let same = |(at, entry): &(usize, &PageEntry)| {
            first.pfn.checked_add(*at as u64) == Some(entry.pfn)
                && entry.kind == first.kind
                && entry.content == first.content
        };
        let count = rest.iter().enumerate().take_while(same).count().max(1);
        let distance = first.pfn.wrapping_sub(expected) as i64;
        varint(((distance << 1) ^ (distance >> 63)) as u64, out);
        varint(count as u64, out);
        let content = match first.content {
            PageContent::Data => 0,
            PageContent::Zero => 1,
            PageContent::Nothing => 2,
        };
        out.push(first.kind.nibble() | content << 4);
        expected = first.pfn.wrapping_add(count as u64);
        rest = rest.get(count..).unwrap_or_default();
    }
}

/// Reads runs into `entries`, which is cleared first; gives the bytes of data that follow.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn decode(mut runs: &[u8], entries: &mut Vec<PageEntry>) -> Result<usize, String> {
    entries.clear();
    let mut expected = 0_u64;
    let mut data_pages = 0;
    while !runs.is_empty() {
        let distance = take_varint(&mut runs)?;
        let distance = (distance >> 1) ^ (distance & 1).wrapping_neg();
        let count = take_varint(&mut runs)?;
        let Some((&tag, rest)) = runs.split_first() else {
            return Err("a run of pages without its type".to_owned());
        };
        runs = rest;
        let room = (PageBatch::MAX_PAGES - entries.len()) as u64;
        if count == 0 || count > room {
            return Err(format!("a run of {count} pages where 1 to {room} can stand"));
        }
        let kind = PageType::from_nibble(tag & 0xf).ok_or_else(|| format!("page type {:#x}", tag & 0xf))?;
        let content = match tag >> 4 {
            0 => PageContent::Data,
            1 => PageContent::Zero,
            2 => PageContent::Nothing,
            other => return Err(format!("page content {other}")),
        };
        if kind.has_data() == (content == PageContent::Nothing) {
            return Err(format!("pages of type {:#x} with content {}", kind.nibble(), tag >> 4));
        }
        let first = expected.wrapping_add(distance);
        // 52 bits are what a record of stream v2 can hold.
        let end = first
            .checked_add(count)
            .filter(|end| *end <= 1 << 52)
            .ok_or_else(|| format!("pfn {first:#x}"))?;
        entries.extend((first..end).map(|pfn| PageEntry { pfn, kind, content }));
        if content == PageContent::Data {
            data_pages += count as usize;
        }
        expected = end;
    }
    if entries.is_empty() {
        return Err("a batch without pages".to_owned());
    }
    Ok(data_pages * PAGE_SIZE)
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let Some((&byte, rest)) = bytes.split_first() else {
            return Err("a number is cut off".to_owned());
        };
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if bits.checked_shl(shift).is_none_or(|shifted| shifted >> shift != bits) {
            return Err("a number has more than 64 bits".to_owned());
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err("a number has more than 64 bits".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry() -> impl Strategy<Value = PageEntry> {
        let kinds = prop::sample::select((0..=4).chain(9..=15).collect::<Vec<u8>>());
        (0..1_u64 << 52, kinds, any::<bool>()).prop_map(|(pfn, nibble, zero)| {
            let kind = PageType::from_nibble(nibble).unwrap();
            let content = match (kind.has_data(), zero) {
                (false, _) => PageContent::Nothing,
                (true, true) => PageContent::Zero,
                (true, false) => PageContent::Data,
            };
            PageEntry { pfn, kind, content }
        })
    }

    /// Runs, some of them side by side.
    fn batch() -> impl Strategy<Value = Vec<PageEntry>> {
        prop::collection::vec((entry(), 1..20_u64), 1..20).prop_map(|runs| {
            let expand = |(first, count): (PageEntry, u64)| {
                (0..count).map(move |at| PageEntry {
                    pfn: (first.pfn + at).min((1 << 52) - 1),
                    ..first
                })
            };
            runs.into_iter().flat_map(expand).collect()
        })
    }

    proptest! {
        #[test]
        fn round_trip(entries in batch()) {
            let (mut coded, mut decoded) = (Vec::new(), Vec::new());
            encode(&entries, &mut coded);
            let data = decode(&coded, &mut decoded).unwrap();
            prop_assert_eq!(&entries, &decoded);
            prop_assert_eq!(data, PageBatch { entries: &entries, data: &[] }.data_pages() * PAGE_SIZE);
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes, &mut Vec::new());
        }
    }

    #[test]
    fn a_gigabyte_of_zeros_costs_a_few_bytes() {
        let entries: Vec<PageEntry> = (1 << 18..(1 << 18) + 1024)
            .map(|pfn| PageEntry {
                pfn,
                kind: PageType::NORMAL,
                content: PageContent::Zero,
            })
            .collect();
        let mut coded = Vec::new();
        encode(&entries, &mut coded);
        assert_eq!(coded.len(), 6);
    }

    #[test]
    fn more_pages_than_a_batch_holds_are_refused_before_they_are_listed() {
        let mut coded = Vec::new();
        varint(0, &mut coded);
        varint(u64::MAX, &mut coded);
        coded.push(0x10);
        let mut entries = Vec::new();
        assert!(
            decode(&coded, &mut entries)
                .unwrap_err()
                .contains("a run of 18446744073709551615 pages")
        );
        assert_eq!(entries.capacity(), 0);
    }
}
