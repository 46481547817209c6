//! The command line. Help, man pages and completions are made of the same definition.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, builder::NonEmptyStringValueParser};
use peer::control::{DEFAULT_SOCKET, NoConvergence};
use uuid::Uuid;

use crate::units::parse_rate;

const CODES: &str = "Exit codes:
  0    done
  1    failed or refused; the domain is as the message says
  2    wrong usage
  3    no connection to relocd, or it broke before the answer
  4    in doubt: whether the domain runs at the other host is not known (see xm resolve)
  130  interrupted; the domain is as the message says";

const EXAMPLES: &str = "Examples:
  xm list                              domains of this host
  xm create web.cfg memory=512         start a domain, with more memory than its file says
  xm migrate --dry-run web 10.0.0.2    would 10.0.0.2 take it? Moves nothing
  xm migrate -l web 10.0.0.2           move it while it runs
  xm console web                       its console (on the host where it runs); Ctrl-] detaches
  xm status                            relocations that run, and recent ones";

const MIGRATE: &str = "Examples:
  xm migrate web 10.0.0.2                               stop it, move it, go on there
  xm migrate -l web 10.0.0.2                            move it while it runs
  xm migrate -l --max-downtime 50 --bandwidth 1Gbit web host-b
  xm migrate -l --on-no-convergence throttle web host-b slow the domain down if it must be
  xm migrate --dry-run --json web host-b                check only; the answer as JSON

Ctrl-C asks relocd to cancel: before the commit the domain runs on here. A second Ctrl-C leaves at once. If xm ends in any other way, such as
with the ssh session that it runs in, that is as good as Ctrl-C: use tmux, or nohup.";

const CREATE: &str = "The file holds lines key = value, as for xend's xm and for xl:

  name   = \"web\"
  memory = 256                     # MiB
  vcpus  = 1
  kernel = \"/boot/vmlinuz-guest\"   # or \"guest\", or none: the embedded toolstack's own
  extra  = \"console=hvc0\"
  vif    = [ 'mac=00:16:3e:00:00:01,bridge=xenbr0' ]
  disk   = [ 'phy:/dev/vg0/web,xvda,w' ]

Keys: name memory maxmem vcpus kernel ramdisk extra uuid vif disk on_poweroff on_reboot on_crash type builder; for guests of Xen most of
those of xl.cfg(5) too. Others have no effect, which is said. xm migrate moves domains that xl create has started, too.

Examples:
  xm create web.cfg
  xm create web memory=512 name=web2   ./web or, if there is none, /etc/xen/web";

const LIST: &str = "Examples:
  xm list                  all domains, a line for each
  xm list -l web           the configuration of one
  xm list --json           for programs

State: r running, b blocked, p paused, s suspended, c crashed, d dying.";

const CONSOLE: &str = "Example:
  xm console web           on the host where web runs; after a relocation, on the new host: what it printed moved along";

const SPOOL: &str = "A domain is in the spool because it could not be started here after an old xend host had sent it, and had given up its own copy; or \
because relocd runs with --toolstack spool. Its file is what xl restore takes.

Examples:
  xm spool list                        what is there, and why
  xm spool restore web                 start it here
  xm spool send web 10.0.0.2           move it to another relocd host, which starts it
  xm spool send --xend 4.1 web oldhost move it back to an old xend host, of Xen 4.1
  xm spool delete --yes-i-know web     it runs elsewhere, or nobody needs it any more

NAME is the domain's name, or the id that xm spool list shows: needed if two have the same name.";

const SPOOL_STATES: &str = "State:
  complete   the relocation that brought it goes on
  kept       it waits for you
  sending    it is being sent to another host
  restoring  it is being started here, and has not run yet
  starting   it was being started here when relocd ended: it may have run since";

const SPOOL_DELETE: &str = "The file may be all that there is of the domain: its source may have given up its own copy.

Examples:
  xm spool delete web                  tells what would be lost
  xm spool delete --yes-i-know web     it runs elsewhere, or nobody needs it any more";

const STATUS: &str = "State, of one that leaves:
  copying, loading    its memory is being sent; the destination takes the rest of it in. It is this host's
  committing          the destination is told to run it
  in-doubt            whether the destination runs it is not known: it stands still here (xm resolve)
  destroyed           over: it runs there, and the copy here is gone
  resumed             over: it runs on here

Of one that arrives:
  copying, loaded     it comes; it is here, and waits for the source's word. It is the source's
  committing          the word has come: it is about to run
  lost                it was to run here, and is not here (xm resolve)
  running             over: it runs here
  discarded           over: it stayed at its source, and nothing is left of it here
  kept, broken        over: from an xend, and in the spool (xm spool list)

Of both: recovering is carried on by a relocd that was started anew; retrying asks a toolstack again that fails, and the line below \
says how. Other words are steps between these, as they stand in the journal.";

const RESOLVE: &str = "Only for a relocation that xm status shows as in-doubt (at the source: the domain stands still here and may run at the \
destination) or as lost (at the destination: it was committed to this host and is not here).

Examples:
  xm resolve ID                          what happened, what is known, what can be decided
  xm resolve ID --resume                 tells what to make sure of
  xm resolve ID --resume --yes-i-know    the domain does not run at the destination, and never will or did: it runs on at the source
  xm resolve ID --destroy --yes-i-know   the domain runs, or ran, at the destination: the source's copy ends";

/// Manages the domains of this host, and moves them to others.
#[derive(Debug, Parser)]
#[command(name = "xm", version, after_help = format!("{EXAMPLES}\n\n{CODES}"), max_term_width = 100)]
pub(crate) struct Cli {
    /// The daemon's control socket.
    #[arg(long, global = true, value_name = "SOCKET", env = "RELOCD_CONTROL", hide_env_values = true, default_value = DEFAULT_SOCKET)]
    pub(crate) control: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// A subcommand.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Move a domain to another host.
    #[command(after_help = format!("{MIGRATE}\n\n{CODES}"))]
    Migrate(MigrateArgs),
    /// List domains.
    #[command(after_help = LIST)]
    List(ListArgs),
    /// Attach to a domain's console: what it printed so far, then what it prints; Ctrl-] detaches.
    #[command(after_help = CONSOLE)]
    Console(DomainArg),
    /// Make a domain from a file and start it.
    #[command(after_help = CREATE)]
    Create(CreateArgs),
    /// End a domain at once.
    Destroy(DomainArg),
    /// Stop a domain's processors.
    Pause(DomainArg),
    /// Let a paused domain run again.
    Unpause(DomainArg),
    /// Tell about the host and the daemon.
    Info(JsonArg),
    /// Domains that are kept on disk.
    #[command(after_help = format!("{SPOOL}\n\n{CODES}"))]
    Spool(SpoolArgs),
    /// Tell about a relocation whose outcome can't be learnt, or decide it.
    Resolve(ResolveArgs),
    /// Tell about relocations that run, and recent ones.
    #[command(after_help = STATUS)]
    Status(JsonArg),
    /// Print a shell's completions.
    #[command(after_help = "Example:\n  xm completions bash > /usr/share/bash-completion/completions/xm")]
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Print the man page, or write all of them.
    #[command(after_help = "Example:\n  xm man /usr/share/man/man1")]
    Man {
        /// Where to write xm.1 and a page for each subcommand; without it xm.1 is printed.
        dir: Option<PathBuf>,
    },
}

impl Command {
    /// Whether the answer, and any error, shall be JSON.
    pub(crate) fn json(&self) -> bool {
        match self {
            Command::Migrate(args) => args.json,
            Command::List(args) => args.json,
            Command::Info(args) | Command::Status(args) => args.json,
            Command::Spool(args) => matches!(&args.command, SpoolCommand::List(args) if args.json),
            Command::Resolve(args) => args.json,
            _ => false,
        }
    }
}

/// Which domain.
#[derive(Debug, Args)]
pub(crate) struct DomainArg {
    /// Its name or number.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) domain: String,
}

/// How to answer.
#[derive(Debug, Args)]
pub(crate) struct JsonArg {
    /// Answer with one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `xm list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// With their configurations, as S-expressions.
    #[arg(short, long)]
    pub(crate) long: bool,
    /// Answer with one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    /// Only this one: its name or number.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) domain: Option<String>,
}

/// `xm migrate`.
#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// Move it while it runs; without this it stands still for the whole time.
    #[arg(short, long)]
    pub(crate) live: bool,
    /// The destination's relocation port [default: this host's own].
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// The NUMA node there (for xend).
    #[arg(short, long)]
    pub(crate) node: Option<u32>,
    /// Over TLS.
    #[arg(short, long)]
    pub(crate) ssl: bool,
    /// Check at both ends whether it could be moved, and move nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Try it although Xen is older there, the guest seems to have a 32-bit PV kernel that Xen does not run there, the processors there lack features that
    /// the guest may be using, or a bridge is on another subnet.
    #[arg(long)]
    pub(crate) force: bool,
    /// Milliseconds that the domain may stand still in a live relocation [default: 300].
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub(crate) max_downtime: Option<u64>,
    /// Bytes per second at most: with suffix K, M or G (times 1024), or such as 100Mbit, 1Gbit [default: no limit].
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub(crate) bandwidth: Option<u64>,
    /// What to do if the domain dirties its memory faster than it can be sent [default: stop].
    #[arg(long, value_name = "POLICY")]
    pub(crate) on_no_convergence: Option<Policy>,
    /// The destination may be an old xend host, of this version of Xen, such as 4.1: nothing on the wire tells it.
    #[arg(long, value_name = "VERSION")]
    pub(crate) xend: Option<String>,
    /// To an old xend host: leave out what the guest might miss and an xend can't take, such as XSAVE state. A domain that runs goes there only with this, as what
    /// its guest has is not known before it stands still.
    #[arg(long, requires = "xend")]
    pub(crate) leave_out: bool,
    /// Answer with one JSON object, without progress.
    #[arg(long)]
    pub(crate) json: bool,
    /// Show progress on standard error although the answer is JSON.
    #[arg(long, requires = "json")]
    pub(crate) progress: bool,
    /// The domain's name or number.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) domain: String,
    /// Name or address of the destination.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) host: String,
}

/// What to do with a guest that dirties memory faster than it can be sent.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Policy {
    /// Stop it and copy the rest.
    Stop,
    /// Give up: it runs on here.
    Abort,
    /// Slow it down.
    Throttle,
}

impl From<Policy> for NoConvergence {
    fn from(policy: Policy) -> NoConvergence {
        match policy {
            Policy::Stop => NoConvergence::Stop,
            Policy::Abort => NoConvergence::Abort,
            Policy::Throttle => NoConvergence::Throttle,
        }
    }
}

/// `xm create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The file; a bare name that is not here is looked for in /etc/xen.
    pub(crate) file: PathBuf,
    /// Settings that replace the file's.
    #[arg(value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
}

/// `xm spool`.
#[derive(Debug, Args)]
pub(crate) struct SpoolArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: SpoolCommand,
}

/// What to do with the spool.
#[derive(Debug, Subcommand)]
pub(crate) enum SpoolCommand {
    /// List domains that are kept on disk, and why they are there.
    #[command(after_help = SPOOL_STATES)]
    List(JsonArg),
    /// Start a domain here; its file is deleted once it runs.
    Restore(SpoolRestoreArgs),
    /// Move a domain to another relocd host, or back to an old xend host; its file is deleted once it runs there.
    Send(SpoolSendArgs),
    /// Delete a domain's file.
    #[command(after_help = SPOOL_DELETE)]
    Delete(SpoolDeleteArgs),
}

/// `xm spool restore`.
#[derive(Debug, Args)]
pub(crate) struct SpoolRestoreArgs {
    /// You have made sure that the domain runs nowhere; only needed if it may have run since it was kept.
    #[arg(long)]
    pub(crate) yes_i_know: bool,
    /// The domain's name, or the id that xm spool list shows.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) name: String,
}

/// `xm spool send`.
#[derive(Debug, Args)]
pub(crate) struct SpoolSendArgs {
    /// The destination's relocation port [default: this host's own].
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// Check at both ends whether it could be moved, and move nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The destination may be an old xend host, of this version of Xen, such as 4.1: nothing on the wire tells it.
    #[arg(long, value_name = "VERSION")]
    pub(crate) xend: Option<String>,
    /// To an old xend host: leave out what the guest might miss and an xend can't take.
    #[arg(long, requires = "xend")]
    pub(crate) leave_out: bool,
    /// Try it although a bridge is on another subnet there.
    #[arg(long)]
    pub(crate) force: bool,
    /// You have made sure that the domain runs nowhere; only needed if it may have run since it was kept.
    #[arg(long)]
    pub(crate) yes_i_know: bool,
    /// The domain's name, or the id that xm spool list shows.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) name: String,
    /// Name or address of the destination.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) host: String,
}

/// `xm spool delete`.
#[derive(Debug, Args)]
pub(crate) struct SpoolDeleteArgs {
    /// You have made sure that the domain runs elsewhere, or that nobody needs it; without this, xm only tells what would be lost.
    #[arg(long)]
    pub(crate) yes_i_know: bool,
    /// The domain's name, or the id that xm spool list shows.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) name: String,
}

/// `xm resolve`.
#[derive(Debug, Args)]
#[command(after_help = RESOLVE)]
#[command(group = clap::ArgGroup::new("decision").args(["resume", "destroy"]))]
pub(crate) struct ResolveArgs {
    /// The relocation, as xm status tells it.
    pub(crate) id: Uuid,
    /// The domain runs on at the source. Wrong if it runs, or ran, at the destination.
    #[arg(long)]
    pub(crate) resume: bool,
    /// The source's copy ends. Wrong if the domain does not run, and never ran, at the destination.
    #[arg(long)]
    pub(crate) destroy: bool,
    /// You have made sure of it; without this, xm only tells what to make sure of.
    #[arg(long, requires = "decision")]
    pub(crate) yes_i_know: bool,
    /// Answer with one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A shell that completions are made for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Shell {
    /// GNU Bash.
    Bash,
    /// Z shell.
    Zsh,
    /// fish.
    Fish,
}
