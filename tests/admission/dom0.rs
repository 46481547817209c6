//! Domain 0 gives up memory for domains that arrive.

use crate::{events, refused, set, source, support::field, xen};

/// MiB that domain 0 of a host has.
fn dom0(events: &[String]) -> Vec<u64> {
    let targets = events.iter().filter_map(|event| event.strip_prefix("dom0 "));
    targets.map(|target| target.parse().unwrap()).collect()
}

#[test]
fn it_gives_what_it_does_not_keep_and_only_if_it_may() {
    let a = source("pv", "maxmem = 200");
    let b = xen("");
    set(&b, "free", "100");
    // 200 MiB, and one for Xen; libxl rounds up to an even number.
    refused(
        &a,
        &b,
        &[],
        &["206848 KiB needed, 102400 KiB free", "enable-dom0-ballooning"],
    );
    drop(b);
    let b = xen("(dom0-min-mem 1000)");
    set(&b, "free", "100");
    refused(&a, &b, &[], &["206848 KiB needed, 126976 KiB free"]);
    drop(b);
    let b = xen("(dom0-min-mem 196)");
    set(&b, "free", "100");
    let facts = b.ok(&["info"]);
    assert!(facts.contains("free_memory            : 928\n"), "{facts}");
    assert!(facts.contains("free_memory_dom0       : 828\n"), "{facts}");
    // Nothing is taken for a question.
    a.ok(&["migrate", "--dry-run", "-p", &b.port.to_string(), "web", &b.address]);
    assert_eq!(events(&b), [""; 0]);
    a.migrates(&b, &[]);
    assert!(b.runs());
    let happened = events(&b);
    // What is missing, and 2 MiB more, before anything of the domain is here.
    assert_eq!(happened[0], "dom0 920", "{happened:?}");
    assert_eq!(dom0(&happened).len(), 1);
}

#[test]
fn what_it_does_not_give_is_refused() {
    let (a, b) = (source("pv", ""), xen("(dom0-min-mem 196) (relocd-handshake-timeout 2)"));
    set(&b, "free", "1");
    set(&b, "fault-mem-set", "ignore 1");
    let said = a.migrate_fails(&b, &["-l"]);
    assert!(
        said.contains("did not do so within 2 s: 4096 KiB needed, 2048 KiB free"),
        "{said}"
    );
    assert!(said.contains("was not touched") && a.runs() && b.is_empty());
    // It has back what it gave.
    assert_eq!(dom0(&events(&b)), [1023, 1024]);
    assert_eq!(events(&a), [""; 0]);
    set(&b, "fault-mem-set", "exit libxl: error: no balloon driver");
    let said = a.migrate_fails(&b, &["-l"]);
    assert!(said.contains("no balloon driver"), "{said}");
    let audit = b.audit();
    assert_eq!(
        field(audit.last().unwrap(), "kind").as_deref(),
        Some("insufficient-memory")
    );
    set(&b, "fault-mem-set", "");
    a.migrates(&b, &["-l"]);
    assert_eq!(dom0(&events(&b)), [1019]);
}

/// One of them is half here, the other comes to its admission.
#[test]
fn two_at_a_time_are_not_promised_the_same() {
    let (a, c) = (source("pv", ""), source("pv", ""));
    // Domain 0 has 8 MiB to give: 4 to the one, and not 6 to the other.
    let mut b = xen("(dom0-min-mem 1016)");
    set(&b, "free", "0");
    set(&b, "fault-restore", "hang 300000");
    c.ok(&["destroy", "web"]);
    let file = c.path("domain.cfg");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        text.replace("memory = 2", "memory = 5").replace("'web'", "'other'"),
    )
    .unwrap();
    c.ok(&["create", file.to_str().unwrap()]);
    let arguments = a.migrate(&b, &[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut first = a
        .xm_command(&arguments)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    b.wait("the arrival", || !b.is_empty());
    assert_eq!(dom0(&events(&b)), [1018]);
    // 8 - 2 are left, of which two are promised; five and one are needed.
    let other = ["migrate", "--dry-run", "-p", &b.port.to_string(), "other", &b.address].map(str::to_owned);
    let other: Vec<&str> = other.iter().map(String::as_str).collect();
    let said = c.fails(1, &other);
    assert!(said.contains("6144 KiB needed, 4096 KiB free"), "{said}");
    // The first does not come to its end: all is there for the other.
    b.kill();
    set(&b, "fault-restore", "");
    b.run();
    assert!(!first.wait().unwrap().success());
    b.wait("the end of the first", || b.is_empty());
    assert!(c.ok(&other).contains("can be moved"));
}
