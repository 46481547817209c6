//! Images on their way: from a source into a sink.

use crate::{ImageError, ImageSink, ImageSource, Item};

/// Lets a whole image through, up to and including [`Item::Finish`].
///
/// # Errors
/// The source's or the sink's.
pub fn copy(source: &mut dyn ImageSource, sink: &mut dyn ImageSink) -> Result<(), ImageError> {
    loop {
        let item = source.next()?;
        sink.put(item)?;
        if matches!(item, Item::Finish) {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DomainHeader, PAGE_SIZE, PageBatch, PageContent, PageEntry, PageType,
        record::RecordType,
        v2::{V2Reader, V2Writer},
    };

    fn image() -> Vec<u8> {
        let mut writer = V2Writer::new(Vec::new());
        let entries = [0, 1].map(|pfn| PageEntry {
            pfn,
            kind: PageType::NORMAL,
            content: if pfn == 0 { PageContent::Data } else { PageContent::Zero },
        });
        let header = DomainHeader {
            version: 3,
            guest: DomainHeader::EMBEDDED,
            xen_major: 0,
            xen_minor: 0,
        };
        for item in [
            Item::Start(header),
            Item::Record {
                kind: RecordType::STATIC_DATA_END,
                body: &[],
            },
            Item::Pages(PageBatch {
                entries: &entries,
                data: &[7; PAGE_SIZE],
            }),
            Item::End,
            Item::Finish,
        ] {
            writer.put(item).unwrap();
        }
        writer.into_inner()
    }

    #[test]
    fn a_copy_has_the_same_bytes() {
        let bytes = image();
        let mut writer = V2Writer::new(Vec::new());
        copy(&mut V2Reader::new(&bytes[..]), &mut writer).unwrap();
        assert_eq!(writer.into_inner(), bytes);
    }

    #[test]
    fn an_error_of_the_sink_ends_it() {
        struct Full(usize);
        impl ImageSink for Full {
            fn put(&mut self, _: Item<'_>) -> Result<(), ImageError> {
                self.0 = self
                    .0
                    .checked_sub(1)
                    .ok_or_else(|| ImageError::Order("full".to_owned()))?;
                Ok(())
            }
        }
        let bytes = image();
        let mut source = V2Reader::new(&bytes[..]);
        let ended = copy(&mut source, &mut Full(2));
        assert!(matches!(ended, Err(ImageError::Order(what)) if what == "full"));
        // No item more was asked for than there was room for, and the one that did not fit.
        assert!(matches!(source.next(), Ok(Item::End)));
    }
}
