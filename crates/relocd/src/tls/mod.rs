//! TLS on a port of its own, for xends whose `xend-relocation-ssl` says so.
//!
//! Each connection has a process that speaks TLS on one side and plaintext on the other, where the daemon finds a connection like any other. A process of
//! its own for the same reason as [the receiver's](crate::receive_xend): a TLS session can't be handed over, and has to outlive the daemon while an image
//! arrives. What one side does happens at the other: bytes, the end of the stream, a reset.

mod relay;

use std::{
    io,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

pub use relay::main;

/// The hidden subcommand that is such a process.
pub const RELAY_COMMAND: &str = "relay-tls";

/// Key and certificate of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The private key's file.
    pub key: PathBuf,
    /// The certificate's, with those that it depends on behind it.
    pub certificate: PathBuf,
}

/// Why a key and a certificate can't be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file can't be read, or has no such thing in it.
    #[error("{what} {}: {why}", path.display())]
    File {
        /// Which file: by its key in the configuration.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The two don't belong together, or are of a kind that is not supported.
    #[error("xend-relocation-server-ssl-key-file and xend-relocation-server-ssl-cert-file: {0}")]
    Pair(rustls::Error),
}

impl Identity {
    /// Reads the two files. TLS 1.2 and 1.3, and no certificate is asked for: as for xend, the allow list says who may come.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn load(&self) -> Result<Arc<ServerConfig>, IdentityError> {
        let wrong = |what, path: &Path| {
            let path = path.to_owned();
            move |error: rustls::pki_types::pem::Error| IdentityError::File {
                what,
                path,
                why: error.to_string(),
            }
        };
        const CERTIFICATE: &str = "xend-relocation-server-ssl-cert-file";
        let key =
            PrivateKeyDer::from_pem_file(&self.key).map_err(wrong("xend-relocation-server-ssl-key-file", &self.key))?;
        let chain = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(|found| found.collect::<Result<Vec<_>, _>>())
            .map_err(wrong(CERTIFICATE, &self.certificate))?;
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(IdentityError::Pair)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map(Arc::new)
            .map_err(IdentityError::Pair)
    }
}

/// Puts TLS on a connection that has just been accepted; what comes back is its plaintext side. Blocking.
///
/// # Errors
/// The system's. What goes wrong with TLS itself shows as the end of the connection.
pub fn accept(stream: TcpStream, identity: &Identity, handshake: Duration) -> io::Result<TcpStream> {
    let (ours, theirs) = pair()?;
    stream.set_nonblocking(false)?;
    let mut child = Command::new("/proc/self/exe")
        .arg(RELAY_COMMAND)
        .args([&identity.key, &identity.certificate])
        .arg(handshake.as_millis().to_string())
        .stdin(Stdio::from(OwnedFd::from(stream)))
        .stdout(Stdio::from(OwnedFd::from(theirs)))
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .process_group(0)
        .spawn()?;
    // Its end is waited for, so that it leaves no zombie.
    std::thread::spawn(move || child.wait());
    ours.set_nonblocking(true)?;
    Ok(ours)
}

/// Two ends of a connection within this host. TCP, since it can be reset.
fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let ours = TcpStream::connect(listener.local_addr()?)?;
    let (theirs, from) = listener.accept()?;
    if from == ours.local_addr()? {
        return Ok((ours, theirs));
    }
    // Somebody else on this host was quicker.
    Err(io::ErrorKind::ConnectionAborted.into())
}
