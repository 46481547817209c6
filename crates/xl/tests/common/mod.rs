//! A host with a stand-in for `xl`.
#![allow(dead_code)]

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use domain::{DomainConfig, GuestKind, Vif};
use image::{
    ImageError, ImageSink, ImageSource, Item,
    v2::{V2Reader, V2Writer},
};
use toolstack::{
    Arrival, Arrived, Departed, Departure, DomainState, LiveOptions, Mode, Observer, Progress, Settings, Toolstack,
};
use uuid::Uuid;
use xl::Xl;

/// How long anything may take that does take place. Long: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Host {
    pub directory: tempfile::TempDir,
    pub xl: Xl,
}

impl Host {
    pub fn new() -> Host {
        let directory = tempfile::tempdir().unwrap();
        let program = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/support/xl"));
        std::os::unix::fs::symlink(program, directory.path().join("xl")).unwrap();
        let xl = open(&directory);
        Host { directory, xl }
    }

    /// The toolstack of the next daemon.
    pub fn restart(&mut self) {
        self.xl = open(&self.directory);
    }

    fn state(&self, name: &str) -> PathBuf {
        self.directory.path().join("state").join(name)
    }

    /// Says how a command behaves from now on; nothing: as it should.
    pub fn fault(&self, command: &str, fault: &str) {
        self.set(&format!("fault-{command}"), fault);
    }

    /// Changes the domains, behind everyone's back.
    pub fn change_domains(&self, change: impl Fn(&str) -> String) {
        let text = fs::read_to_string(self.state("domains")).unwrap();
        self.set("domains", &change(&text));
    }

    pub fn set(&self, name: &str, value: &str) {
        fs::write(self.state(name), value).unwrap();
    }

    /// What has happened to domains since the last look.
    pub fn events(&self) -> Vec<String> {
        let text = fs::read_to_string(self.state("events")).unwrap_or_default();
        let _ = fs::remove_file(self.state("events"));
        text.lines().map(str::to_owned).collect()
    }

    pub fn memory(&self, id: u32) -> Vec<u8> {
        fs::read(self.state(&format!("{id}.mem"))).unwrap()
    }

    pub fn create(&self, name: &str) -> u32 {
        self.xl.create(&config(name, GuestKind::Pv)).unwrap()
    }

    /// Names and states of all domains.
    pub fn domains(&self) -> Vec<(String, DomainState)> {
        let domains = self.xl.domains().unwrap();
        domains.into_iter().map(|domain| (domain.name, domain.state)).collect()
    }

    /// The names as Xen has them.
    pub fn xen_names(&self) -> Vec<String> {
        let text = fs::read_to_string(self.state("domains")).unwrap_or_else(|_| "{}".to_owned());
        let domains: serde_json::Value = serde_json::from_str(&text).unwrap();
        let names = domains.as_object().unwrap().values();
        names
            .map(|domain| domain["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Processes that have to do with this host's xl, but for monitors of domains.
    pub fn processes(&self) -> Vec<String> {
        let directory = self.directory.path().to_string_lossy().into_owned();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            if command.contains(&directory) && !command.contains("/xl create") && !command.contains("/xl restore") {
                found.push(command);
            }
        }
        found
    }

    pub fn depart(&self, id: u32, relocation: Uuid, image: &mut dyn ImageSink) -> toolstack::Result<Box<dyn Departed>> {
        let mode = Mode::Offline;
        self.xl.depart(
            &Departure {
                relocation,
                id,
                mode: &mode,
            },
            image,
            &mut Quiet,
        )
    }

    pub fn depart_live(
        &self,
        id: u32,
        relocation: Uuid,
        image: &mut dyn ImageSink,
    ) -> toolstack::Result<Box<dyn Departed>> {
        let mode = Mode::Live(LiveOptions::default());
        self.xl.depart(
            &Departure {
                relocation,
                id,
                mode: &mode,
            },
            image,
            &mut Quiet,
        )
    }

    pub fn arrive(
        &self,
        relocation: Uuid,
        config: &DomainConfig,
        image: &mut dyn ImageSource,
    ) -> toolstack::Result<Box<dyn Arrived>> {
        let arrival = Arrival {
            relocation,
            config,
            peer: "",
            original: None,
        };
        self.xl.arrive(&arrival, image)
    }

    /// The image of a domain that has departed, and its configuration. The domain is gone.
    pub fn image(name: &str, kind: GuestKind) -> (DomainConfig, Vec<u8>) {
        let host = Host::new();
        let id = host.xl.create(&config(name, kind)).unwrap();
        let config = host.xl.config(id).unwrap();
        let mut image = V2Writer::new(Vec::new());
        let departed = host.depart(id, Uuid::new_v4(), &mut image).unwrap();
        departed.destroy().map_err(|undone| undone.error).unwrap();
        (config, image.into_inner())
    }
}

fn open(directory: &tempfile::TempDir) -> Xl {
    let settings = Settings {
        state_directory: directory.path().join("relocd"),
        embedded_memory_kib: None,
        console_limit_kib: 16,
    };
    let helper = PathBuf::from(env!("CARGO_BIN_EXE_xl-transport"));
    Xl::new(&settings, directory.path().join("xl"), helper).unwrap()
}

/// A domain of 1 MiB.
pub fn config(name: &str, kind: GuestKind) -> DomainConfig {
    let mut config = DomainConfig::new(name, Uuid::new_v4(), 1024, kind);
    config.kernel = Some("/boot/guest".to_owned());
    config.vifs.push(Vif {
        mac: Some("00:16:3e:00:00:01".to_owned()),
        bridge: Some("xenbr0".to_owned()),
        ..Vif::default()
    });
    config
}

pub fn source(image: &[u8]) -> V2Reader<&[u8]> {
    V2Reader::new(image)
}

pub fn wait(what: &str, is: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < PATIENCE, "{what} does not come");
        thread::sleep(Duration::from_millis(10));
    }
}

pub struct Quiet;

impl Observer for Quiet {
    fn progress(&mut self, _: &Progress) -> Result<(), ImageError> {
        Ok(())
    }
}

/// A sink whose other end goes away after so many items.
pub struct Cut(pub usize);

impl ImageSink for Cut {
    fn put(&mut self, _: Item<'_>) -> Result<(), ImageError> {
        let Some(left) = self.0.checked_sub(1) else {
            return Err(ImageError::Peer("the other end has gone".to_owned()));
        };
        self.0 = left;
        Ok(())
    }
}

/// The error of a decision or a departure, which has no name of its own to be printed by.
pub fn error<T>(result: toolstack::Result<T>) -> String {
    match result {
        Ok(_) => panic!("it worked"),
        Err(error) => error.to_string(),
    }
}
