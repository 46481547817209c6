//! The sample that is shipped.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests are not seen as tests

use config::{Config, Severity, keys};

const SAMPLE: &str = include_str!("../../../config/xend-config.sxp");

#[test]
fn says_what_red_hats_said() {
    let loaded = Config::parse(SAMPLE.as_bytes(), "sample").unwrap();
    assert_eq!(loaded.notes, []);
    let config = loaded.config;
    assert!(config.relocation_server);
    let entries: Vec<&str> = config.hosts_allow.entries().iter().map(config::Entry::text).collect();
    assert_eq!(entries, ["^localhost$", r"^localhost\.localdomain$"]);
    let defaults = Config {
        relocation_server: true,
        hosts_allow: config.hosts_allow.clone(),
        ..Config::default()
    };
    assert_eq!(config, defaults);
}

/// The entries that are commented out.
fn commented() -> Vec<&'static str> {
    SAMPLE
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| line.starts_with('('))
        .collect()
}

#[test]
fn mentions_every_key_with_its_default() {
    for key in keys() {
        let name = format!("({} ", key.name);
        let entry = commented()
            .into_iter()
            .chain(SAMPLE.lines())
            .find(|line| line.starts_with(&name));
        let entry = entry.unwrap_or_else(|| panic!("{} is not mentioned", key.name));
        let active = SAMPLE.lines().any(|line| line == entry);
        if let Some(default) = key.default.filter(|_| !active) {
            let value = entry.strip_prefix(&name).unwrap().strip_suffix(')').unwrap();
            assert_eq!(value, if default.is_empty() { "''" } else { default }, "{}", key.name);
        }
    }
}

#[test]
fn every_commented_entry_can_be_used() {
    assert!(commented().len() > 50);
    let all = SAMPLE.replace("\n#(", "\n(");
    let loaded = Config::parse(all.as_bytes(), "sample").unwrap();
    assert_eq!(loaded.notes, []);
    for entry in commented() {
        let notes = Config::parse(entry.as_bytes(), "sample").unwrap().notes;
        assert!(notes.iter().all(|note| note.severity == Severity::Note), "{notes:?}");
    }
}
