//! Domains that leave the spool for another host.

use super::*;

/// A sink that keeps what it is given: for each page its number and what travels, and all data.
#[derive(Default)]
struct Kept {
    pages: Vec<(u64, PageContent)>,
    data: Vec<u8>,
}

impl ImageSink for Kept {
    fn put(&mut self, item: Item<'_>) -> Result<(), ImageError> {
        if let Item::Pages(batch) = item {
            assert_eq!(batch.data.len(), batch.data_pages() * PAGE_SIZE);
            self.pages
                .extend(batch.entries.iter().map(|entry| (entry.pfn, entry.content)));
            self.data.extend_from_slice(batch.data);
        }
        Ok(())
    }
}

struct Unobserved(u64);

impl crate::Observer for Unobserved {
    fn progress(&mut self, progress: &crate::Progress) -> Result<(), ImageError> {
        self.0 = progress.zero_pages;
        Ok(())
    }
}

#[test]
fn pages_of_zeros_leave_the_spool_as_such() {
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::open(directory.path()).unwrap();
    let config = config("web");
    let entry = keep(&spool, &incoming(&config, Purpose::Relocation)).unwrap();
    let (mut kept, mut observer) = (Kept::default(), Unobserved(0));
    let relocation = Uuid::new_v4();
    let departed = depart(spool.hold(entry.id).unwrap(), relocation, &mut kept, &mut observer).unwrap();
    let contents = [
        PageContent::Zero,
        PageContent::Data,
        PageContent::Data,
        PageContent::Data,
    ];
    assert_eq!(kept.pages, (0..).zip(contents).collect::<Vec<_>>());
    assert_eq!(kept.data, [[1; PAGE_SIZE], [2; PAGE_SIZE], [3; PAGE_SIZE]].concat());
    assert_eq!(observer.0, 1);
    // It is the source's copy until somebody decides; also if whoever has it goes.
    assert!(matches!(spool.hold(entry.id), Err(SpoolError::Busy(_))));
    drop(departed);
    assert!(matches!(spool.hold(entry.id), Err(SpoolError::Busy(_))));
    drop(spool);
    let spool = Spool::open(directory.path()).unwrap();
    assert!(find_departed(&spool, config.uuid, Uuid::new_v4()).unwrap().is_none());
    let departed = find_departed(&spool, config.uuid, relocation).unwrap().unwrap();
    departed.resume().map_err(|undone| undone.error).unwrap();
    let entry = spool.find("web").unwrap();
    assert_eq!((entry.state, entry.held_by), (EntryState::Kept, None));
    assert_eq!(entry.reason.as_deref(), Some("a test"));
    let departed = depart(spool.hold(entry.id).unwrap(), relocation, &mut kept, &mut observer).unwrap();
    departed.destroy().map_err(|undone| undone.error).unwrap();
    assert!(names(directory.path()).is_empty());
}
