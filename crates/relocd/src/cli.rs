//! The command line of `relocd`.

use std::{net::IpAddr, path::PathBuf};

use clap::{Parser, Subcommand, ValueEnum};

use crate::{daemon::Options, toolstacks::Choice};

/// Where xend's configuration has always been.
pub const DEFAULT_CONFIG: &str = "/etc/xen/xend-config.sxp";

/// Where relocd keeps its journal.
pub const DEFAULT_STATE: &str = "/var/lib/relocd";

/// An xend-style relocation daemon for Xen.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "relocd",
    version,
    // Otherwise `relocd --config FILE check-config` would look at another file without a word.
    args_conflicts_with_subcommands = true,
    max_term_width = 100,
    about = "An xend-style relocation daemon for Xen",
    long_about = "An xend-style relocation daemon for Xen: takes domains in from the hosts that xend-relocation-hosts-allow names, and sends \
                  them away when an operator says `xm migrate`. Without a subcommand it runs as the daemon, in the foreground.",
    after_help = "Examples:\n  \
        relocd                                     the daemon, as the service runs it\n  \
        relocd check-config                        is the configuration sound?\n  \
        relocd check-host 10.0.0.7                 may that host relocate in, and by which entry?\n  \
        relocd firewall --format nft | nft -f -    let in the hosts on the list, and nobody else\n  \
        relocd image show web.save                 what is in a saved or captured domain?\n  \
        relocd demo                                a live relocation between two daemons on this machine\n\n\
        Exit codes: 0 done; 1 failed, or not sound, or not allowed; 2 wrong usage; 78 the daemon can't use its configuration; 130 image convert \
        was interrupted.\n\
        Signals: SIGHUP reads the configuration again; SIGTERM and SIGINT end the daemon, after relocations that are not committed have been given up."
)]
pub struct Cli {
    /// What to do; nothing: be the daemon.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to be the daemon.
    #[command(flatten)]
    pub daemon: DaemonArguments,
}

/// How to be the daemon.
#[derive(Clone, Debug, clap::Args)]
pub struct DaemonArguments {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub config: PathBuf,
    /// What runs domains here; auto = xl where Xen runs, else embedded
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    pub toolstack: Choice,
    /// Where the journal is, the spool unless relocd-spool-directory says otherwise, and what the toolstack keeps
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE)]
    pub state_dir: PathBuf,
    /// The operators' socket, for xm
    #[arg(long, value_name = "SOCKET", default_value = peer::control::DEFAULT_SOCKET)]
    pub control: PathBuf,
}

impl DaemonArguments {
    /// As the daemon takes them.
    pub fn options(self) -> Options {
        Options {
            config: self.config,
            toolstack: self.toolstack,
            state_directory: self.state_dir,
            control: self.control,
        }
    }
}

/// What else the program can do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Checks a configuration file, and tells everything that is wrong with it
    #[command(after_help = "Example:\n  relocd check-config /etc/xen/xend-config.sxp.new\n\n\
        Exit codes: 0 the daemon can use it (there may be warnings); 1 it can't, or the file can't be read.")]
    CheckConfig {
        /// The file
        #[arg(default_value = DEFAULT_CONFIG)]
        file: PathBuf,
    },
    /// Tells whether a host may relocate domains to here, and which entry of the list says so
    #[command(
        after_help = "Examples:\n  relocd check-host 10.0.0.7\n  relocd check-host fd00:1::7 --config ./xend-config.sxp\n\n\
        It answers by the file as it is now; a daemon that runs has it after systemctl reload relocd.\n\n\
        Exit codes: 0 let in; 1 refused, or the configuration can't be used."
    )]
    CheckHost {
        /// The host's address
        address: IpAddr,
        /// The configuration file
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Prints firewall rules that let in the hosts on the list, and nobody else
    #[command(
        after_help = "Examples:\n  relocd firewall --format nft | nft -f -\n  relocd firewall --format iptables | sh\n\n\
        The rules replace those of an earlier run, and only ever narrow: a port that other rules close stays closed. Regular expressions can't be \
        rules; a comment names each."
    )]
    Firewall {
        /// For which firewall
        #[arg(long, value_enum)]
        format: FirewallFormat,
        /// The configuration file
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Tells what is in a domain's image, checks it, or converts an old one
    #[command(subcommand)]
    Image(ImageCommand),
    /// Relocates a domain between two daemons on this machine, live and back offline; needs no Xen
    #[command(after_help = "Examples:\n  relocd demo\n  relocd demo --memory 1024 --dirty 100\n\n\
        Ctrl-C ends it early. Nothing is left behind either way. Exit codes: 0 done or interrupted; 1 failed.")]
    Demo {
        /// MiB of the domain's memory
        #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(16..=65536))]
        memory: u64,
        /// MB per second that the domain dirties
        #[arg(long, default_value_t = 20)]
        dirty: u64,
    },
    /// Prints a completion script for a shell
    #[command(after_help = "Example:\n  relocd completions bash > /usr/share/bash-completion/completions/relocd")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Prints the man page, or writes all of them, xm's too
    #[command(after_help = "Examples:\n  relocd man | man -l -\n  relocd man --output /usr/local/share/man")]
    Man {
        /// Writes man8/relocd.8, man1/xm.1 and a page for each subcommand below this directory
        #[arg(long, value_name = "DIR")]
        output: Option<PathBuf>,
    },
    /// A process between the daemon and xl: used by the daemon itself
    #[command(name = xl::TRANSPORT_COMMAND, hide = true)]
    Transport {
        /// What the daemon and xl say
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// A software machine: used by the daemon itself
    #[command(name = embedded::MACHINE_COMMAND, hide = true)]
    Machine {
        /// What the daemon says
        arguments: Vec<String>,
    },
    /// Speaks TLS on a connection: used by the daemon itself
    #[command(name = crate::tls::RELAY_COMMAND, hide = true)]
    RelayTls {
        /// The private key
        key: PathBuf,
        /// The certificate
        certificate: PathBuf,
        /// Milliseconds for the handshake
        handshake_ms: u64,
    },
    /// Receives an image from a xend: used by the daemon itself
    #[command(name = crate::incoming::xend::RECEIVER_COMMAND, hide = true)]
    ReceiveXend,
}

/// What to do with a domain's image: an xend envelope, an xl save file, a libxl stream, or a libxc image, legacy or of version 2 or 3.
#[derive(Clone, Debug, Subcommand)]
pub enum ImageCommand {
    /// Tells what a file is and what is in it: configuration, vcpus, rounds of pages, records with their offsets, oddities
    #[command(
        after_help = "Examples:\n  relocd image show web.save\n  zstd -dc web.xend.zst | relocd image show -\n  \
        relocd image show --json web.save | jq .image.vcpus\n\n\
        Formats: what an xend sends and saves, a file of xl save, a libxl stream, a libxc image of version 2 or 3, a libxc image of Xen 3.0 to 4.5. The \
        last has no mark of its own: it is said how sure it is.\n\n\
        Exit codes: 0 shown, followed to its end; 1 not an image, or it can't be followed to its end (what came before is shown)."
    )]
    Show {
        /// The file; - is standard input
        file: PathBuf,
        /// Answers with one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Checks a file strictly, with nothing of what wrote it: order, lengths, padding, types and bounds of pages, and what a restorer needs
    #[command(
        after_help = "Examples:\n  relocd image verify web.save\n  ssh old-host cat /var/lib/xen/save/web | relocd image verify -\n\n\
        Exit codes: 0 right; 1 wrong, and where, what was found, and what is expected; or it can't be read."
    )]
    Verify {
        /// The file; - is standard input
        file: PathBuf,
    },
    /// Makes a file that xl restore takes out of what an xend sent or saved, or out of any legacy image
    #[command(
        after_help = "Examples:\n  relocd image convert web.xend web.save && xl restore web.save\n  \
        zstd -dc web.xend.zst | relocd image convert - web.save\n  relocd image convert --config web.cfg web.libxc web.save\n\n\
        The configuration of an xend is converted; what has no counterpart is told on standard error. OUT appears when it is complete, and not before; \
        it holds all of the guest's memory, so only its owner can read it.\n\n\
        Exit codes: 0 done; 1 failed, and there is no OUT, or the old one; 130 interrupted, likewise."
    )]
    Convert {
        /// The file to convert; - is standard input
        #[arg(value_name = "IN")]
        input: PathBuf,
        /// The file to make; - is standard output
        #[arg(value_name = "OUT")]
        output: PathBuf,
        /// A configuration as for xl, to be put in place of the one that stands in the file, or of none
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Replaces OUT if it is there
        #[arg(long)]
        force: bool,
    },
}

/// A firewall's language.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum FirewallFormat {
    /// nftables: for `nft -f -`
    Nft,
    /// iptables and ip6tables: for `sh`
    Iptables,
}
