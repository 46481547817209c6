//! One program: the daemon, its tools, and under the name `xm` the operators' command.

use std::{ffi::OsStr, path::Path, process::ExitCode};

use clap::{CommandFactory, Parser};
use relocd::{
    check,
    cli::{Cli, Command},
    daemon, demo,
};

fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    if Path::new(&name).file_name() == Some(OsStr::new("xm")) {
        return xm::main_from(std::env::args_os());
    }
    let cli = Cli::parse();
    match cli.command {
        None => match daemon::run(cli.daemon.options()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("relocd: {error}");
                ExitCode::from(error.exit_code())
            }
        },
        Some(Command::CheckConfig { file }) => check::config(&file),
        Some(Command::CheckHost { address, config }) => check::host(address, &config),
        Some(Command::Firewall { format, config }) => check::firewall(format, &config),
        Some(Command::Demo { memory, dirty }) => demo::run(memory, dirty),
        Some(Command::Completions { shell }) => {
            clap_complete::generate(shell, &mut Cli::command(), "relocd", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
        Some(Command::Man) => match clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("relocd: {error}");
                ExitCode::FAILURE
            }
        },
        Some(Command::Machine { arguments }) => embedded::machine_main(&arguments),
    }
}
