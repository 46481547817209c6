//! What a destination says and does when its disk or its toolstack fails it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use peer::handoff::AfterWrite;
use toolstack::{DomainId, Undone};
use uuid::Uuid;

use super::*;
use crate::journal::Direction;

/// A domain that can't be discarded for as long as the flag says so.
struct Stubborn(Arc<AtomicBool>);

impl Arrived for Stubborn {
    fn id(&self) -> DomainId {
        7
    }

    fn unpause(self: Box<Self>) -> Result<DomainId, Undone<dyn Arrived>> {
        Ok(7)
    }

    fn discard(self: Box<Self>) -> Result<(), Undone<dyn Arrived>> {
        if self.0.load(Ordering::SeqCst) {
            let error = ToolstackError::Failed("not now".to_owned());
            return Err(Undone { error, domain: self });
        }
        Ok(())
    }
}

struct Scene {
    directory: tempfile::TempDir,
    journal: Journal,
    incoming: Incoming,
    stubborn: Arc<AtomicBool>,
}

/// A domain is loaded.
fn loaded() -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::open(directory.path()).unwrap();
    let uuid = Uuid::new_v4();
    let entry = Entry::new(Uuid::new_v4(), Direction::In, "web", uuid, "x", "live", "receiving");
    let incoming = Incoming::new(entry, journal.clone());
    let stubborn = Arc::new(AtomicBool::new(true));
    let said = incoming.complete(Box::new(Stubborn(Arc::clone(&stubborn)))).unwrap();
    assert!(matches!(said[..], [Say::Loaded]));
    Scene {
        directory,
        journal,
        incoming,
        stubborn,
    }
}

/// A daemon has found the commit in its journal, and no domain.
fn lost() -> Scene {
    let scene = loaded();
    let mut entry = scene.incoming.entry();
    entry.state = "committed".to_owned();
    let incoming = Incoming::recover(entry, scene.journal.clone()).unwrap();
    incoming.lost();
    Scene { incoming, ..scene }
}

impl Scene {
    /// The disk fails from here on.
    fn break_disk(&self) {
        std::fs::rename(
            self.directory.path().join("journal"),
            self.directory.path().join("away"),
        )
        .unwrap();
    }

    /// It works again, with what it had.
    fn mend_disk(&self) {
        std::fs::rename(
            self.directory.path().join("away"),
            self.directory.path().join("journal"),
        )
        .unwrap();
    }

    /// The state on disk.
    fn record(&self) -> String {
        let id = self.incoming.entry().id;
        self.journal.find(id, Direction::In).unwrap().unwrap().state
    }

    fn asked(&self) -> Outcome {
        let said = self.incoming.on(Event::Asked).unwrap();
        said.into_iter()
            .find_map(|say| match say {
                Say::Outcome(outcome) => Some(outcome),
                _ => None,
            })
            .unwrap()
    }
}

#[test]
fn a_commit_that_is_not_on_disk_is_discarded_however_often_that_takes() {
    let scene = loaded();
    scene.break_disk();
    assert_eq!(scene.incoming.on(Event::Commit).unwrap(), []);
    // No crash finds a commit: it may be told at once.
    assert_eq!(scene.asked(), Outcome::Discarded);
    assert_eq!(scene.incoming.state(), State::Discarding);
    scene.stubborn.store(false, Ordering::SeqCst);
    assert_eq!(scene.incoming.again().unwrap(), [Say::Discarded]);
    assert_eq!(scene.asked(), Outcome::Discarded);
    // The last record is still to be written.
    assert!(scene.incoming.has_later() && scene.incoming.trouble().is_some());
    assert!(scene.incoming.entry().detail.is_some());
    scene.mend_disk();
    assert_eq!(scene.incoming.again().unwrap(), []);
    assert!(!scene.incoming.has_later() && scene.incoming.trouble().is_none());
    assert_eq!(scene.record(), "discarded");
}

#[test]
fn a_commit_that_is_perhaps_on_disk_is_not_called_discarded_before_the_disk_says_so() {
    let scene = loaded();
    scene.stubborn.store(false, Ordering::SeqCst);
    // As after a rename or a sync that has failed.
    let mut inner = scene.incoming.lock();
    assert_eq!(inner.machine.on(Event::Commit).unwrap(), [Command::Journal]);
    let AfterWrite::Feed(event) = inner.machine.written(Written::Unsynced) else {
        panic!("a commit that is in doubt has to be withdrawn");
    };
    inner.then(event).unwrap();
    drop(inner);
    scene.break_disk();
    assert_eq!(scene.incoming.again().unwrap(), []);
    // A crash now might find the commit, and has to find the domain as well.
    assert_eq!(scene.asked(), Outcome::Pending);
    assert_eq!(scene.incoming.state(), State::Withdrawing);
    scene.mend_disk();
    assert_eq!(scene.incoming.again().unwrap(), [Say::Discarded]);
    assert_eq!(scene.asked(), Outcome::Discarded);
    assert_eq!(scene.record(), "discarded");
}

#[test]
fn an_operator_decides_about_a_lost_domain_once() {
    for (ran, outcome, record) in [
        (true, Outcome::Running { domid: 0 }, "running"),
        (false, Outcome::Discarded, "discarded"),
    ] {
        let scene = lost();
        assert!(matches!(scene.asked(), Outcome::Lost { .. }));
        assert!(scene.incoming.operator(ran).unwrap().is_some());
        assert_eq!(scene.asked(), outcome);
        assert_eq!(scene.record(), record);
        assert!(scene.incoming.operator(!ran).unwrap().is_none());
    }
}

/// A domain that runs and is gone at once.
struct Fleeting;

impl Arrived for Fleeting {
    fn id(&self) -> DomainId {
        7
    }

    fn unpause(self: Box<Self>) -> Result<DomainId, Undone<dyn Arrived>> {
        let error = ToolstackError::NoDomain(7);
        Err(Undone { error, domain: self })
    }

    fn discard(self: Box<Self>) -> Result<(), Undone<dyn Arrived>> {
        panic!("nothing is here that could be discarded");
    }
}

#[test]
fn a_domain_that_is_gone_once_it_ran_is_lost_until_an_operator_decides() {
    for (ran, outcome, record) in [
        (true, Outcome::Running { domid: 0 }, "running"),
        (false, Outcome::Discarded, "discarded"),
    ] {
        let scene = loaded();
        let entry = scene.incoming.entry();
        let incoming = Incoming::new(entry, scene.journal.clone());
        incoming.complete(Box::new(Fleeting)).unwrap();
        let scene = Scene { incoming, ..scene };
        assert_eq!(scene.incoming.on(Event::Commit).unwrap(), []);
        // It may be rebooting.
        assert!(!scene.incoming.is_lost() && scene.incoming.has_later());
        assert_eq!(scene.asked(), Outcome::Pending);
        scene.incoming.lock().gone = Instant::now().checked_sub(REBOOTING);
        assert_eq!(scene.incoming.again().unwrap(), []);
        assert!(scene.incoming.is_lost() && !scene.incoming.has_later());
        assert!(scene.incoming.runs_as().is_none());
        let Outcome::Lost { reason } = scene.asked() else {
            panic!("the source has to hear of it");
        };
        assert!(
            reason.contains("it may have run and ended") && reason.contains("xm resolve"),
            "{reason}"
        );
        assert_eq!(scene.record(), "committed");
        // Here once more, and gone once more: it may be rebooting again.
        assert_eq!(scene.incoming.back(Box::new(Fleeting)).unwrap(), []);
        assert!(!scene.incoming.is_lost() && scene.incoming.has_later());
        scene.incoming.lock().gone = Instant::now().checked_sub(REBOOTING);
        assert_eq!(scene.incoming.again().unwrap(), []);
        assert!(scene.incoming.is_lost());
        assert!(scene.incoming.operator(ran).unwrap().is_some());
        assert_eq!(scene.asked(), outcome);
        assert_eq!(scene.record(), record);
    }
}

#[test]
fn a_lost_domain_that_comes_back_runs() {
    let scene = lost();
    let arrived = || Box::new(Stubborn(Arc::clone(&scene.stubborn)));
    assert_eq!(scene.incoming.back(arrived()).unwrap(), [Say::Running(7)]);
    assert_eq!(scene.asked(), Outcome::Running { domid: 7 });
    assert_eq!(scene.record(), "running");
    // An operator comes too late, and so does a second look.
    assert!(scene.incoming.operator(false).unwrap().is_none());
    assert_eq!(scene.incoming.back(arrived()).unwrap(), []);
}

#[test]
fn what_a_toolstack_that_failed_has_left_is_looked_for_until_it_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::open(directory.path()).unwrap();
    let entry = Entry::new(
        Uuid::new_v4(),
        Direction::In,
        "web",
        Uuid::new_v4(),
        "x",
        "live",
        "receiving",
    );
    let incoming = Incoming::new(entry, journal);
    // First it can't be asked, then it has the domain and can't remove it, then it can.
    let (asked, stubborn) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(true)));
    let (answers, left) = (Arc::clone(&asked), Arc::clone(&stubborn));
    incoming.failed(Box::new(move || {
        if !answers.load(Ordering::SeqCst) {
            return Err(ToolstackError::Failed("no answer".to_owned()));
        }
        Ok(Some(Box::new(Stubborn(Arc::clone(&left)))))
    }));
    for _ in 0..2 {
        assert_eq!(incoming.on(Event::Failed).unwrap_or_default(), []);
        assert!(incoming.has_later());
        assert_eq!(incoming.again().unwrap(), []);
        assert_eq!(incoming.state(), State::Discarding);
        asked.store(true, Ordering::SeqCst);
    }
    stubborn.store(false, Ordering::SeqCst);
    assert_eq!(incoming.again().unwrap(), [Say::Discarded]);
    assert_eq!(incoming.state(), State::Discarded);
}

#[test]
fn a_domain_that_comes_after_all_is_over_is_discarded() {
    let scene = loaded();
    scene.stubborn.store(false, Ordering::SeqCst);
    assert_eq!(scene.incoming.on(Event::Failed).unwrap(), [Say::Discarded]);
    scene.stubborn.store(true, Ordering::SeqCst);
    let late = Box::new(Stubborn(Arc::clone(&scene.stubborn)));
    assert_eq!(scene.incoming.complete(late).unwrap(), []);
    assert!(scene.incoming.has_later());
    scene.stubborn.store(false, Ordering::SeqCst);
    assert_eq!(scene.incoming.again().unwrap(), [Say::Discarded]);
    assert!(!scene.incoming.has_later());
}

#[test]
fn a_disk_that_fails_before_the_commit_changes_nothing() {
    let scene = loaded();
    scene.break_disk();
    assert_eq!(scene.asked(), Outcome::Discarded);
    let late = scene.incoming.on(Event::Commit);
    assert!(late.is_err(), "{late:?}");
}

#[test]
fn a_connection_that_is_lost_after_the_question_does_not_stop_the_discard() {
    let scene = loaded();
    assert_eq!(scene.asked(), Outcome::Discarded);
    scene.stubborn.store(false, Ordering::SeqCst);
    assert_eq!(scene.incoming.on(Event::Failed).unwrap(), []);
    assert_eq!(scene.incoming.again().unwrap(), [Say::Discarded]);
    assert_eq!(scene.incoming.state(), State::Discarded);
    assert!(!scene.incoming.has_later());
}
