//! A file of any bytes, inspected and verified: both end, both see the same first thing that is wrong, and nothing that was read is beyond the end.
#![no_main]

use image::inspect::{InspectError, inspect, no_config, verify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(report) = inspect(input, &no_config) else {
        return;
    };
    let length = input.len() as u64;
    assert!(report.bytes <= length && (!report.complete || report.bytes == length));
    assert!(report.complete || report.first_fault().is_some());
    match verify(input, &no_config) {
        Ok(strict) => assert_eq!(strict, report),
        Err(InspectError::Wrong(finding)) => assert_eq!(Some(&finding), report.first_fault()),
        Err(error) => panic!("{error}"),
    }
});
