use std::collections::BTreeSet;

use domain::GuestKind;
use image::{
    DomainHeader, ImageError, ImageSink, ImageSource, Item, PAGE_SIZE, PageBatch, PageContent, PageEntry, PageType,
    record::RecordType, save::SaveHeader,
};
use nix::errno::Errno;

use super::{
    files::{After, arm},
    *,
};

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

#[test]
fn a_domain_goes_in_and_comes_out() {
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::open(directory.path()).unwrap();
    let config = DomainConfig {
        kind: GuestKind::Pv,
        kernel: Some("/boot/vmlinuz".to_owned()),
        ..config("it's (web) \"..\u{fc}")
    };
    let original = sxp::Sexp::List(vec![sxp::atom("domain"), sxp::atom("\u{7}")]);
    let incoming = Incoming {
        original: Some(&original),
        ..incoming(&config, Purpose::SafetyCopy)
    };
    let entry = keep(&spool, &incoming).unwrap();
    assert_eq!(spool.list().unwrap().0, std::slice::from_ref(&entry));
    assert_eq!(spool.find(&config.name).unwrap(), entry);
    assert_eq!(spool.find(&incoming.id.to_string()).unwrap(), entry);
    assert!(matches!(spool.find("web"), Err(SpoolError::NotFound(name)) if name == "web"));
    assert_eq!(entry.config().unwrap(), config);
    assert_eq!(entry.original.as_ref().unwrap().0, original);
    assert_eq!(
        (entry.state, entry.reason.as_deref()),
        (EntryState::Kept, Some("a test"))
    );
    assert_eq!(pages(&mut spool.open_image(&entry).unwrap()), PAGES);
    // What xl restore looks for.
    let bytes = fs::read(spool.image_path(&entry)).unwrap();
    assert_eq!(bytes.len() as u64, entry.bytes);
    let header = SaveHeader::read(&mut &bytes[..]).unwrap();
    assert_eq!(header.config, image::save::SaveConfig::Text(config.to_xl().unwrap()));
    // It outlives the daemon.
    assert!(matches!(Spool::open(directory.path()), Err(SpoolError::InUse(_))));
    drop(spool);
    let spool = Spool::open(directory.path()).unwrap();
    assert_eq!(spool.list().unwrap().0, std::slice::from_ref(&entry));
    spool.delete(&entry).unwrap();
    assert!(names(directory.path()).is_empty());
    assert!(matches!(spool.delete(&entry), Err(SpoolError::NotFound(_))));
}

#[test]
fn two_of_one_name_are_two() {
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::open(directory.path()).unwrap();
    let config = config("web");
    let (first, second) = (
        incoming(&config, Purpose::Relocation),
        incoming(&config, Purpose::Relocation),
    );
    let entries = [&first, &second].map(|incoming| keep(&spool, incoming).unwrap());
    let Err(SpoolError::Ambiguous { ids, .. }) = spool.find("web") else {
        panic!("not ambiguous");
    };
    assert_eq!(BTreeSet::from_iter(ids), BTreeSet::from([first.id, second.id]));
    assert_eq!(spool.find(&second.id.to_string()).unwrap(), entries[1]);
    assert!(matches!(spool.begin(&first), Err(SpoolError::Exists(_))));
    assert_eq!(spool.list().unwrap().0.len(), 2);
}

#[test]
fn one_that_is_held_is_nobody_elses() {
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::open(directory.path()).unwrap();
    let config = config("web");
    let entry = keep(&spool, &incoming(&config, Purpose::Relocation)).unwrap();
    let held = spool.hold(entry.id).unwrap();
    assert!(matches!(spool.hold(entry.id), Err(SpoolError::Busy(_))));
    assert!(matches!(spool.delete(&entry), Err(SpoolError::Busy(_))));
    drop(held);
    spool.delete(&entry).unwrap();
}

/// Whoever holds an entry has its record as it is, also if someone else has just written it anew.
#[test]
fn what_is_held_is_as_the_one_before_left_it() {
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::open(directory.path()).unwrap();
    let config = config("web");
    let id = keep(&spool, &incoming(&config, Purpose::Relocation)).unwrap().id;
    let count = || {
        let mut counted = 0;
        while counted < 100 {
            let Ok(mut held) = spool.hold(id) else { continue };
            let reason = held.entry().reason.as_deref();
            let before: u32 = reason.and_then(|reason| reason.parse().ok()).unwrap_or(0);
            held.set(EntryState::Kept, None, Some((before + 1).to_string()))
                .unwrap();
            counted += 1;
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(count);
        }
    });
    assert_eq!(spool.find("web").unwrap().reason.as_deref(), Some("300"));
    // What is not there is not held by asking for it.
    let none = Uuid::new_v4();
    assert!(matches!(spool.hold(none), Err(SpoolError::NotFound(_))));
    assert!(!spool.books().held.contains(&none));
}

/// The sender may have given up its copy: what the disk does not take now it may take later.
#[test]
fn a_disk_that_takes_nothing_is_waited_for() {
    for errno in [Errno::ENOSPC, Errno::EDQUOT, Errno::EIO] {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(directory.path()).unwrap();
        let config = config("web");
        let mut writer = spool.begin(&incoming(&config, Purpose::SafetyCopy)).unwrap();
        writer.patience().store(true, Ordering::Relaxed);
        // What is gathered goes out in one write, with the last item.
        arm(Some((1, errno, After::Well)));
        put(&mut writer).unwrap();
        assert!(arm(None));
        let held = writer.finish().unwrap();
        assert_eq!(pages(&mut held.open_image().unwrap()), PAGES);
        // While the sender has its own, it is refused.
        let config = self::config("db");
        let mut writer = spool.begin(&incoming(&config, Purpose::SafetyCopy)).unwrap();
        arm(Some((1, errno, After::Well)));
        assert!(put(&mut writer).is_err());
        assert!(arm(None));
    }
}

/// What came of an image, perhaps the only copy, survives whatever fails from the decision on to keep it.
#[test]
fn what_can_not_be_read_to_its_end_is_not_lost() {
    for (errno, after) in [
        (Errno::ENOSPC, After::Well),
        (Errno::ENOSPC, After::Fails),
        (Errno::EIO, After::Fails),
        (Errno::EIO, After::Crash),
    ] {
        for nth in 1.. {
            let directory = tempfile::tempdir().unwrap();
            let place = directory.path().join(INCOMING).join("place");
            let spool = Spool::open(&place).unwrap();
            let config = config("web");
            let mut writer = spool.begin(&incoming(&config, Purpose::SafetyCopy)).unwrap();
            writer
                .put(Item::Start(DomainHeader {
                    version: 2,
                    guest: DomainHeader::PV,
                    xen_major: 4,
                    xen_minor: 4,
                }))
                .unwrap();
            let broken = directory.path().join(format!("{}.broken", writer.id()));
            let rest = broken.with_extension("rest");
            arm(Some((nth, errno, after)));
            let salvaged = writer.salvage(&broken);
            drop(spool);
            let struck = arm(None);
            // The first step is the one that gives it its name. Nothing is to be said for a crash before that.
            if nth > 1 {
                assert!(broken.exists(), "step {nth}: {salvaged:?}");
            } else if after != After::Crash {
                drop(Spool::open(&place).unwrap());
                let part = names(&place).into_iter().any(|name| name.ends_with(".part"));
                assert!(part, "{:?}", names(&place));
            }
            if !struck {
                salvaged.unwrap();
                fs::write(&rest, "x").unwrap();
                let spool = Spool::open(directory.path()).unwrap();
                let faults = spool.list().unwrap().1;
                assert_eq!(faults.len(), 2, "{faults:?}");
                for fault in faults {
                    let said = fault.to_string();
                    assert!(matches!(fault, SpoolError::Remains { .. }), "{said}");
                    for words in ["domain 'web' from 10.0.0.1:8002", "never delete", "runs elsewhere"] {
                        assert!(said.contains(words), "{said}");
                    }
                }
                fs::remove_file(&broken).unwrap();
                fs::remove_file(&rest).unwrap();
                let faults = spool.list().unwrap().1;
                assert!(matches!(faults[..], [SpoolError::Foreign { .. }]), "{faults:?}");
                break;
            }
        }
    }
}

#[test]
fn what_was_not_finished_is_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::open(directory.path()).unwrap();
    let config = config("web");
    for purpose in [Purpose::SafetyCopy, Purpose::Relocation] {
        let mut writer = spool.begin(&incoming(&config, purpose)).unwrap();
        assert_eq!(spool.list().unwrap().0, []);
        assert!(spool.list().unwrap().1.is_empty());
        writer
            .put(Item::Start(DomainHeader {
                version: 2,
                guest: DomainHeader::PV,
                xen_major: 4,
                xen_minor: 4,
            }))
            .unwrap();
        assert!(matches!(writer.finish(), Err(SpoolError::Image(ImageError::Order(_)))));
        assert!(names(directory.path()).is_empty());
    }
    // Complete, but not finished: whoever sent it may have given it up.
    let mut writer = spool.begin(&incoming(&config, Purpose::Relocation)).unwrap();
    put(&mut writer).unwrap();
    drop(writer);
    assert!(names(directory.path()).is_empty());
    let mut writer = spool.begin(&incoming(&config, Purpose::SafetyCopy)).unwrap();
    put(&mut writer).unwrap();
    drop(writer);
    assert!(spool.list().unwrap().0.is_empty());
    drop(spool);
    let spool = Spool::open(directory.path()).unwrap();
    let entry = spool.find("web").unwrap();
    assert_eq!(entry.state, EntryState::Kept);
    assert_eq!(pages(&mut spool.open_image(&entry).unwrap()), PAGES);
    assert!(spool.list().unwrap().1.is_empty());
}

#[test]
fn room_is_promised_once() {
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::open(directory.path()).unwrap();
    let mut large = config("web");
    large.memory_kib = spool.room().unwrap() / 1024 / 10 * 6;
    let writer = spool.begin(&incoming(&large, Purpose::Relocation)).unwrap();
    let again = spool.begin(&incoming(&large, Purpose::Relocation));
    assert!(matches!(again, Err(SpoolError::NoRoom { needed, free, .. }) if needed > free));
    drop(writer);
    spool.begin(&incoming(&large, Purpose::Relocation)).unwrap();
    assert!(names(directory.path()).is_empty());
}

/// A fault at each step, one after the other, until there are no more steps. `check` sees what the steps gave, and the directory.
fn at_each_step(purpose: Purpose, after: After, check: impl Fn(Result<Entry, SpoolError>, &Path)) {
    for errno in [Errno::ENOSPC, Errno::EIO] {
        for nth in 1.. {
            let directory = tempfile::tempdir().unwrap();
            let spool = Spool::open(directory.path()).unwrap();
            let config = config("web");
            arm(Some((nth, errno, after)));
            let kept = keep(&spool, &incoming(&config, purpose));
            drop(spool);
            if !arm(None) {
                assert!(nth > 10, "only {nth} steps?");
                break;
            }
            check(kept, directory.path());
        }
    }
}

#[test]
fn a_write_that_fails_leaves_nothing_half_done() {
    for after in [After::Well, After::Fails] {
        at_each_step(Purpose::Relocation, after, |kept, directory| {
            let spool = Spool::open(directory).unwrap();
            let (entries, faults) = spool.list().unwrap();
            assert!(faults.is_empty(), "{faults:?}");
            match (kept, &entries[..]) {
                // It was an entry before the record was written anew: its state may be the old one, but it is whole.
                (_, [entry]) => assert_eq!(pages(&mut spool.open_image(entry).unwrap()), PAGES),
                (Ok(_), other) => panic!("{other:?}"),
                (Err(_), other) => {
                    assert!(other.is_empty());
                    assert!(names(directory).is_empty(), "{:?}", names(directory));
                }
            }
        });
    }
}

#[test]
fn a_crash_leaves_nothing_or_all_of_it() {
    for purpose in [Purpose::Relocation, Purpose::SafetyCopy] {
        at_each_step(purpose, After::Crash, |_, directory| {
            // A start that finds nothing to do comes to the same.
            for _ in 0..2 {
                let spool = Spool::open(directory).unwrap();
                let (entries, faults) = spool.list().unwrap();
                assert!(faults.is_empty(), "{faults:?}");
                match &entries[..] {
                    [] => assert!(names(directory).is_empty(), "{:?}", names(directory)),
                    [entry] => {
                        assert_eq!(names(directory).len(), 2, "{:?}", names(directory));
                        assert_eq!(pages(&mut spool.open_image(entry).unwrap()), PAGES);
                    }
                    more => panic!("{more:?}"),
                }
            }
        });
    }
}

#[test]
fn a_complete_safety_copy_survives_whatever_fails_behind_its_end() {
    for after in [After::Well, After::Fails, After::Crash] {
        for nth in 1.. {
            let directory = tempfile::tempdir().unwrap();
            let spool = Spool::open(directory.path()).unwrap();
            let config = config("web");
            let mut writer = spool.begin(&incoming(&config, Purpose::SafetyCopy)).unwrap();
            put(&mut writer).unwrap();
            // What is gathered goes out in one write, with the first step: from then on nobody may lose it.
            arm(Some((nth + 1, Errno::EIO, after)));
            let finished = writer.finish().map(drop);
            drop(spool);
            let struck = arm(None);
            let spool = Spool::open(directory.path()).unwrap();
            let entry = spool
                .find("web")
                .unwrap_or_else(|error| panic!("step {nth}: {error}, {finished:?}"));
            assert_eq!(pages(&mut spool.open_image(&entry).unwrap()), PAGES);
            if !struck {
                break;
            }
        }
    }
}

#[test]
fn a_crash_while_deleting_leaves_nothing_or_all_of_it() {
    for nth in 1.. {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(directory.path()).unwrap();
        let config = config("web");
        let entry = keep(&spool, &incoming(&config, Purpose::Relocation)).unwrap();
        arm(Some((nth, Errno::EIO, After::Crash)));
        let deleted = spool.delete(&entry);
        drop(spool);
        let struck = arm(None);
        let spool = Spool::open(directory.path()).unwrap();
        let (entries, faults) = spool.list().unwrap();
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(names(directory.path()).len(), 2 * entries.len());
        assert!(deleted.is_err() || entries.is_empty());
        if !struck {
            assert!(nth > 2);
            break;
        }
    }
}

#[test]
fn a_delete_that_fails_can_be_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::open(directory.path()).unwrap();
    let config = config("web");
    let entry = keep(&spool, &incoming(&config, Purpose::Relocation)).unwrap();
    for nth in 1..=2 {
        let held = spool.hold(entry.id).unwrap();
        arm(Some((nth, Errno::EIO, After::Well)));
        let (_, held) = held.delete().unwrap_err();
        arm(None);
        if nth == 2 {
            held.delete().unwrap();
        }
    }
    assert!(names(directory.path()).is_empty());
}

#[test]
fn torn_and_foreign_files_are_told_of_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let spool = Spool::open(directory.path()).unwrap();
    let config = config("web");
    let entry = keep(&spool, &incoming(&config, Purpose::Relocation)).unwrap();
    let (record, image) = (spool.path(&entry, "sxp"), spool.image_path(&entry));
    let (whole, bytes) = (fs::read(&record).unwrap(), fs::read(&image).unwrap());
    drop(spool);
    let told = || {
        let before = names(directory.path());
        let spool = Spool::open(directory.path()).unwrap();
        let (entries, faults) = spool.list().unwrap();
        assert_eq!(names(directory.path()), before);
        (entries.len(), faults.len())
    };
    assert_eq!(told(), (1, 0));
    for length in 0..whole.len() {
        fs::write(&record, &whole[..length]).unwrap();
        assert_eq!(told(), (0, 1), "the record has {length} bytes");
    }
    let newer = String::from_utf8(whole.clone())
        .unwrap()
        .replace("(version 1)", "(version 2)");
    fs::write(&record, newer).unwrap();
    assert_eq!(told(), (0, 1));
    fs::write(&record, &whole).unwrap();
    fs::write(&image, &bytes[1..]).unwrap();
    assert_eq!(told(), (0, 1));
    fs::remove_file(&image).unwrap();
    assert_eq!(told(), (0, 1));
    fs::write(&image, &bytes).unwrap();
    // Under another name it would be two.
    let id = Uuid::new_v4();
    fs::write(path(&format!("web.{id}.sxp")), &whole).unwrap();
    fs::write(path(&format!("web.{id}.save")), &bytes).unwrap();
    assert_eq!(told(), (1, 1));
    fs::write(path("notes.txt"), "x").unwrap();
    fs::write(path(&format!("web.{}.save", Uuid::new_v4())), &bytes).unwrap();
    fs::write(path(&format!("web.{}.part", Uuid::new_v4())), &bytes).unwrap();
    let id = Uuid::new_v4();
    fs::write(path(&format!("web.{id}.part")), &bytes).unwrap();
    fs::write(path(&format!("web.{id}.arriving")), "(spooled (version 9))\n").unwrap();
    assert_eq!(told(), (1, 6));
}

#[test]
fn an_image_that_is_no_image_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::open(directory.path()).unwrap();
    let config = config("web");
    let entry = keep(&spool, &incoming(&config, Purpose::Relocation)).unwrap();
    let image = spool.image_path(&entry);
    let mut bytes = fs::read(&image).unwrap();
    fs::write(&image, &bytes[..bytes.len() - 1]).unwrap();
    assert!(matches!(spool.open_image(&entry), Err(SpoolError::Foreign { .. })));
    bytes[..32].fill(0);
    fs::write(&image, &bytes).unwrap();
    assert!(matches!(
        spool.open_image(&entry),
        Err(SpoolError::Image(ImageError::Format { .. }))
    ));
}

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

proptest::proptest! {
    // Each case reads some thousand cuts.
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]
    #[test]
    fn records_come_back_and_a_cut_is_told(peer in ".{0,60}", reason in proptest::option::of(".{0,60}"), name in "[^\\x00-\\x1f\\x7f-\\u{9f}/]{1,60}") {
        let config = config(&name);
        let mut entry = Entry::new(Uuid::new_v4(), &config, Some(&config.to_sxp()), &peer, Purpose::SafetyCopy);
        entry.reason = reason;
        let path = PathBuf::from(format!("{}.sxp", entry.stem()));
        let bytes = entry.to_bytes().unwrap();
        proptest::prop_assert_eq!(&Entry::parse(&path, &bytes).unwrap(), &entry);
        for length in 0..bytes.len() {
            proptest::prop_assert!(Entry::parse(&path, &bytes[..length]).is_err());
        }
    }

    #[test]
    fn random_bytes_are_no_record(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), begun in proptest::bool::ANY) {
        let bytes = if begun { [b"(spooled (version 1) ", &bytes[..]].concat() } else { bytes };
        proptest::prop_assert!(Entry::parse(Path::new("web.x.sxp"), &bytes).is_err());
    }
}
