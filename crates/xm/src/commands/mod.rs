//! What each subcommand does. What a command gives back is printed on stdout.

mod console;
mod create;
mod migrate;
pub(crate) mod pages;
mod spool;
mod terminal;

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use peer::control::{Decision, Reply, Request};

use crate::{
    cli::{Command, ListArgs, ResolveArgs},
    client::{Connection, unexpected},
    error::CommandError,
    render,
};

/// What goes to stdout.
pub(crate) type Answer = Result<String, CommandError>;

/// Runs a command against the daemon on this socket.
pub(crate) fn run(control: &Path, command: Command) -> Answer {
    match command {
        Command::Migrate(args) => migrate::run(control, args),
        Command::List(args) => list(control, args),
        Command::Console(args) => console::run(control, args.domain),
        Command::Create(args) => create::run(control, &args),
        Command::Destroy(args) => act(control, &Request::Destroy { domain: args.domain }),
        Command::Pause(args) => act(control, &Request::Pause { domain: args.domain }),
        Command::Unpause(args) => act(control, &Request::Unpause { domain: args.domain }),
        Command::Info(args) => info(control, args.json),
        Command::Spool(args) => spool::run(control, args.command),
        Command::Resolve(args) => resolve(control, &args),
        Command::Status(args) => status(control, args.json),
        Command::Completions { shell } => Ok(pages::completions(shell)),
        Command::Man { dir } => pages::man(dir.as_deref()),
    }
}

/// What has nothing to tell when it is done, as in xend's `xm`.
fn act(control: &Path, request: &Request) -> Answer {
    match Connection::ask(control, request)? {
        Reply::Done => Ok(String::new()),
        _ => Err(unexpected()),
    }
}

fn list(control: &Path, args: ListArgs) -> Answer {
    let request = Request::List {
        domain: args.domain,
        long: args.long,
    };
    match Connection::ask(control, &request)? {
        Reply::Domains { domains } if args.json => Ok(render::json("domains", &domains)),
        Reply::Domains { domains } if args.long => Ok(render::domains_long(&domains)),
        Reply::Domains { domains } => Ok(render::domains(&domains)),
        _ => Err(unexpected()),
    }
}

fn info(control: &Path, json: bool) -> Answer {
    match Connection::ask(control, &Request::Info)? {
        Reply::Info(info) if json => Ok(render::json("info", &info)),
        Reply::Info(info) => Ok(render::info(&info)),
        _ => Err(unexpected()),
    }
}

fn status(control: &Path, json: bool) -> Answer {
    match Connection::ask(control, &Request::Status)? {
        Reply::Status { relocations } if json => Ok(render::json("relocations", &relocations)),
        Reply::Status { relocations } => Ok(render::status(&relocations, now())),
        _ => Err(unexpected()),
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

fn resolve(control: &Path, args: &ResolveArgs) -> Answer {
    let decision = match (args.resume, args.destroy) {
        (true, _) => Some(Decision::Resume),
        (_, true) => Some(Decision::Destroy),
        _ => None,
    };
    let request = Request::Resolve {
        id: args.id,
        decision,
        yes_i_know: args.yes_i_know,
    };
    match (Connection::ask(control, &request)?, decision) {
        (Reply::Doubt(doubt), None) if args.json => Ok(render::json("doubt", &doubt)),
        (Reply::Doubt(doubt), None) => Ok(render::doubt(&doubt)),
        (Reply::Done, Some(decision)) if args.json => Ok(render::json("decided", &decision)),
        (Reply::Done, Some(Decision::Resume)) => Ok(format!(
            "Relocation {} is decided: the domain runs on at the source\n",
            args.id
        )),
        (Reply::Done, Some(Decision::Destroy)) => {
            Ok(format!("Relocation {} is decided: the source's copy ends\n", args.id))
        }
        _ => Err(unexpected()),
    }
}
