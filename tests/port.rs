//! The relocation port, byte for byte as an xend answers, and against hostile peers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::{
    io::{Read, Write},
    net::Shutdown,
};

use support::{Host, read_line};

const HELP: &str = "(ok (help quit receive sslreceive))\n";

fn invalid(name: &str) -> String {
    format!("(err (type \"<class 'xen.xend.XendError.XendError'>\") (value 'Invalid operation: {name}'))\n")
}

/// Everything that comes before the other end closes.
fn all(host: &Host, bytes: &[u8]) -> String {
    let mut stream = host.connect();
    stream.write_all(bytes).unwrap();
    // It may have closed already.
    let _ = stream.shutdown(Shutdown::Write);
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn answers_as_an_xend_answers() {
    let host = Host::start();
    for (asked, answer) in [
        (&b"help\n"[..], HELP.to_owned()),
        (b"(help)\n", HELP.to_owned()),
        (b"help\r\n", HELP.to_owned()),
        (b"'help'\n", HELP.to_owned()),
        (b"(help)", HELP.to_owned()),
        (b"help\nhelp\n", HELP.repeat(2)),
        (b"hello\n", invalid("hello")),
        (b"HELP\n", invalid("HELP")),
        (b"a.b\n", invalid("a.b")),
        (b"hello\nhelp\n", invalid("hello") + HELP),
        (b"quit\nhelp\n", String::new()),
        (b"(quit)\n", String::new()),
        (b"\n", String::new()),
        (b"", String::new()),
        (b"(help\n", String::new()),
        (b")\n", "(err (type \"<class 'xen.xend.sxp.ParseError'>\") (value 'syntax error: )'))\n".to_owned()),
        (
            b"()\n",
            "(err (type \"<type 'exceptions.AttributeError'>\") (value \"'NoneType' object has no attribute 'replace'\"))\n".to_owned(),
        ),
        (
            b"\x00\x01\x02",
            "(err (type \"<class 'xen.xend.sxp.ParseError'>\") (value 'invalid character: code 0'))\n".to_owned(),
        ),
    ] {
        assert_eq!(all(&host, asked), answer, "{:?}", String::from_utf8_lossy(asked));
    }
    // After a syntax error the conversation goes on.
    let mut stream = host.connect();
    stream.write_all(b")\n").unwrap();
    assert!(read_line(&mut stream).contains("syntax error"));
    stream.write_all(b"he").unwrap();
    stream.write_all(b"lp\n").unwrap();
    assert_eq!(read_line(&mut stream), HELP);
}

#[test]
fn an_xend_that_wants_to_relocate_is_refused_in_its_own_words() {
    let host = Host::start();
    let mut stream = host.connect();
    stream.write_all(b"receive\n").unwrap();
    // It reads once and does not look: a refusal here would not be heard.
    assert_eq!(read_line(&mut stream), "(ready receive)\n");
    stream.write_all(b"LinuxGuestRecord\0\0\0\x08(domain)").unwrap();
    let said = read_line(&mut stream);
    // What an xend's sender looks for: ^\(err\s\(type\s(.+)\)\s\(value\s'(.+)'\)\)
    assert!(
        said.starts_with("(err (type ") && said.contains(") (value '") && said.ends_with("'))\n"),
        "{said}"
    );
}

#[test]
fn a_request_without_end_is_cut_off() {
    let host = Host::with("(xend-relocation-hosts-allow '127.0.0.0/8') (relocd-max-config-size 64)");
    for byte in [b"a", b"(", b"'", b" ", b"#"] {
        let mut stream = host.connect();
        let block = byte.repeat(64 << 10);
        // Of 1 GiB; the other end has closed long before.
        let sent = (0..16_384).take_while(|_| stream.write_all(&block).is_ok()).count();
        assert!(sent < 16_384, "all of it was taken");
    }
    let mut stream = host.connect();
    stream.write_all(&b"(".repeat(10_000)).unwrap();
    assert!(read_line(&mut stream).contains("lists nested deeper than 32"));
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kib < 64 << 10, "{line}");
    assert_eq!(host.says(b"help\n"), HELP);
}

#[test]
fn an_endless_stream_of_mistakes_is_cut_off() {
    let host = Host::start();
    let mut stream = host.connect();
    let mut answers = 0;
    while stream.write_all(b")\n").is_ok() && !read_line(&mut stream).is_empty() {
        answers += 1;
        assert!(answers < 100);
    }
    assert!((2..=20).contains(&answers), "{answers}");
}

#[test]
fn slow_messages_have_no_more_time_than_quick_ones() {
    let host = Host::with("(xend-relocation-hosts-allow '127.0.0.0/8') (relocd-handshake-timeout 1)");
    let mut stream = host.connect();
    let mut sent = 0;
    while sent < 600 && stream.write_all(b"a").is_ok() {
        sent += 1;
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(sent < 600, "a letter now and then keeps the connection open");
}

#[test]
fn relocations_that_make_no_sense_are_refused() {
    let host = Host::start();
    let id = "4f1c2f0e-6f4c-4d0c-aa53-6f3a1b2c3d4e";
    let facts = "(host (name far) (toolstack embedded) (version 1) (architecture riscv64) (virtualization rv64ima) (free-memory-kib 1) (total-memory-kib 1) (processors 1))";
    let domain = format!("(config (domain (name web) (uuid {id}) (memory 16) (image (embedded))))");
    for (message, expected) in [
        ("(relocate)".to_owned(), "relocate: "),
        (format!("(relocate (id x) (mode live) {domain} {facts})"), "id"),
        (format!("(relocate (id {id}) (mode sideways) {domain} {facts})"), "mode"),
        (
            format!("(relocate (id {id}) (mode live) (config nothing) {facts})"),
            "expected (domain ...)",
        ),
        (
            format!("(relocate (id {id}) (mode live) (config (domain (name a/b) (uuid {id}) (memory 16))) {facts})"),
            "name",
        ),
        (
            format!(
                "(relocate (id {id}) (mode live) (config (domain (name a) (uuid {id}) (memory 99999999999999999999))) {facts})"
            ),
            "memory",
        ),
        (format!("(relocate (id {id}) (mode live) {domain})"), "host"),
        (
            format!(
                "(relocate (id {id}) (mode live) {domain} {})",
                facts.replace("riscv64", "x86_64")
            ),
            "architecture",
        ),
        (
            format!(
                "(relocate (id {id}) (mode live) {domain} {})",
                facts.replace("embedded", "xl")
            ),
            "toolstack",
        ),
        (
            format!(
                "(relocate (id {id}) (mode live) {domain} {})",
                facts.replace("rv64ima", "svm")
            ),
            "virtualization",
        ),
        ("(hello (protocol other) (versions 1))".to_owned(), "version 1"),
        ("(hello (protocol relocd) (versions 7 8))".to_owned(), "version 1"),
    ] {
        let said = host.says(format!("{message}\n").as_bytes());
        assert!(
            said.starts_with("(err ") && said.contains(expected),
            "{message}: {said}"
        );
    }
    // One that was never here.
    let said = host.says(format!("(outcome (id {id}))\n").as_bytes());
    assert!(said.starts_with("(ok (outcome (lost (reason "), "{said}");
    assert!(host.is_empty());
}

#[test]
fn frames_that_are_wrong_leave_nothing() {
    let host = Host::start();
    let facts = "(host (name far) (toolstack embedded) (version 1) (architecture riscv64) (virtualization rv64ima) (free-memory-kib 1) (total-memory-kib 1) (processors 1))";
    for (number, frames) in [
        vec![],
        vec![0; 24],
        vec![0xff; 100],
        b"GET / HTTP/1.0\r\n\r\n at length and more".to_vec(),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("4f1c2f0e-6f4c-4d0c-aa53-{number:012}");
        let mut stream = host.connect();
        let message = format!(
            "(relocate (id {id}) (mode live) (config (domain (name web) (uuid {id}) (memory 16) (image (embedded)))) {facts})\n"
        );
        stream.write_all(message.as_bytes()).unwrap();
        assert_eq!(read_line(&mut stream), "(ready relocate (streams 1))\n");
        stream.write_all(&frames).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert!(read_line(&mut stream).starts_with("(err (type arrival-failed)"));
        host.wait("the end of it", || host.is_empty());
        assert_eq!(
            host.says(format!("(outcome (id {id}))\n").as_bytes()),
            "(ok (outcome (discarded)))\n"
        );
    }
}
