//! Domains that go in, are found, held and taken out.

use image::save::{SaveConfig, SaveHeader};

use super::*;

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
    assert_eq!(header.config, SaveConfig::Text(config.to_xl().unwrap()));
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
