use domain::HostFacts;
use peer::control::{Failure, Progress};
use uuid::Uuid;

use super::*;
use crate::error::CommandError;

fn line(name: &str) -> DomainLine {
    DomainLine {
        domid: 5,
        name: name.to_owned(),
        uuid: Some(Uuid::nil()),
        memory_mib: 256,
        vcpus: 2,
        state: "r-----".to_owned(),
        cpu_time: 12.345,
        config: None,
    }
}

#[test]
fn list_rows_stand_under_their_header() {
    let text = domains(&[line("web"), line(&"x".repeat(50))]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "Name                                        ID   Mem VCPUs      State   Time(s)"
    );
    assert_eq!(
        lines[1],
        "web                                          5   256     2     r-----      12.3"
    );
    assert_eq!(lines[0].len(), lines[1].len());
    assert!(lines[2].starts_with(&"x".repeat(50)));
}

#[test]
fn nothing_that_a_terminal_acts_on_passes() {
    let evil = "a\x1b[2Jb\r\n\u{9b}31m\u{202e}c\u{10ffe9}\x7f";
    let clean = |text: &str| !text.trim_end_matches('\n').chars().any(|c| acts(c) && c != '\n');
    assert_eq!(escape(evil), "a\\x1b[2Jb\\x0d\\x0a\\u{9b}31m\\u{202e}c\\xe9\\x7f");
    assert_eq!(escape("Jürgen's 'web'"), "Jürgen's 'web'");
    assert!(clean(&domains(&[line(evil)])) && clean(&domains_long(&[line(evil)])));
    assert_eq!(domains(&[line(evil)]).lines().count(), 2);
    let object = json("name", &evil);
    assert!(clean(&object), "{object}");
    let back: serde_json::Value = serde_json::from_str(&object).unwrap();
    assert_eq!(back["name"], evil);
    let error = CommandError::Failed(Failure {
        r#type: "refused".to_owned(),
        value: evil.to_owned(),
        domain_state: Some(evil.to_owned()),
        next: None,
    });
    assert!(clean(&error.render()) && clean(&error.json()));
    assert_eq!(error.render().lines().count(), 2);
}

#[test]
fn long_lists_are_configurations() {
    let mut domain = line("web");
    let config = sxp::read_all(
        b"(domain (name web) (image (linux (kernel /k) (args 'a b'))))",
        sxp::Limits::default(),
    );
    domain.config = Some(sxp::Raw(config.unwrap()[0].to_sexp()));
    let expected = "\
(domain
    (domid 5)
    (name web)
    (image
        (linux
            (kernel /k)
            (args 'a b')
        )
    )
    (state r-----)
    (cpu_time 12.3)
)
";
    assert_eq!(domains_long(&[domain]), expected);
    assert!(domains_long(&[line("Domain-0")]).contains("(name Domain-0)"));
}

#[test]
fn info_is_keys_and_values() {
    let host = HostFacts {
        name: "dom0-a".to_owned(),
        toolstack: "embedded".to_owned(),
        version: "1".to_owned(),
        architecture: "riscv64".to_owned(),
        virtualization: Vec::new(),
        free_memory_kib: 2048,
        total_memory_kib: 4096,
        processors: 2,
        ..HostFacts::default()
    };
    let text = info(&Info {
        host,
        relocd_version: "0.1.0".to_owned(),
        config_file: "/etc/xen/xend-config.sxp".to_owned(),
        listening: vec!["127.0.0.1:8002".to_owned(), "[::1]:8002".to_owned()],
    });
    assert!(text.starts_with("host                   : dom0-a\n"));
    assert!(text.contains("free_memory            : 2\n"));
    assert!(text.contains("virt_caps              :\n"));
    assert!(text.ends_with("listening              : 127.0.0.1:8002 [::1]:8002\n"));
}

#[test]
fn a_relocations_last_line() {
    let done = Migrated {
        id: Uuid::nil(),
        domain: "web".to_owned(),
        host: "10.0.0.2".to_owned(),
        domid: 5,
        xend: None,
        left_out: Vec::new(),
        spooled: false,
        mode: "live".to_owned(),
        rounds: 4,
        pages: 65536,
        zero_pages: 0,
        wire_bytes: 70_100_000,
        total_ms: 1900.0,
        downtime_ms: 23.0,
    };
    assert_eq!(
        migrated(&done),
        "Domain 'web' now runs on 10.0.0.2 (domain 5): live, 4 rounds, 65536 pages, 70.1 MB on the wire, 1.9 s in all, \
         23 ms downtime\n"
    );
    let back = Migrated {
        xend: Some("4.1".to_owned()),
        left_out: vec!["the CPUID policy".to_owned()],
        ..done
    };
    let text = migrated(&back);
    assert!(
        text.starts_with("Domain 'web' now runs on 10.0.0.2 (an xend of Xen 4.1): live,"),
        "{text}"
    );
    assert!(text.ends_with("downtime\nLeft out: the CPUID policy\n"), "{text}");
}

#[test]
fn status_is_a_table() {
    assert_eq!(status(&[], 0), "No relocations.\n");
    let progress = Progress {
        id: Uuid::nil(),
        stage: "copying".to_owned(),
        round: 2,
        round_done: 10,
        round_total: 20,
        pages_sent: 100,
        wire_bytes: 400_000,
        rate: 80_000_000,
        dirty_rate: 0,
        estimated_downtime_ms: Some(12),
        throttle: 0,
    };
    let relocation = RelocationLine {
        id: Uuid::nil(),
        direction: "out".to_owned(),
        domain: "web".to_owned(),
        peer: "10.0.0.2:8002".to_owned(),
        state: "copying".to_owned(),
        mode: "live".to_owned(),
        started: 100,
        detail: Some("said \x1b".to_owned()),
        progress: Some(progress),
    };
    let text = status(&[relocation], 160);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(
        lines[1]
            .starts_with("00000000-0000-0000-0000-000000000000  out  web     10.0.0.2:8002  live  copying  60 s ago")
    );
    assert_eq!(lines[2], "    round 2: 10/20 pages, 80.0 MB/s, downtime ~12 ms");
    assert_eq!(lines[3], "    said \\x1b");
}

#[test]
fn the_spool_tells_what_is_there_and_why() {
    let entry = |name: &str, reason: Option<&str>| SpoolLine {
        id: Uuid::from_u128(7),
        name: name.to_owned(),
        uuid: Uuid::from_u128(8),
        peer: "10.0.0.1:8002".to_owned(),
        since: 1000,
        bytes: 2_000_000,
        state: "kept".to_owned(),
        reason: reason.map(str::to_owned),
        image: "/spool/web.save".to_owned(),
    };
    let entries = [entry("web\u{1b}[2J", Some("no\nroom")), entry("db", None)];
    assert_eq!(
        spool("/spool", 5_000_000, &entries, &["torn\u{7}".to_owned()], 1060),
        "Domain      Id                                    State  Size    From           Since\n\
         web\\x1b[2J  00000000-0000-0000-0000-000000000007  kept   2.0 MB  10.0.0.1:8002  60 s ago\n    \
             no\\x0aroom\n\
         db          00000000-0000-0000-0000-000000000007  kept   2.0 MB  10.0.0.1:8002  60 s ago\n\
         Warning: torn\\x07\n\
         5.0 MB free in /spool\n"
    );
    assert_eq!(spool("/spool", 0, &[], &[], 0), "No domains.\n0 B free in /spool\n");
}

#[test]
fn a_file_that_is_left_is_told_of() {
    assert_eq!(restored("web", 3, None), "Domain 'web' now runs here (domain 3)\n");
    let text = restored("web", 3, Some("EIO\u{7}"));
    assert!(
        text.contains("must not be restored again") && text.contains("EIO\\x07"),
        "{text}"
    );
}
