//! What a host says of itself before a relocation.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A bridge of a host, and the subnets on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Bridge {
    /// Its interface name.
    pub name: String,
    /// The subnets of the host's own addresses on it. Empty: the host has none there, so nothing is known.
    #[serde(default)]
    pub subnets: Vec<IpNet>,
}

/// What a host offers and what it is: told to the peer before a relocation, so that both ends can refuse.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HostFacts {
    /// The host's name.
    pub name: String,
    /// The toolstack that runs its domains.
    pub toolstack: String,
    /// Version of the hypervisor, or of what stands for it.
    pub version: String,
    /// Processor architecture of its guests: `x86_64`, `riscv64`.
    pub architecture: String,
    /// What its guests can be and have. Of Xen: `pv`, `pv32` (32-bit PV guests), `hvm` (PVH too), `hap`, `shadow` (log-dirty mode of PV guests), `vmx` or
    /// `svm`. Of the embedded toolstack: the instruction set.
    #[serde(default)]
    pub virtualization: Vec<String>,
    /// Memory for a new domain, in KiB.
    pub free_memory_kib: u64,
    /// KiB of that which domain 0 still has, and will give up for a domain that arrives.
    #[serde(default)]
    pub dom0_gives_kib: u64,
    /// Memory of the host, in KiB.
    pub total_memory_kib: u64,
    /// Processors.
    pub processors: u32,
    /// Features of its processors that guests use without asking: names of [`crate::features()`]. Empty: not known. A source tells those that the domain
    /// may have found by now, where it knows them ([`crate::DomainConfig::cpu_features`]).
    #[serde(default)]
    pub features: Vec<String>,
    /// Bridges that a vif can be on.
    #[serde(default)]
    pub bridges: Vec<Bridge>,
}

impl HostFacts {
    /// The toolstack that runs no domains but keeps them on disk. As the source's it says: the image comes from a disk, whatever runs there.
    pub const SPOOL: &'static str = "spool";
}
