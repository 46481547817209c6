//! Daemons that are told to end in the middle of a relocation.

use nix::sys::signal::Signal;

use crate::{
    ended, migrating, reached, settles, source,
    support::{
        Host,
        proxy::{Proxy, Stage},
        text,
    },
};

const ALLOW: &str = "(xend-relocation-hosts-allow '127.0.0.0/8')";

/// Tells a daemon twice to end, while the proxy holds everything back: it does not end sooner for the second time, and not later for the proxy.
fn stops(host: &mut Host) {
    host.signal(Signal::SIGTERM);
    host.signal(Signal::SIGTERM);
    assert_eq!(host.ended(), Some(0), "{}", host.log());
    assert!(host.log().contains("stopped"), "{}", host.log());
}

#[test]
fn the_source_is_stopped() {
    let (mut a, b) = (source(ALLOW), Host::with(ALLOW));
    for stage in [
        Stage::HelloSent,
        Stage::Ready,
        Stage::FramesEarly,
        Stage::Finished,
        Stage::Loaded,
    ] {
        for options in [&["-l"][..], &[]] {
            println!("{stage:?} {options:?}");
            let proxy = Proxy::to(&b, Some(stage));
            let mut xm = migrating(&a, &proxy, options);
            reached(&proxy, &mut xm, &a, &b);
            stops(&mut a);
            let output = ended(xm, &a);
            let said = text(&output);
            assert_eq!(output.status.code(), Some(1), "{said}\n{}", a.log());
            assert!(said.contains("relocd is stopping"), "{said}");
            assert!(said.contains("runs on here") || said.contains("it runs here"), "{said}");
            // Not left to the next start.
            assert!(!a.journal_has("out", "sending") && !a.journal_has("out", "resuming"));
            drop(proxy);
            a.run();
            settles(&a, &b);
            a.verify();
        }
    }
    a.migrates(&b, &["-l"]);
    b.verify();
}

#[test]
fn the_destination_is_stopped() {
    let (a, mut b) = (source(ALLOW), Host::with(ALLOW));
    for stage in [
        Stage::RelocateSent,
        Stage::FramesEarly,
        Stage::FramesLate,
        Stage::Loaded,
        Stage::CommitHeld,
    ] {
        println!("{stage:?}");
        let proxy = Proxy::to(&b, Some(stage));
        let mut xm = migrating(&a, &proxy, &["-l"]);
        reached(&proxy, &mut xm, &a, &b);
        b.wait("the record", || {
            b.journal_has("in", "receiving") || b.journal_has("in", "loaded")
        });
        stops(&mut b);
        for state in ["receiving", "loaded", "discarding"] {
            assert!(
                !b.journal_has("in", state),
                "{state} is left to the next start:\n{}",
                b.log()
            );
        }
        // What it said before it ended is passed on, and its end.
        proxy.go_on();
        b.run();
        let output = ended(xm, &a);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{said}\n{}", a.log());
        assert!(said.contains("runs on here") || said.contains("it runs here"), "{said}");
        if stage < Stage::CommitHeld {
            assert!(said.contains("relocd is stopping"), "{stage:?}: {said}");
        }
        if matches!(stage, Stage::FramesEarly | Stage::FramesLate) {
            // It has said so itself.
            assert!(said.contains("nothing is left of it on"), "{stage:?}: {said}");
        }
        settles(&a, &b);
        a.verify();
    }
    a.migrates(&b, &["-l"]);
    b.verify();
}

#[test]
fn both_are_stopped_after_the_commit() {
    let (mut a, mut b) = (source(ALLOW), Host::with(ALLOW));
    let proxy = Proxy::to(&b, Some(Stage::CommitDelivered));
    let mut xm = migrating(&a, &proxy, &["-l"]);
    reached(&proxy, &mut xm, &a, &b);
    b.wait("the commit at the destination", || b.journal_has("in", "running"));
    stops(&mut b);
    stops(&mut a);
    // The source could not learn the outcome: it says so, whichever way xm hears of it.
    let output = ended(xm, &a);
    let said = text(&output);
    assert!(matches!(output.status.code(), Some(3 | 4)), "{said}");
    b.run();
    a.run();
    settles(&b, &a);
    b.verify();
}
