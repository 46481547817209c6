//! What a destination says and does when its disk or its toolstack fails it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

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
    incoming: Incoming,
    stubborn: Arc<AtomicBool>,
}

/// A domain is loaded.
fn loaded() -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::open(directory.path()).unwrap();
    let uuid = Uuid::new_v4();
    let entry = Entry::new(Uuid::new_v4(), Direction::In, "web", uuid, "x", "live", "receiving");
    let incoming = Incoming::new(entry, journal);
    let stubborn = Arc::new(AtomicBool::new(true));
    let said = incoming.complete(Box::new(Stubborn(Arc::clone(&stubborn)))).unwrap();
    assert!(matches!(said[..], [Say::Loaded]));
    Scene {
        directory,
        incoming,
        stubborn,
    }
}

impl Scene {
    /// The disk fails from here on.
    fn break_disk(&self) {
        std::fs::remove_dir_all(self.directory.path().join("journal")).unwrap();
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
fn a_commit_that_is_perhaps_on_disk_is_not_called_discarded_before_the_domain_is_gone() {
    let scene = loaded();
    scene.break_disk();
    let said = scene.incoming.on(Event::Commit).unwrap();
    assert!(matches!(said[..], [Say::Retry(_)]), "{said:?}");
    // A crash now might find the commit, and the domain.
    assert_eq!(scene.asked(), Outcome::Pending);
    scene.stubborn.store(false, Ordering::SeqCst);
    let said = scene.incoming.again().unwrap();
    assert!(matches!(said[..], [Say::Discarded]), "{said:?}");
    assert_eq!(scene.asked(), Outcome::Discarded);
    let (_, entry) = scene.incoming.unwritten().unwrap();
    assert_eq!(entry.state, "discarded");
    assert!(entry.detail.is_some());
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
    let said = scene.incoming.on(Event::Failed).unwrap();
    assert!(matches!(said[..], [Say::Discarded]), "{said:?}");
    assert_eq!(scene.incoming.state(), State::Discarded);
    assert!(scene.incoming.unwritten().is_none());
}
