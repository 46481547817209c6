//! What the journal keeps, and what it makes of files that are not its own.

use super::*;

fn entry() -> Entry {
    Entry::new(
        Uuid::new_v4(),
        Direction::Out,
        "it's web",
        Uuid::new_v4(),
        "10.0.0.2:8002",
        "live",
        "sending",
    )
}

#[test]
fn a_record_comes_back_as_it_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::open(directory.path()).unwrap();
    let mut entry = entry();
    journal.write(&mut entry).unwrap();
    entry.state = "committed".to_owned();
    entry.detail = Some("cut (here) \n 'and' there".to_owned());
    journal.write(&mut entry).unwrap();
    assert_eq!(journal.find(entry.id, Direction::Out).unwrap(), Some(entry.clone()));
    assert_eq!(journal.find(entry.id, Direction::In).unwrap(), None);
    assert_eq!(journal.all().unwrap().0, [entry]);
}

#[test]
fn a_torn_record_is_reported_at_every_length() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::open(directory.path()).unwrap();
    let mut entry = entry();
    journal.write(&mut entry).unwrap();
    let path = journal.path(entry.id, entry.direction);
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let (entries, faults) = journal.all().unwrap();
        assert!(entries.is_empty(), "taken for whole at {length} bytes");
        assert_eq!(faults.len(), 1);
    }
}

#[test]
fn what_a_crash_left_beside_a_record_does_not_count() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::open(directory.path()).unwrap();
    let mut entry = entry();
    journal.write(&mut entry).unwrap();
    let new = journal.path(entry.id, entry.direction).with_extension("new");
    fs::write(&new, b"(relocation (vers").unwrap();
    assert_eq!(journal.all().unwrap().0, std::slice::from_ref(&entry));
    // A write may be under way: only a start removes it.
    assert!(new.exists());
    drop(journal);
    let journal = Journal::open(directory.path()).unwrap();
    assert!(!new.exists());
    assert_eq!(journal.all().unwrap().0, [entry]);
}

#[test]
fn only_old_finished_records_expire() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::open(directory.path()).unwrap();
    let mut entry = entry();
    journal.write(&mut entry).unwrap();
    journal.expire(|_| Some(Duration::from_secs(3600))).unwrap();
    assert_eq!(journal.all().unwrap().0.len(), 1);
    let path = journal.path(entry.id, entry.direction);
    let old = fs::read_to_string(&path)
        .unwrap()
        .replace(&format!("(updated {})", entry.updated), "(updated 5)");
    fs::write(&path, old).unwrap();
    journal.expire(|_| None).unwrap();
    assert_eq!(journal.all().unwrap().0.len(), 1);
    journal.expire(|_| Some(Duration::from_secs(3600))).unwrap();
    assert_eq!(journal.all().unwrap().0.len(), 0);
}
