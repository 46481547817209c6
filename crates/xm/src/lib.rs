//! The operators' command of relocd: xend's `xm`.
//!
//! | module | what |
//! |---|---|
//! | `autostart` | files that would start a domain again which has moved |
//! | `cli` | the command line, of which help, man pages and completions are made too |
//! | `client` | one request to the daemon, and its answers |
//! | `commands` | what each subcommand does |
//! | `error` | what can go wrong, with exit codes |
//! | `progress` | a relocation as it goes on: a bar or lines |
//! | `render`, `units` | answers as text; nothing that came from elsewhere reaches a terminal unescaped |

mod autostart;
mod cli;
mod client;
mod commands;
mod error;
mod progress;
mod render;
mod units;

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use clap::{CommandFactory, FromArgMatches};

pub use commands::pages::{man_page, write_man_pages};
pub use units::span;

use crate::{cli::Cli, error::CommandError};

/// The command line's definition.
pub fn command() -> clap::Command {
    // The name does not depend on how the program was called: relocd answers to it too.
    Cli::command().bin_name("xm")
}

/// Runs `xm` with these arguments, of which the first is the program's name.
pub fn main_from(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let parsed = command()
        .try_get_matches_from(args)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to stdout with 0, a wrong call to stderr with 2; if nobody reads it there is nobody to tell.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let json = cli.command.json();
    match commands::run(&cli.control, cli.command).and_then(|text| print(&text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if json {
                // If stdout is gone, the exit code still tells.
                let _ = print(&error.json());
            } else {
                let _ = io::stderr().write_all(error.render().as_bytes());
            }
            ExitCode::from(error.exit_code())
        }
    }
}

/// A line on stderr. If nobody reads there, there is nobody to tell.
fn notice(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints to stdout. A reader who has gone, such as `head`, is no failure.
fn print(text: &str) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandError::local("writing the answer", &error))
        }
        _ => Ok(()),
    }
}
