//! Whether an arriving domain is taken: every check that can be made before anything stops at the source.

use std::{net::SocketAddr, sync::Arc};

use domain::{DomainConfig, admission};
use peer::native::message::{Refused, Relocate, plain_text};
use toolstack::{DEPARTING_PREFIX, DomainId};

use super::Incoming;
use crate::{
    blocking::blocking,
    host::Host,
    interfaces,
    journal::{Direction, Entry},
    relocations::{Booked, Relocation},
};

/// An arriving domain that is taken.
pub struct Ready {
    /// Its place in the books.
    pub booked: Booked,
    /// Its handoff.
    pub incoming: Arc<Incoming>,
    /// Its configuration.
    pub config: DomainConfig,
}

/// How an admission ends.
pub enum Admitted {
    /// It would be taken; nothing has been kept.
    DryRun,
    /// It is taken.
    Ready(Box<Ready>),
}

fn refused(word: &str, text: impl Into<String>) -> Refused {
    Refused {
        word: word.to_owned(),
        // Of the peer's words some are in it: its names, its facts.
        text: plain_text(&text.into()),
    }
}

/// The configuration of the domain that is to arrive.
///
/// # Errors
/// [`Refused`].
pub fn config(request: &Relocate) -> Result<DomainConfig, Refused> {
    let config = DomainConfig::from_sxp(&request.config.0).map_err(|error| refused("config", error.to_string()))?;
    config
        .check_programs()
        .map_err(|foreign| refused("config", foreign.to_string()))?;
    Ok(config)
}

/// Checks a request, reserves what it needs, and writes the journal's first record.
///
/// # Errors
/// [`Refused`], to be told to the source; nothing has been kept.
pub async fn admit(
    host: &Arc<Host>,
    request: &Relocate,
    config: DomainConfig,
    peer: &str,
    allowed_by: &str,
) -> Result<Admitted, Refused> {
    let limits = host.limits();
    let known = host
        .journal
        .find(request.id, Direction::In)
        .map_err(|error| refused("journal", error.to_string()))?;
    if known.is_some() {
        return Err(refused(
            "known",
            format!("relocation {} has been here before", request.id),
        ));
    }
    let mut entry = Entry::new(
        request.id,
        Direction::In,
        &config.name,
        config.uuid,
        peer,
        request.mode.word(),
        "receiving",
    );
    entry.secret = request.secret.clone();
    entry.asked_by = Some(peer.to_owned());
    entry.allowed_by = Some(allowed_by.to_owned());
    let incoming = Arc::new(Incoming::new(entry.clone(), host.journal.clone()));
    let needed = admission::needed_kib(&config);
    let relocation = Relocation {
        reserved_kib: needed.into(),
        incoming: Some(Arc::clone(&incoming)),
        ..Relocation::new(request.id, Direction::In, &config, peer, request.mode.word())
    };
    // Booked before the checks: of two that arrive at once, each sees the other's reservation.
    let booked = host
        .relocations
        .begin(relocation, limits.max_incoming)
        .map_err(|conflict| refused(conflict.word(), conflict.to_string()))?;
    // A destination elsewhere knows the identity as well, and may not use it to bring in a second one.
    let own = host
        .relocations
        .find(request.id, Direction::Out)
        .filter(|_| is_this_host(peer))
        .and_then(|relocation| relocation.domid);
    check_names(host, &config, own).await?;
    let here = host
        .facts()
        .await
        .map_err(|error| refused("toolstack", error.to_string()))?;
    let reserved = host.relocations.reserved_kib().saturating_sub(needed);
    if let Some(most) = limits.max_arriving_kib
        && reserved.saturating_add(needed) > most
    {
        let text = format!("arriving domains may have {most} KiB, {reserved} KiB are reserved, {needed} KiB needed");
        return Err(refused("busy", text));
    }
    admission::check(&config, &request.host, &here, reserved)
        .map_err(|refusal| refused(refusal.word(), refusal.to_string()))?;
    if request.dry_run {
        return Ok(Admitted::DryRun);
    }
    let journal = host.journal.clone();
    blocking(move || journal.begin(&mut entry))
        .await
        .map_err(|error| refused("journal", error.to_string()))?;
    Ok(Admitted::Ready(Box::new(Ready {
        booked,
        incoming,
        config,
    })))
}

/// Whether a peer (address and port) is this host itself.
fn is_this_host(peer: &str) -> bool {
    let Ok(peer) = peer.parse::<SocketAddr>() else {
        return false;
    };
    let address = peer.ip().to_canonical();
    address.is_loopback() || interfaces::addresses().any(|(_, ours)| ours == address)
}

/// Name and identity must be free; the domain itself, `own`, does not count when it relocates to the host that it is on.
///
/// # Errors
/// [`Refused`].
pub async fn check_names(host: &Arc<Host>, config: &DomainConfig, own: Option<DomainId>) -> Result<(), Refused> {
    if config.name.parse::<u32>().is_ok() || config.name == "Domain-0" || config.name.starts_with(DEPARTING_PREFIX) {
        let text = format!(
            "a domain can't have the name '{}' here: it would be taken for something else",
            config.name
        );
        return Err(refused("config", text));
    }
    let toolstack = Arc::clone(&host.toolstack);
    let domains = blocking(move || toolstack.domains())
        .await
        .map_err(|error| refused("toolstack", error.to_string()))?;
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
