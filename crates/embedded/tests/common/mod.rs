//! A host of software machines in a temporary directory, and a wire in memory.
#![allow(dead_code)]

use std::{
    collections::VecDeque,
    io::Read,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use domain::{DomainConfig, GuestKind};
use embedded::Embedded;
use image::{DomainHeader, ImageError, ImageSink, ImageSource, Item, PageBatch, PageEntry, record::RecordType};
use toolstack::{Arrival, Departed, Departure, Mode, Observer, Progress, Settings, Toolstack};
use uuid::Uuid;

pub struct TestHost {
    pub toolstack: Embedded,
    pub directory: tempfile::TempDir,
}

impl TestHost {
    pub fn new() -> TestHost {
        let directory = tempfile::tempdir().unwrap();
        TestHost {
            toolstack: open(&directory),
            directory,
        }
    }

    /// As after a restart of the daemon.
    pub fn reopen(&self) -> Embedded {
        open(&self.directory)
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        for domain in self.toolstack.domains().unwrap_or_default() {
            let _ = self.toolstack.destroy(domain.id);
        }
    }
}

fn open(directory: &tempfile::TempDir) -> Embedded {
    let settings = Settings {
        state_directory: directory.path().to_owned(),
        embedded_memory_kib: Some(1 << 20),
        console_limit_kib: 64,
    };
    Embedded::new(&settings, env!("CARGO_BIN_EXE_embedded-machine").into()).unwrap()
}

pub fn config(name: &str, mib: u64, extra: &str) -> DomainConfig {
    let mut config = DomainConfig::new(name, Uuid::new_v4(), mib * 1024, GuestKind::Embedded);
    config.extra = Some(extra.to_owned());
    config
}

/// An item that owns what it has.
pub enum Owned {
    Start(DomainHeader),
    Record(RecordType, Vec<u8>),
    Pages(Vec<PageEntry>, Vec<u8>),
    End,
    Finish,
}

/// An image in memory: what a sink took, a source gives again.
#[derive(Default)]
pub struct Wire {
    pub items: VecDeque<Owned>,
    pub fail_after: Option<usize>,
    pub given: Option<Owned>,
}

impl ImageSink for Wire {
    fn put(&mut self, item: Item<'_>) -> Result<(), ImageError> {
        if self.fail_after.is_some_and(|most| self.items.len() >= most) {
            return Err(ImageError::Peer("cut".to_owned()));
        }
        self.items.push_back(match item {
            Item::Start(header) => Owned::Start(header),
            Item::Record { kind, body } => Owned::Record(kind, body.to_vec()),
            Item::Pages(batch) => Owned::Pages(batch.entries.to_vec(), batch.data.to_vec()),
            Item::End => Owned::End,
            Item::Libxl { .. } => panic!("a libxl record"),
            Item::Finish => Owned::Finish,
        });
        Ok(())
    }
}

impl ImageSource for Wire {
    fn next(&mut self) -> Result<Item<'_>, ImageError> {
        let Some(item) = self.items.pop_front() else {
            return Err(ImageError::Peer("cut".to_owned()));
        };
        Ok(match self.given.insert(item) {
            Owned::Start(header) => Item::Start(*header),
            Owned::Record(kind, body) => Item::Record { kind: *kind, body },
            Owned::Pages(entries, data) => Item::Pages(PageBatch { entries, data }),
            Owned::End => Item::End,
            Owned::Finish => Item::Finish,
        })
    }
}

pub struct Quiet;

impl Observer for Quiet {
    fn progress(&mut self, _: &Progress) -> Result<(), ImageError> {
        Ok(())
    }
}

pub fn depart(
    host: &Embedded,
    id: u32,
    relocation: Uuid,
    mode: &Mode,
    wire: &mut Wire,
) -> toolstack::Result<Box<dyn Departed>> {
    host.depart(&Departure { relocation, id, mode }, wire, &mut Quiet)
}

/// Moves a domain, decision and all; gives its number there.
pub fn relocate(from: &Embedded, to: &Embedded, id: u32, mode: &Mode) -> u32 {
    let relocation = Uuid::new_v4();
    let config = from.config(id).unwrap();
    let mut wire = Wire::default();
    let departed = depart(from, id, relocation, mode, &mut wire).unwrap();
    let arrived = to
        .arrive(
            &Arrival {
                relocation,
                config: &config,
                peer: "",
                original: None,
            },
            &mut wire,
        )
        .unwrap();
    let id = arrived.unpause().map_err(|undone| undone.error).unwrap();
    departed.destroy().map_err(|undone| undone.error).unwrap();
    id
}

/// Reads a console until `done` says that it has seen enough of the text.
pub fn watch(mut console: UnixStream, done: impl Fn(&str) -> bool) -> String {
    let begun = Instant::now();
    console.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut text = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        let seen = String::from_utf8_lossy(&text).into_owned();
        if done(&seen) {
            return seen;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "the console only said: {seen}"
        );
        match console.read(&mut bytes) {
            Ok(0) => return seen,
            Ok(count) => text.extend_from_slice(&bytes[..count]),
            Err(_) => {}
        }
    }
}

/// The numbers of the ticks on a console.
pub fn ticks(text: &str) -> Vec<u64> {
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    whole
        .lines()
        .filter_map(|line| line.strip_prefix("tick ")?.split(' ').next()?.parse().ok())
        .collect()
}
