//! The table of keys. Everything else is driven by it: what is accepted, the defaults, the suggestions, the sample's completeness.

/// What a key's value can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// xend's booleans: yes y 1 on true t, no n 0 off false f, in any case.
    Bool,
    /// A whole number within bounds, as Python's `int()` reads it.
    Number {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
        /// What is counted, for messages.
        of: &'static str,
    },
    /// Any text.
    Text,
    /// An absolute path, or empty for none.
    Path,
    /// An absolute path that is needed.
    Directory,
    /// An absolute path or a bare name in `/etc/xen`, or empty for none.
    XenFile,
    /// A logging level.
    Level,
    /// An address, an interface or a host name, or empty for all.
    Address,
    /// The allow list.
    Hosts,
    /// Text or a list: not looked into.
    Any,
}

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What its value can be.
    pub kind: Kind,
    /// What holds where the file says nothing, as it would be written; `None` where that is no value.
    pub default: Option<&'static str>,
    /// Whether relocd acts on it: then a wrong value is an error, else it is only warned about.
    pub acts: bool,
    /// What it means, in a line.
    pub meaning: &'static str,
}

/// All keys: xend's, then relocd's own.
pub fn keys() -> &'static [Key] {
    KEYS
}

/// Red Hat's manual prints the allow list's key so.
pub(crate) const HOSTS_ALLOW_ALIAS: &str = "xen-relocation-hosts-allow";
pub(crate) const HOSTS_ALLOW: &str = "xend-relocation-hosts-allow";

pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The known key that a mistyped one is most like.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    // The distance costs the product of both lengths; no key is nearly so long.
    if name.len() > 64 {
        return None;
    }
    let name = name.to_ascii_lowercase().replace('_', "-");
    let (most, length) = (1 + name.len() / 5, name.chars().count());
    KEYS.iter()
        // The distance is never less than that of the lengths. Without this a file of 1 MiB of unknown keys takes seconds.
        .filter(|key| key.name.len().abs_diff(length) <= most)
        .map(|key| {
            (
                strsim::damerau_levenshtein(&name, &key.name.replace('_', "-")),
                key.name,
            )
        })
        .min()
        .filter(|(distance, _)| *distance <= most)
        .map(|(_, name)| name)
}

use Kind::{Address, Any, Bool, Directory, Hosts, Level, Path, Text, XenFile};

const fn number(min: u64, max: u64, of: &'static str) -> Kind {
    Kind::Number { min, max, of }
}

const PORT: Kind = number(1, 65535, "a port number");
const COUNT: Kind = number(0, u32::MAX as u64, "a whole number");
const MEBIBYTES: Kind = number(0, 1 << 40, "MiB");
const PEERS: Kind = number(1, 65536, "a whole number");
/// A limit of time must end: an hour is more than any stage needs.
const SECONDS: Kind = number(1, 3600, "seconds");

/// A key that relocd acts on.
const fn acts(name: &'static str, kind: Kind, default: &'static str, meaning: &'static str) -> Key {
    Key {
        name,
        kind,
        default: Some(default),
        acts: true,
        meaning,
    }
}

/// A key that is xend's alone.
const fn known(name: &'static str, kind: Kind, default: &'static str, meaning: &'static str) -> Key {
    Key {
        name,
        kind,
        default: Some(default),
        acts: false,
        meaning,
    }
}

impl Key {
    const fn unset(mut self) -> Key {
        self.default = None;
        self
    }
}

#[rustfmt::skip] // a table
static KEYS: &[Key] = &[
    acts("xend-relocation-server", Bool, "no", "listen for domains that arrive"),
    acts("xend-relocation-port", PORT, "8002", "port for them, and the port that departing ones are sent to"),
    acts("xend-relocation-address", Address, "", "address or interface to listen on; '' = all"),
    acts(HOSTS_ALLOW, Hosts, "", "who may send domains; unset = localhost, '' = everyone").unset(),
    acts("xend-relocation-ssl-server", Bool, "no", "listen for domains that arrive over TLS"),
    acts("xend-relocation-ssl-port", PORT, "8003", "port for them"),
    acts("xend-relocation-server-ssl-key-file", XenFile, "", "TLS private key; a bare name is in /etc/xen").unset(),
    acts("xend-relocation-server-ssl-cert-file", XenFile, "", "TLS certificate; a bare name is in /etc/xen").unset(),
    acts("xend-relocation-ssl", Bool, "no", "send departing domains over TLS unless told otherwise"),
    acts("logfile", Path, "", "log to this file as well; unset = to stderr or the journal only").unset(),
    acts("loglevel", Level, "INFO", "CRITICAL, ERROR, WARN, INFO, DEBUG or TRACE (xend's default is DEBUG)"),
    acts("enable-dump", Bool, "no", "write the memory of guests that crash to disk"),
    acts("console-limit", number(1, 1 << 20, "KiB"), "1024", "KiB of console output kept for each domain; the embedded toolstack keeps 4096 at most"),
    acts("dom0-min-mem", MEBIBYTES, "0", "MiB that dom0 keeps"),
    acts("enable-dom0-ballooning", Bool, "no", "take memory from dom0 for domains; unset = only if dom0-min-mem is set").unset(),
    known("xen-api-server", Any, "((unix))", "listeners of the Xen API"),
    known("xend-http-server", Bool, "no", "HTTP management"),
    known("xend-port", PORT, "8000", "its port"),
    known("xend-address", Text, "", "its address"),
    known("xend-unix-server", Bool, "no", "HTTP management over a unix socket"),
    known("xend-unix-path", Text, "/var/lib/xend/xend-socket", "that socket"),
    known("xend-tcp-xmlrpc-server", Bool, "no", "XML-RPC management"),
    known("xend-tcp-xmlrpc-server-address", Text, "localhost", "its address"),
    known("xend-tcp-xmlrpc-server-port", PORT, "8006", "its port"),
    known("xend-tcp-xmlrpc-server-ssl-key-file", Text, "", "its TLS private key").unset(),
    known("xend-tcp-xmlrpc-server-ssl-cert-file", Text, "", "its TLS certificate").unset(),
    known("xend-unix-xmlrpc-server", Bool, "yes", "XML-RPC over a unix socket: xend's channel for xm"),
    known("xend-udev-event-server", Bool, "no", "listen for udev events"),
    known("external-migration-tool", Text, "", "program that moves external devices such as a virtual TPM"),
    known("network-script", Text, "", "script that sets up the network").unset(),
    known("vif-script", Text, "vif-bridge", "script that sets up a network interface of a guest"),
    known("total_available_memory", COUNT, "0", "MiB for all domains"),
    known("dom0-cpus", COUNT, "0", "processors of dom0; 0 = all"),
    known("vnc-listen", Text, "127.0.0.1", "address of VNC consoles"),
    known("vncpasswd", Text, "", "password of VNC consoles").unset(),
    known("vnc-tls", Text, "0", "VNC over TLS"),
    known("vnc-x509-cert-dir", Text, "/etc/xen/vnc", "certificates of VNC over TLS"),
    known("vnc-x509-verify", Text, "0", "ask VNC clients for certificates"),
    known("keymap", Text, "", "keyboard of VNC consoles").unset(),
    known("resource-label-change-script", Text, "", "script run when a resource's label changes").unset(),
    known("xend-domains-path", Text, "/var/lib/xend/domains", "where xend keeps domains"),
    known("xend-state-path", Text, "/var/lib/xend/state", "where xend keeps its state"),
    known("xend-storage-path", Text, "/var/lib/xend/storage", "where xend keeps storage"),
    known("xend-security-path", Text, "/var/lib/xend/security", "where xend keeps security labels"),
    known("xsm_module_name", Text, "dummy", "security module: flask, acm or dummy"),
    known("qemu-dm-logrotate-count", COUNT, "10", "old logs of a device model to keep"),
    known("device-create-timeout", COUNT, "100", "seconds for a device to come up"),
    known("device-destroy-timeout", COUNT, "100", "seconds for a device to go"),
    known("pci-passthrough-strict-check", Bool, "yes", "refuse PCI devices that can't be isolated"),
    known("pscsi-device-mask", Any, "('*')", "SCSI devices of the host that may be passed through"),
    acts("relocd-max-connections", PEERS, "64", "connections at once that have not been granted a relocation"),
    acts("relocd-max-incoming", PEERS, "4", "domains that may arrive at once"),
    acts("relocd-max-outgoing", PEERS, "4", "domains that may depart at once"),
    acts("relocd-handshake-timeout", SECONDS, "10", "seconds for a peer to say what it wants"),
    acts("relocd-idle-timeout", SECONDS, "30", "seconds without a byte after which a relocation has failed"),
    acts("relocd-commit-timeout", SECONDS, "30", "seconds for the other host to confirm that a domain runs"),
    acts("relocd-name-lookup-timeout", SECONDS, "3", "seconds for looking up a peer's name"),
    acts("relocd-max-config-size", number(1, 65536, "KiB"), "1024", "KiB of a domain's configuration, or of any other message"),
    acts("relocd-max-arriving-memory", MEBIBYTES, "0", "MiB that arriving domains may take together; 0 = what is free"),
    acts("relocd-embedded-memory", MEBIBYTES, "0", "MiB for domains of the embedded toolstack; 0 = what is free"),
    acts("relocd-spool-directory", Directory, "/var/lib/relocd/spool", "where images and safety copies are kept; the default is below the state directory"),
    acts("relocd-safety-copy", Bool, "yes", "keep a copy of what an xend sends until the domain runs; no = a domain that can't be started here is lost"),
    acts("relocd-journal-keep-days", number(1, 36500, "days"), "30", "days that the journal of a finished relocation is kept"),
];
