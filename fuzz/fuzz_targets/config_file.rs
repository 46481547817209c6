//! A configuration file of any bytes: its diagnostics can be printed, one a line, and point into the file.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match config::Config::parse(bytes, "fuzz.sxp") {
        Ok(loaded) => {
            for note in loaded.notes {
                assert!(!note.to_string().contains('\n'));
            }
        }
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
});
