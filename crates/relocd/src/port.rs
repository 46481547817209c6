//! The relocation port: who is let in, and what they ask.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use config::{AllowedBy, Verdict};
use peer::{
    native::message::{HelloReply, Refused, Reply, VERSION},
    request::{self, HELP_REPLY, Request},
    xend,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

use crate::{
    blocking::blocking,
    conversation::{Conversation, ConversationError, prepare},
    fault,
    host::{Host, Limits},
    incoming, names,
    tls::{self, Identity},
};

/// Messages on one connection that may be wrong before it is closed. A real xend allows any number.
const MAX_FAULTS: u32 = 16;

/// Messages on one connection: a relocation needs two, and nobody may keep a place for ever.
const MAX_MESSAGES: u32 = 64;

/// How long a peer may take to read a last word.
const LAST_WORD: Duration = Duration::from_secs(2);

/// Connections that are turned away and may read why; more of them are closed without a word.
const MAX_LEAVING: usize = 1000;

/// Nesting of a message at most: a configuration needs six.
pub(crate) const MAX_DEPTH: usize = 32;

/// Accepts connections until the task is dropped; those that are under way then go on.
/// `identity`: of a port with TLS.
pub async fn serve(host: Arc<Host>, listener: TcpListener, connections: Connections, identity: Option<Identity>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                connections.spawn(&host, stream, peer, identity.clone());
            }
            Err(error) => {
                // Out of descriptors, mostly: it will not get better at once.
                tracing::error!(%error, "a connection could not be accepted");
                sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// The connections of all listeners together. Three kinds are counted apart, so that strangers can't keep out the hosts on the list.
#[derive(Clone, Default)]
pub struct Connections {
    /// Let in, and not yet granted a relocation.
    waiting: Places,
    /// Their names are being looked up.
    unknown: Places,
    /// Turned away, and given time to read the reason.
    leaving: Places,
    /// Not on the list, and perhaps the source of a relocation that has been here.
    strangers: Places,
    tasks: Arc<std::sync::Mutex<JoinSet<()>>>,
}

/// How long a host that is not on the list may take to show that it is the source of a relocation.
const PROOF: Duration = Duration::from_secs(2);

/// Such hosts at once. A source that finds no place asks again.
const MAX_STRANGERS: usize = 16;

/// Bytes of their one message: a question for the outcome.
const MAX_QUESTION: usize = 256;

/// Counts connections of a kind.
#[derive(Clone, Default)]
struct Places(Arc<AtomicUsize>);

/// One of them.
pub struct Place(Arc<AtomicUsize>);

impl Places {
    /// A place, if fewer than `limit` are taken.
    fn take(&self, limit: usize) -> Option<Place> {
        // Made first: dropped again at once, it gives back what was taken here.
        let place = Place(Arc::clone(&self.0));
        (self.0.fetch_add(1, Ordering::Relaxed) < limit).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connections {
    fn spawn(&self, host: &Arc<Host>, stream: TcpStream, peer: SocketAddr, identity: Option<Identity>) {
        let (host, connections) = (Arc::clone(host), self.clone());
        let mut tasks = crate::relocations::lock(&self.tasks);
        // What has ended is swept out here, so that the set does not grow.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            if let Err(error) = connections.serve(&host, stream, peer, identity).await {
                tracing::debug!(%peer, %error, "the connection ended");
            }
        });
    }

    async fn serve(
        &self,
        host: &Arc<Host>,
        stream: TcpStream,
        peer: SocketAddr,
        identity: Option<Identity>,
    ) -> io::Result<()> {
        prepare(&stream)?;
        let address = plain(peer.ip());
        let limits = host.limits();
        let Some(entry) = self.allowed(host, address, &limits).await else {
            // As xend: closed without a byte. But for a source whose address has changed since.
            if let Some(_stranger) = self.strangers.take(MAX_STRANGERS) {
                question_only(host, stream).await;
            }
            return Ok(());
        };
        let sxp_limits = sxp::Limits {
            max_bytes: limits.max_message,
            max_depth: MAX_DEPTH,
            ..sxp::Limits::default()
        };
        let Some(place) = self.waiting.take(limits.max_connections) else {
            tracing::warn!(%address, limit = limits.max_connections, "too many connections: refused");
            if identity.is_none()
                && let Some(_leaving) = self.leaving.take(MAX_LEAVING)
            {
                let conversation = Conversation::new(stream, sxp_limits);
                let text = format!("busy: {} connections are waiting already", limits.max_connections);
                conversation
                    .last_word(&request::error_line("busy", &text), LAST_WORD)
                    .await;
            }
            return Ok(());
        };
        let stream = match identity {
            Some(identity) => Self::with_tls(stream, identity, &limits).await?,
            None => stream,
        };
        let conversation = Conversation::new(stream, sxp_limits);
        // As the allow list and xm show it: an IPv4 address as such, also where it comes through an IPv6 socket.
        let peer = SocketAddr::new(address, peer.port()).to_string();
        converse(host, conversation, &peer, &entry, place).await
    }

    /// Puts TLS on a connection.
    async fn with_tls(stream: TcpStream, identity: Identity, limits: &Limits) -> io::Result<TcpStream> {
        let (stream, handshake) = (stream.into_std()?, limits.handshake);
        TcpStream::from_std(blocking(move || tls::accept(stream, &identity, handshake)).await?)
    }

    /// The entry of the allow list that lets the peer in.
    async fn allowed(&self, host: &Arc<Host>, address: IpAddr, limits: &Limits) -> Option<String> {
        let config = host.config();
        let list = &config.hosts_allow;
        let mut verdict = list.check(address, &[]);
        let mut names = Vec::new();
        if matches!(verdict, Verdict::Refused) && list.needs_names() {
            let Some(_unknown) = self.unknown.take(limits.max_connections) else {
                tracing::warn!(%address, "refused: too many names are being looked up");
                return None;
            };
            names = names::confirmed(address, limits.name_lookup).await;
            verdict = list.check(address, &names);
        }
        match verdict {
            Verdict::Allowed { entry, by } => {
                let by = match by {
                    AllowedBy::Address => "address".to_owned(),
                    AllowedBy::Name(name) => format!("name {name}"),
                };
                tracing::debug!(%address, entry, by, "let in");
                Some(entry)
            }
            Verdict::Refused => {
                tracing::warn!(%address, names = names.join(" "), "refused: not in xend-relocation-hosts-allow");
                None
            }
        }
    }
}

/// Answers a host that is not on the list if it shows that it is a relocation's source, and says nothing otherwise.
async fn question_only(host: &Arc<Host>, stream: TcpStream) {
    let limits = sxp::Limits {
        max_bytes: MAX_QUESTION,
        max_depth: 3,
        ..sxp::Limits::default()
    };
    let mut conversation = Conversation::new(stream, limits);
    let Ok(value) = conversation.next_line(PROOF).await else {
        return;
    };
    let Ok(Request::Outcome(query)) = Request::parse(&value) else {
        return;
    };
    if let Some(answer) = incoming::outcome(host, &query, false).await {
        conversation.last_word(&to_line(&answer), LAST_WORD).await;
    }
}

/// `::ffff:192.0.2.1` is 192.0.2.1.
fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

async fn converse(
    host: &Arc<Host>,
    mut conversation: Conversation,
    peer: &str,
    entry: &str,
    place: Place,
) -> io::Result<()> {
    let mut place = Some(place);
    let mut faults = 0;
    for _ in 0..MAX_MESSAGES {
        let limits = host.limits();
        let value = match conversation.next(limits.handshake).await {
            Ok(value) => value,
            Err(ConversationError::Syntax(error)) => {
                faults += 1;
                let line = request::parse_error_reply(&error.to_string());
                if faults > MAX_FAULTS || error.is_limit() {
                    conversation.last_word(&line, LAST_WORD).await;
                    return Ok(());
                }
                if conversation.send(&line, limits.handshake).await.is_err() {
                    return Ok(());
                }
                continue;
            }
            Err(error) => {
                tracing::debug!(peer, %error, "the conversation ended");
                return Ok(());
            }
        };
        let reply = match Request::parse(&value) {
            Ok(Request::Help) => HELP_REPLY.to_vec(),
            Ok(Request::Quit) => return Ok(()),
            Ok(request @ (Request::Receive | Request::SslReceive)) => {
                let ready = match request {
                    Request::SslReceive => xend::SSL_READY,
                    _ => xend::READY,
                };
                incoming::xend::receive(host, conversation, ready, peer, entry, place).await;
                return Ok(());
            }
            Ok(Request::Hello(hello)) => {
                if conversation.end_of_line(limits.handshake).await.is_err() {
                    return Ok(());
                }
                fault::reached(&["in", "hello", "received"]).await;
                to_line(&greet(host, &hello).await)
            }
            Ok(Request::Relocate(relocate)) => {
                if conversation.end_of_line(limits.handshake).await.is_err() {
                    return Ok(());
                }
                // From here on the limit on relocations counts, no more the one on connections.
                place.take();
                fault::reached(&["in", "relocate", "received"]).await;
                incoming::receive(host, conversation, *relocate, peer, entry).await;
                return Ok(());
            }
            Ok(Request::Outcome(query)) => {
                if conversation.end_of_line(limits.handshake).await.is_err() {
                    return Ok(());
                }
                fault::reached(&["in", "outcome", "received"]).await;
                let Some(answer) = incoming::outcome(host, &query, true).await else {
                    return Ok(());
                };
                fault::reached(&["in", "outcome", "send"]).await;
                to_line(&answer)
            }
            Err(error) => {
                faults += 1;
                let line = error.reply();
                if faults > MAX_FAULTS {
                    conversation.last_word(&line, LAST_WORD).await;
                    return Ok(());
                }
                line
            }
        };
        if conversation.send(&reply, limits.handshake).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn to_line(reply: &Reply) -> Vec<u8> {
    reply
        .to_line()
        .unwrap_or_else(|error| request::error_line("internal", &error.to_string()))
}

async fn greet(host: &Arc<Host>, hello: &peer::native::message::Hello) -> Reply {
    if hello.protocol != peer::native::message::PROTOCOL || !hello.versions.contains(&VERSION) {
        let text = format!("this relocd speaks version {VERSION} of the relocd protocol");
        return Reply::Err(Refused {
            word: "version".to_owned(),
            text,
        });
    }
    match host.facts().await {
        Ok(facts) => Reply::Hello(HelloReply {
            version: VERSION,
            features: Vec::new(),
            host: facts,
        }),
        Err(error) => Reply::Err(Refused {
            word: "toolstack".to_owned(),
            text: error.to_string(),
        }),
    }
}
