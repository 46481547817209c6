//! A domain leaves the spool for another host: the source's copy is a file.

use std::sync::Arc;

use image::ImageSink;
use peer::{
    control::{Failure, Migrate, Reply, SpoolSend},
    native::message::ModeWord,
};
use tokio::sync::oneshot;
use toolstack::{
    Observer,
    spool::{self, Held},
};
use tracing::Instrument;
use uuid::Uuid;

use super::{
    Outgoing, Place,
    order::{Asked, check_tls},
};
use crate::{
    cancel::Cancel,
    failure,
    host::Host,
    journal::Direction,
    relocations::{Booked, Relocation},
    spooled::{self, Wanted},
};

/// Carries out an operator's order, with the whole handoff: the file is deleted once the domain runs there, and stays in any other case.
///
/// # Errors
/// [`Failure`], with the state that the domain is in.
pub async fn send_spooled(
    host: Arc<Host>,
    order: SpoolSend,
    asked_by: String,
    cancel: Cancel,
    started: oneshot::Sender<Arc<Relocation>>,
) -> Result<Reply, Failure> {
    let asked = Asked::new(&order.entry, &order.host, ModeWord::Offline, asked_by);
    let id = asked.account.id;
    let booked = book(&host, &order, id, cancel).await;
    let (booked, config, held) = booked.inspect_err(|failure| asked.refused(failure))?;
    // Whoever asked may have gone.
    let _ = started.send(Arc::clone(&booked.relocation));
    let span = tracing::info_span!(
        "relocation", %id, direction = "out", domain = %config.name, peer = %order.host, spooled = %held.entry().id
    );
    let look = Outgoing::look_at(
        held.entry().clone(),
        host.spool.clone(),
        booked.relocation.cancel.clone(),
    );
    let depart = move |image: &mut dyn ImageSink, observer: &mut dyn Observer| spool::depart(held, id, image, observer);
    let order = Migrate {
        domain: config.name.clone(),
        host: order.host,
        port: order.port,
        live: false,
        ssl: false,
        node: None,
        dry_run: order.dry_run,
        force: order.force,
        max_downtime: None,
        bandwidth: None,
        on_no_convergence: None,
        xend: order.xend,
        leave_out: order.leave_out,
    };
    let departure = Outgoing {
        look: Some(look),
        ..Outgoing::new(host, order, asked, (booked, config), Place::Spool, Box::new(depart))
    };
    departure.run().instrument(span).await
}

/// Finds the entry, holds it, and books its relocation.
async fn book(
    host: &Arc<Host>,
    order: &SpoolSend,
    relocation: Uuid,
    cancel: Cancel,
) -> Result<(Booked, domain::DomainConfig, Held), Failure> {
    check_tls(host, false)?;
    let wanted = Wanted {
        entry: order.entry.clone(),
        yes_i_know: order.yes_i_know,
    };
    let held = spooled::take(host, wanted).await?;
    let config = held.entry().config().map_err(|error| failure::spool(&error))?;
    let relocation = Relocation {
        cancel,
        ..Relocation::new(
            relocation,
            Direction::Out,
            &config,
            &order.host,
            ModeWord::Offline.word(),
        )
    };
    let booked = host
        .relocations
        .begin(relocation, host.limits().max_outgoing)
        .map_err(|conflict| failure::conflict(&conflict))?;
    Ok((booked, config, held))
}
