//! A domain's configuration from a xend: whatever it is, the reader says what is wrong with it, or what comes of it can be printed, and read again.
#![no_main]

use domain::{DomainConfig, config_file};
use libfuzzer_sys::fuzz_target;
use sxp::{Limits, read_all};

fuzz_target!(|bytes: &[u8]| {
    let Ok(values) = read_all(bytes, Limits::default()) else {
        return;
    };
    for value in values {
        let value = value.to_sexp();
        let Ok((config, lost)) = DomainConfig::from_xend(&value) else {
            continue;
        };
        assert!(lost.len() <= 513, "the list of what is lost grows with the input");
        // relocd's own form loses nothing.
        let printed = sxp::to_bytes(&config.to_sxp());
        let again = read_all(&printed, Limits::default())
            .ok()
            .and_then(|values| DomainConfig::from_sxp(&values.first()?.to_sexp()).ok());
        assert_eq!(again.as_ref(), Some(&config));
        let _ = config.check_runnable();
        let _ = config.to_xend();
        if let Ok(text) = config.to_xl() {
            assert!(!text.contains(&0), "xl's text ends at a zero byte");
            if let Ok(loaded) = config_file::load("fuzz", &text, &[]) {
                assert_eq!(loaded.config.name, config.name);
                assert_eq!(loaded.config.vbds.len(), config.vbds.len());
                assert_eq!(loaded.config.vifs.len(), config.vifs.len());
                assert_eq!(loaded.config.extra, config.extra);
                assert_eq!(loaded.config.bootloader, config.bootloader);
            }
        }
    }
});
