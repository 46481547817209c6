//! From file to file, where the system copies the contents of pages: the same comes out as through buffers, and the same errors.

use std::{
    fs::{self, File},
    io::{BufReader, BufWriter, Read as _, Seek as _},
    os::{
        fd::OwnedFd,
        unix::{fs::FileExt as _, net::UnixStream},
    },
    path::PathBuf,
    thread,
};

use image::{
    ImageError, ImageSink as _, ImageSource as _, Item,
    convert::{Converted, legacy_file_to_xl_save, legacy_to_xl_save},
    legacy::{Ahead, LegacyOptions, LegacySource},
    save::SaveConfig,
    v2::V2Writer,
};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::{
    images::{LIBXL_MODEL, Legacy, variants},
    options,
    properties::any_image,
};

/// As small as a reader's buffer can be while the contents of pages are in it now and then.
const BUFFER: usize = 5000;

fn config() -> SaveConfig {
    SaveConfig::Text(b"name = \"web\"\n".to_vec())
}

/// What is made of an image through buffers, and how far it was read.
fn buffered(bytes: &[u8], options: LegacyOptions) -> Result<(Vec<u8>, Converted, u64), ImageError> {
    let mut source = LegacySource::new(bytes, options);
    let mut out = Vec::new();
    let done = legacy_to_xl_save(&mut source, config(), &mut out)?;
    Ok((out, done, source.offset()))
}

/// What goes into `out`, and how far the file was read.
fn direct(mut file: File, options: LegacyOptions, out: File) -> Result<(Converted, u64), ImageError> {
    file.rewind().unwrap();
    let mut read = BufReader::with_capacity(BUFFER, file);
    let mut source = LegacySource::new(&mut read, options);
    let done = legacy_file_to_xl_save(&mut source, config(), &mut BufWriter::new(out))?;
    let end = source.offset();
    // It stands behind the last byte that was asked for.
    assert_eq!(read.stream_position().unwrap(), end);
    Ok((done, end))
}

/// A place for an image and what is made of it.
struct Files(TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().unwrap())
    }

    fn image(&self, bytes: &[u8]) -> File {
        let path = self.0.path().join("image");
        fs::write(&path, bytes).unwrap();
        File::options().read(true).write(true).open(path).unwrap()
    }

    fn out(&self) -> PathBuf {
        self.0.path().join("out")
    }

    fn direct(&self, file: File, options: LegacyOptions) -> Result<(Vec<u8>, Converted, u64), ImageError> {
        let (done, end) = direct(file, options, File::create(self.out()).unwrap())?;
        Ok((fs::read(self.out()).unwrap(), done, end))
    }
}

/// Whether both ways came to the same, in bytes or in words.
#[track_caller]
fn same(
    name: &str,
    one: Result<(Vec<u8>, Converted, u64), ImageError>,
    other: Result<(Vec<u8>, Converted, u64), ImageError>,
) {
    match (one, other) {
        (Ok(one), Ok(other)) => assert!(one == other, "{name}: another file"),
        (Err(one), Err(other)) => assert_eq!(one.to_string(), other.to_string(), "{name}"),
        (one, other) => panic!(
            "{name}: {:?} and {:?}",
            one.map(|one| one.1),
            other.map(|other| other.1)
        ),
    }
}

/// With batches of all sizes around the one from which on contents go their own way.
fn with_batches(image: &Legacy) -> [Legacy; 4] {
    [15, 16, 17, 1024].map(|batch| Legacy { batch, ..image.clone() })
}

#[test]
fn every_variant_becomes_the_same_file() {
    let files = Files::new();
    for variant in variants() {
        for image in with_batches(&variant.image) {
            let (name, bytes, options) = (variant.name, image.bytes(), options(!image.is_pv(), true));
            let expected = buffered(&bytes, options).unwrap_or_else(|error| panic!("{name}: {error}"));
            same(name, files.direct(files.image(&bytes), options), Ok(expected));
        }
    }
}

/// Files between which the system does not copy by itself, or not to the end of another one, or should not.
#[test]
fn every_kind_of_output_gets_the_same() {
    let files = Files::new();
    let image = Legacy {
        pages: 1100,
        batch: 1024,
        rounds: 2,
        ..Legacy::pv64()
    };
    let (bytes, options) = (image.bytes(), options(false, true));
    let (expected, ..) = buffered(&bytes, options).unwrap();

    fs::write(files.out(), "before").unwrap();
    let end = File::options().append(true).open(files.out()).unwrap();
    direct(files.image(&bytes), options, end).unwrap();
    let out = fs::read(files.out()).unwrap();
    assert!(
        out.starts_with(b"before") && out[6..] == expected,
        "at the end of a file"
    );

    let in_middle = || {
        let mut file = File::options().write(true).open(files.out()).unwrap();
        file.seek(std::io::SeekFrom::Start(3)).unwrap();
        file
    };
    direct(files.image(&bytes), options, in_middle()).unwrap();
    let out = fs::read(files.out()).unwrap();
    assert!(
        out.starts_with(b"bef") && out[3..3 + expected.len()] == expected,
        "in a file's middle"
    );

    let received = |(mut read, write): (File, File)| {
        thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let mut out = Vec::new();
                read.read_to_end(&mut out).unwrap();
                out
            });
            direct(files.image(&bytes), options, write).unwrap();
            reader.join().unwrap()
        })
    };
    let (read, write) = std::io::pipe().unwrap();
    let pipe = (File::from(OwnedFd::from(read)), File::from(OwnedFd::from(write)));
    assert!(received(pipe) == expected, "into a pipe");
    let (read, write) = UnixStream::pair().unwrap();
    let socket = (File::from(OwnedFd::from(read)), File::from(OwnedFd::from(write)));
    assert!(received(socket) == expected, "into a socket");

    let nowhere = File::options().write(true).open("/dev/null").unwrap();
    direct(files.image(&bytes), options, nowhere).unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let error = direct(files.image(&bytes), options, full).unwrap_err();
    assert!(
        matches!(&error, ImageError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull),
        "{error}"
    );
}

/// Nobody may see in a pipe what is changed in the file afterwards.
#[test]
fn what_has_been_converted_stays_as_it_is() {
    let files = Files::new();
    let image = Legacy {
        batch: 1024,
        ..Legacy::pv64()
    };
    let (bytes, options) = (image.bytes(), options(false, true));
    let (expected, ..) = buffered(&bytes, options).unwrap();
    let (mut read, write) = std::io::pipe().unwrap();
    // All of it has to find room while nobody reads.
    nix::fcntl::fcntl(&write, nix::fcntl::FcntlArg::F_SETPIPE_SZ(1 << 20)).unwrap();
    let file = files.image(&bytes);
    direct(file.try_clone().unwrap(), options, File::from(OwnedFd::from(write))).unwrap();
    file.write_all_at(&vec![0xee; bytes.len()], 0).unwrap();
    let mut out = Vec::new();
    read.read_to_end(&mut out).unwrap();
    assert!(out == expected, "what was changed afterwards came through");
}

#[test]
fn a_file_that_is_cut_anywhere_is_the_same_error() {
    let files = Files::new();
    let images = [
        Legacy {
            xsave: Some(608),
            rounds: 2,
            ..Legacy::pv64()
        },
        Legacy {
            pages: 30,
            batch: 1024,
            no_data: true,
            ..Legacy::pae(4)
        },
        Legacy {
            batch: 1024,
            verify: true,
            ..Legacy::pae(8)
        },
        Legacy {
            batch: 1024,
            mappings: Some(vec![(1, 2, 3, "vga")]),
            ..Legacy::hvm(8)
        },
    ];
    for image in images {
        let (bytes, options) = (image.bytes(), options(!image.is_pv(), true));
        // All over, at every boundary of a page of the file and beside it, and at every byte near the end.
        let near = (0..bytes.len()).filter(|at| (at + 1) % 4096 < 3 || at % 1021 == 0 || bytes.len() - at < 30);
        let file = files.image(&bytes);
        for length in near.collect::<Vec<_>>().into_iter().rev() {
            file.set_len(length as u64).unwrap();
            let name = format!("{image:?} cut at {length}");
            same(
                &name,
                files.direct(file.try_clone().unwrap(), options),
                buffered(&bytes[..length], options),
            );
        }
    }
}

/// Looks at the pages of a file that come first, then makes the file `left` bytes longer than what stands before their contents, and goes on.
fn shrinks(files: &Files, bytes: &[u8], left: u64, after: bool) -> ImageError {
    let file = files.image(bytes);
    let mut read = BufReader::with_capacity(BUFFER, file.try_clone().unwrap());
    let mut source = LegacySource::new(&mut read, options(false, true));
    let mut writer = V2Writer::new(BufWriter::new(File::create(files.out()).unwrap()));
    loop {
        let begin = source.offset();
        match source.next_ahead() {
            Ok(Ahead::Item(item)) => {
                writer.put(item).unwrap();
                assert!(!matches!(item, Item::Finish), "{left}: it came through");
            }
            Ok(Ahead::Pages(pages)) => {
                let entries = pages.entries();
                let cut = || file.set_len(begin + 4 + entries.len() as u64 * 8 + left).unwrap();
                if !after {
                    cut();
                }
                if let Err(error) = writer.put_pages_with(entries, |out| pages.copy(out)) {
                    return error;
                }
                cut();
            }
            Err(error) => return error,
        }
    }
}

#[test]
fn a_file_that_shrinks_meanwhile_is_an_error() {
    let files = Files::new();
    let bytes = Legacy {
        pages: 100,
        batch: 1024,
        ..Legacy::pv64()
    }
    .bytes();
    for left in [0, 1, 4095, 4096, 50 * 4096, 98 * 4096 - 1] {
        for after in [false, true] {
            let error = shrinks(&files, &bytes, left, after);
            let part = if after { "a chunk's number" } else { "a batch's pages" };
            let expected = format!("the image ends here, in the middle of {part}");
            assert!(error.to_string().ends_with(&expected), "{left}: {error}");
        }
    }
}

#[test]
fn contents_that_are_not_taken_are_in_the_way() {
    let bytes = Legacy::pv64().bytes();
    let mut source = LegacySource::new(&bytes[..], options(false, true));
    while let Ahead::Item(_) = source.next_ahead().unwrap() {}
    assert!(matches!(source.next_ahead(), Err(ImageError::Order(_))));
    assert!(matches!(source.next(), Err(ImageError::Order(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_image_becomes_the_same_file(image in any_image(), batch in 10..80_usize, at in any::<prop::sample::Index>(), cut in any::<bool>()) {
        let model = image.model.clone().map(|(_, state)| (LIBXL_MODEL, state));
        let image = Legacy { model, batch, ..image };
        let mut bytes = image.bytes();
        if cut {
            bytes.truncate(at.index(bytes.len()));
        }
        let (files, options) = (Files::new(), options(!image.is_pv(), true));
        same("any", files.direct(files.image(&bytes), options), buffered(&bytes, options));
    }
}
