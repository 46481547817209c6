//! Whether an arriving domain is taken: every check that can be made before anything stops at the source.

use std::{net::SocketAddr, sync::Arc};

use domain::{
    DomainConfig,
    admission::{self, Terms},
};
use peer::native::message::{Refused, Relocate};

use super::{
    Incoming,
    checks::{check_disks, check_names, refused},
};
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
    DryRun {
        /// [`Record::forced`](crate::audit::Record::forced).
        forced: Option<String>,
    },
    /// It is taken.
    Ready(Box<Ready>),
}

/// The configuration of the domain that is to arrive.
///
/// # Errors
/// [`Refused`].
pub fn config(request: &Relocate) -> Result<DomainConfig, Refused> {
    let config = DomainConfig::from_sxp(&request.config.0).map_err(|error| refused("config", error))?;
    config.check_programs().map_err(|foreign| refused("config", foreign))?;
    Ok(config)
}

/// Checks a request, reserves what it needs, and writes the journal's first record.
///
/// # Errors
/// [`Refused`], to be told to the source; nothing has been kept.
pub async fn admit(
    host: &Arc<Host>,
    request: &Relocate,
    mut config: DomainConfig,
    peer: &str,
    allowed_by: &str,
) -> Result<Admitted, Refused> {
    let limits = host.limits();
    let known = host
        .journal
        .find(request.id, Direction::In)
        .map_err(|error| refused("journal", error))?;
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
    let promised = host
        .promised_kib(request.id)
        .await
        .map_err(|error| refused("toolstack", error))?;
    let here = host.facts().await.map_err(|error| refused("toolstack", error))?;
    let reserved = host.relocations.reserved_kib().saturating_sub(needed);
    if let Some(most) = limits.max_arriving_kib
        && reserved.saturating_add(needed) > most
    {
        let text = format!("arriving domains may have {most} KiB, {reserved} KiB are reserved, {needed} KiB needed");
        return Err(refused("busy", text));
    }
    let terms = Terms {
        reserved_kib: promised,
        force: request.force,
    };
    let forced =
        admission::check(&config, &request.host, &here, terms).map_err(|refusal| refused(refusal.word(), &refusal))?;
    for refusal in &forced {
        tracing::warn!(kind = refusal.word(), "--force at the source: {refusal}");
    }
    // Software machines have no disks, and what goes to disk itself finds them where it will run.
    if here.toolstack == "xl" {
        check_disks(&config, limits.handshake).await?;
    }
    let forced = request.force.then(|| admission::words(&forced));
    if request.dry_run {
        return Ok(Admitted::DryRun { forced });
    }
    config.cpu_features = admission::features_to_keep(config.kind, &request.host, &here);
    host.make_room(needed, promised, &here)
        .await
        .map_err(|error| refused("insufficient-memory", error))?;
    entry.forced.clone_from(&forced);
    incoming.amend(|entry| entry.forced = forced);
    let journal = host.journal.clone();
    blocking(move || journal.begin(&mut entry))
        .await
        .map_err(|error| refused("journal", error))?;
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
