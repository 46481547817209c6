//! A machine process on its own, for the tests of this crate: in use it is relocd's own program.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    embedded::machine_main(&arguments)
}
