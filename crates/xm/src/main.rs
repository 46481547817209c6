//! The operators' program.

use std::process::ExitCode;

fn main() -> ExitCode {
    xm::main_from(std::env::args_os())
}
