//! `xm spool`.

use std::path::Path;

use peer::control::{Reply, Request, SpoolSend};

use super::{
    Answer, act,
    migrate::{Asked, follow},
    now,
};
use crate::{
    cli::{SpoolCommand, SpoolRestoreArgs, SpoolSendArgs},
    client::{Connection, unexpected},
    render,
};

/// Handles domains that are kept on disk.
pub(super) fn run(control: &Path, command: SpoolCommand) -> Answer {
    match command {
        SpoolCommand::List(args) => list(control, args.json),
        SpoolCommand::Restore(args) => restore(control, args),
        SpoolCommand::Send(args) => send(control, args),
        SpoolCommand::Delete(args) => {
            let (entry, yes_i_know) = (args.name, args.yes_i_know);
            act(control, &Request::SpoolDelete { entry, yes_i_know })
        }
    }
}

fn list(control: &Path, json: bool) -> Answer {
    match Connection::ask(control, &Request::SpoolList)? {
        Reply::Spool {
            directory,
            free,
            entries,
            faults,
        } => Ok(if json {
            let value =
                serde_json::json!({ "directory": directory, "free": free, "entries": entries, "faults": faults });
            render::json("spool", &value)
        } else {
            render::spool(&directory, free, &entries, &faults, now())
        }),
        _ => Err(unexpected()),
    }
}

fn restore(control: &Path, args: SpoolRestoreArgs) -> Answer {
    let asked = Asked {
        json: false,
        silent: false,
        domain: args.name.clone(),
        host: String::new(),
    };
    let request = Request::SpoolRestore {
        entry: args.name,
        yes_i_know: args.yes_i_know,
    };
    follow(control, &request, &asked)
}

fn send(control: &Path, args: SpoolSendArgs) -> Answer {
    let asked = Asked {
        json: false,
        silent: false,
        domain: args.name.clone(),
        host: args.host.clone(),
    };
    let request = Request::SpoolSend(SpoolSend {
        entry: args.name,
        host: args.host,
        port: args.port,
        dry_run: args.dry_run,
        force: args.force,
        yes_i_know: args.yes_i_know,
        xend: args.xend,
        leave_out: args.leave_out,
    });
    follow(control, &request, &asked)
}
