//! The processes between relocd and `xl migrate` on their own, for the tests of this crate: in use they are relocd's own program.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    xl::transport_main(&arguments)
}
