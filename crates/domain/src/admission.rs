//! Whether a domain can live on a host: asked at both ends before anything stops.

use crate::{DomainConfig, GuestKind, HostFacts};

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
            Refusal::Older { .. } => "older-xen",
            Refusal::NoShadow => "no-shadow-paging",
            Refusal::Memory { .. } => "insufficient-memory",
            Refusal::Bridge(_) => "bridge-missing",
            Refusal::Subnet { .. } => "other-subnet",
        }
    }
}

/// Checks whether `domain`, which runs at `here`, can run at `there`. `reserved_kib`: memory there that is promised to other arriving domains.
///
/// # Errors
/// The first reason why not.
pub fn check(domain: &DomainConfig, here: &HostFacts, there: &HostFacts, reserved_kib: u64) -> Result<(), Refusal> {
    if there.toolstack == HostFacts::SPOOL {
        // Whatever runs it one day is another host's matter: only its disk counts, which it tells as memory.
        let memory_kib = domain.most_memory_kib();
        return check_memory(memory_kib, there, reserved_kib);
    }
    if here.toolstack == HostFacts::SPOOL {
        // Where the image was made nobody knows: what kind of guest it is says what can run it.
        if domain.kind.toolstack() != there.toolstack {
            return Err(Refusal::Toolstack {
                here: domain.kind.toolstack().to_owned(),
                there: there.toolstack.clone(),
            });
        }
        if there.toolstack == "xl" {
            check_virtualization(domain.kind, here, there)?;
        }
    } else {
        check_hosts(domain, here, there)?;
    }
    check_memory(needed_kib(domain), there, reserved_kib)?;
    domain
        .bridges()
        .into_iter()
        .try_for_each(|name| check_bridge(name, here, there))
}

/// Whether guests of one host run on the other.
fn check_hosts(domain: &DomainConfig, here: &HostFacts, there: &HostFacts) -> Result<(), Refusal> {
    if here.toolstack != there.toolstack {
        return Err(Refusal::Toolstack {
            here: here.toolstack.clone(),
            there: there.toolstack.clone(),
        });
    }
    if here.architecture != there.architecture {
        return Err(Refusal::Architecture {
            here: here.architecture.clone(),
            there: there.architecture.clone(),
        });
    }
    check_virtualization(domain.kind, here, there)?;
    if there.toolstack == "xl" && xen_version(&there.version) < xen_version(&here.version) {
        return Err(Refusal::Older {
            here: here.version.clone(),
            there: there.version.clone(),
        });
    }
    Ok(())
}

fn check_memory(needed_kib: u64, there: &HostFacts, reserved_kib: u64) -> Result<(), Refusal> {
    let free_kib = there.free_memory_kib.saturating_sub(reserved_kib);
    if needed_kib > free_kib {
        return Err(Refusal::Memory { needed_kib, free_kib });
    }
    Ok(())
}

/// Memory that a host needs for a domain, in KiB: its own, and what Xen keeps for it.
pub fn needed_kib(domain: &DomainConfig) -> u64 {
    let memory = domain.most_memory_kib();
    let overhead = match domain.kind {
        GuestKind::Embedded => 0,
        // Page tables of its own are in its memory; Xen keeps some pages for each processor.
        GuestKind::Pv => 1024,
        // What libxl asks of Xen for nested or shadow page tables, unless the configuration says more: 1 MiB for each processor, 8 KiB for each MiB.
        GuestKind::Pvh | GuestKind::Hvm => {
            let least = u64::from(domain.vcpus) * 1024 + memory / 1024 * 8;
            1024 + least.max(domain.shadow_memory_mib.unwrap_or_default().saturating_mul(1024))
        }
    };
    memory.saturating_add(overhead)
}

/// Checks whether `domain` can be sent from `here` while it runs.
///
/// # Errors
/// Why not.
pub fn check_live(domain: &DomainConfig, here: &HostFacts) -> Result<(), Refusal> {
    let shadow = here.virtualization.iter().any(|word| word == "shadow");
    if here.toolstack == "xl" && domain.kind == GuestKind::Pv && !shadow {
        return Err(Refusal::NoShadow);
    }
    Ok(())
}

/// The words of a host's virtualization that this kind of guest needs, both, of those that the hosts have.
fn check_virtualization(kind: GuestKind, here: &HostFacts, there: &HostFacts) -> Result<(), Refusal> {
    let has = |host: &HostFacts, word: &str| host.virtualization.iter().any(|other| other == word);
    let other = || Refusal::Virtualization {
        here: words(&here.virtualization),
        there: words(&there.virtualization),
    };
    let lacks = |kind| Refusal::Kind {
        kind,
        there: words(&there.virtualization),
    };
    if there.toolstack != "xl" {
        let common = here.virtualization.iter().any(|word| has(there, word));
        let neither = here.virtualization.is_empty() && there.virtualization.is_empty();
        return if common || neither { Ok(()) } else { Err(other()) };
    }
    match kind {
        GuestKind::Pv if !has(there, "pv") => Err(lacks("PV")),
        GuestKind::Pv | GuestKind::Embedded => Ok(()),
        GuestKind::Pvh if !has(there, "hvm") => Err(lacks("PVH")),
        GuestKind::Hvm if !has(there, "hvm") => Err(lacks("HVM")),
        // The guest has been told what processor it has.
        GuestKind::Pvh | GuestKind::Hvm => match ["vmx", "svm"].iter().find(|word| has(here, word)) {
            Some(word) if !has(there, word) => Err(other()),
            _ => Ok(()),
        },
    }
}

/// Major and minor version; what is no version is as old as can be.
fn xen_version(text: &str) -> (u32, u32) {
    let mut numbers = text
        .split(['.', '-', ' '])
        .map(|number| number.parse().unwrap_or_default());
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default())
}

fn check_bridge(name: &str, here: &HostFacts, there: &HostFacts) -> Result<(), Refusal> {
    let find = |host: &HostFacts| host.bridges.iter().find(|bridge| bridge.name == name).cloned();
    let Some(theirs) = find(there) else {
        return Err(Refusal::Bridge(name.to_owned()));
    };
    let Some(ours) = find(here) else {
        return Ok(());
    };
    // A bridge without an address of the host's own tells nothing about the network on it.
    if ours.subnets.is_empty() || theirs.subnets.is_empty() {
        return Ok(());
    }
    let same = ours
        .subnets
        .iter()
        .any(|subnet| theirs.subnets.iter().any(|other| subnet.trunc() == other.trunc()));
    if same {
        return Ok(());
    }
    let list = |subnets: &[ipnet::IpNet]| {
        words(
            &subnets
                .iter()
                .map(|subnet| subnet.trunc().to_string())
                .collect::<Vec<_>>(),
        )
    };
    Err(Refusal::Subnet {
        bridge: name.to_owned(),
        here: list(&ours.subnets),
        there: list(&theirs.subnets),
    })
}

fn words(list: &[String]) -> String {
    if list.is_empty() {
        "none".to_owned()
    } else {
        list.join(" ")
    }
}

#[cfg(test)]
mod tests;
