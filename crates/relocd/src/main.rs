//! One program: the daemon, its tools, and under the name `xm` the operators' command.

use std::{ffi::OsStr, io::Write, path::Path, process::ExitCode};

use clap::{CommandFactory, Parser};
use relocd::{
    check,
    cli::{Cli, Command},
    daemon, demo, image_tools,
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
        Some(Command::Image(command)) => image_tools::run(command),
        Some(Command::Demo { memory, dirty }) => demo::run(memory, dirty),
        Some(Command::Completions { shell }) => {
            clap_complete::generate(shell, &mut Cli::command(), "relocd", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
        Some(Command::Man { output }) => man(output.as_deref()),
        Some(Command::Transport { arguments }) => xl::transport_main(&arguments),
        Some(Command::Machine { arguments }) => embedded::machine_main(&arguments),
        Some(Command::RelayTls {
            key,
            certificate,
            handshake_ms,
        }) => relocd::tls::main(&key, &certificate, handshake_ms),
        Some(Command::ReceiveXend) => relocd::receive_xend(),
    }
}

/// relocd.8 on standard output, or all pages below a directory.
fn man(output: Option<&Path>) -> ExitCode {
    let done = match output {
        None => xm::man_page(Cli::command(), "8").and_then(|page| std::io::stdout().write_all(page.as_bytes())),
        Some(directory) => xm::write_man_pages(Cli::command(), "8", &directory.join("man8"))
            .and_then(|()| xm::write_man_pages(xm::command(), "1", &directory.join("man1"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // A reader who has gone, such as `head`, is no failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let what = output.map_or("the man page".to_owned(), |directory| directory.display().to_string());
            eprintln!("relocd: {what}: {error}");
            ExitCode::FAILURE
        }
    }
}
