//! What a machine does when it is told.

use std::{
    os::unix::net::UnixStream,
    sync::mpsc::{Sender, channel},
    time::{Duration, Instant},
};

use super::{Life, Machine};
use crate::{
    protocol::{Answer, Command, Phase},
    state::VcpuState,
};

/// Bytes of console input that a guest may leave unread.
const MAX_INPUT: usize = 64 << 10;

/// Something for the machine, and the connection that it came on.
pub(super) struct Order {
    pub(super) connection: u64,
    pub(super) what: What,
}

pub(super) enum What {
    Command {
        command: Command,
        state: Vec<u8>,
        answer: Sender<Told>,
    },
    Watch(UnixStream),
    Input(Vec<u8>),
    Gone,
}

/// An answer on its way.
pub(super) struct Told {
    pub(super) answer: Answer,
    /// What follows it.
    pub(super) state: Vec<u8>,
    /// Dropped once it has gone out.
    pub(super) unsaid: Sender<()>,
}

/// How long an answer may take to go out before the machine ends without it.
const LAST_ANSWER: Duration = Duration::from_secs(5);

impl Machine {
    pub(super) fn order(&mut self, order: Order) -> Life {
        match order.what {
            What::Watch(stream) => {
                let past = self.scrollback.to_vec();
                self.watchers.add(stream, past);
                Life::Goes
            }
            What::Input(bytes) => {
                let room = MAX_INPUT.saturating_sub(self.bus.input.len());
                self.bus.input.extend(bytes.iter().take(room));
                Life::Goes
            }
            What::Gone => self.gone(order.connection),
            What::Command { command, state, answer } => {
                let life = if matches!(command, Command::Destroy) {
                    Life::Ends
                } else {
                    Life::Goes
                };
                let (done, state) = self.command(order.connection, command, &state);
                if life == Life::Ends {
                    // Before the answer: nobody finds it any more.
                    let _ = std::fs::remove_dir_all(&self.directory);
                }
                let (unsaid, said) = channel();
                // Whoever asked may have gone; the order counts all the same.
                let _ = answer.send(Told {
                    answer: done,
                    state,
                    unsaid,
                });
                if life == Life::Ends {
                    let _ = said.recv_timeout(LAST_ANSWER);
                }
                life
            }
        }
    }

    /// A connection has ended. What it held is undone: nothing that needs a decision.
    fn gone(&mut self, connection: u64) -> Life {
        if self.holder != Some(connection) {
            return Life::Goes;
        }
        self.holder = None;
        match self.phase {
            Phase::Building { .. } => Life::Ends,
            Phase::Departing { .. } => {
                self.resume();
                Life::Goes
            }
            _ => Life::Goes,
        }
    }

    fn resume(&mut self) {
        if let Phase::Departing { paused, .. } | Phase::Suspended { paused, .. } = self.phase {
            self.phase = if paused { Phase::Paused } else { Phase::Running };
        }
        self.stopped = false;
        self.throttle = 0;
        self.suspended = None;
        self.watch();
    }

    fn command(&mut self, connection: u64, command: Command, state: &[u8]) -> (Answer, Vec<u8>) {
        let done = (Answer::Done, Vec::new());
        match (command, self.phase) {
            (Command::Status, phase) => {
                let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
                let answer = Answer::Status {
                    phase,
                    waiting: self.cpu.waiting,
                    cpu_microseconds: micros(self.busy),
                    suspended_microseconds: self.suspended.map_or(0, |since| micros(since.elapsed())),
                };
                (answer, Vec::new())
            }
            (Command::Hold, Phase::Building { .. }) if self.holder.is_none() => {
                self.holder = Some(connection);
                done
            }
            (Command::Load { .. }, Phase::Building { relocation }) => match VcpuState::from_bytes(state) {
                Ok(state) => {
                    self.restore(state);
                    self.holder = None;
                    self.phase = match relocation {
                        Some(relocation) => Phase::Arrived { relocation },
                        None => Phase::Running,
                    };
                    self.watch();
                    done
                }
                Err(error) => refused(error),
            },
            (Command::Depart { relocation }, Phase::Running | Phase::Paused) => {
                let paused = self.phase == Phase::Paused;
                self.phase = Phase::Departing { relocation, paused };
                self.holder = Some(connection);
                done
            }
            (Command::CollectDirty, Phase::Departing { .. }) => {
                self.bus.memory.collect_dirty();
                done
            }
            (Command::Throttle { percent }, Phase::Departing { .. }) => {
                self.throttle = percent.min(99);
                done
            }
            (Command::Stop, Phase::Departing { .. }) => {
                self.stopped = true;
                self.suspended.get_or_insert_with(Instant::now);
                self.watch();
                done
            }
            (Command::Suspend, Phase::Departing { relocation, paused }) if self.stopped => {
                self.phase = Phase::Suspended { relocation, paused };
                self.holder = None;
                let bytes = VcpuState::of(&self.cpu, &self.bus, &self.scrollback).to_bytes();
                (Answer::State { length: bytes.len() }, bytes)
            }
            (Command::Resume, Phase::Departing { .. } | Phase::Suspended { .. }) => {
                self.holder = None;
                self.resume();
                done
            }
            // Said twice, or after the loss of a connection has done the same.
            (Command::Resume, Phase::Running | Phase::Paused) => done,
            (Command::Pause, Phase::Running) => {
                self.phase = Phase::Paused;
                self.watch();
                done
            }
            (Command::Pause, Phase::Paused) | (Command::Unpause | Command::Start, Phase::Running) => done,
            (Command::Unpause, Phase::Paused) | (Command::Start, Phase::Arrived { .. }) => {
                self.phase = Phase::Running;
                self.watch();
                done
            }
            (Command::Destroy, _) => done,
            (command, phase) => refused(format!("{command:?} in phase {phase:?}")),
        }
    }

    fn restore(&mut self, state: VcpuState) {
        self.cpu = state.cpu;
        self.bus.time = state.time;
        self.bus.time_compare = state.time_compare;
        self.bus.input = state.input.into();
        self.scrollback.restore(state.printed, &state.output);
    }
}

fn refused(reason: impl std::fmt::Display) -> (Answer, Vec<u8>) {
    (
        Answer::Refused {
            reason: reason.to_string(),
        },
        Vec::new(),
    )
}
