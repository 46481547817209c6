//! The messages before and after the image.

use std::{io, net::SocketAddr, time::Duration};

use domain::{
    DomainConfig, HostFacts,
    admission::{self, Ends, Refusal, Terms},
};
use peer::{
    control::{Failure, Migrate},
    handoff::source::Event,
    native::message::{COMMIT_LINE, Hello, PROTOCOL, Relocate, Reply, VERSION},
};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::xend::Unsaid;
use crate::{
    conversation::{Conversation, ConversationError, prepare},
    failure::{self, Tell},
    fault,
    host::Host,
};

/// A destination that is ready to take the image.
pub struct Ready {
    /// The connection, after `(ready relocate ...)`.
    pub conversation: Conversation,
    /// Where it is, to ask for the outcome: address and port.
    pub peer: String,
    /// It runs no domains, but keeps them on disk.
    pub spools: bool,
}

/// How a negotiation ends.
pub enum Negotiated {
    /// The image may follow.
    Ready(Box<Ready>),
    /// A dry run: it would be taken.
    Admitted(Box<HostFacts>),
    /// It is an xend, at this address: another way is to be gone.
    Xend(SocketAddr),
}

/// What answers to `hello`.
enum Greeted {
    Relocd(Box<HostFacts>),
    Xend,
}

/// Finds the destination, asks whether it takes the domain, and checks at this end whether the domain can live there. What was refused but for `--force` is given
/// back as well.
///
/// # Errors
/// [`Failure`]; the domain has not been touched.
pub async fn negotiate(
    host: &Host,
    order: &Migrate,
    request: Relocate,
    config: &DomainConfig,
) -> Result<(Negotiated, Vec<Refusal>), Failure> {
    let limits = host.limits();
    let port = order.port.unwrap_or(limits.port);
    let (stream, address) = connect(&order.host, port, limits.handshake).await?;
    let local = stream.local_addr().map_err(|error| failure::internal(&error))?;
    let mut conversation = Conversation::new(stream, sxp::Limits::default());
    let there = match greet(&mut conversation, &order.host, limits.handshake).await? {
        Greeted::Relocd(there) => *there,
        Greeted::Xend => return Ok((Negotiated::Xend(address), Vec::new())),
    };
    // Both copies stand side by side for a while if the destination is this host; its own answer counts that.
    let terms = Terms {
        reserved_kib: 0,
        force: order.force,
    };
    let forced = admission::check(config, &request.host, &there, terms).map_err(|refusal| {
        let ends = Ends {
            source: &request.host.name,
            source_address: local.ip(),
            destination: &order.host,
            destination_address: address.ip(),
        };
        failure::not_there(&config.name, &refusal, ends)
    })?;
    for refusal in &forced {
        tracing::warn!(kind = refusal.word(), "--force: {refusal}");
    }
    let line = request.to_line().map_err(|error| failure::internal(&error))?;
    fault::reached(&["out", "relocate", "send"]).await;
    let asked = conversation.send(&line, limits.handshake).await;
    fault::reached(&["out", "relocate", "sent"]).await;
    asked.map_err(|error| lost(&order.host, &error))?;
    // The destination may look names up and sync its journal first.
    let negotiated = match reply(&mut conversation, &order.host, limits.handshake + limits.handshake).await? {
        Reply::Ready => {
            fault::reached(&["out", "ready", "received"]).await;
            Ok(Negotiated::Ready(Box::new(Ready {
                conversation,
                peer: address.to_string(),
                spools: there.toolstack == HostFacts::SPOOL,
            })))
        }
        Reply::Admitted if order.dry_run => Ok(Negotiated::Admitted(Box::new(there))),
        Reply::Err(refused) => Err(failure::refused(&order.host, &refused)),
        other => Err(strange(&order.host, &format!("{other:?}"))),
    };
    Ok((negotiated?, forced))
}

async fn connect(name: &str, port: u16, limit: Duration) -> Result<(TcpStream, SocketAddr), Failure> {
    let connect_failure = |reason: String| {
        failure::simple("connect", format!("can't connect to {name} port {port}: {reason}")).next(
            "check that the host is up, that its relocation server is on and listens beyond localhost \
             (xend-relocation-server, xend-relocation-address), and the firewall between the hosts (relocd firewall)",
        )
    };
    let addresses = timeout(limit, lookup_host((name, port)))
        .await
        .map_err(|_| connect_failure("the name was not resolved in time".to_owned()))?
        .map_err(|error| connect_failure(error.to_string()))?;
    let mut last = "the name has no address".to_owned();
    for address in addresses {
        match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                prepare(&stream).map_err(|error| connect_failure(error.to_string()))?;
                return Ok((stream, address));
            }
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => last = "timed out".to_owned(),
        }
    }
    Err(connect_failure(last))
}

async fn greet(conversation: &mut Conversation, name: &str, limit: Duration) -> Result<Greeted, Failure> {
    let line = Hello::ours().to_line().map_err(|error| failure::internal(&error))?;
    fault::reached(&["out", "hello", "send"]).await;
    conversation
        .send(&line, limit)
        .await
        .map_err(|error| shut_out(name, &error))?;
    fault::reached(&["out", "hello", "sent"]).await;
    let value = conversation
        .next_line(limit)
        .await
        .map_err(|error| shut_out(name, &error))?;
    match Reply::parse(&value).map_err(|error| strange(name, &error.to_string()))? {
        Reply::Hello(hello) if hello.version == VERSION => Ok(Greeted::Relocd(Box::new(hello.host))),
        Reply::Hello(hello) => Err(strange(
            name,
            &format!("version {} of the {PROTOCOL} protocol", hello.version),
        )),
        // Every xend's words for an operation that it does not know.
        Reply::Err(refused) if refused.text == "Invalid operation: hello" => {
            tracing::info!(host = name, "an xend host: it does not know relocd's protocol");
            Ok(Greeted::Xend)
        }
        Reply::Err(refused) => Err(failure::refused(name, &refused)),
        other => Err(strange(name, &format!("{other:?}"))),
    }
}

/// Waits for `(loaded)`.
///
/// # Errors
/// [`Failure`]: the destination gave up, or its connection is lost. Nothing has been committed.
pub async fn loaded(conversation: &mut Conversation, limit: Duration) -> Result<(), Failure> {
    let name = "the destination";
    let value = conversation.next_line(limit).await.map_err(|error| match error {
        ConversationError::Timeout(_) => failure::simple("timeout", format!("{name} has all of the image, and has not built the domain yet: {error}"))
            .next("look there: xm status, and journalctl -u relocd; if that takes so long there, a higher (relocd-idle-timeout) here waits for it"),
        error => lost(name, &error),
    })?;
    match Reply::parse(&value).map_err(|error| strange(name, &error.to_string()))? {
        Reply::Loaded => {
            fault::reached(&["out", "loaded", "received"]).await;
            Ok(())
        }
        Reply::Err(refused) => Err(failure::simple(
            "destination",
            format!("{}: {refused}", failure::GAVE_UP),
        )),
        other => Err(strange(name, &format!("{other:?}"))),
    }
}

/// Says `(commit)` and waits for `(running ...)`: the domain's number there.
///
/// # Errors
/// Why the outcome is not known. The destination owns the domain, perhaps.
pub async fn commit(conversation: &mut Conversation, limit: Duration) -> Result<u32, Unsaid> {
    let unsaid = |reason| Unsaid {
        reason,
        event: Event::Unknown,
    };
    say_commit(conversation, limit).await.map_err(unsaid)
}

async fn say_commit(conversation: &mut Conversation, limit: Duration) -> Result<u32, String> {
    fault::reached(&["out", "commit", "send"]).await;
    conversation
        .send(COMMIT_LINE, limit)
        .await
        .map_err(|error| error.to_string())?;
    fault::reached(&["out", "commit", "sent"]).await;
    let value = conversation.next_line(limit).await.map_err(|error| error.to_string())?;
    match Reply::parse(&value).map_err(|error| error.to_string())? {
        Reply::Running { domid } => {
            fault::reached(&["out", "running", "received"]).await;
            Ok(domid)
        }
        // Even a refusal of the commit is only believed as an answer to the question for the outcome, which the destination journals.
        Reply::Err(refused) => Err(refused.to_string()),
        other => Err(format!("unexpected reply {other:?}")),
    }
}

async fn reply(conversation: &mut Conversation, name: &str, limit: Duration) -> Result<Reply, Failure> {
    let value = conversation
        .next_line(limit)
        .await
        .map_err(|error| lost(name, &error))?;
    Reply::parse(&value).map_err(|error| strange(name, &error.to_string()))
}

/// Lost before the first answer: so xend and relocd treat a host that is not on their list. With this host's words unread, the end of the stream is a reset.
pub(super) fn shut_out(name: &str, error: &ConversationError) -> Failure {
    let reset = |error: &io::Error| matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe);
    let closed = match error {
        ConversationError::Closed => true,
        ConversationError::Io(error) => reset(error),
        _ => false,
    };
    if !closed {
        return lost(name, error);
    }
    failure::simple("closed", format!("{name} closed the connection without a word")).next(format!(
        "is this host on the list there? On {name}: relocd check-host ADDRESS-OF-THIS-HOST, \
         and see xend-relocation-hosts-allow in its xend-config.sxp (after an edit: systemctl reload relocd)"
    ))
}

pub(super) fn lost(name: &str, error: &ConversationError) -> Failure {
    match error {
        ConversationError::Closed => failure::simple("closed", format!("{name} closed the connection without a word")),
        ConversationError::Syntax(_) | ConversationError::NoNewline => strange(name, &error.to_string()),
        ConversationError::Timeout(_) => failure::simple("timeout", format!("{name} does not answer: {error}"))
            .next("is it a relocd or xend that listens on that port?"),
        ConversationError::Io(_) => failure::simple("connection", format!("the connection to {name} failed: {error}")),
    }
}

pub(super) fn strange(name: &str, what: &str) -> Failure {
    failure::simple("protocol", format!("{name} does not speak relocd's protocol: {what}"))
        .next("is it a relocd that listens on that port?")
}
