//! Man pages and completions, made of the command line's definition.

use std::{fs, path::Path};

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
    // The subcommand `help` needs no page of its own.
    let mut command = command().disable_help_subcommand(true);
    command.build();
    let Some(dir) = dir else { return page(&command) };
    let failed = |path: &Path, error: &std::io::Error| CommandError::Local {
        what: format!("can't write {}: {}", path.display(), reason(error)),
        next: None,
    };
    fs::create_dir_all(dir).map_err(|error| failed(dir, &error))?;
    for command in std::iter::once(&command).chain(command.get_subcommands()) {
        let name = command.get_display_name().unwrap_or(command.get_name());
        let path = dir.join(format!("{name}.1"));
        fs::write(&path, page(command)?).map_err(|error| failed(&path, &error))?;
    }
    Ok(String::new())
}

fn page(command: &clap::Command) -> Answer {
    let mut out = Vec::new();
    let man = Man::new(command.clone()).manual("relocd");
    man.render(&mut out)
        .map_err(|error| CommandError::local("making the man page", &error))?;
    let text = String::from_utf8_lossy(&out);
    // Examples and tables keep their lines.
    let Some((before, extra)) = text.split_once("\n.SH EXTRA\n") else {
        return Ok(text.into_owned());
    };
    let (extra, after) = extra.split_at(extra.find("\n.SH ").unwrap_or(extra.len()));
    Ok(format!("{before}\n.SH NOTES\n.nf\n{extra}\n.fi{after}"))
}
