//! What becomes of a state when nothing more goes wrong.
//!
//! Every reachable state is continued without faults: daemons that are down start, messages arrive, what is to be tried again succeeds. Which of
//! these comes first is fixed, in two ways: patient (whoever waits goes on waiting as long as something else can happen) and impatient (whoever
//! waits on the first connection gives up at once). Where only an operator can know (a host is gone, a record has expired), one decides rightly.

use stateright::Model;

use crate::{
    machine::{DestinationMachine, SourceMachine},
    model::{Action, Fate, Handoff},
    world::{Bounds, Daemon, World},
};

/// More steps than any calm continuation takes.
const LIMIT: usize = 200;

/// How calm continuations end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Nothing is left to do at either host.
    pub settles: bool,
    /// One copy runs, or none for an accepted reason.
    pub runs: bool,
    /// Steps to the end.
    pub steps: usize,
}

impl<S: SourceMachine, D: DestinationMachine> Handoff<S, D> {
    /// Both continuations.
    pub fn calms(&self, world: &World<S, D>) -> Verdict {
        let (patient, impatient) = (self.calm(world, false), self.calm(world, true));
        Verdict {
            settles: patient.settles && impatient.settles,
            runs: patient.runs && impatient.runs,
            steps: patient.steps.max(impatient.steps),
        }
    }

    fn calm(&self, world: &World<S, D>, impatient: bool) -> Verdict {
        let mut keys = Vec::new();
        let mut world = world.clone();
        // What could still go wrong makes no difference to what becomes of it when nothing does.
        world.left = Bounds::NONE;
        let mut verdict = loop {
            let key = self.key(&(&world, impatient));
            if let Some(known) = self.verdicts.lock().unwrap().get(&key) {
                break Verdict {
                    steps: known.steps + usize::from(!keys.is_empty()),
                    ..*known
                };
            }
            keys.push(key);
            match self.calm_step(&world, impatient) {
                Some(next) if keys.len() < LIMIT => world = next,
                _ => {
                    let end = world.running() == 1 || (world.running() == 0 && world.past.owner_gone);
                    break Verdict {
                        settles: world.settled(),
                        runs: end || world.past.operator_wrong,
                        steps: 0,
                    };
                }
            }
        };
        let mut verdicts = self.verdicts.lock().unwrap();
        for key in keys.into_iter().rev() {
            verdicts.insert(key, verdict);
            verdict.steps += 1;
        }
        verdict
    }

    fn calm_step(&self, world: &World<S, D>, impatient: bool) -> Option<World<S, D>> {
        let mut possible = Vec::new();
        self.actions(world, &mut possible);
        let (first, last): (&[Action], &[Action]) = if impatient {
            (&[Action::SourceGivesUp, Action::DestinationGivesUp], &[])
        } else {
            (&[], &[Action::SourceGivesUp, Action::DestinationGivesUp])
        };
        let usual = [
            Action::SourceRestarts,
            Action::DestinationRestarts,
            Action::SourceStep(Fate::Done),
            Action::DestinationStep(Fate::Done),
            Action::Depart,
            Action::DestinationHears,
            Action::SourceHears,
            Action::AnswerArrives,
            Action::QuestionArrives,
            Action::StaleQuestionArrives,
        ];
        let take = |wanted: &[Action]| wanted.iter().copied().find(|action| possible.contains(action));
        if let Some(action) = take(&usual[..4]).or_else(|| take(first)).or_else(|| take(&usual[4..])) {
            return Some(self.act(world, action));
        }
        // Rightly at the host that has lost the domain: the source hears of it by itself.
        if world.lost_there() {
            let mut next = world.clone();
            next.operator_there(next.past.ran_there, &self.rules);
            return Some(next);
        }
        let only_an_operator_knows = matches!(world.destination, Daemon::Gone) || world.past.expired;
        if world.in_doubt() && only_an_operator_knows {
            let mut next = world.clone();
            next.operator(!world.runs_there());
            return Some(next);
        }
        let rest = [Action::DestinationRetries, Action::Ask, Action::QuestionIsGivenUp];
        take(&rest).or_else(|| take(last)).map(|action| self.act(world, action))
    }
}
