//! Disks that are full.

use std::process::Stdio;

use crate::{
    files, prepare_disk_host, running, sends, spooled,
    support::{
        Host,
        disk::Disk,
        proxy::{Proxy, Stage},
        text,
    },
};

/// A host that keeps domains on a small disk. `None` where none can be mounted.
fn small(mebibytes: u32) -> Option<Host> {
    let mut host = prepare_disk_host();
    host.disk = Some(Disk::of(&host.path("state/spool"), mebibytes)?);
    host.run();
    Some(host)
}

#[test]
fn without_room_a_domain_is_not_even_begun() {
    let Some(b) = small(16) else { return };
    let a = running(16);
    let said = a.migrate_fails(&b, &["-l"]);
    assert!(
        said.contains("not enough memory at the destination") && said.contains("it runs here"),
        "{said}"
    );
    assert!(files(&b).is_empty());
    a.verify();
}

#[test]
fn a_disk_that_fills_up_on_the_way_leaves_nothing() {
    let Some(b) = small(32) else { return };
    let a = running(16);
    for stage in [Stage::Ready, Stage::FramesEarly] {
        let proxy = Proxy::to(&b, Some(stage));
        let port = b.port.to_string();
        let mut command = a.xm_command(&["migrate", "-l", "-p", &port, "web", &proxy.address]);
        let mut xm = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        proxy.reached(|| Some(format!("xm ended: {}", xm.try_wait().unwrap()?)));
        b.disk.as_ref().unwrap().fill();
        proxy.go_on();
        let output = xm.wait_with_output().unwrap();
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{said}\n{}", b.log());
        assert!(
            said.contains("No space left on device") && said.contains("runs on here"),
            "{said}"
        );
        b.wait("the end of what has arrived", || {
            files(&b).iter().all(|name| name == "filler")
        });
        b.disk.as_ref().unwrap().clear();
        assert!(a.runs() && spooled(&b).is_empty());
        a.verify();
    }
    a.migrates(&b, &[]);
    // Full, it is still good for all that makes room.
    b.disk.as_ref().unwrap().fill();
    sends_in_spite_of_the_disk(&b, &a);
}

/// The record can't be rewritten, so the send does not begin; deleting needs no room.
fn sends_in_spite_of_the_disk(b: &Host, a: &Host) {
    let port = a.port.to_string();
    let said = b.fails(1, &["spool", "send", "-p", &port, "web", &a.address]);
    assert!(said.contains("No space left on device"), "{said}");
    b.disk.as_ref().unwrap().clear();
    assert_eq!(spooled(b)[0]["state"], "kept");
    sends(b, a);
    a.verify();
    a.migrates(b, &[]);
    b.disk.as_ref().unwrap().fill();
    b.ok(&["spool", "delete", "--yes-i-know", "web"]);
    b.disk.as_ref().unwrap().clear();
    assert!(files(b).is_empty());
}
