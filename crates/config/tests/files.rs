//! Files, good and bad.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests are not seen as tests

use std::{net::IpAddr, path::Path, time::Duration};

use config::{Config, ListenAddress, Loaded, LogLevel, Severity, Verdict};
use proptest::prelude::*;

fn good(text: &str) -> Loaded {
    Config::parse(text.as_bytes(), "f").unwrap_or_else(|errors| panic!("{errors}"))
}

fn notes(text: &str) -> Vec<String> {
    good(text).notes.iter().map(ToString::to_string).collect()
}

fn errors(text: &str) -> Vec<String> {
    Config::parse(text.as_bytes(), "f")
        .unwrap_err()
        .0
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn empty_is_all_defaults() {
    for text in ["", "\n", "# nothing\n", "(xend-relocation-port)"] {
        assert_eq!(
            good(text),
            Loaded {
                config: Config::default(),
                notes: vec![]
            },
            "{text:?}"
        );
    }
    let config = Config::default();
    assert!(!config.relocation_server && !config.ssl_server && !config.relocation_ssl && !config.enable_dump);
    assert_eq!((config.relocation_port, config.ssl_port), (8002, 8003));
    assert_eq!(config.relocation_address, ListenAddress::All);
    assert_eq!(
        (config.ssl_key_file, config.ssl_cert_file, config.log_file),
        (None, None, None)
    );
    assert_eq!(config.log_level, LogLevel::Info);
    assert_eq!(
        (
            config.console_limit_kib,
            config.dom0_min_mem_mib,
            config.enable_dom0_ballooning
        ),
        (1024, 0, false)
    );
    assert_eq!(
        (config.max_connections, config.max_incoming, config.max_outgoing),
        (64, 4, 4)
    );
    assert_eq!(config.handshake_timeout, Duration::from_secs(10));
    assert_eq!(config.idle_timeout, Duration::from_secs(30));
    assert_eq!(config.commit_timeout, Duration::from_secs(30));
    assert_eq!(config.name_lookup_timeout, Duration::from_secs(3));
    assert_eq!(config.max_config_bytes, 1 << 20);
    assert_eq!((config.max_arriving_kib, config.embedded_memory_kib), (None, None));
    // The daemon puts it below its state directory, which is where the table says, unless it is told another.
    assert_eq!(config.spool_directory, None);
    assert!(config.safety_copy);
    assert_eq!(config.journal_keep, Duration::from_secs(30 * 86400));
    assert_eq!(config.hosts_allow, config::AllowList::default());
}

#[test]
fn values_are_taken() {
    let config = good(
        "(xend-relocation-server Yes)(xend-relocation-port ' 9002 ')(xend-relocation-address eth0)
         (logfile /var/log/x.log)(loglevel fatal)(dom0-min-mem 196)(relocd-max-arriving-memory 2)
         (relocd-safety-copy 0)(relocd-idle-timeout 5)(xend-relocation-hosts-allow (@ (a b)) 10.0.0.0/8)",
    );
    assert_eq!(config.notes, []);
    let config = config.config;
    assert_eq!(config.relocation_address, ListenAddress::Name("eth0".to_owned()));
    assert!(config.relocation_server && config.enable_dom0_ballooning && !config.safety_copy);
    assert_eq!(config.log_level, LogLevel::Error);
    assert_eq!((config.relocation_port, config.max_arriving_kib), (9002, Some(2048)));
    let local = IpAddr::from([10, 1, 1, 1]);
    assert!(matches!(config.hosts_allow.check(local, &[]), Verdict::Allowed { .. }));
    assert!(
        !good("(dom0-min-mem 196)(enable-dom0-ballooning no)")
            .config
            .enable_dom0_ballooning
    );
}

#[test]
fn all_errors_are_told_at_once() {
    assert_eq!(
        errors(
            "(xend-relocation-port abc)\n(xend-relocation-server maybe)\n  (xend-http-server maybe)\n(loglevel LOUD)\n(relocd-max-incoming 0)\n(relocd-spool-directory x)\n(xend-relocation-port"
        ),
        [
            "f:1:23: error: xend-relocation-port: found 'abc', expected a port number, 1 to 65535",
            "f:2:25: error: xend-relocation-server: found 'maybe', expected yes or no (or y 1 on true t, n 0 off false f)",
            "f:3:21: warning: xend-http-server: found 'maybe', expected yes or no (or y 1 on true t, n 0 off false f)",
            "f:4:11: error: loglevel: found 'LOUD', expected CRITICAL, ERROR, WARNING, INFO, DEBUG, TRACE or NOTSET",
            "f:5:22: error: relocd-max-incoming: found '0', expected a whole number, 1 to 65536",
            "f:6:25: error: relocd-spool-directory: found 'x', expected an absolute path",
            "f:7:1: error: the list that begins here is not closed",
        ]
    );
}

#[test]
fn syntax_errors_have_their_place() {
    for (text, expected) in [
        ("(a\n(b", "f:1:1: error: the list that begins here is not closed"),
        (
            "(logfile 'x)\n",
            "f:1:10: error: the string that begins here is not closed",
        ),
        ("\n )", "f:2:2: error: this ) closes nothing"),
        ("\x7fELF", "f:1:1: error: invalid character: code 127"),
        ("(logfile '\\x4')", "f:1:14: error: \\x needs two hexadecimal digits"),
        (
            "(dom0-cpus 1)\n\x04(loglevel x)",
            "f:2:1: error: byte 0x04: xend takes it for the end of the file and ignores what follows",
        ),
    ] {
        assert_eq!(errors(text).first().map(String::as_str), Some(expected), "{text:?}");
    }
    good("# \x04\n(vncpasswd 'a\x04')");
    assert!(errors(&"(".repeat(10_000))[0].contains("nested deeper"));
    assert!(errors(&" ".repeat((1 << 20) + 1))[0].starts_with("f: error: 1048577 bytes"));
    good(&" ".repeat(1 << 20));
}

#[test]
fn what_xend_ignores_is_warned_about() {
    assert_eq!(
        notes("(xend-relocation-prot 1)\n(nothing-like-it 1)\nstray\n()\n((a))\n(xend-port 1 2)"),
        [
            "f:1:1: warning: unknown key 'xend-relocation-prot'; did you mean 'xend-relocation-port'?",
            "f:2:1: warning: unknown key 'nothing-like-it'",
            "f:3:1: warning: 'stray' stands outside of any list and is ignored",
            "f:4:1: warning: a list that does not begin with a key is ignored",
            "f:5:1: warning: a list that does not begin with a key is ignored",
            "f:6:14: warning: xend-port: only the first value counts; this and what follows is ignored",
        ]
    );
    let loaded = good("(xend-relocation-port 1)\n(xend-relocation-port 2)");
    assert_eq!(loaded.config.relocation_port, 1);
    assert_eq!(
        loaded.notes[0].to_string(),
        "f:2:1: warning: xend-relocation-port: line 2 is ignored, line 1 counts"
    );
    let swallowed = notes("(xend-port 8000 (xend-relocation-server yes))");
    assert!(
        swallowed
            .iter()
            .any(|note| note.contains("xend-relocation-server stands within xend-port")),
        "{swallowed:?}"
    );
    assert_eq!(
        good("(xend-relocation-port)(xend-relocation-port 2)")
            .config
            .relocation_port,
        8002
    );
}

#[test]
fn the_alias_of_the_allow_list() {
    let loaded = good("(xen-relocation-hosts-allow 10.0.0.1)");
    assert_eq!(loaded.notes.len(), 1);
    assert_eq!(loaded.notes[0].severity, Severity::Note);
    assert_eq!(loaded.config.hosts_allow.entries()[0].text(), "10.0.0.1");
    let both = good("(xen-relocation-hosts-allow '')\n(xend-relocation-hosts-allow 10.0.0.1)");
    assert!(!both.config.hosts_allow.is_everyone());
    assert!(
        both.notes
            .iter()
            .any(|note| note.message.contains("line 1 is ignored, line 2 counts"))
    );
}

#[test]
fn the_allow_list_in_a_file() {
    assert_eq!(
        errors(r"(xend-relocation-hosts-allow '^a$ (a)\\1')"),
        [
            r"f:1:30: error: xend-relocation-hosts-allow: entry 2 '(a)\1': character 4: a back-reference, which is not supported"
        ]
    );
    let swallowed = notes(r"(xend-relocation-hosts-allow '^a\.example$')");
    assert!(
        swallowed[0].starts_with("f:1:33: warning: xend-relocation-hosts-allow: this \\ and the character after it")
    );
    assert!(
        notes("(xend-relocation-hosts-allow '')")[0]
            .contains("warning: xend-relocation-hosts-allow: '' lets in every host")
    );
    assert!(errors("(xend-relocation-hosts-allow (a b))")[0].contains("found a list, expected text"));
}

#[test]
fn tls_needs_key_and_certificate() {
    let missing = errors("(xend-relocation-ssl-server yes)");
    assert_eq!(
        missing,
        [
            "f:1:29: error: xend-relocation-ssl-server needs xend-relocation-server-ssl-key-file",
            "f:1:29: error: xend-relocation-ssl-server needs xend-relocation-server-ssl-cert-file",
        ]
    );
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("k.pem");
    std::fs::write(&key, "k").unwrap();
    let with = |cert: &str, more: &str| {
        let key = key.display();
        format!(
            "(xend-relocation-ssl-server yes)\n(xend-relocation-server-ssl-key-file {key})\n(xend-relocation-server-ssl-cert-file {cert}){more}"
        )
    };
    let config = good(&with(&key.display().to_string(), "")).config;
    assert_eq!(config.ssl_cert_file, Some(key.clone()));
    assert!(errors(&with("no-such-file.pem", ""))[0].contains("/etc/xen/no-such-file.pem: "));
    assert!(errors(&with(&directory.path().display().to_string(), ""))[0].ends_with("is not a file"));
    let wrong = errors(&with("a/b", ""));
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    let same = with(
        &key.display().to_string(),
        "(xend-relocation-server yes)(xend-relocation-ssl-port 8002)",
    );
    assert!(errors(&same)[0].contains("which is xend-relocation-port too"));
}

#[test]
fn files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.sxp");
    let told = |path: &Path| Config::load(path).unwrap_err().to_string();
    assert!(told(&path).contains("c.sxp: error: No such file"));
    assert!(told(directory.path()).ends_with("error: is a directory"));
    assert!(told(Path::new("/dev/zero")).ends_with("error: is not a regular file"));
    std::fs::write(&path, "(xend-relocation-port 1)").unwrap();
    assert_eq!(Config::load(&path).unwrap().config.relocation_port, 1);
    std::fs::File::create(&path).unwrap().set_len(100 << 20).unwrap();
    assert!(told(&path).ends_with("error: 104857600 bytes; expected 1048576 at most"));
}

#[test]
fn a_file_wrong_all_over_stays_bounded() {
    let mut text = "x ".repeat(400_000);
    text.push_str("(xend-relocation-port x)");
    let said = errors(&text);
    assert!(said.len() < 600 && said.iter().any(|line| line.contains("xend-relocation-port")));
    assert!(said.last().unwrap().ends_with("more left out"));
}

proptest! {
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Config::parse(&bytes, "f");
    }

    #[test]
    fn anything_like_a_file(text in r#"([ \n()'"\\#]|\(xend-relocation-(port|server|hosts-allow|address) |\(relocd-max-incoming |\(loglevel |yes|80|\^a\$|[a-z0-9./\x04]){0,30}"#) {
        match Config::parse(text.as_bytes(), "f") {
            Ok(loaded) => prop_assert!(loaded.notes.iter().all(|note| note.severity != Severity::Error)),
            Err(errors) => prop_assert!(errors.0.iter().any(|error| error.severity == Severity::Error)),
        }
    }

    #[test]
    fn any_value_of_any_key(key in prop::sample::select(config::keys()), value in "[ -&(-\\[\\]-~]{0,20}") {
        let text = format!("({} '{value}')", key.name);
        for line in match Config::parse(text.as_bytes(), "f") {
            Ok(loaded) => loaded.notes,
            Err(errors) => errors.0,
        } {
            prop_assert_eq!(line.to_string().lines().count(), 1);
        }
    }
}
