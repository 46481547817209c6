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
    tls::{Identity, IdentityError},
};

/// Connections that the kernel keeps waiting.
const BACKLOG: i32 = 128;

/// Why the relocation port can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The name in `xend-relocation-address` is neither an interface with an address nor a host.
    #[error("xend-relocation-address: '{0}' is neither an interface with an address nor the name of this host")]
    NoAddress(String),
    /// The key and certificate of the port with TLS can't be used.
    #[error("{0}")]
    Identity(#[from] IdentityError),
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

/// Where is listened, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Port {
    address: SocketAddr,
    /// For TLS.
    identity: Option<Identity>,
}

/// What is listened on.
#[derive(Default)]
pub struct Listeners {
    bound: Vec<(Port, JoinHandle<()>)>,
    connections: Connections,
}

impl Listeners {
    /// Makes what is listened on agree with a configuration: an address that stays is not touched.
    ///
    /// # Errors
    /// [`ListenError`]; then everything is as before.
    pub async fn apply(&mut self, host: &Arc<Host>, config: &Config) -> Result<(), ListenError> {
        let wanted = wanted(config)?;
        // "All addresses" and one of them don't go together on a port: what is in the way of a new one is closed first, and opened again if that fails.
        let mut closed = Vec::new();
        for (port, task) in std::mem::take(&mut self.bound) {
            let same = |new: &Port| new.address.port() == port.address.port();
            if !wanted.contains(&port) && wanted.iter().any(same) {
                task.abort();
                let _ = task.await;
                closed.push(port);
            } else {
                self.bound.push((port, task));
            }
        }
        let missing = wanted
            .iter()
            .filter(|port| !self.bound.iter().any(|(bound, _)| bound == *port));
        let new: Result<Vec<_>, _> = missing
            .map(|port| bind(port.address).map(|listener| (port.clone(), listener)))
            .collect();
        let new = match new {
            Ok(new) => new,
            Err(error) => {
                for port in closed {
                    match bind(port.address) {
                        Ok(listener) => self.accept(host, port, listener),
                        Err(error) => tracing::error!("no longer listening on {}: {error}", port.address),
                    }
                }
                return Err(error);
            }
        };
        for port in closed {
            tracing::info!(address = %port.address, "no longer listening");
        }
        for (port, task) in std::mem::take(&mut self.bound) {
            if wanted.contains(&port) {
                self.bound.push((port, task));
                continue;
            }
            task.abort();
            // It has the socket: said is what is so.
            let _ = task.await;
            tracing::info!(address = %port.address, "no longer listening");
        }
        for (port, listener) in new {
            self.accept(host, port, listener);
        }
        host.set_listening(self.bound.iter().map(|(port, _)| port.address.to_string()).collect());
        Ok(())
    }

    fn accept(&mut self, host: &Arc<Host>, port: Port, listener: TcpListener) {
        tracing::info!(address = %port.address, tls = port.identity.is_some(), "listening for relocations");
        let serve = port::serve(
            Arc::clone(host),
            listener,
            self.connections.clone(),
            port.identity.clone(),
        );
        self.bound.push((port, tokio::spawn(serve)));
    }

    /// Listens no more.
    pub fn close(&mut self) {
        for (_, task) in self.bound.drain(..) {
            task.abort();
        }
    }
}

/// As for xend, the two ports are independent of each other.
fn wanted(config: &Config) -> Result<Vec<Port>, ListenError> {
    let mut ports = Vec::new();
    if config.relocation_server {
        let plain = addresses(config, config.relocation_port)?;
        ports.extend(plain.into_iter().map(|address| Port {
            address,
            identity: None,
        }));
    }
    if let (true, Some(key), Some(certificate)) = (config.ssl_server, &config.ssl_key_file, &config.ssl_cert_file) {
        let identity = Identity {
            key: key.clone(),
            certificate: certificate.clone(),
        };
        // Read anew for each connection: what is wrong with it is to be told now.
        identity.load()?;
        let tls = addresses(config, config.ssl_port)?;
        ports.extend(tls.into_iter().map(|address| Port {
            address,
            identity: Some(identity.clone()),
        }));
    }
    Ok(ports)
}

fn addresses(config: &Config, port: u16) -> Result<Vec<SocketAddr>, ListenError> {
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
