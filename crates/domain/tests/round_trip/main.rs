//! Configurations come back as they were: through relocd's own sxp, xend's, xl's text and JSON. And nothing that anybody sends breaks the readers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod configs;
mod trees;

use std::collections::BTreeMap;

use configs::config;
use domain::{DomainConfig, GuestKind, Platform, config_file};
use proptest::prelude::*;
use sxp::{Limits, Sexp, read_all};
use trees::tree;

fn printed(value: &Sexp) -> Sexp {
    read_all(&sxp::to_bytes(value), Limits::default()).unwrap()[0].to_sexp()
}

/// What xl's text has no room for: xend's `vif` has a default in an HVM guest.
fn for_xl(mut config: DomainConfig) -> DomainConfig {
    if config.kind == GuestKind::Hvm {
        for vif in &mut config.vifs {
            vif.kind.get_or_insert_with(|| "ioemu".to_owned());
        }
    }
    config
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn relocds_own_sxp(config in config()) {
        prop_assert_eq!(DomainConfig::from_sxp(&printed(&config.to_sxp())).unwrap(), config);
    }

    #[test]
    fn xl_text(config in config()) {
        let text = config.to_xl().unwrap();
        let loaded = config_file::load("web.cfg", &text, &[]);
        let loaded = loaded.map_err(|error| TestCaseError::fail(format!("{error}: {}", String::from_utf8_lossy(&text))))?;
        prop_assert_eq!(loaded.warnings, Vec::<String>::new());
        prop_assert_eq!(loaded.config, for_xl(config));
    }

    #[test]
    fn json(config in config()) {
        let text = serde_json::to_string(&config).unwrap();
        prop_assert_eq!(serde_json::from_str::<DomainConfig>(&text).unwrap(), config);
    }

    /// What goes to a xend comes back from one, except for the weight.
    #[test]
    fn xends_sxp(config in config(), name in "[A-Za-z0-9_.:+-]{1,12}") {
        let mut config = DomainConfig { kind: GuestKind::Pv, name, cpu_weight: None, ..config };
        config.platform = Platform {
            timer_mode: None,
            device_model: None,
            bios: None,
            video_memory_mib: None,
            boot: None,
            serial: None,
            sound: None,
            usb_devices: Vec::new(),
            switches: BTreeMap::new(),
            ..config.platform
        };
        // More have no bit in xend's mask.
        config.vcpus = config.vcpus.min(128);
        config.online_vcpus = config.online_vcpus.filter(|online| *online < config.vcpus);
        // Other options than these no xend knows.
        for device in &mut config.pci {
            device.options.retain(|(key, _)| key == "msitranslate" || key == "power_mgmt");
        }
        // A kernel beside a bootloader could be the bootloader's.
        config.bootloader = None;
        let (value, lost) = config.to_xend().unwrap();
        prop_assert_eq!(lost, []);
        let (back, lost) = DomainConfig::from_xend(&printed(&value)).unwrap();
        let missed: Vec<String> = lost.iter().filter(|lost| lost.matters()).map(ToString::to_string).collect();
        prop_assert_eq!(missed, Vec::<String>::new());
        prop_assert_eq!(back, config);
    }

    /// Cut anywhere, a configuration is no value at all, or the reader says what is wrong; and whatever it makes of it can be printed in every format.
    #[test]
    fn cut_and_damaged(config in config(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = sxp::to_bytes(&config.to_sxp());
        let at = at.index(bytes.len());
        prop_assert!(read_all(&bytes[..at], Limits::default()).is_err() || at == 0);
        bytes[at] = byte;
        if let Ok(values) = read_all(&bytes, Limits::default()) {
            for value in values {
                everything(&value.to_sexp());
            }
        }
    }

    #[test]
    fn random_trees(value in tree()) {
        everything(&value);
    }
}

/// Reads a tree in both ways, and prints what comes of it in every format.
fn everything(value: &Sexp) {
    let _ = DomainConfig::from_sxp(value).map(|config| (config.to_sxp(), config.to_xl(), config.to_xend()));
    if let Ok((config, lost)) = DomainConfig::from_xend(value) {
        assert!(lost.len() <= 513);
        let _ = config.check_runnable();
        // Reading its own print again gives the same.
        assert_eq!(DomainConfig::from_sxp(&printed(&config.to_sxp())).unwrap(), config);
        if let Ok(text) = config.to_xl() {
            let _ = config_file::load("web.cfg", &text, &[]);
        }
        let _ = config.to_xend();
        let _ = serde_json::to_string(&config).unwrap();
    }
}
