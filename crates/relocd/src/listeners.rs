//! The relocation listeners: bound as the configuration says, rebound when it changes.

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs},
    sync::Arc,
};

use config::{Config, ListenAddress};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    host::Host,
    interfaces,
    port::{self, Connections},
};

/// Connections that the kernel keeps waiting.
const BACKLOG: i32 = 128;

/// Why the relocation port can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The name in `xend-relocation-address` is neither an interface with an address nor a host.
    #[error("xend-relocation-address: '{0}' is neither an interface with an address nor the name of this host")]
    NoAddress(String),
    /// The system refused.
    #[error("can't listen on {address}: {source}; {hint}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
        /// What to do about it.
        hint: &'static str,
    },
}

/// What is listened on.
#[derive(Default)]
pub struct Listeners {
    bound: Vec<(SocketAddr, JoinHandle<()>)>,
    connections: Connections,
}

impl Listeners {
    /// Makes what is listened on agree with a configuration: an address that stays is not touched.
    ///
    /// # Errors
    /// [`ListenError`]; then everything is as before.
    pub async fn apply(&mut self, host: &Arc<Host>, config: &Config) -> Result<(), ListenError> {
        let wanted = if config.relocation_server {
            addresses(config)?
        } else {
            Vec::new()
        };
        // "All addresses" and one of them don't go together on a port: what is in the way of a new one is closed first, and opened again if that fails.
        let mut closed = Vec::new();
        for (address, task) in std::mem::take(&mut self.bound) {
            let in_the_way = !wanted.contains(&address) && wanted.iter().any(|new| new.port() == address.port());
            if in_the_way {
                task.abort();
                let _ = task.await;
                closed.push(address);
            } else {
                self.bound.push((address, task));
            }
        }
        let missing = wanted
            .iter()
            .filter(|address| !self.bound.iter().any(|(bound, _)| bound == *address));
        let new: Result<Vec<_>, _> = missing
            .map(|address| bind(*address).map(|listener| (*address, listener)))
            .collect();
        let new = match new {
            Ok(new) => new,
            Err(error) => {
                for address in closed {
                    match bind(address) {
                        Ok(listener) => self.accept(host, address, listener),
                        Err(error) => tracing::error!("no longer listening on {address}: {error}"),
                    }
                }
                return Err(error);
            }
        };
        for address in closed {
            tracing::info!(%address, "no longer listening");
        }
        self.bound.retain(|(address, task)| {
            let stays = wanted.contains(address);
            if !stays {
                tracing::info!(%address, "no longer listening");
                task.abort();
            }
            stays
        });
        for (address, listener) in new {
            self.accept(host, address, listener);
        }
        host.set_listening(self.bound.iter().map(|(address, _)| address.to_string()).collect());
        Ok(())
    }

    fn accept(&mut self, host: &Arc<Host>, address: SocketAddr, listener: TcpListener) {
        tracing::info!(%address, "listening for relocations");
        let task = tokio::spawn(port::serve(Arc::clone(host), listener, self.connections.clone()));
        self.bound.push((address, task));
    }

    /// Listens no more.
    pub fn close(&mut self) {
        for (_, task) in self.bound.drain(..) {
            task.abort();
        }
    }
}

fn addresses(config: &Config) -> Result<Vec<SocketAddr>, ListenError> {
    let port = config.relocation_port;
    Ok(match &config.relocation_address {
        ListenAddress::All => vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))],
        ListenAddress::Address(address) => vec![SocketAddr::new(*address, port)],
        ListenAddress::Name(name) => {
            let found = interface(name).or_else(|| {
                (name.as_str(), port)
                    .to_socket_addrs()
                    .ok()?
                    .next()
                    .map(|found| found.ip())
            });
            let address = found.ok_or_else(|| ListenError::NoAddress(name.clone()))?;
            vec![SocketAddr::new(address, port)]
        }
    })
}

/// The first address of an interface: IPv4 if it has one, as xend's.
fn interface(name: &str) -> Option<IpAddr> {
    interfaces::addresses()
        .filter(|(interface, _)| interface == name)
        .map(|(_, address)| address)
        .min_by_key(IpAddr::is_ipv6)
}

fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let open = |address: SocketAddr| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            // "All addresses" means IPv4 as well.
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket.into())
    };
    let opened = match open(address) {
        // A host without IPv6.
        Err(error)
            if address.is_ipv6()
                && address.ip().is_unspecified()
                && error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT) =>
        {
            open(SocketAddr::from(([0, 0, 0, 0], address.port())))
        }
        opened => opened,
    };
    opened.map_err(|source| {
        let hint = match source.kind() {
            io::ErrorKind::AddrInUse => "another program has this port: is an xend or a second relocd running?",
            io::ErrorKind::PermissionDenied => "run relocd as root, or choose a port above 1023",
            io::ErrorKind::AddrNotAvailable => "this host does not have that address (xend-relocation-address)",
            _ => "see xend-relocation-address and xend-relocation-port",
        };
        ListenError::Bind { address, source, hint }
    })
}
