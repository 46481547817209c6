//! Whether a domain that a xend sends is taken: told from its configuration alone, before a byte of its image is read.

use std::sync::Arc;

use domain::{DomainConfig, GuestKind, HostFacts, Unmapped, admission};
pub use peer::native::message::Refused;
use sexp::Sexp;
use toolstack::spool::Spool;
use uuid::Uuid;

use super::{
    super::checks::{check_disks, check_name, check_names, refused},
    passage,
};
use crate::{
    blocking::blocking,
    host::Host,
    journal::{Direction, Entry},
    relocations::{Booked, Relocation},
};

/// The journal's and the status's word for a relocation from a xend: whether it is live is not told on the wire.
pub const MODE: &str = "xend";

/// The journal's word while the image arrives.
pub const RECEIVING: &str = "receiving";

/// Entries of a p2m that an image may have whatever its domain's memory: the hole below 4 GiB, in pages.
const HOLES: u64 = 1 << 20;

/// A domain that is taken.
pub struct Admitted {
    /// Its place in the books.
    pub booked: Booked,
    /// Its record in the journal.
    pub entry: Entry,
    /// Its configuration.
    pub config: DomainConfig,
    /// What of the sender's configuration is not in it.
    pub lost: Vec<Unmapped>,
    /// Where its copy goes.
    pub spool: Spool,
    /// Whether a guest of 32 bits can run where it goes.
    pub pv32: bool,
    /// Whether one with XSAVE state can.
    pub xsave: bool,
    /// Whether it stays there.
    pub stays: bool,
    /// Whether its image only passes through.
    pub passes: bool,
}

/// Understands a xend's configuration, and says what of it is lost.
///
/// # Errors
/// What is wrong with it.
pub fn understand(value: &Sexp) -> Result<(DomainConfig, Vec<Unmapped>), String> {
    DomainConfig::from_xend(value).map_err(|error| error.to_string())
}

/// Pages that a domain may have at most, holes included: what is kept for each is bounded by it.
pub fn max_pages(config: &DomainConfig) -> u64 {
    (config.most_memory_kib() / 2).saturating_add(HOLES)
}

/// Checks a configuration, reserves what it needs, and writes the journal's first record.
///
/// # Errors
/// [`Refused`]; nothing has been kept.
pub async fn admit(host: &Arc<Host>, value: &Sexp, peer: &str, allowed_by: &str) -> Result<Admitted, Refused> {
    let limits = host.limits();
    let (config, lost) = understand(value).map_err(|error| refused("config", error))?;
    check_config(&config)?;
    if let Some(device) = lost.iter().find(|lost| lost.path.starts_with("device/pci")) {
        return Err(refused(
            "pci",
            format!("a PCI device that can't be understood: {device}"),
        ));
    }
    let id = Uuid::new_v4();
    let stays = host.toolstack.name() == HostFacts::SPOOL;
    // With what Xen itself needs for it, where it is to run.
    let needed = if stays {
        config.most_memory_kib()
    } else {
        admission::needed_kib(&config)
    };
    let relocation = Relocation {
        reserved_kib: needed.into(),
        ..Relocation::new(id, Direction::In, &config, peer, MODE)
    };
    // Booked before the checks: of two that arrive at once, each sees the other's reservation.
    let booked = host
        .relocations
        .begin(relocation, limits.max_incoming)
        .map_err(|conflict| refused(conflict.word(), conflict))?;
    let reserved = host.relocations.reserved_kib().saturating_sub(needed);
    if let Some(most) = limits.max_arriving_kib
        && reserved.saturating_add(needed) > most
    {
        let text = format!("arriving domains may have {most} KiB, {reserved} KiB are reserved, {needed} KiB needed");
        return Err(refused("busy", text));
    }
    let promised = host.promised_kib(id).await;
    let promised = promised.map_err(|error| refused("toolstack", error))?;
    let facts = host.facts().await.map_err(|error| refused("toolstack", error))?;
    if !stays {
        check_host(&config, &facts, promised)?;
        check_start(&config)?;
        check_disks(&config, limits.handshake).await?;
    }
    check_names(host, &config, None).await?;
    let passes = !stays && passage::is_wanted(&host.config(), &config);
    let spool = host.spool.clone();
    // The spool knows of what this daemon writes itself: not of what other receivers have yet to write.
    let unwritten = host.relocations.unwritten_bytes(MODE, id, |memory_kib| {
        Spool::needed(&DomainConfig::new("", Uuid::nil(), memory_kib, GuestKind::Pv))
    });
    check_spool(&spool, &config, unwritten, stays, passes).await?;
    if !stays {
        let room = host.make_room(needed, promised, &facts).await;
        room.map_err(|error| refused("insufficient-memory", error))?;
    }
    if passes {
        tracing::warn!(
            "no safety copy is kept (relocd-safety-copy no): if the domain can't be started here after its last byte it is lost"
        );
        booked.relocation.is_on_disk();
    }
    let state = if passes { passage::PASSING } else { RECEIVING };
    let mut entry = Entry::new(id, Direction::In, &config.name, config.uuid, peer, MODE, state);
    entry.asked_by = Some(peer.to_owned());
    entry.allowed_by = Some(allowed_by.to_owned());
    let journal = host.journal.clone();
    let entry = blocking(move || journal.begin(&mut entry).map(|()| entry))
        .await
        .map_err(|error| refused("journal", error))?;
    Ok(Admitted {
        booked,
        entry,
        config,
        lost,
        spool,
        pv32: stays || facts.virtualization.iter().any(|word| word == "pv32"),
        // A host that tells of no features is not asked.
        xsave: stays || facts.features.is_empty() || facts.features.iter().any(|name| name == "xsave"),
        stays,
        passes,
    })
}

/// What no host of today can take.
fn check_config(config: &DomainConfig) -> Result<(), Refused> {
    match config.kind {
        GuestKind::Pv => {}
        GuestKind::Hvm => {
            let text = "a fully virtualised guest needs the device model qemu-xen-traditional, which no current Xen has: only PV guests can come here; shut it down and create it anew";
            return Err(refused("device-model", text));
        }
        GuestKind::Pvh | GuestKind::Embedded => {
            let text = format!(
                "a guest of kind '{}' does not come from a xend",
                config.kind.image_word()
            );
            return Err(refused("config", text));
        }
    }
    config
        .check_runnable()
        .map_err(|cannot| refused(cannot.word(), cannot))?;
    config.check_programs().map_err(|foreign| refused("config", foreign))?;
    check_name(&config.name)
}

/// What this host lacks.
fn check_host(config: &DomainConfig, facts: &HostFacts, reserved_kib: u64) -> Result<(), Refused> {
    if facts.architecture != "x86_64" {
        let text = format!(
            "this host can't run Xen guests: its toolstack is {}, for {} ({} can be told to take them to disk: relocd --toolstack spool)",
            facts.toolstack, facts.architecture, facts.name
        );
        return Err(refused("other-architecture", text));
    }
    // xend's Xen had no other way to run a PV guest; a Xen built without it can't.
    if !facts.virtualization.iter().any(|extension| extension == "pv") {
        return Err(refused("other-virtualization", "this host's Xen can't run PV guests"));
    }
    let free = facts.free_memory_kib.saturating_sub(reserved_kib);
    let needed = admission::needed_kib(config);
    if needed > free {
        let text = format!("not enough memory at the destination: {needed} KiB needed, {free} KiB free");
        return Err(refused("insufficient-memory", text));
    }
    for bridge in config.bridges() {
        if !facts.bridges.iter().any(|other| other.name == bridge) {
            return Err(refused(
                "bridge-missing",
                format!("bridge '{bridge}' does not exist at the destination"),
            ));
        }
    }
    Ok(())
}

/// What its start from the safety copy would stumble over, when its sender has given up its own.
fn check_start(config: &DomainConfig) -> Result<(), Refused> {
    if sxp::bytes_of_text(&config.name).len() > xl::MAX_NAME {
        let text = format!("the name '{}' is longer than {} bytes", config.name, xl::MAX_NAME);
        return Err(refused("config", text));
    }
    config.to_xl().map(drop).map_err(|error| refused("config", error))
}

/// Room for the copy, and if it is to stay, no other of that name.
async fn check_spool(
    spool: &Spool,
    config: &DomainConfig,
    unwritten: u64,
    stays: bool,
    passes: bool,
) -> Result<(), Refused> {
    let (spool, config) = (spool.clone(), config.clone());
    blocking(move || {
        let (entries, _) = spool.list().map_err(|error| refused("spool", error))?;
        let same = entries
            .iter()
            .find(|entry| entry.name == config.name || entry.uuid == config.uuid);
        if stays && let Some(same) = same {
            let text = format!("domain '{}' is in the spool here already, as {}", same.name, same.id);
            return Err(refused("name-taken", text));
        }
        let (needed, what) = match passes {
            true => (Spool::PASSAGE, "to let its image pass"),
            false => (Spool::needed(&config), "for a safety copy"),
        };
        let room = spool.room().map_err(|error| refused("spool", error))?;
        let free = room.saturating_sub(unwritten);
        if needed > free {
            let text = format!("not enough room {what} at the destination: {needed} bytes needed, {free} free");
            return Err(refused("spool-full", text));
        }
        Ok(())
    })
    .await
}

#[cfg(test)]
mod tests {
    use domain::{Bridge, Vif};

    use super::*;

    fn guest() -> DomainConfig {
        DomainConfig {
            vifs: vec![Vif {
                bridge: Some("xenbr0".to_owned()),
                ..Vif::default()
            }],
            ..DomainConfig::new("web", Uuid::nil(), 65536, GuestKind::Pv)
        }
    }

    fn facts() -> HostFacts {
        HostFacts {
            name: "dom0-b".to_owned(),
            toolstack: "xl".to_owned(),
            version: "4.17".to_owned(),
            architecture: "x86_64".to_owned(),
            virtualization: vec!["pv".to_owned()],
            free_memory_kib: 100_000,
            total_memory_kib: 1 << 20,
            processors: 2,
            bridges: vec![Bridge {
                name: "xenbr0".to_owned(),
                subnets: Vec::new(),
            }],
            ..HostFacts::default()
        }
    }

    fn word(result: Result<(), Refused>) -> String {
        result.map_or_else(|refused| refused.word, |()| "taken".to_owned())
    }

    #[test]
    fn what_the_host_lacks_is_told_from_the_configuration() {
        let check = |facts: &HostFacts, reserved| word(check_host(&guest(), facts, reserved));
        assert_eq!(check(&facts(), 0), "taken");
        assert_eq!(check(&facts(), 50_000), "insufficient-memory");
        let arm = HostFacts {
            architecture: "riscv64".to_owned(),
            ..facts()
        };
        assert_eq!(check(&arm, 0), "other-architecture");
        let hvm = HostFacts {
            virtualization: vec!["vmx".to_owned()],
            ..facts()
        };
        assert_eq!(check(&hvm, 0), "other-virtualization");
        let bare = HostFacts {
            bridges: Vec::new(),
            ..facts()
        };
        assert_eq!(check(&bare, 0), "bridge-missing");
    }

    #[test]
    fn what_no_host_can_take_is_refused_whatever_the_toolstack() {
        let of = |kind, name: &str| word(check_config(&DomainConfig::new(name, Uuid::nil(), 1024, kind)));
        assert_eq!(of(GuestKind::Pv, "web"), "taken");
        assert_eq!(of(GuestKind::Hvm, "web"), "device-model");
        assert_eq!(of(GuestKind::Embedded, "web"), "config");
        for name in ["7", "Domain-0", "migrating-web"] {
            assert_eq!(of(GuestKind::Pv, name), "config", "{name}");
        }
    }
}
