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
    about = "An xend-style relocation daemon for Xen",
    long_about = "An xend-style relocation daemon for Xen: takes domains in from the hosts that xend-relocation-hosts-allow names, and sends \
                  them away when an operator says `xm migrate`. Without a subcommand it runs as the daemon, in the foreground.",
    after_help = "Examples:\n  \
        relocd                                     the daemon, as the service runs it\n  \
        relocd check-config                        is the configuration sound?\n  \
        relocd check-host 10.0.0.7                 may that host relocate in, and by which entry?\n  \
        relocd firewall --format nft | nft -f -    let in the hosts on the list, and nobody else\n  \
        relocd demo                                a live relocation between two daemons on this machine\n\n\
        Exit codes: 0 done; 1 failed, or not sound, or not allowed; 2 wrong usage; 78 the daemon can't use its configuration; 130 interrupted.\n\
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
    /// Where the journal and the embedded toolstack's domains are
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
    CheckConfig {
        /// The file
        #[arg(default_value = DEFAULT_CONFIG)]
        file: PathBuf,
    },
    /// Tells whether a host may relocate domains to here, and which entry of the list says so
    CheckHost {
        /// The host's address
        address: IpAddr,
        /// The configuration file
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Prints firewall rules that let in the hosts on the list, and nobody else
    Firewall {
        /// For which firewall
        #[arg(long, value_enum)]
        format: FirewallFormat,
        /// The configuration file
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Relocates a domain between two daemons on this machine, live and back offline; needs no Xen
    Demo {
        /// MiB of the domain's memory
        #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(16..=65536))]
        memory: u64,
        /// MB per second that the domain dirties
        #[arg(long, default_value_t = 20)]
        dirty: u64,
    },
    /// Prints a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Prints the man page
    Man,
    /// A software machine: used by the daemon itself
    #[command(name = embedded::MACHINE_COMMAND, hide = true)]
    Machine {
        /// What the daemon says
        arguments: Vec<String>,
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
