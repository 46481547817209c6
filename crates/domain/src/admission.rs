//! Whether a domain can live on a host: asked at both ends before anything stops.

use crate::{DomainConfig, HostFacts};

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
        return check_memory(domain, there, reserved_kib);
    }
    if here.toolstack == HostFacts::SPOOL {
        // Where the image was made nobody knows: what kind of guest it is says what can run it.
        if domain.kind.toolstack() != there.toolstack {
            return Err(Refusal::Toolstack {
                here: domain.kind.toolstack().to_owned(),
                there: there.toolstack.clone(),
            });
        }
    } else {
        check_hosts(here, there)?;
    }
    check_memory(domain, there, reserved_kib)?;
    domain
        .bridges()
        .into_iter()
        .try_for_each(|name| check_bridge(name, here, there))
}

/// Whether guests of one host run on the other.
fn check_hosts(here: &HostFacts, there: &HostFacts) -> Result<(), Refusal> {
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
    let common = here
        .virtualization
        .iter()
        .any(|extension| there.virtualization.contains(extension));
    let neither = here.virtualization.is_empty() && there.virtualization.is_empty();
    if !common && !neither {
        return Err(Refusal::Virtualization {
            here: words(&here.virtualization),
            there: words(&there.virtualization),
        });
    }
    Ok(())
}

fn check_memory(domain: &DomainConfig, there: &HostFacts, reserved_kib: u64) -> Result<(), Refusal> {
    let free_kib = there.free_memory_kib.saturating_sub(reserved_kib);
    let needed_kib = domain.max_memory_kib.max(domain.memory_kib);
    if needed_kib > free_kib {
        return Err(Refusal::Memory { needed_kib, free_kib });
    }
    Ok(())
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
    use crate::{GuestKind, Vif};

    fn host(toolstack: &str, architecture: &str) -> HostFacts {
        HostFacts {
            name: "a".to_owned(),
            toolstack: toolstack.to_owned(),
            version: String::new(),
            architecture: architecture.to_owned(),
            virtualization: vec![architecture.to_owned()],
            free_memory_kib: 1000,
            total_memory_kib: 2000,
            processors: 1,
            bridges: Vec::new(),
        }
    }

    #[test]
    fn a_disk_takes_whatever_fits() {
        let mut domain = DomainConfig::new("web", Uuid::nil(), 1000, GuestKind::Pv);
        domain.vifs.push(Vif {
            bridge: Some("xenbr0".to_owned()),
            ..Vif::default()
        });
        let (xl, spool) = (host("xl", "x86_64"), host("spool", "any"));
        assert_eq!(check(&domain, &xl, &spool, 0), Ok(()));
        let memory = Refusal::Memory {
            needed_kib: 1000,
            free_kib: 999,
        };
        assert_eq!(check(&domain, &xl, &spool, 1), Err(memory));
        assert_eq!(
            check(&domain, &spool, &xl, 0),
            Err(Refusal::Bridge("xenbr0".to_owned()))
        );
    }

    #[test]
    fn what_comes_from_a_disk_goes_where_such_guests_run() {
        let spool = host("spool", "any");
        for (kind, toolstack, other) in [
            (GuestKind::Pv, "xl", "embedded"),
            (GuestKind::Hvm, "xl", "embedded"),
            (GuestKind::Embedded, "embedded", "xl"),
        ] {
            let domain = DomainConfig::new("web", Uuid::nil(), 1000, kind);
            assert_eq!(check(&domain, &spool, &host(toolstack, "b"), 0), Ok(()));
            let refused = check(&domain, &spool, &host(other, "b"), 0).unwrap_err();
            assert_eq!(refused.word(), "other-toolstack");
        }
        let domain = DomainConfig::new("web", Uuid::nil(), 1000, GuestKind::Embedded);
        let refused = check(&domain, &host("xl", "a"), &host("embedded", "a"), 0).unwrap_err();
        assert_eq!(refused.word(), "other-toolstack");
    }
}
