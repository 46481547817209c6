use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use toolstack::{DomainId, Undone};
use uuid::Uuid;

use super::*;
use crate::journal::Direction;

/// Tells what was done with it.
struct Copy(Arc<Mutex<Vec<&'static str>>>);

impl Copy {
    fn did(&self, what: &'static str) {
        self.0.lock().unwrap().push(what);
    }
}

impl Departed for Copy {
    fn id(&self) -> DomainId {
        1
    }

    fn suspended_for(&self) -> Duration {
        Duration::ZERO
    }

    fn guard(&mut self) -> toolstack::Result<()> {
        self.did("guarded");
        Ok(())
    }

    fn resume(self: Box<Self>) -> Result<(), Undone<dyn Departed>> {
        self.did("resumed");
        Ok(())
    }

    fn destroy(self: Box<Self>) -> Result<(), Undone<dyn Departed>> {
        self.did("destroyed");
        Ok(())
    }
}

struct Scene {
    _directory: tempfile::TempDir,
    entry: Entry,
    journal: Journal,
    done: Arc<Mutex<Vec<&'static str>>>,
}

impl Scene {
    fn new(state: &str) -> Scene {
        let directory = tempfile::tempdir().unwrap();
        Scene {
            journal: Journal::open(directory.path()).unwrap(),
            _directory: directory,
            entry: Entry::new(
                Uuid::new_v4(),
                Direction::Out,
                "web",
                Uuid::new_v4(),
                "x",
                "live",
                state,
            ),
            done: Arc::default(),
        }
    }

    fn copy(&self) -> Box<dyn Departed> {
        Box::new(Copy(Arc::clone(&self.done)))
    }

    /// A toolstack that can't be asked for some times, and then has the copy.
    fn find(&self, fails: u32) -> Find {
        let (left, done) = (AtomicU32::new(fails), Arc::clone(&self.done));
        Box::new(move || {
            let failing = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            match failing {
                Ok(_) => Err(ToolstackError::Failed("no answer".to_owned())),
                Err(_) => Ok(Some(Box::new(Copy(Arc::clone(&done))) as Box<dyn Departed>)),
            }
        })
    }

    fn done(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.done.lock().unwrap())
    }
}

#[test]
fn a_departure_that_failed_is_over_only_once_the_toolstack_says_where_the_domain_is() {
    let scene = Scene::new("sending");
    let mut handoff = Handoff::new(scene.entry.clone(), scene.journal.clone(), scene.find(2));
    assert!(matches!(handoff.on(Event::Failed), Ok(Some(Ask::Retry(_)))));
    assert!(matches!(handoff.again(), Ok(Some(Ask::Retry(_)))));
    assert_eq!(scene.done(), [] as [&str; 0]);
    assert!(!handoff.state().is_over());
    assert!(matches!(handoff.again(), Ok(Some(Ask::Resumed))));
    assert_eq!(scene.done(), ["resumed"]);
    assert!(handoff.state().is_over());
}

#[test]
fn a_copy_that_nobody_had_when_the_daemon_started_is_looked_for_when_the_outcome_is_known() {
    for (event, expected) in [(Event::Running, "destroyed"), (Event::Discarded, "resumed")] {
        let scene = Scene::new("committed");
        let mut handoff = Handoff::recover(scene.entry.clone(), scene.journal.clone(), scene.find(1)).unwrap();
        assert!(matches!(handoff.again(), Ok(Some(Ask::Outcome))));
        assert_eq!(scene.done(), [] as [&str; 0]);
        handoff.on(event).unwrap();
        assert_eq!(scene.done(), [expected]);
    }
}

#[test]
fn a_copy_is_guarded_when_the_outcome_is_open() {
    let scene = Scene::new("sending");
    let mut handoff = Handoff::new(scene.entry.clone(), scene.journal.clone(), scene.find(9));
    handoff.departed(scene.copy());
    assert!(matches!(handoff.on(Event::Loaded), Ok(Some(Ask::SendCommit))));
    assert_eq!(scene.done(), [] as [&str; 0]);
    assert!(matches!(handoff.on(Event::Unknown), Ok(Some(Ask::Outcome))));
    assert_eq!(scene.done(), ["guarded"]);
    handoff.on(Event::Running).unwrap();
    assert_eq!(scene.done(), ["destroyed"]);
}

/// One that has ended, and can't be guarded at once.
struct Ended(u32);

impl Departed for Ended {
    fn id(&self) -> DomainId {
        1
    }

    fn suspended_for(&self) -> Duration {
        Duration::ZERO
    }

    fn guard(&mut self) -> toolstack::Result<()> {
        self.0 += 1;
        if self.0 == 1 {
            return Err(ToolstackError::Failed("not now".to_owned()));
        }
        assert_eq!(self.0, 2, "guarded again");
        Ok(())
    }

    fn resume(self: Box<Self>) -> Result<(), Undone<dyn Departed>> {
        Err(Undone {
            error: ToolstackError::NoDomain(1),
            domain: self,
        })
    }

    fn destroy(self: Box<Self>) -> Result<(), Undone<dyn Departed>> {
        Ok(())
    }
}

#[test]
fn a_domain_that_is_not_there_any_more_is_looked_for_anew() {
    let scene = Scene::new("sending");
    let mut handoff = Handoff::new(scene.entry.clone(), scene.journal.clone(), scene.find(0));
    handoff.departed(Box::new(Ended(0)));
    assert!(matches!(
        handoff.on(Event::Failed),
        Ok(Some(Ask::Retry(ToolstackError::NoDomain(1))))
    ));
    // It has rebooted, and is found under another number.
    assert!(matches!(handoff.again(), Ok(Some(Ask::Resumed))));
    assert_eq!(scene.done(), ["resumed"]);
}

#[test]
fn a_copy_that_could_not_be_guarded_can_be_later_and_once() {
    let scene = Scene::new("sending");
    let mut handoff = Handoff::new(scene.entry.clone(), scene.journal.clone(), scene.find(0));
    handoff.departed(Box::new(Ended(0)));
    handoff.on(Event::Loaded).unwrap();
    assert!(!handoff.guard());
    assert!(matches!(handoff.on(Event::Unknown), Ok(Some(Ask::Outcome))));
    assert!(handoff.guard());
}
