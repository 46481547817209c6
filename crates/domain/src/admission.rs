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
    let free_kib = there.free_memory_kib.saturating_sub(reserved_kib);
    let needed_kib = needed_kib(domain);
    if needed_kib > free_kib {
        return Err(Refusal::Memory { needed_kib, free_kib });
    }
    domain
        .bridges()
        .into_iter()
        .try_for_each(|name| check_bridge(name, here, there))
}

/// Memory that a host needs for a domain, in KiB: its own, and what Xen keeps for it.
pub fn needed_kib(domain: &DomainConfig) -> u64 {
    let memory = domain.max_memory_kib.max(domain.memory_kib);
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
mod tests {
    use uuid::Uuid;

    use super::*;

    fn xen(version: &str, words: &str) -> HostFacts {
        HostFacts {
            name: "a".to_owned(),
            toolstack: "xl".to_owned(),
            version: version.to_owned(),
            architecture: "x86_64".to_owned(),
            virtualization: words.split(' ').map(str::to_owned).collect(),
            free_memory_kib: 1 << 20,
            total_memory_kib: 1 << 21,
            processors: 1,
            bridges: Vec::new(),
        }
    }

    fn refusal(kind: GuestKind, here: &HostFacts, there: &HostFacts) -> Option<&'static str> {
        let domain = DomainConfig::new("web", Uuid::nil(), 1024, kind);
        check(&domain, here, there, 0).err().map(|refusal| refusal.word())
    }

    #[test]
    fn kinds_of_guests_on_xen() {
        let svm = xen("4.17.5", "pv hvm hap svm");
        let vmx = xen("4.17.5", "pv hvm hap shadow vmx");
        let pv = xen("4.17.5", "pv");
        let none = xen("4.17.5", "hvm hap vmx");
        for (kind, here, there, expected) in [
            (GuestKind::Pv, &svm, &vmx, None),
            (GuestKind::Pv, &svm, &none, Some("other-kind")),
            (GuestKind::Pvh, &svm, &svm, None),
            (GuestKind::Pvh, &svm, &vmx, Some("other-virtualization")),
            (GuestKind::Hvm, &vmx, &svm, Some("other-virtualization")),
            (GuestKind::Hvm, &vmx, &pv, Some("other-kind")),
            (GuestKind::Pvh, &vmx, &pv, Some("other-kind")),
        ] {
            assert_eq!(refusal(kind, here, there), expected, "{kind:?}");
        }
    }

    #[test]
    fn an_older_xen_takes_nothing_of_a_newer_one() {
        let of = |version| xen(version, "pv hvm svm");
        for (here, there, expected) in [
            ("4.17.5", "4.20.1", None),
            ("4.17.5", "4.17.0", None),
            ("4.20-unstable", "4.17.5", Some("older-xen")),
            ("4.9.1", "4.17.5", None),
            ("4.17.5", "4.9.1", Some("older-xen")),
            ("4.17.5", "?", Some("older-xen")),
        ] {
            assert_eq!(
                refusal(GuestKind::Pv, &of(here), &of(there)),
                expected,
                "{here} {there}"
            );
        }
    }

    #[test]
    fn pv_guests_go_live_only_with_shadow_paging() {
        let live = |kind, words| {
            check_live(
                &DomainConfig::new("web", Uuid::nil(), 1024, kind),
                &xen("4.17.5", words),
            )
            .is_ok()
        };
        assert!(live(GuestKind::Pv, "pv shadow") && !live(GuestKind::Pv, "pv hvm hap"));
        assert!(live(GuestKind::Pvh, "pv hvm hap") && live(GuestKind::Hvm, "hvm"));
    }

    #[test]
    fn xens_own_memory_counts() {
        let needed = |kind, mib: u64| needed_kib(&DomainConfig::new("web", Uuid::nil(), mib * 1024, kind));
        assert_eq!(needed(GuestKind::Embedded, 256), 256 * 1024);
        assert_eq!(needed(GuestKind::Pv, 256), 257 * 1024);
        assert_eq!(needed(GuestKind::Hvm, 1024), (1024 + 1 + 1 + 8) * 1024);
        let mut domain = DomainConfig::new("web", Uuid::nil(), 1024, GuestKind::Hvm);
        domain.shadow_memory_mib = Some(32);
        assert_eq!(needed_kib(&domain), 1024 + 1024 + 32 * 1024);
    }
}
