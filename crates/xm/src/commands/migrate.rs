//! `xm migrate`.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use peer::control::{Migrate, Reply, Request};
use signal_hook::{
    SigId,
    consts::SIGINT,
    flag,
    iterator::{Handle, Signals},
    low_level,
};

use super::Answer;
use crate::{
    autostart,
    cli::MigrateArgs,
    client::{Connection, unexpected},
    error::CommandError,
    notice,
    progress::Meter,
    render::{self, escape},
};

/// Moves a domain to another host, and shows how that goes.
pub(crate) fn run(control: &Path, args: MigrateArgs) -> Answer {
    let asked = Asked {
        json: args.json,
        silent: args.json && !args.progress,
        domain: args.domain.clone(),
        host: args.host.clone(),
    };
    follow(control, &request(args), &asked)
}

/// What the operator asked for, for messages.
pub(super) struct Asked {
    /// The answer is JSON.
    pub(super) json: bool,
    /// Without progress.
    pub(super) silent: bool,
    /// Which domain.
    pub(super) domain: String,
    /// To where.
    pub(super) host: String,
}

/// Sends an order that takes its time, and shows how that goes.
pub(super) fn follow(control: &Path, request: &Request, asked: &Asked) -> Answer {
    let &Asked { json, silent, .. } = asked;
    let (domain, host) = (&asked.domain, &asked.host);
    let mut connection = Connection::open(control)?;
    let cancel = connection
        .canceller()
        .map_err(|error| CommandError::local("preparing for Ctrl-C", &error))?;
    let mut interrupt =
        Interrupt::watch(cancel, json).map_err(|error| CommandError::local("preparing for Ctrl-C", &error))?;
    let mut meter = Meter::new(silent);
    let reply = connection
        .send(request)
        .and_then(|()| last_reply(&mut connection, &mut meter));
    meter.finish();
    interrupt.settle();
    match reply {
        Ok(Reply::Migrated(done)) => {
            if interrupt.came() && !json {
                notice("The interrupt came too late: the relocation was decided already.");
            }
            if !json {
                warn_of_autostart(&done.domain, "runs elsewhere now");
            }
            Ok(if json {
                render::json("migrated", &done)
            } else {
                render::migrated(&done)
            })
        }
        Ok(reply @ Reply::Admitted { .. }) => Ok(admitted(&reply, domain, host, json)),
        Ok(Reply::AdmittedToXend { version, left_out }) => Ok(if json {
            let value = serde_json::json!({ "xend": version, "left-out": left_out });
            render::json("admitted", &value)
        } else {
            render::admitted_to_xend(domain, host, &version, &left_out)
        }),
        Ok(Reply::Restored { name, domid, left }) => Ok(render::restored(&name, domid, left.as_deref())),
        Ok(Reply::Err(failure)) if interrupt.came() && failure.r#type != "in-doubt" => {
            Err(CommandError::Interrupted(failure))
        }
        Ok(Reply::Err(failure)) => {
            if failure.r#type == "in-doubt" && !json {
                warn_of_autostart(domain, "may run elsewhere");
            }
            Err(CommandError::Failed(failure))
        }
        Ok(_) => Err(unexpected()),
        Err(error @ (CommandError::Lost(_) | CommandError::Protocol(_))) => {
            Err(unknown_outcome(&error, &interrupt, domain))
        }
        Err(error) => Err(error),
    }
}

/// Tells of files that would start the domain a second time when this host boots.
fn warn_of_autostart(domain: &str, why: &str) {
    for file in autostart::files(Path::new(autostart::DIRECTORY), domain) {
        notice(&format!(
            "Warning: {} starts '{}' here when this host boots, and it {why}: remove the file",
            escape(&file.to_string_lossy()),
            escape(domain)
        ));
    }
}

fn request(args: MigrateArgs) -> Request {
    Request::Migrate(Migrate {
        domain: args.domain,
        host: args.host,
        port: args.port,
        live: args.live,
        ssl: args.ssl,
        node: args.node,
        dry_run: args.dry_run,
        force: args.force,
        max_downtime: args.max_downtime,
        bandwidth: args.bandwidth,
        on_no_convergence: args.on_no_convergence.map(Into::into),
        xend: args.xend,
        leave_out: args.leave_out,
    })
}

fn last_reply(connection: &mut Connection, meter: &mut Meter) -> Result<Reply, CommandError> {
    loop {
        match connection.reply()? {
            Reply::Progress(progress) => meter.show(&progress),
            reply => return Ok(reply),
        }
    }
}

fn admitted(reply: &Reply, domain: &str, wanted: &str, json: bool) -> String {
    let Reply::Admitted { host, free_memory_kib } = reply else {
        return String::new();
    };
    if json {
        let value = serde_json::json!({ "host": host, "free-memory-kib": free_memory_kib });
        return render::json("admitted", &value);
    }
    format!(
        "Domain '{}' can be moved to {} ({}): {} MiB are free there. Nothing was moved.\n",
        escape(domain),
        escape(wanted),
        escape(host),
        free_memory_kib / 1024
    )
}

/// The daemon went away in the middle: what became of the relocation is in its journal, and nowhere else.
fn unknown_outcome(error: &CommandError, interrupt: &Interrupt, domain: &str) -> CommandError {
    let mut failure = error.failure();
    failure.domain_state = Some(format!(
        "what became of the relocation of '{domain}' is in relocd's journal"
    ));
    failure.next = Some("systemctl status relocd; once it runs again: xm status".to_owned());
    if interrupt.came() {
        CommandError::Interrupted(failure)
    } else {
        CommandError::Broken(failure)
    }
}

/// Ctrl-C: the first asks the daemon to cancel, whose answer is still awaited; the second leaves, whatever else is stuck.
struct Interrupt {
    came: Arc<AtomicBool>,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
    registered: [SigId; 2],
}

impl Interrupt {
    fn watch(cancel: impl Fn() + Send + 'static, silent: bool) -> std::io::Result<Interrupt> {
        let came = Arc::new(AtomicBool::new(false));
        // In this order: the first Ctrl-C finds the flag unset, and sets it.
        let leave = flag::register_conditional_shutdown(SIGINT, 130, Arc::clone(&came))?;
        let registered = [leave, flag::register(SIGINT, Arc::clone(&came))?];
        let mut signals = Signals::new([SIGINT])?;
        let handle = signals.handle();
        let thread = thread::spawn(move || {
            for _ in signals.forever() {
                cancel();
                if !silent {
                    notice("\nInterrupted: relocd is asked to cancel. Once more leaves at once.");
                }
            }
        });
        Ok(Interrupt {
            came,
            handle,
            thread: Some(thread),
            registered,
        })
    }

    /// No more signals are taken: what was told of one stands before what follows.
    fn settle(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // It has nothing to give back.
            let _ = thread.join();
        }
    }

    fn came(&self) -> bool {
        self.came.load(Ordering::SeqCst)
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.settle();
        for id in self.registered {
            low_level::unregister(id);
        }
    }
}
