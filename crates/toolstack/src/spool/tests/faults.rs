//! Disks that are full or fail, and crashes: at each step that there is.

use nix::errno::Errno;

use super::{
    super::files::{After, arm},
    *,
};

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
