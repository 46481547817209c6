//! xends that send over TLS. The key beside this file is for these tests only, and worth nothing.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use nix::sys::signal::{Signal, kill};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned, SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring::default_provider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use crate::{
    support::{
        Host, PATIENCE, read_line,
        xend_peer::{Domain, reason},
    },
    world::{config, full_image, image, left_over, nothing_left, prepare, settles, spooled},
};

/// A host that listens for TLS only.
fn tls_host(extra: &str) -> Host {
    let mut host = prepare("");
    for (name, content) in [
        ("key.pem", &include_bytes!("tls/key.pem")[..]),
        ("certificate.pem", include_bytes!("tls/certificate.pem")),
    ] {
        std::fs::write(host.path(name), content).unwrap();
    }
    let keys = format!(
        "(xend-relocation-ssl-server yes) (xend-relocation-ssl-port 18003) \
         (xend-relocation-server-ssl-key-file '{}') (xend-relocation-server-ssl-cert-file '{}') \
         (xend-relocation-hosts-allow '127.0.0.0/8') (relocd-spool-directory '{}') {extra}",
        host.path("key.pem").display(),
        host.path("certificate.pem").display(),
        host.path("spool").display()
    );
    host.set_extra(&keys);
    host
}

/// As xend's sender: nothing is verified.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

fn connect(host: &Host, version: &'static SupportedProtocolVersion) -> Tls {
    let address: SocketAddr = format!("{}:18003", host.address).parse().unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
}

/// Sends a domain in blocks of 16 KiB, as xend's helper thread does, and closes. What the sender concludes, and what it can read then.
fn send(mut tls: Tls, config: &[u8], image: &[u8], pause: Duration) -> (Domain, String) {
    let mut sent = || -> io::Result<()> {
        tls.write_all(b"sslreceive\n")?;
        if read_line(&mut tls) != "(ready sslreceive)\n" {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        tls.write_all(b"LinuxGuestRecord")?;
        tls.write_all(&(config.len() as i32).to_be_bytes())?;
        tls.write_all(config)?;
        for block in image.chunks(16 << 10) {
            tls.write_all(block)?;
            thread::sleep(pause);
        }
        tls.conn.send_close_notify();
        while tls.conn.wants_write() {
            tls.conn.write_tls(&mut tls.sock)?;
        }
        Ok(())
    };
    let domain = if sent().is_ok() {
        Domain::Destroyed
    } else {
        Domain::Runs
    };
    let mut said = Vec::new();
    // It may be gone.
    let _ = tls.read_to_end(&mut said);
    (domain, String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_domain_comes_over_tls() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut host = tls_host("");
        host.run();
        let image = image(300);
        let sent = send(
            connect(&host, version),
            &config("web", 2, ""),
            &image.bytes(),
            Duration::ZERO,
        );
        assert_eq!(sent, (Domain::Destroyed, "(ok)\n".to_owned()), "{}", host.log());
        host.wait("the entry", || {
            host.journal_has("in", "kept") && left_over(&host).len() == 2
        });
        assert!(spooled(&host)[0].1 == image.today());
    }
}

#[test]
fn a_refusal_goes_through_as_well() {
    let mut host = tls_host("(relocd-max-arriving-memory 16)");
    host.run();
    let image = full_image().bytes();
    let (domain, _) = send(
        connect(&host, &rustls::version::TLS12),
        &config("web", 32, ""),
        &image,
        Duration::ZERO,
    );
    assert_eq!(domain, Domain::Runs);
    // Who has not yet written more than it can read before the reset is told why.
    let mut tls = connect(&host, &rustls::version::TLS12);
    tls.write_all(b"sslreceive\n").unwrap();
    assert_eq!(read_line(&mut tls), "(ready sslreceive)\n");
    let config = config("web", 32, "");
    let envelope = [b"LinuxGuestRecord", &(config.len() as i32).to_be_bytes()[..], &config].concat();
    tls.write_all(&envelope).unwrap();
    let said = read_line(&mut tls);
    assert!(reason(said.as_bytes()).unwrap().contains("32768 KiB needed"), "{said}");
    nothing_left(&host);
}

#[test]
fn who_does_not_speak_tls_is_sent_away() {
    let mut host = tls_host("(relocd-handshake-timeout 1)");
    host.run();
    let address: SocketAddr = format!("{}:18003", host.address).parse().unwrap();
    for bytes in [&b"receive\n"[..], b"\x80\x2e\x01\x00\x02", b""] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes).unwrap();
        let mut said = Vec::new();
        // An alert at most, and the end.
        let _ = stream.read_to_end(&mut said);
        assert!(!said.starts_with(b"(") && said.len() < 20, "{said:?}");
    }
    let sent = send(
        connect(&host, &rustls::version::TLS13),
        &config("web", 1, ""),
        &image(40).bytes(),
        Duration::ZERO,
    );
    assert_eq!(sent.0, Domain::Destroyed);
}

#[test]
fn a_daemon_that_is_killed_does_not_take_the_session_along() {
    let image = full_image();
    let (bytes, today) = (image.bytes(), image.today());
    for after in [0, 30, 100, 200, 300, 500] {
        let mut host = tls_host("");
        host.run();
        let tls = connect(&host, &rustls::version::TLS13);
        let domain = thread::scope(|scope| {
            let sender = scope.spawn(|| send(tls, &config("web", 32, ""), &bytes, Duration::from_micros(50)).0);
            thread::sleep(Duration::from_millis(after));
            kill(host.pid(), Signal::SIGKILL).unwrap();
            sender.join().unwrap()
        });
        host.ended();
        settles(&mut host, domain, &today, &format!("killed after {after} ms"));
    }
}

#[test]
fn keys_that_can_not_be_used_are_told_at_the_start() {
    let host = tls_host("");
    std::fs::write(host.path("key.pem"), "no key").unwrap();
    let output = host.run_to_end();
    let said = crate::support::text(&output);
    assert!(
        !output.status.success() && said.contains("xend-relocation-server-ssl-key-file"),
        "{said}"
    );
}
