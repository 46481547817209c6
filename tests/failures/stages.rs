//! Connections cut or stalled, and daemons killed, at every stage.

use crate::{
    LIMITS, ended, migrating, reached, settles, source,
    support::{
        Host,
        proxy::{Cut, Proxy, Stage},
        text,
    },
};

/// What happens at a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Break {
    /// The connection is cut.
    Cut(Cut),
    /// The connection stays, and nothing comes any more.
    Stall,
    /// The destination's daemon dies.
    KillDestination,
    /// The source's daemon dies.
    KillSource,
    /// Both die.
    KillBoth,
}

const BREAKS: [Break; 6] = [
    Break::Cut(Cut::Fin),
    Break::Cut(Cut::Rst),
    Break::Stall,
    Break::KillDestination,
    Break::KillSource,
    Break::KillBoth,
];

/// Breaks a relocation at a stage. Whether the domain has moved.
fn breaks(from: &mut Host, to: &mut Host, stage: Stage, how: Break, options: &[&str]) -> bool {
    println!("{stage:?} {how:?} {options:?}");
    let proxy = Proxy::to(to, Some(stage));
    let mut xm = migrating(from, &proxy, options);
    reached(&proxy, &mut xm, from, to);
    if stage.is_committed() {
        // A commit that has been delivered may be lost in a dead daemon's socket: one that has been written may not.
        to.wait("the commit at the destination", || {
            to.journal_has("in", "committed") || to.journal_has("in", "running")
        });
    }
    let (kill_source, kill_destination) = match how {
        Break::KillSource => (true, false),
        Break::KillDestination => (false, true),
        Break::KillBoth => (true, true),
        Break::Cut(_) | Break::Stall => (false, false),
    };
    if kill_source {
        from.kill();
    }
    if kill_destination {
        to.kill();
    }
    match how {
        Break::Cut(cut) => proxy.cut(cut),
        Break::Stall => {}
        _ => proxy.cut(Cut::Fin),
    }
    for (killed, host) in [(kill_destination, &mut *to), (kill_source, &mut *from)] {
        if killed {
            host.run();
        }
    }
    let output = ended(xm, from);
    let moved = stage.is_committed();
    let (here, there) = if moved { (&*to, &*from) } else { (&*from, &*to) };
    settles(here, there);
    here.verify();
    settles(here, there);
    let said = text(&output);
    let code = output.status.code();
    if kill_source {
        assert_eq!(code, Some(3), "{said}");
        assert!(
            said.contains("relocd closed the connection before it had answered"),
            "{said}"
        );
    } else if moved {
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("Domain 'web' now runs on"), "{said}");
    } else {
        assert_eq!(code, Some(1), "{said}");
        let untouched = stage < Stage::Ready && said.contains("was not touched: it runs here");
        assert!(untouched || said.contains("runs on here"), "{said}");
        // The connection was gone before the destination could say that nothing is left: nobody claims it.
        assert!(!said.contains("nothing is left of it"), "{said}");
        let known =
            said.contains("was never told to run it") || said.contains("has confirmed that it will never run there");
        assert!(untouched || known, "{said}");
    }
    moved
}

/// All that can break at a stage, one after the other: the domain goes on from where it was left.
fn all_breaks(stage: Stage, breaks_at: &[Break], options: &[&str]) {
    let (mut from, mut to) = (source(LIMITS), Host::with(LIMITS));
    for how in breaks_at {
        // The journals of those before are no evidence for this one.
        for host in [&from, &to] {
            for record in ["in", "out"].into_iter().flat_map(|direction| host.records(direction)) {
                std::fs::remove_file(record).unwrap();
            }
        }
        if breaks(&mut from, &mut to, stage, *how, options) {
            std::mem::swap(&mut from, &mut to);
        }
    }
    // Nothing has been worn out.
    from.migrates(&to, &["-l"]);
    to.verify();
}

macro_rules! stages {
    ($($name:ident: $stage:ident $breaks:expr, $options:expr;)*) => {
        $(
            #[test]
            fn $name() {
                all_breaks(Stage::$stage, &$breaks, &$options);
            }
        )*
    };
}

stages! {
    after_hello: HelloSent BREAKS, ["-l"];
    after_the_answer_to_hello: HelloAnswered BREAKS, ["-l"];
    after_relocate: RelocateSent BREAKS, ["-l"];
    after_ready: Ready BREAKS, ["-l"];
    early_in_the_frames: FramesEarly BREAKS, ["-l"];
    late_in_the_frames: FramesLate BREAKS, ["-l"];
    after_the_last_frame: Finished BREAKS, ["-l"];
    before_loaded_is_heard: Loaded BREAKS, ["-l"];
    before_the_commit_is_heard: CommitHeld BREAKS, ["-l"];
    after_the_commit: CommitDelivered BREAKS, ["-l"];
    before_running_is_heard: RunningHeld BREAKS, ["-l"];
    offline_in_the_frames: FramesEarly [Break::Cut(Cut::Rst), Break::KillDestination, Break::KillSource], [];
    offline_before_the_commit_is_heard: CommitHeld [Break::Cut(Cut::Fin), Break::KillBoth, Break::KillSource], [];
    offline_after_the_commit: CommitDelivered [Break::Stall, Break::KillDestination, Break::KillSource], [];
}
