//! Why a host can't take a domain, and what to do about it.

/// Why a host can't take a domain. The order is the order of the checks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The two hosts run their domains by different means.
    #[error("toolstack: '{here}' at the source, '{there}' at the destination")]
    Toolstack {
        /// The source's.
        here: String,
        /// The destination's.
        there: String,
    },
    /// Guest code of one host does not run on the other.
    #[error("architecture: {here} at the source, {there} at the destination")]
    Architecture {
        /// The source's.
        here: String,
        /// The destination's.
        there: String,
    },
    /// The hosts have no virtualization extension in common.
    #[error("virtualization extension: {here} at the source, {there} at the destination")]
    Virtualization {
        /// The source's.
        here: String,
        /// The destination's.
        there: String,
    },
    /// The destination's Xen does not run guests of this kind.
    #[error("the destination runs no {kind} guests (it has: {there})")]
    Kind {
        /// What kind, in xl's word.
        kind: &'static str,
        /// What the destination has.
        there: String,
    },
    /// A PV guest of 32 bits, which the destination's Xen does not run.
    #[error(
        "the guest's kernel is a 32-bit PV one, as its disks or its kernel's file say, and the destination's Xen runs no such guests (xen_caps has no \
         xen-3.0-x86_32p)"
    )]
    Narrow,
    /// The destination's Xen is older than the source's.
    #[error(
        "Xen {here} at the source, {there} at the destination: an older Xen does not understand all that a newer one writes"
    )]
    Older {
        /// The source's version.
        here: String,
        /// The destination's.
        there: String,
    },
    /// The destination's processors lack what the guest may have found at its start.
    #[error(
        "processor features that the guest may have found at its start and the destination lacks: {}; it may be using them, for its configuration (cpuid) does \
         not take them away",
        .0.join(" ")
    )]
    Features(Vec<String>),
    /// The domain has PCI devices of its host's.
    #[error("the domain has {0} of its host's PCI devices, which stay where they are")]
    PciDevices(usize),
    /// The source's Xen can't tell which pages a PV guest writes.
    #[error(
        "this host's Xen is built without shadow paging (virt_caps has no 'shadow'), and can't send a PV guest while it runs; without -l it can be sent, \
         suspended"
    )]
    NoShadow,
    /// The destination has not enough memory.
    #[error("not enough memory at the destination: {needed_kib} KiB needed, {free_kib} KiB free")]
    Memory {
        /// KiB that the domain needs.
        needed_kib: u64,
        /// KiB that are free there, less what other arriving domains have reserved.
        free_kib: u64,
    },
    /// A bridge of the domain's interfaces is missing at the destination.
    #[error("bridge '{0}' does not exist at the destination")]
    Bridge(String),
    /// The bridge is there, but on another network.
    #[error("bridge '{bridge}': the source has {here} on it, the destination {there}: not the same layer-2 network")]
    Subnet {
        /// The bridge's name.
        bridge: String,
        /// The source's subnets.
        here: String,
        /// The destination's.
        there: String,
    },
}

impl Refusal {
    /// The word in `(err (type WORD) ...)`.
    pub fn word(&self) -> &'static str {
        match self {
            Refusal::Toolstack { .. } => "other-toolstack",
            Refusal::Architecture { .. } => "other-architecture",
            Refusal::Virtualization { .. } => "other-virtualization",
            Refusal::Kind { .. } => "other-kind",
            Refusal::Narrow => "no-32-bit-pv",
            Refusal::Older { .. } => "older-xen",
            Refusal::Features(_) => "cpu-features",
            Refusal::PciDevices(_) => "pci-devices",
            Refusal::NoShadow => "no-shadow-paging",
            Refusal::Memory { .. } => "insufficient-memory",
            Refusal::Bridge(_) => "bridge-missing",
            Refusal::Subnet { .. } => "other-subnet",
        }
    }

    /// Whether an operator may have it tried all the same (`--force`): what may go well, and does no harm to others if it does not.
    pub fn can_be_forced(&self) -> bool {
        matches!(
            self,
            Refusal::Narrow | Refusal::Older { .. } | Refusal::Features(_) | Refusal::Subnet { .. }
        )
    }
}

/// What an operator can do about a refusal with this [`word`](Refusal::word), or one of a destination's own. `host`: the destination, as the operator named it.
pub fn next_step(word: &str, host: &str) -> Option<String> {
    Some(match word {
        "older-xen" => format!(
            "bring the Xen of {host} up to the source's; or have it tried with --force: if {host} can't load the domain, it runs on here"
        ),
        "no-32-bit-pv" => {
            format!(
                "send it to a host whose xl info shows xen-3.0-x86_32p; Debian's Xen is built without since Debian 12 (CONFIG_PV32). With --force it is tried, \
                 whatever else speaks against it: right if this host is wrong about the guest, because its kernel's file is another by now; one that really has 32 \
                 bits is refused by {host} later, and runs on here"
            )
        }
        "cpu-features" => format!(
            "take them away from the guest (cpuid in its configuration) and start it anew. With --force it is moved all the same: right if it does not use \
             them, or is a PVH or HVM guest that was started on a host without them, such as {host}, and came here by xl migrate or out of the spool, \
             always from a Xen 4.14 or later; one that does use them crashes there"
        ),
        "insufficient-memory" => format!(
            "make room on {host} (xm list there); or let its domain 0 give up memory: (enable-dom0-ballooning yes), and in (dom0-min-mem MIB) what it keeps, in the \
             xend-config.sxp there"
        ),
        "bridge-missing" => format!(
            "make it on {host} (ip link add NAME type bridge; ip link set NAME up), on the same network as here"
        ),
        "disk-missing" => {
            format!("make the same storage available on {host}, under the same path: disks are not copied")
        }
        "pci-devices" => "take them from it (xl pci-list, xl pci-detach), and try again".to_owned(),
        "name-taken" | "uuid-taken" => format!("xm list on {host} shows who has it"),
        "other-kind" | "other-virtualization" => "shut the domain down, and create it on that host anew".to_owned(),
        _ => return None,
    })
}
