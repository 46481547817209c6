//! Images on their way: from a source into a sink, and into a second one beside.

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

/// A source that also puts every item into a sink, before anybody sees it: a safety copy has whatever the next one has.
///
/// An error of the sink is an error of the source: nobody gets an image that was not copied.
pub struct Tee<'a> {
    source: &'a mut dyn ImageSource,
    sink: &'a mut dyn ImageSink,
}

impl<'a> Tee<'a> {
    /// What `source` gives, with a copy into `sink`.
    pub fn new(source: &'a mut dyn ImageSource, sink: &'a mut dyn ImageSink) -> Tee<'a> {
        Tee { source, sink }
    }
}

impl ImageSource for Tee<'_> {
    fn next(&mut self) -> Result<Item<'_>, ImageError> {
        let item = self.source.next()?;
        self.sink.put(item)?;
        Ok(item)
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
    fn both_ways_out_of_a_tee_have_the_same_bytes() {
        let bytes = image();
        let (mut beside, mut next) = (V2Writer::new(Vec::new()), V2Writer::new(Vec::new()));
        let mut source = V2Reader::new(&bytes[..]);
        copy(&mut Tee::new(&mut source, &mut beside), &mut next).unwrap();
        assert_eq!(beside.into_inner(), bytes);
        assert_eq!(next.into_inner(), bytes);
    }

    #[test]
    fn what_could_not_be_copied_is_not_handed_on() {
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
        let mut full = Full(2);
        let mut tee = Tee::new(&mut source, &mut full);
        assert!(matches!(tee.next(), Ok(Item::Start(_))));
        assert!(matches!(tee.next(), Ok(Item::Record { .. })));
        assert!(matches!(tee.next(), Err(ImageError::Order(what)) if what == "full"));
    }
}
