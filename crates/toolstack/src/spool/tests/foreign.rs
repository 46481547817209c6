//! Files that the spool did not write, or not all of, and records that nobody wrote.

use super::*;

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
