//! Man pages and completions, made of the command line's definition.

use std::{fs, io, path::Path};

use clap_complete::Shell as Target;
use clap_mangen::Man;

use super::Answer;
use crate::{
    cli::Shell,
    command,
    error::{CommandError, reason},
};

/// A shell's completions.
pub(crate) fn completions(shell: Shell) -> String {
    let target = match shell {
        Shell::Bash => Target::Bash,
        Shell::Zsh => Target::Zsh,
        Shell::Fish => Target::Fish,
    };
    let mut out = Vec::new();
    clap_complete::generate(target, &mut command(), "xm", &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// xm.1, or all pages in a directory.
pub(crate) fn man(dir: Option<&Path>) -> Answer {
    let Some(dir) = dir else {
        return man_page(command(), "1").map_err(|error| CommandError::local("making the man page", &error));
    };
    write_man_pages(command(), "1", dir).map_err(|error| CommandError::Local {
        what: format!("can't write the man pages to {}: {}", dir.display(), reason(&error)),
        next: None,
    })?;
    Ok(String::new())
}

/// A command's man page, without those of its subcommands.
///
/// # Errors
/// The system's, if it can't be made.
pub fn man_page(command: clap::Command, section: &str) -> io::Result<String> {
    page(&built(command), section)
}

/// Writes the man pages of a command and of its subcommands to a directory, which is made if need be.
///
/// # Errors
/// The system's, if one can't be written.
pub fn write_man_pages(command: clap::Command, section: &str, dir: &Path) -> io::Result<()> {
    let command = built(command);
    fs::create_dir_all(dir)?;
    write_pages(&command, section, dir)
}

fn write_pages(command: &clap::Command, section: &str, dir: &Path) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    fs::write(dir.join(format!("{name}.{section}")), page(command, section)?)?;
    command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .try_for_each(|command| write_pages(command, section, dir))
}

fn built(command: clap::Command) -> clap::Command {
    // The subcommand `help` needs no page of its own, nor is it one of anything.
    let mut command = without_help(command);
    command.build();
    command
}

fn without_help(command: clap::Command) -> clap::Command {
    let command = command.disable_help_subcommand(true);
    command.mut_subcommands(without_help)
}

fn page(command: &clap::Command, section: &str) -> io::Result<String> {
    let mut out = Vec::new();
    Man::new(command.clone())
        .section(section)
        .manual("relocd")
        .render(&mut out)?;
    let text = String::from_utf8_lossy(&out);
    // clap_mangen names subcommands as pages of section 1 whatever the section is.
    let text = match command.get_subcommands().next() {
        Some(_) => text.replace("(1)", &format!("({section})")),
        None => text.into_owned(),
    };
    // Examples and tables keep their lines.
    let Some((before, extra)) = text.split_once("\n.SH EXTRA\n") else {
        return Ok(text);
    };
    let (extra, after) = extra.split_at(extra.find("\n.SH ").unwrap_or(extra.len()));
    Ok(format!("{before}\n.SH NOTES\n.nf\n{extra}\n.fi{after}"))
}
