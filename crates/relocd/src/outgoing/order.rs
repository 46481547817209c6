//! An operator's order, up to its place in the books.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use image::ImageSink;
use peer::{
    control::{Failure, Migrate, Reply},
    native::message::{ModeWord, Secret},
};
use tokio::sync::oneshot;
use toolstack::{Departure, DomainState, Observer};
use tracing::Instrument;
use uuid::Uuid;

use super::{Depart, Outgoing, Place, mode};
use crate::{
    audit::{Outcome, Record},
    blocking::blocking,
    cancel::Cancel,
    failure::{self, Tell},
    host::Host,
    journal::Direction,
    relocations::{Booked, Relocation},
};

/// Carries out an operator's order. `asked_by`: who gave it. `started` gets the booked relocation, for its progress.
///
/// # Errors
/// [`Failure`], with the state that the domain is in.
pub async fn migrate(
    host: Arc<Host>,
    order: Migrate,
    asked_by: String,
    cancel: Cancel,
    started: oneshot::Sender<Arc<Relocation>>,
) -> Result<Reply, Failure> {
    let asked = Asked::new(&order.domain, &order.host, word(&order), asked_by);
    let booked = book(&host, &order, asked.account.id, cancel).await;
    let (booked, config, domid) = booked.inspect_err(|failure| asked.refused(failure))?;
    // Whoever asked may have gone: the relocation does not depend on that, its cancel does.
    let _ = started.send(Arc::clone(&booked.relocation));
    let span = tracing::info_span!(
        "relocation",
        id = %booked.relocation.id,
        direction = "out",
        domain = %config.name,
        peer = %order.host,
    );
    let (toolstack, mode) = (Arc::clone(&host.toolstack), mode::of(&order));
    let relocation = booked.relocation.id;
    let depart = move |image: &mut dyn ImageSink, observer: &mut dyn Observer| {
        let departure = Departure {
            relocation,
            id: domid,
            mode: &mode,
        };
        toolstack.depart(&departure, image, observer)
    };
    let departure = Outgoing::new(host, order, asked, (booked, config), Place::Host, Box::new(depart));
    departure.run().instrument(span).await
}

/// An order as the audit trail knows it before its relocation is in the books.
pub(super) struct Asked {
    pub(super) account: Record,
    pub(super) begun: Instant,
}

impl Asked {
    /// An order that has just come.
    pub(super) fn new(domain: &str, host: &str, mode: ModeWord, asked_by: String) -> Asked {
        let account = Record::new(Uuid::new_v4(), Direction::Out, domain, host, mode.word());
        Asked {
            account: Record {
                asked_by: Some(asked_by),
                ..account
            },
            begun: Instant::now(),
        }
    }

    /// It does not get into the books.
    pub(super) fn refused(&self, failure: &Failure) {
        let account = self.account.clone().since(self.begun);
        account.because(failure).over(Outcome::Refused);
    }
}

impl Outgoing {
    /// A relocation that is in the books, and of which nothing has begun. `depart` lets the copy out that is in `place`.
    pub(super) fn new(
        host: Arc<Host>,
        order: Migrate,
        asked: Asked,
        (booked, config): (Booked, domain::DomainConfig),
        place: Place,
        depart: Depart,
    ) -> Outgoing {
        let Asked { mut account, begun } = asked;
        config.name.clone_into(&mut account.domain);
        account.uuid = Some(config.uuid);
        Outgoing {
            host,
            word: word(&order),
            order,
            asked_by: account.asked_by.clone(),
            booked,
            config,
            place,
            depart: Some(depart),
            spools: false,
            look: None,
            xend: None,
            begun,
            secret: Secret::new(),
            account: Mutex::new((account, Outcome::Refused)),
        }
    }
}

/// How an order wants the domain to move.
pub(super) fn word(order: &Migrate) -> ModeWord {
    if order.live { ModeWord::Live } else { ModeWord::Offline }
}

/// Finds the domain, and books its relocation.
async fn book(
    host: &Arc<Host>,
    order: &Migrate,
    relocation: Uuid,
    cancel: Cancel,
) -> Result<(Booked, domain::DomainConfig, u32), Failure> {
    check_tls(host, order.ssl)?;
    let domain = host.find_domain(&order.domain).await?;
    match domain.state {
        DomainState::Suspended | DomainState::Arriving => {
            return Err(failure::simple(
                "relocating",
                format!("domain '{}' is being relocated already", domain.name),
            )
            .next("xm status tells where that stands"));
        }
        DomainState::Crashed | DomainState::Dying | DomainState::Unknown => {
            return Err(failure::simple(
                "not-running",
                format!("domain '{}' is not running", domain.name),
            ));
        }
        DomainState::Running | DomainState::Blocked | DomainState::Paused => {}
    }
    let toolstack = Arc::clone(&host.toolstack);
    let id = domain.id;
    let config = blocking(move || toolstack.config(id))
        .await
        .map_err(|error| failure::toolstack(&error))?;
    let relocation = Relocation {
        domid: Some(domain.id),
        cancel,
        ..Relocation::new(relocation, Direction::Out, &config, &order.host, word(order).word())
    };
    let booked = host
        .relocations
        .begin(relocation, host.limits().max_outgoing)
        .map_err(|conflict| failure::conflict(&conflict))?;
    Ok((booked, config, domain.id))
}

/// TLS is not there yet.
pub(super) fn check_tls(host: &Host, asked: bool) -> Result<(), Failure> {
    if !asked && !host.config().relocation_ssl {
        return Ok(());
    }
    let failure = failure::simple(
        "unsupported",
        "relocation over TLS is not supported by this version of relocd",
    );
    Err(failure
        .next("leave out --ssl, set (xend-relocation-ssl no), and put a tunnel in between (README, Other subnets)"))
}
