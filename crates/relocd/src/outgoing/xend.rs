//! The destination is an old xend host: what can go there, and the messages around the image.
//!
//! An xend runs a domain as soon as it has the whole image. So the image's last bytes are what the commit is for a relocd: they go out once the journal has
//! it. An xend says `(ok)` once the domain runs, and can't be asked afterwards: where that word does not come, an operator has to look.

use std::{net::SocketAddr, time::Duration};

use image::{
    ImageError, ImageSource, Item,
    legacy::{LegacySurvey, LegacyTarget, LegacyWriteOptions, survey},
};
use peer::{
    control::{Failure, Reply},
    handoff::source::Event,
    xend::{Answer, RECEIVE, envelope},
};
use tokio::{
    net::TcpStream,
    time::{error::Elapsed, timeout},
};

use super::{Outgoing, Place, negotiate};
use crate::{
    blocking::blocking,
    cancel::Cancel,
    conversation::{Conversation, ConversationError, prepare},
    failure::{self, Tell},
    fault,
};

/// How long an xend that has all but the last bytes is listened to: what it has to say against the domain it says before it has read all of it, and afterwards
/// an operator would have to look.
const LAST_LOOK: Duration = Duration::from_millis(500);

/// An xend waits for the devices of a domain before it says that it runs, up to 100 s (4.0 and later; `XendDomainInfo.py`): so many times as long as a relocd.
const PATIENCE: u32 = 6;

/// A domain that runs has no image yet that could be looked through, and its writer has to say at the beginning what comes at the end.
const UNKNOWN: &str = "it runs, and only once it stands still its image shows whether its guest has XSAVE state, which an xend takes only if it was announced before the \
                       pages, and whether it has 64 bits";

/// Looks through the image beforehand, where there is one already. Blocks.
pub type Look = Box<dyn FnOnce(LegacyTarget) -> Result<LegacySurvey, ImageError> + Send + Sync>;

/// How a domain goes to an xend.
#[derive(Debug)]
pub struct Plan {
    /// What stands before the image.
    pub envelope: Vec<u8>,
    /// How the image is written.
    pub options: LegacyWriteOptions,
}

/// What is to be told of an xend.
#[derive(Debug)]
pub struct ToXend {
    /// Its version of Xen, as the operator gave it.
    pub version: String,
    /// What the domain has and it can't take.
    pub left_out: Vec<String>,
}

/// Why it is not known that the domain runs there.
pub struct Unsaid {
    /// In words.
    pub reason: String,
    /// What it means for the handoff: [`Event::Unknown`]; [`Event::Discarded`] if the destination can't have all of the domain.
    pub event: Event,
}

impl Outgoing {
    /// Everything that can be known before anything is sent: whether an xend takes such a domain, and what of it is left out.
    pub(super) async fn plan(&mut self) -> Result<(Plan, ToXend), Failure> {
        let name = self.order.host.clone();
        let refuse = |kind: &str, why: &dyn std::fmt::Display| {
            let text = format!(
                "{name} is an xend host, and can't take domain '{}': {why}",
                self.config.name
            );
            failure::simple(kind, text)
        };
        let (config, lost) = self.config.to_xend().map_err(|error| refuse("xend-peer", &error))?;
        self.config
            .check_runnable()
            .map_err(|error| refuse(error.word(), &error))?;
        if self.config.kernel_bits == Some(32) {
            return Err(refuse(
                "xend-peer",
                &"its kernel has 32 bits, as its disks or its kernel's file say",
            ));
        }
        let envelope = envelope(&config).map_err(|error| refuse("config", &error))?;
        let version = self.order.xend.clone().ok_or_else(|| {
            let text = format!("{name} is an xend host, and the version of its Xen is not told on the wire");
            failure::simple("xend-version", text).next(
                "again with --xend VERSION, as xm info there has it (xen_major.xen_minor, such as 4.1; on Red Hat Enterprise Linux 5: 3.0)",
            )
        })?;
        let target: LegacyTarget = version
            .parse()
            .map_err(|error: image::legacy::UnknownVersion| failure::simple("xend-version", error.to_string()))?;
        self.booked.relocation.stage("checking");
        let found = match self.look.take() {
            Some(look) => blocking(move || look(target)).await.map_err(|error| match error {
                ImageError::Cancelled(reason) => failure::cancelled(&reason),
                error => refuse("xend-peer", &error),
            })?,
            None if self.place == Place::Host && !self.order.leave_out => {
                return Err(refuse("xend-peer", &UNKNOWN).next(format!(
                    "again with --leave-out if the guest can do without what an xend can't take; or take it to disk first, where its image is looked \
                     through (relocd --toolstack spool, then xm spool send --xend {version})"
                )));
            }
            None => LegacySurvey::default(),
        };
        if !found.missed.is_empty() && !self.order.leave_out {
            let why = format!(
                "its image has {}, which an xend of {target} can't take",
                found.missed.join(", ")
            );
            return Err(refuse("xend-peer", &why)
                .next("again with --leave-out if the guest can do without, as after a start on that host"));
        }
        let told = lost.iter().filter(|lost| lost.matters()).map(ToString::to_string);
        let left_out: Vec<String> = found
            .left_out
            .iter()
            .map(|name| (*name).to_owned())
            .chain(told)
            .collect();
        for what in &left_out {
            tracing::warn!(what, "left out: an xend can't take it");
        }
        let options = LegacyWriteOptions {
            target,
            xsave: found.xsave,
            leave_out: self.order.leave_out,
        };
        Ok((Plan { envelope, options }, ToXend { version, left_out }))
    }

    /// What an operator is told who only wanted to know.
    pub(super) fn admitted_to_xend(&self, xend: ToXend) -> Reply {
        Reply::AdmittedToXend {
            version: xend.version,
            left_out: xend.left_out,
        }
    }

    /// Whether the source's copy can be looked at beforehand.
    pub(super) fn look_at(entry: toolstack::spool::Entry, spool: toolstack::spool::Spool, cancel: Cancel) -> Look {
        Box::new(move |target| {
            let image = spool.open_image(&entry)?;
            survey(&mut Checked { image, cancel }, target)
        })
    }

    /// In whose words a domain that has not gone is left there.
    pub(super) fn left_there(&self) -> &'static str {
        match self.place {
            Place::Host => "never had all of it, and its xend discards what it has (xm list there)",
            Place::Spool => {
                "never had all of it, and its xend discards what it has (xm list there); the file here is whole"
            }
        }
    }
}

/// An image that can be stopped.
struct Checked<S> {
    image: S,
    cancel: Cancel,
}

impl<S: ImageSource> ImageSource for Checked<S> {
    fn next(&mut self) -> Result<Item<'_>, ImageError> {
        self.cancel.check()?;
        self.image.next()
    }
}

/// Asks an xend to take a domain in: on a connection of its own, for an xend loses what comes with an earlier request. The image may follow.
///
/// # Errors
/// [`Failure`]: nothing of the domain has been sent.
pub async fn ask(name: &str, address: SocketAddr, limit: Duration) -> Result<Conversation, Failure> {
    let failed = |error: std::io::Error| failure::simple("connect", format!("can't connect to {name} again: {error}"));
    let stream = timeout(limit, TcpStream::connect(address))
        .await
        .map_err(|_: Elapsed| failed(std::io::ErrorKind::TimedOut.into()))?
        .map_err(failed)?;
    prepare(&stream).map_err(failed)?;
    let mut conversation = Conversation::new(stream, sxp::Limits::default());
    fault::reached(&["out", "receive", "send"]).await;
    let asked = conversation.send(RECEIVE, limit).await;
    asked.map_err(|error| negotiate::shut_out(name, &error))?;
    fault::reached(&["out", "receive", "sent"]).await;
    let answer = conversation.next_line(limit).await;
    let answer = answer.map_err(|error| negotiate::shut_out(name, &error))?;
    match Answer::parse(&answer) {
        Ok(Answer::Ready) => Ok(conversation),
        Ok(Answer::Err(refused)) => Err(failure::refused(name, &refused)),
        Ok(other) => Err(strange(name, &format!("{other:?}"))),
        Err(error) => Err(strange(name, &error.to_string())),
    }
}

fn strange(name: &str, what: &str) -> Failure {
    failure::simple("protocol", format!("{name} does not answer as an xend: {what}"))
}

/// Listens to an xend that has all but the last bytes.
///
/// # Errors
/// [`Failure`]: it has given up. It has not got all of the domain.
pub async fn last_look(conversation: &mut Conversation) -> Result<(), Failure> {
    match conversation.next_line(LAST_LOOK).await {
        Err(ConversationError::Timeout(_)) => Ok(()),
        Ok(value) => Err(match Answer::parse(&value) {
            Ok(Answer::Err(refused)) => failure::simple("destination", format!("{}: {refused}", failure::GAVE_UP)),
            Ok(other) => strange("the destination", &format!("{other:?}")),
            Err(error) => strange("the destination", &error.to_string()),
        }),
        Err(error) => Err(negotiate::lost("the destination", &error)),
    }
}

/// Sends the last bytes and the end of the stream, and waits for the news that the domain runs. `limit`: as for a relocd.
///
/// # Errors
/// [`Unsaid`].
pub async fn commit(conversation: &mut Conversation, tail: &[u8], limit: Duration) -> Result<(), Unsaid> {
    let unknown = |reason: String| Unsaid {
        reason,
        event: Event::Unknown,
    };
    fault::reached(&["out", "tail", "send"]).await;
    conversation.send(tail, limit).await.map_err(|error| Unsaid {
        reason: format!("the last bytes of the domain could not be sent: {error}"),
        // Not all of them have left this host's program, and none will: no xend restores a domain without.
        event: Event::Discarded,
    })?;
    fault::reached(&["out", "tail", "sent"]).await;
    // 3.0.3 to 3.4 run the domain only then. If it fails the connection has, and the answer tells.
    let _ = conversation.end().await;
    let value = conversation
        .next_line(limit * PATIENCE)
        .await
        .map_err(|error| unknown(format!("the xend has not said that the domain runs: {error}")))?;
    match Answer::parse(&value) {
        Ok(Answer::Ok) => {
            fault::reached(&["out", "ok", "received"]).await;
            Ok(())
        }
        // It may have failed after the domain began to run.
        Ok(Answer::Err(refused)) => Err(unknown(format!("the xend says: {refused}"))),
        Ok(other) => Err(unknown(format!("the xend answers {other:?}"))),
        Err(error) => Err(unknown(error.to_string())),
    }
}
