//! A domain leaves the spool for another host: the source's copy is a file.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use image::ImageSink;
use peer::{
    control::{Failure, Migrate, Reply, SpoolSend},
    native::message::{ModeWord, Secret},
};
use tokio::sync::oneshot;
use toolstack::{
    Observer,
    spool::{self, Held},
};
use tracing::Instrument;
use uuid::Uuid;

use super::{Outgoing, Place, order::check_tls};
use crate::{
    audit::{Outcome, Record},
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
    let begun = Instant::now();
    let word = ModeWord::Offline;
    let mut account = Record::new(Uuid::new_v4(), Direction::Out, &order.entry, &order.host, word.word());
    account.asked_by = Some(asked_by.clone());
    let id = account.id;
    let booked = book(&host, &order, id, word, cancel).await;
    let (booked, config, held) = booked.inspect_err(|failure| {
        account.clone().since(begun).because(failure).over(Outcome::Refused);
    })?;
    config.name.clone_into(&mut account.domain);
    account.uuid = Some(config.uuid);
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
            xend: order.xend,
            leave_out: order.leave_out,
        },
        asked_by,
        booked,
        config,
        word,
        place: Place::Spool,
        depart: Some(Box::new(depart)),
        spools: false,
        look: Some(look),
        xend: None,
        begun,
        secret: Secret::new(),
        account: Mutex::new((account, Outcome::Refused)),
    };
    departure.run().instrument(span).await
}

/// Finds the entry, holds it, and books its relocation.
async fn book(
    host: &Arc<Host>,
    order: &SpoolSend,
    relocation: Uuid,
    word: ModeWord,
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
        ..Relocation::new(relocation, Direction::Out, &config, &order.host, word.word())
    };
    let booked = host
        .relocations
        .begin(relocation, host.limits().max_outgoing)
        .map_err(|conflict| failure::conflict(&conflict))?;
    Ok((booked, config, held))
}
