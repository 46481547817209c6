//! The daemon is killed while a domain arrives: the xend has it, or the spool has it, whole.

use std::{fs, thread, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    support::{
        Host, PATIENCE,
        xend_peer::{Domain, Version, Xend},
    },
    world::{config, full_image, port, settles, spool_host},
};

/// Processes that receive, of any daemon of these directories.
fn receivers(host: &Host) -> Vec<Pid> {
    let daemon = host.pid().to_string();
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").unwrap() {
        let path = process.unwrap().path();
        let Ok(stat) = fs::read_to_string(path.join("stat")) else {
            continue;
        };
        let Some((_, rest)) = stat.rsplit_once(") ") else {
            continue;
        };
        if rest.split(' ').nth(1) == Some(&daemon)
            && let Ok(command) = fs::read(path.join("cmdline"))
            && command.windows(12).any(|part| part == b"receive-xend")
        {
            found.push(Pid::from_raw(
                path.file_name().unwrap().to_str().unwrap().parse().unwrap(),
            ));
        }
    }
    found
}

#[test]
fn at_any_moment() {
    let image = full_image();
    let (bytes, today) = (image.bytes(), image.today());
    let (mut runs, mut destroyed) = (0, 0);
    // Not chance, but no regularity of the receiver's either.
    for point in 0..50_u64 {
        let mut host = spool_host("");
        // Some 250 ms, or as fast as it goes.
        let pause = Duration::from_micros(if point % 2 == 0 { 500 } else { 0 });
        let xend = Xend {
            pause,
            live: point % 3 != 0,
            ..Xend::new(Version::V4_1)
        };
        let after = Duration::from_micros((point * 7919) % if point % 2 == 0 { 400_000 } else { 60_000 });
        let domain = thread::scope(|scope| {
            let sender = scope.spawn(|| xend.migrate(port(&host), &config("web", 32, ""), &bytes).domain);
            thread::sleep(after);
            kill(host.pid(), Signal::SIGKILL).unwrap();
            sender.join().unwrap()
        });
        host.ended();
        match domain {
            Domain::Runs => runs += 1,
            _ => destroyed += 1,
        }
        settles(&mut host, domain, &today, &format!("killed after {after:?}"));
    }
    eprintln!("50 kills: {runs} domains ran on, {destroyed} are in the spool");
    assert!(runs > 0 && destroyed > 0, "{runs} {destroyed}: not all cases were met");
}

/// The process that receives: as long as more must come than buffers hold, the sender resumes.
#[test]
fn the_process_that_receives() {
    let image = full_image();
    let (bytes, today) = (image.bytes(), image.today());
    for point in 0..8_u64 {
        let mut host = spool_host("");
        let xend = Xend {
            pause: Duration::from_millis(4),
            ..Xend::new(Version::V4_1)
        };
        let domain = thread::scope(|scope| {
            let sender = scope.spawn(|| xend.migrate(port(&host), &config("web", 32, ""), &bytes).domain);
            let begun = std::time::Instant::now();
            let receiver = loop {
                if let Some(receiver) = receivers(&host).first().copied() {
                    break receiver;
                }
                assert!(begun.elapsed() < PATIENCE);
            };
            thread::sleep(Duration::from_millis(point * 20));
            kill(receiver, Signal::SIGKILL).unwrap();
            sender.join().unwrap()
        });
        assert_eq!(domain, Domain::Runs);
        host.wait("the end of it", || host.journal_has("in", "discarded"));
        host.kill();
        settles(&mut host, domain, &today, "the receiver was killed");
    }
}
