//! `relocd image`: what is in a file that holds a domain, whether it is right, and one that today's Xen takes made of an old one.

mod config;
mod convert;
mod file;
mod output;
mod show;
mod table;

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use image::inspect::{self, InspectError};

use crate::cli::ImageCommand;

/// Does what the command says. 0 if it is done and right, else 1.
pub fn run(command: ImageCommand) -> ExitCode {
    match command {
        ImageCommand::Show { file, json } => show::run(&file, json),
        ImageCommand::Verify { file } => verify(&file),
        ImageCommand::Convert {
            input,
            output,
            config,
            force,
        } => convert::run(&input, &output, config.as_deref(), force),
    }
}

/// `relocd image verify`.
fn verify(file: &Path) -> ExitCode {
    let name = file::name(file);
    let read = match file::open(file) {
        Ok(read) => read,
        Err(error) => return failed(&error),
    };
    match inspect::verify(read, &config::facts) {
        Ok(report) => say(&format!(
            "{name}: ok: {}; {} bytes, {} records, {} pages\n",
            report.what(),
            report.bytes,
            report.records,
            report.pages.distinct
        )),
        Err(InspectError::Wrong(finding)) => {
            let said = say(&format!("{name}: wrong: {finding}\n"));
            if said == ExitCode::SUCCESS {
                ExitCode::FAILURE
            } else {
                said
            }
        }
        Err(error) => failed(&format!("{name}: {error}")),
    }
}

/// Says on standard error why nothing came of it.
fn failed(error: &impl std::fmt::Display) -> ExitCode {
    eprintln!("relocd image: {error}");
    ExitCode::FAILURE
}

/// Writes on standard output. A reader who has gone, such as `head`, is no failure.
fn say(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => failed(&format!("standard output: {error}")),
    }
}
