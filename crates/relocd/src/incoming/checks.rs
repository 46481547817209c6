//! What both admissions ask of a domain that arrives, from a relocd or a xend.

use std::{path::Path, sync::Arc, time::Duration};

use domain::{Backing, DomainConfig};
use peer::native::message::{Refused, plain_text};
use tokio::time::timeout;
use toolstack::{DEPARTING_PREFIX, DomainId};

use crate::{blocking::blocking, host::Host};

/// A refusal: a word for programs, and the reason for people at both ends.
pub fn refused(word: &str, text: impl std::fmt::Display) -> Refused {
    Refused {
        word: word.to_owned(),
        // Of the peer's words some are in it: its names, its facts.
        text: plain_text(&text.to_string()),
    }
}

/// A name that nothing here could be told by.
///
/// # Errors
/// [`Refused`]: `config`.
pub fn check_name(name: &str) -> Result<(), Refused> {
    if name.parse::<u32>().is_ok() || name == "Domain-0" || name.starts_with(DEPARTING_PREFIX) {
        let text = format!("a domain can't have the name '{name}' here: it would be taken for something else");
        return Err(refused("config", text));
    }
    Ok(())
}

/// Name and identity must be free; the domain itself, `own`, does not count when it relocates to the host that it is on.
///
/// # Errors
/// [`Refused`]: `config`, `name-taken`, `uuid-taken`, `toolstack`.
pub async fn check_names(host: &Arc<Host>, config: &DomainConfig, own: Option<DomainId>) -> Result<(), Refused> {
    check_name(&config.name)?;
    let toolstack = Arc::clone(&host.toolstack);
    let domains = blocking(move || toolstack.domains())
        .await
        .map_err(|error| refused("toolstack", error))?;
    for domain in domains.iter().filter(|domain| Some(domain.id) != own) {
        if domain.name == config.name {
            return Err(refused(
                "name-taken",
                format!("domain name '{}' is taken here by domain {}", config.name, domain.id),
            ));
        }
        if domain.uuid == config.uuid {
            return Err(refused(
                "uuid-taken",
                format!("uuid {} is taken here by domain {}", config.uuid, domain.id),
            ));
        }
    }
    Ok(())
}

/// What is behind a domain's disks is there. What other domains serve, what scripts make (`drbd:`, `iscsi:`) and what QEMU reaches over a network (`rbd:...`) can't be looked at. `limit`:
/// storage may hang.
///
/// # Errors
/// [`Refused`]: `disk-missing`.
pub async fn check_disks(config: &DomainConfig, limit: Duration) -> Result<(), Refused> {
    if config.vbds.is_empty() {
        return Ok(());
    }
    let config = config.clone();
    let look = blocking(move || check(&config, |path| path.exists()));
    let late = || {
        let text = format!(
            "the domain's disks can't be looked at: the storage did not answer within {} s",
            limit.as_secs()
        );
        refused("disk-missing", text)
    };
    timeout(limit, look).await.map_err(|_| late())?
}

fn check(config: &DomainConfig, exists: impl Fn(&Path) -> bool) -> Result<(), Refused> {
    for vbd in &config.vbds {
        // Where another domain than domain 0 serves it, its path is that domain's.
        if !domain::is_dom0(vbd.backend.as_deref()) {
            continue;
        }
        // What is no disk in xend's words is the toolstack's business.
        let Ok(disk) = vbd.disk() else { continue };
        if let Backing::Path { path, .. } = disk.backing
            && Path::new(&path).is_absolute()
            && !exists(Path::new(&path))
        {
            let text = format!("disk '{}': '{path}' does not exist at the destination", disk.vdev);
            return Err(refused("disk-missing", text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use domain::{GuestKind, Vbd};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn every_disk_that_can_be_looked_at_has_to_be_there() {
        let disk = |backing: &str| Vbd {
            device: "xvda:disk".to_owned(),
            mode: "w".to_owned(),
            backing: Some(backing.to_owned()),
            ..Vbd::default()
        };
        let mut guest = DomainConfig::new("web", Uuid::nil(), 65536, GuestKind::Pv);
        guest.vbds = [
            "phy:/dev/vg0/web",
            "phy:vg0/data",
            "tap:aio:/srv/a.img",
            "drbd:res",
            "file:/srv/b.img",
            "file:rbd:pool/web",
            "no uname",
        ]
        .map(disk)
        .into();
        guest.vbds.push(Vbd {
            backend: Some("storage".to_owned()),
            ..disk("phy:/elsewhere")
        });
        guest.vbds.push(Vbd {
            device: "hdc:cdrom".to_owned(),
            mode: "r".to_owned(),
            ..Vbd::default()
        });
        for path in ["/dev/vg0/web", "/dev/vg0/data", "/srv/a.img", "/srv/b.img"] {
            let missing = check(&guest, |other| other != Path::new(path)).unwrap_err();
            assert_eq!(missing.word, "disk-missing");
            assert!(missing.text.contains(path), "{}", missing.text);
        }
        let there = |path: &Path| path.starts_with("/dev") || path.starts_with("/srv");
        assert_eq!(check(&guest, there), Ok(()));
    }
}
