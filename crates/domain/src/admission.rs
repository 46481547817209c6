//! Whether a domain can live on a host: asked at both ends before anything stops.

mod refusal;
mod tunnel;

pub use refusal::{Refusal, next_step};
pub use tunnel::{Ends, tunnel};

use crate::{DomainConfig, GuestKind, HostFacts, features};

/// What an admission is told besides the two hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// KiB of the destination's memory that are promised to other arriving domains.
    pub reserved_kib: u64,
    /// An operator wants it tried in spite of what [can be forced](Refusal::can_be_forced).
    pub force: bool,
}

/// Checks whether `domain`, which runs at `here`, can run at `there`. What stands against it and was forced is given back.
///
/// # Errors
/// The first reason why not.
pub fn check(
    domain: &DomainConfig,
    here: &HostFacts,
    there: &HostFacts,
    terms: Terms,
) -> Result<Vec<Refusal>, Refusal> {
    let mut forced = Vec::new();
    check_all(domain, here, there, terms.reserved_kib, &mut |refusal| {
        if !(terms.force && refusal.can_be_forced()) {
            return Err(refusal);
        }
        forced.push(refusal);
        Ok(())
    })?;
    Ok(forced)
}

/// The words of refusals that were forced, for a record.
pub fn words(forced: &[Refusal]) -> String {
    if forced.is_empty() {
        return "nothing".to_owned();
    }
    forced.iter().map(Refusal::word).collect::<Vec<_>>().join(" ")
}

/// What becomes of a refusal: it is the answer, or it is passed over.
type Objection<'a> = dyn FnMut(Refusal) -> Result<(), Refusal> + 'a;

fn check_all(
    domain: &DomainConfig,
    here: &HostFacts,
    there: &HostFacts,
    reserved_kib: u64,
    object: &mut Objection<'_>,
) -> Result<(), Refusal> {
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
        check_hosts(domain, here, there, object)?;
    }
    check_memory(needed_kib(domain), there, reserved_kib)?;
    domain
        .bridges()
        .into_iter()
        .try_for_each(|name| check_bridge(name, here, there, object))
}

/// Whether guests of one host run on the other.
fn check_hosts(
    domain: &DomainConfig,
    here: &HostFacts,
    there: &HostFacts,
    object: &mut Objection<'_>,
) -> Result<(), Refusal> {
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
    let narrow = domain.kind == GuestKind::Pv && domain.kernel_bits == Some(32);
    if there.toolstack == "xl" && narrow && !there.virtualization.iter().any(|word| word == "pv32") {
        object(Refusal::Narrow)?;
    }
    if there.toolstack == "xl" && xen_version(&there.version) < xen_version(&here.version) {
        object(Refusal::Older {
            here: here.version.clone(),
            there: there.version.clone(),
        })?;
    }
    let missing = missing_features(domain, here, there);
    if missing.is_empty() {
        Ok(())
    } else {
        object(Refusal::Features(missing))
    }
}

/// Features that the guest may have found at its start, as `here` tells, and that are not there. A host that tells of none is not asked.
fn missing_features(domain: &DomainConfig, here: &HostFacts, there: &HostFacts) -> Vec<String> {
    if there.features.is_empty() {
        return Vec::new();
    }
    here.features
        .iter()
        .filter(|name| !there.features.contains(name) && !features::is_hidden(domain, name))
        .cloned()
        .collect()
}

/// The [`DomainConfig::cpu_features`] of a domain that goes from `here` to `there`: what the source tells, and what the guest may find beside it at the
/// destination. Empty if that is what `there` has.
///
/// PVH and HVM guests see no other processor there since images carry theirs (Xen 4.14, version 3 of libxc's format); before, the destination's tools made one
/// of what that host has. Programs of PV guests may ask the processor itself, and Xen can't hide all of it on each.
pub fn features_to_keep(kind: GuestKind, here: &HostFacts, there: &HostFacts) -> Vec<String> {
    if here.toolstack != "xl" || there.toolstack != "xl" || here.features.is_empty() {
        return Vec::new();
    }
    let carries = |host: &HostFacts| xen_version(&host.version) >= (4, 14);
    let found: &[String] = if kind != GuestKind::Pv && carries(here) && carries(there) {
        &[]
    } else {
        &there.features
    };
    let kept = features::known_features(&[&here.features, found].concat());
    if kept == features::known_features(&there.features) {
        return Vec::new();
    }
    kept.into_iter().map(str::to_owned).collect()
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
    // As libxl reckons it before it builds a domain (Xen 4.1 to 4.20, `libxl_domain_need_memory`).
    let overhead = match domain.kind {
        GuestKind::Embedded => return memory,
        // Page tables of its own are in its memory; Xen keeps some pages for each processor.
        GuestKind::Pv => 1024,
        // What libxl asks of Xen for nested or shadow page tables, unless the configuration says more: 1 MiB for each processor, 8 KiB for each MiB.
        GuestKind::Pvh | GuestKind::Hvm => {
            let least = u64::from(domain.vcpus) * 1024 + memory / 1024 * 8;
            2048 + least.max(domain.shadow_memory_mib.unwrap_or_default().saturating_mul(1024))
        }
    };
    let sum = memory.saturating_add(overhead);
    sum.checked_next_multiple_of(2048).unwrap_or(sum)
}

/// Checks whether `domain` can be sent from `here` at all, and if `live`, while it runs.
///
/// # Errors
/// Why not.
pub fn check_departure(domain: &DomainConfig, here: &HostFacts, live: bool) -> Result<(), Refusal> {
    if !domain.pci.is_empty() {
        return Err(Refusal::PciDevices(domain.pci.len()));
    }
    let shadow = here.virtualization.iter().any(|word| word == "shadow");
    if live && here.toolstack == "xl" && domain.kind == GuestKind::Pv && !shadow {
        return Err(Refusal::NoShadow);
    }
    Ok(())
}

/// The words of a host's virtualization that this kind of guest needs, both, of those that the hosts have.
fn check_virtualization(kind: GuestKind, here: &HostFacts, there: &HostFacts) -> Result<(), Refusal> {
    let has = |host: &HostFacts, word: &str| host.virtualization.iter().any(|other| other == word);
    let other = || Refusal::Virtualization {
        here: listed(&here.virtualization),
        there: listed(&there.virtualization),
    };
    let lacks = |kind| Refusal::Kind {
        kind,
        there: listed(&there.virtualization),
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

fn check_bridge(name: &str, here: &HostFacts, there: &HostFacts, object: &mut Objection<'_>) -> Result<(), Refusal> {
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
        listed(
            &subnets
                .iter()
                .map(|subnet| subnet.trunc().to_string())
                .collect::<Vec<_>>(),
        )
    };
    object(Refusal::Subnet {
        bridge: name.to_owned(),
        here: list(&ours.subnets),
        there: list(&theirs.subnets),
    })
}

fn listed(list: &[String]) -> String {
    if list.is_empty() {
        "none".to_owned()
    } else {
        list.join(" ")
    }
}

#[cfg(test)]
mod tests;
