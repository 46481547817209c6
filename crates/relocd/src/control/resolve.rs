//! Relocations that wait for an operator: what happened, what is known, what can be decided, and the decision.

use std::sync::Arc;

use peer::control::{Choice, Decision, Doubt, Failure, Reply};
use uuid::Uuid;

use super::Operator;
use crate::{
    blocking::blocking,
    failure::{self, Tell},
    host::Host,
    incoming::{self, Whereabouts},
    journal::{Direction, Entry},
    relocations::{Decided, Relocation, lock},
};

/// Tells what there is to decide, or takes the decision.
///
/// # Errors
/// If there is nothing to decide, or what the operator wants is dangerous and was not confirmed.
pub async fn resolve(
    host: &Arc<Host>,
    id: Uuid,
    decision: Option<Decision>,
    yes_i_know: bool,
    who: &Operator,
) -> Result<Reply, Failure> {
    let open = Open::find(host, id).await?;
    let Some(decision) = decision else {
        return Ok(Reply::Doubt(Box::new(open.doubt())));
    };
    let choice = open.choice(decision).ok_or_else(|| {
        let text = format!(
            "domain '{}' runs here: it can't run on at the source as well",
            open.domain()
        );
        failure::simple("runs-here", text).next(format!("xm resolve {id} --destroy ends the source's copy"))
    })?;
    if let (Some(danger), false) = (choice.danger, yes_i_know) {
        return Err(failure::simple("dangerous", danger).next(open.confirm(decision)));
    }
    let relocation = &open.relocation;
    let by = format!("operator: {who}");
    tracing::warn!(%id, direction = relocation.direction.word(), domain = relocation.domain, ?decision, by, "an operator decides");
    relocation.operator.send_replace(Some(Decided { decision, by }));
    Ok(Reply::Done)
}

/// A relocation that waits for an operator.
struct Open {
    relocation: Arc<Relocation>,
    /// At the destination: where the domain is now.
    whereabouts: Option<Whereabouts>,
}

impl Open {
    async fn find(host: &Arc<Host>, id: Uuid) -> Result<Open, Failure> {
        let stage = |relocation: &Relocation| lock(&relocation.progress).stage.clone();
        let [out, arriving] = [Direction::Out, Direction::In].map(|direction| host.relocations.find(id, direction));
        if let Some(relocation) = out.clone().filter(|relocation| stage(relocation) == "in-doubt") {
            return Ok(Open {
                relocation,
                whereabouts: None,
            });
        }
        let is_lost =
            |relocation: &Arc<Relocation>| relocation.incoming.as_ref().is_some_and(|incoming| incoming.is_lost());
        if let Some(relocation) = arriving.clone().filter(is_lost) {
            let whereabouts = incoming::look(host, id, Some(relocation.uuid)).await;
            let whereabouts = whereabouts.map_err(|refused| failure::simple(&refused.word, refused.text))?;
            return Ok(Open {
                relocation,
                whereabouts: Some(whereabouts),
            });
        }
        if let Some(relocation) = out.or(arriving) {
            let text = format!(
                "relocation {id} is under way ({}): nothing is to be decided",
                stage(&relocation)
            );
            return Err(failure::simple("not-in-doubt", text));
        }
        let none = format!("no relocation {id} waits for a decision");
        let text = match in_the_journal(host, id).await {
            Some(entry) => format!("{none}: that of domain '{}' is over: {}", entry.domain, entry.state),
            None => none,
        };
        Err(failure::simple("no-relocation", text).next("xm status lists the relocations and their states"))
    }

    fn domain(&self) -> &str {
        &self.relocation.domain
    }

    fn detail(&self) -> String {
        lock(&self.relocation.detail).clone().unwrap_or_default()
    }

    fn doubt(&self) -> Doubt {
        let relocation = &self.relocation;
        let (state, happened) = match relocation.direction {
            Direction::Out if relocation.is_to_xend() => (
                "in-doubt",
                "this host had committed the domain to an xend, which has not said that it runs".to_owned(),
            ),
            Direction::Out => (
                "in-doubt",
                "this host had committed the domain to the other one, and the connection was lost before that one said that it runs".to_owned(),
            ),
            Direction::In => ("lost", self.detail()),
        };
        Doubt {
            id: relocation.id,
            direction: relocation.direction.word().to_owned(),
            domain: relocation.domain.clone(),
            peer: relocation.peer.clone(),
            state: state.to_owned(),
            started: relocation.started,
            happened,
            known: self.known(),
            choices: [Decision::Resume, Decision::Destroy]
                .into_iter()
                .filter_map(|decision| self.choice(decision))
                .collect(),
        }
    }

    fn known(&self) -> Vec<String> {
        let peer = &self.relocation.peer;
        let mut known = match &self.whereabouts {
            None if self.relocation.is_to_xend() => vec![
                "the commit is in the journal here; whether the other host has all of the domain is not known"
                    .to_owned(),
                "the domain is complete here, and held: nobody else can have it (xm list, xm spool list)".to_owned(),
                format!("what was last seen of {peer}: {}", self.detail()),
                format!(
                    "{peer} is an xend, which can't be asked what became of a relocation: this does not settle itself"
                ),
                format!(
                    "look on that host: xm list shows whether '{}' runs there; if it does not, its xend.log tells whether the restore failed, \
                     or the domain ran and ended since",
                    self.domain()
                ),
            ],
            None => vec![
                "the commit is in the journal here; whether the other host has heard it is not known".to_owned(),
                "the domain is complete here, and stands still, as 'migrating-...' in xm list".to_owned(),
                format!("{peer} is asked again and again: {}", self.detail()),
                format!("once {peer} answers, this settles itself: without need, don't decide"),
            ],
            Some(whereabouts) => vec![
                "the commit is in the journal here: from then on this host owned the domain".to_owned(),
                match whereabouts {
                    Whereabouts::Runs(domid) => {
                        format!("it runs here now, as domain {domid}: perhaps by another relocation")
                    }
                    Whereabouts::Unclear => {
                        "something of it is here now that does not run, of another relocation".to_owned()
                    }
                    Whereabouts::Elsewhere => "it is not here: ended, gone on to another host, or never run".to_owned(),
                },
                format!(
                    "whether the source ({peer}) still has its copy is to be seen there: xm status. If it does, it stands still and waits for this decision"
                ),
                "the log of this host at that time, and its uptime, may tell whether the domain ran".to_owned(),
            ],
        };
        if let Some(incoming) = &self.relocation.incoming {
            let entry = incoming.entry();
            known.extend(entry.asked_by.map(|by| format!("it came from {by}")));
        }
        known
    }

    /// What a decision means. `None`: it is out of the question.
    fn choice(&self, decision: Decision) -> Option<Choice> {
        let (name, peer) = (self.domain(), &self.relocation.peer);
        let (means, danger) = match (&self.whereabouts, decision) {
            (None, Decision::Resume) => (
                "the domain runs on here".to_owned(),
                Some(format!(
                    "domain '{name}' may run on {peer}: if it does, resuming it here makes two of it, on the same disks"
                )),
            ),
            (None, Decision::Destroy) => (
                "the copy here ends".to_owned(),
                Some(format!(
                    "domain '{name}' may not run on {peer}: if it does not, destroying it here loses it"
                )),
            ),
            (Some(Whereabouts::Runs(_)), Decision::Resume) => return None,
            (Some(Whereabouts::Runs(_)), Decision::Destroy) => (
                "the source hears that the domain ran here, and ends its copy".to_owned(),
                None,
            ),
            (Some(_), Decision::Resume) => (
                "the source hears that the domain never ran here, and runs it on".to_owned(),
                Some(format!(
                    "domain '{name}' may have run here: if it has, the source's copy is older than its disks, and runs on with them"
                )),
            ),
            (Some(_), Decision::Destroy) => (
                "the source hears that the domain ran here, and ends its copy".to_owned(),
                Some(format!(
                    "domain '{name}' may never have run here: if it has not, the source's copy is the only one, and is lost"
                )),
            ),
        };
        Some(Choice {
            decision,
            means,
            danger,
        })
    }

    /// What to make sure of, and how to say that it is so.
    fn confirm(&self, decision: Decision) -> String {
        let id = self.relocation.id;
        let (sure, option) = match (self.relocation.direction, decision) {
            (Direction::Out, Decision::Resume) => (
                "it does not run there and never will (xm list there, or that host is gone for good)",
                "--resume",
            ),
            (Direction::Out, Decision::Destroy) => ("it runs there (xm list there)", "--destroy"),
            (Direction::In, Decision::Resume) => {
                ("it has never run here (the log, the uptime of this host)", "--resume")
            }
            (Direction::In, Decision::Destroy) => ("it has run here (the log, its console, its disks)", "--destroy"),
        };
        format!("make sure that {sure}, then: xm resolve {id} {option} --yes-i-know")
    }
}

async fn in_the_journal(host: &Host, id: Uuid) -> Option<Entry> {
    let journal = host.journal.clone();
    blocking(move || {
        let found = |direction| journal.find(id, direction).ok().flatten();
        found(Direction::Out).or_else(|| found(Direction::In))
    })
    .await
}
