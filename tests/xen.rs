//! Relocations between hosts of Xen's: real daemons, with a stand-in for `xl` (`support/xl`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use support::{Host, text};

fn xen() -> Host {
    let mut host = Host::prepare("(xend-relocation-hosts-allow '127.0.0.0/8')").on_xen();
    host.run();
    host
}

fn create(host: &Host, kind: &str) {
    let file = host.path("domain.cfg");
    fs::write(
        &file,
        format!("name = 'web'\ntype = '{kind}'\nmemory = 2\nkernel = '/boot/guest'\n"),
    )
    .unwrap();
    host.ok(&["create", file.to_str().unwrap()]);
}

/// The memory of the only domain.
fn memory(host: &Host) -> Vec<u8> {
    let mut found = fs::read_dir(host.path("state"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    fs::read(
        found
            .find(|path| path.extension().is_some_and(|extension| extension == "mem"))
            .unwrap(),
    )
    .unwrap()
}

fn set(host: &Host, name: &str, value: &str) {
    fs::write(host.path("state").join(name), value).unwrap();
}

#[test]
fn a_domain_goes_there_and_back() {
    let (a, b) = (xen(), xen());
    for kind in ["pv", "pvh", "hvm"] {
        create(&a, kind);
        a.migrates(&b, &["-l"]);
        assert!(a.is_empty() && b.runs());
        b.migrates(&a, &["-l"]);
        assert!(b.is_empty() && a.runs());
        let before = memory(&a);
        let said = a.migrates(&b, &[]);
        assert!(
            said.starts_with(&format!("Domain 'web' now runs on {}", b.address)),
            "{said}"
        );
        assert!(a.is_empty() && b.runs());
        assert!(memory(&b) == before);
        b.migrates(&a, &[]);
        assert!(b.is_empty() && a.runs());
        assert!(memory(&a) == before);
        a.ok(&["destroy", "web"]);
    }
    assert!(a.ok(&["info"]).contains("4.17.5"));
}

#[test]
fn what_xl_says_is_what_the_operator_hears() {
    let (a, b) = (xen(), xen());
    create(&a, "pv");
    set(
        &b,
        "fault-restore",
        "exit libxl: error: failed to free memory for the domain",
    );
    let said = a.migrate_fails(&b, &[]);
    assert!(
        said.contains("libxl: error: failed to free memory for the domain"),
        "{said}"
    );
    assert!(said.contains("domain 'web' runs on here as before"), "{said}");
    assert!(a.runs() && b.is_empty());
    set(&b, "fault-restore", "");
    set(&a, "fault-save", "deaf");
    let said = a.migrate_fails(&b, &[]);
    assert!(said.contains("guest did not suspend, timed out"), "{said}");
    assert!(a.runs() && b.is_empty());
    // Also beside the error that it has led to.
    for host in [&a, &b] {
        let own = host.logged("xl: libxl: error:");
        assert!(own.iter().any(|line| line.contains("INFO")), "{}", host.log());
    }
    set(&a, "fault-save", "");
    a.migrates(&b, &[]);
}

/// Both sides' daemons die in the middle of the image, one after the other, and the `xl` of the side that died hangs.
#[test]
fn a_daemon_that_is_killed_in_the_middle_leaves_one_domain_and_no_rest() {
    for victim in ["source", "destination"] {
        let (mut a, mut b) = (xen(), xen());
        create(&a, "pv");
        let (end, command) = if victim == "source" {
            (&a, "save")
        } else {
            (&b, "restore")
        };
        set(end, &format!("fault-{command}"), "hang 300000");
        let xm = begin(&a, &b, &[]);
        b.wait("the arrival", || !b.is_empty());
        // As long as it is on its way, operators can't touch it, and nothing else can have its name.
        assert!(text(&b.xm(&["unpause", "web"])).contains("is being relocated"));
        let dying = if victim == "source" { &mut a } else { &mut b };
        dying.kill();
        set(dying, &format!("fault-{command}"), "");
        dying.run();
        let output = xm.wait_with_output().unwrap();
        assert!(!output.status.success(), "{}", text(&output));
        a.wait("the domain at the source", || a.runs());
        b.wait("the end of what had arrived", || b.is_empty());
        a.migrates(&b, &[]);
        assert!(b.runs() && a.is_empty());
    }
}

/// What an operator may ask for and the host does not have is told before anything is touched, with what to do instead.
#[test]
fn what_can_not_be_is_refused_with_a_word() {
    let (a, b) = (xen(), xen());
    create(&a, "pv");
    set(&a, "virt_caps", "pv hvm hap gnttab-v1 gnttab-v2");
    fs::remove_file(a.path("state/events")).unwrap();
    let said = a.migrate_fails(&b, &["-l"]);
    assert!(
        said.contains("without shadow paging") && said.contains("without -l"),
        "{said}"
    );
    assert!(said.contains("was not touched"), "{said}");
    set(&b, "minor", "16");
    let said = a.migrate_fails(&b, &[]);
    assert!(
        said.contains("Xen 4.17.5 at the source, 4.16.5 at the destination"),
        "{said}"
    );
    set(&b, "minor", "17");
    set(&b, "free", "2");
    let said = a.migrate_fails(&b, &[]);
    assert!(said.contains("not enough memory"), "{said}");
    assert!(!a.path("state/events").exists() && !b.path("state/events").exists());
    set(&b, "free", "20");
    a.migrates(&b, &[]);
    assert!(b.runs());
}

/// The domain is suspended, its copy nearly complete, nothing committed; the source's daemon is killed. What holds the domain must not let it run by itself.
#[test]
fn xl_stays_stopped_when_its_daemon_dies() {
    let (mut a, b) = (xen(), xen());
    create(&a, "pvh");
    // Within the last records: the source has sent everything.
    set(&b, "fault-restore", "hang 2103000");
    let mut xm = begin(&a, &b, &["-l"]);
    a.wait("the suspended domain", || {
        a.domains() == [("migrating-web".to_owned(), "---s--".to_owned())]
    });
    a.wait("the stop of xl", || states(&a) == ["T", "T"]);
    a.kill();
    xm.wait().unwrap();
    assert_eq!(states(&a), ["T", "T"]);
    let held = fs::read_to_string(a.path("state/domains")).unwrap();
    assert!(held.contains("suspended"), "{held}");
    // The record says that nothing was committed: it runs on, and xl itself sees to that.
    a.run();
    a.wait("the domain", || a.runs());
    a.wait("the end of xl", || states(&a).is_empty());
    // The other end's xl dies as well.
    set(&b, "fault-restore", "");
    kill_restore(&b);
    b.wait("the end of what had arrived", || b.is_empty());
    a.migrates(&b, &["-l"]);
    assert!(b.runs() && a.is_empty());
}

/// It powers off while its memory is copied, and the copy fails.
#[test]
fn a_domain_that_ends_meanwhile_is_not_said_to_run() {
    let (a, b) = (xen(), xen());
    create(&a, "pvh");
    set(&b, "fault-restore", "hang 100000");
    let xm = begin(&a, &b, &["-l"]);
    b.wait("the arriving domain", || !b.is_empty());
    set(&a, "domains", "{}");
    kill_restore(&b);
    let done = xm.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(
        said.contains("is not here any more") && !said.contains("runs on here"),
        "{said}"
    );
    let status = a.ok(&["status"]);
    assert!(status.contains("is not here any more"), "{status}");
}

/// What its host serves stays with it.
#[test]
fn a_domain_with_pci_devices_is_not_touched() {
    let (a, b) = (xen(), xen());
    let file = a.path("domain.cfg");
    fs::write(&file, "name = 'web'\ntype = 'hvm'\nmemory = 2\npci = ['03:00.1']\n").unwrap();
    a.ok(&["create", file.to_str().unwrap()]);
    let said = a.migrate_fails(&b, &[]);
    assert!(
        said.contains("1 of its host's PCI devices")
            && said.contains("xl pci-detach")
            && said.contains("was not touched"),
        "{said}"
    );
}

/// An `xm migrate` of `web` that runs beside the test.
fn begin(from: &Host, to: &Host, options: &[&str]) -> Child {
    let arguments = from.migrate(to, options);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    from.xm_command(&arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn kill_restore(host: &Host) {
    for number in processes(host, &["xl\0restore\0"]) {
        assert!(
            Command::new("kill")
                .args(["-KILL", &number])
                .status()
                .unwrap()
                .success()
        );
    }
}

/// The processes of a host that have one of these in their command line.
fn processes(host: &Host, words: &[&str]) -> Vec<String> {
    let directory = host.directory.path().to_string_lossy().into_owned();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let is = |name: &String| {
        let command = fs::read(format!("/proc/{name}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        command.contains(&directory) && words.iter().any(|word| command.contains(word))
    };
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(is)
        .collect()
}

/// The states of the processes of a host's `xl migrate`, its transport too.
fn states(host: &Host) -> Vec<String> {
    let found = processes(host, &["xl\0migrate\0", "\0xl-transport\0pipe"]);
    let state = |number: String| {
        let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
        let (_, fields) = stat.rsplit_once(") ")?;
        fields.split(' ').next().map(str::to_owned)
    };
    found
        .into_iter()
        .filter_map(state)
        .filter(|state| state != "Z")
        .collect()
}

#[test]
fn whether_a_guest_has_run_that_is_gone_once_unpaused_is_an_operators_to_decide() {
    let (a, b) = (xen(), xen());
    for (decision, is_here) in [("--resume", true), ("--destroy", false)] {
        create(&a, "pv");
        set(&b, "fault-unpause", "end");
        let arguments = a.migrate(&b, &["-l"]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let said = a.fails(4, &arguments);
        assert!(said.contains("it may have run and ended"), "{said}");
        assert!(a.status_has("in-doubt") && b.status_has("lost"));
        assert_eq!(a.domains(), [("migrating-web".to_owned(), "---s--".to_owned())]);
        let status = b.ok(&["status"]);
        let line = status.lines().find(|line| line.contains("lost")).unwrap();
        let id = line.split_whitespace().next().unwrap();
        b.ok(&["resolve", id, decision, "--yes-i-know"]);
        a.wait("the end of it", || !a.status_has("in-doubt"));
        assert!(a.runs() == is_here && a.is_empty() != is_here && b.is_empty());
        assert!(!b.status_has("lost"));
        // It can come again.
        set(&b, "fault-unpause", "");
        if is_here {
            a.migrates(&b, &["-l"]);
            b.ok(&["destroy", "web"]);
        }
    }
}
