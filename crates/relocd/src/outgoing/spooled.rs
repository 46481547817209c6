//! A domain leaves the spool for another host: the source's copy is a file.

use std::{sync::Arc, time::Instant};

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

use super::{Outgoing, Place, check_tls};
use crate::{
    cancel::Cancel,
    failure,
    host::Host,
    journal::Direction,
    relocations::Relocation,
    spooled::{self, Wanted},
};

/// Carries out an operator's order, with the whole handoff: the file is deleted once the domain runs there, and stays in any other case.
///
/// # Errors
/// [`Failure`], with the state that the domain is in.
pub async fn send_spooled(
    host: Arc<Host>,
    order: SpoolSend,
    cancel: Cancel,
    started: oneshot::Sender<Arc<Relocation>>,
) -> Result<Reply, Failure> {
    let begun = Instant::now();
    check_tls(&host, false)?;
    let wanted = Wanted {
        entry: order.entry,
        yes_i_know: order.yes_i_know,
    };
    let held: Held = spooled::take(&host, wanted).await?;
    let config = held.entry().config().map_err(|error| failure::spool(&error))?;
    let word = ModeWord::Offline;
    let relocation = Relocation {
        cancel,
        ..Relocation::new(Uuid::new_v4(), Direction::Out, &config, &order.host, word.word())
    };
    let id = relocation.id;
    let booked = host
        .relocations
        .begin(relocation, host.limits().max_outgoing)
        .map_err(|conflict| failure::conflict(&conflict))?;
    // Whoever asked may have gone.
    let _ = started.send(Arc::clone(&booked.relocation));
    let span = tracing::info_span!(
        "relocation", %id, direction = "out", domain = %config.name, peer = %order.host, spooled = %held.entry().id
    );
    let depart = move |image: &mut dyn ImageSink, observer: &mut dyn Observer| spool::depart(held, id, image, observer);
    let departure = Outgoing {
        host,
        order: Migrate {
            domain: config.name.clone(),
            host: order.host,
            port: order.port,
            live: false,
            ssl: false,
            node: None,
            dry_run: order.dry_run,
            max_downtime: None,
            bandwidth: None,
            on_no_convergence: None,
        },
        booked,
        config,
        word,
        place: Place::Spool,
        depart: Some(Box::new(depart)),
        spools: false,
        begun,
    };
    departure.run().instrument(span).await
}
