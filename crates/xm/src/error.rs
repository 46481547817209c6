//! What can go wrong, what it is called, and with which code the program ends.

use std::{io, path::PathBuf};

use nix::errno::Errno;
use peer::control::Failure;

use crate::render::{escape, json};

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// No daemon to talk to.
    #[error("can't connect to relocd at {}: {}", path.display(), reason(source))]
    Connect {
        /// Where it was looked for.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The daemon went away before it had answered.
    #[error("relocd closed the connection before it had answered{}", detail(.0.as_ref()))]
    Lost(Option<io::Error>),
    /// What came is no answer.
    #[error("what answers on the control socket does not speak as relocd does: {0}")]
    Protocol(String),
    /// The daemon went away in the middle of something.
    #[error("{}", .0.value)]
    Broken(Failure),
    /// The daemon's refusal, or the failure that it tells of.
    #[error("{}", .0.value)]
    Failed(Failure),
    /// The operator asked to stop, and this is what came of it.
    #[error("{}", .0.value)]
    Interrupted(Failure),
    /// A signal ended it.
    #[error("ended by signal {0}")]
    Signal(u8),
    /// Something on this side.
    #[error("{what}")]
    Local {
        /// What happened.
        what: String,
        /// What to do next.
        next: Option<String>,
    },
}

impl CommandError {
    /// A failure of the system on this side.
    pub(crate) fn local(what: &str, error: &io::Error) -> CommandError {
        CommandError::Local {
            what: format!("{what}: {}", reason(error)),
            next: None,
        }
    }

    /// The code that the program ends with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            CommandError::Failed(failure) if failure.r#type == "in-doubt" => 4,
            CommandError::Failed(_) | CommandError::Local { .. } => 1,
            CommandError::Connect { .. }
            | CommandError::Lost(_)
            | CommandError::Protocol(_)
            | CommandError::Broken(_) => 3,
            CommandError::Interrupted(_) => 130,
            CommandError::Signal(number) => 128_u8.saturating_add(*number),
        }
    }

    /// In the daemon's form: the kind, what happened, the domain's state, what to do next.
    pub(crate) fn failure(&self) -> Failure {
        let (kind, next) = match self {
            CommandError::Failed(failure) | CommandError::Interrupted(failure) | CommandError::Broken(failure) => {
                return failure.clone();
            }
            CommandError::Connect { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                ("no-daemon", Some("only root may give orders to relocd: run xm as root"))
            }
            CommandError::Connect { .. } => ("no-daemon", Some("systemctl status relocd")),
            CommandError::Lost(_) => ("daemon-lost", Some("systemctl status relocd")),
            CommandError::Protocol(_) => (
                "protocol",
                Some("is relocd of the same version as xm? (xm --version, relocd --version)"),
            ),
            CommandError::Signal(_) => ("signal", None),
            CommandError::Local { next, .. } => ("xm", next.as_deref()),
        };
        Failure {
            r#type: kind.to_owned(),
            value: self.to_string(),
            domain_state: None,
            next: next.map(str::to_owned),
        }
    }

    /// For a person: what happened, then the domain's state, then what to do next.
    pub(crate) fn render(&self) -> String {
        let failure = self.failure();
        let mut text = format!("Error: {}\n", escape(&failure.value));
        if let Some(state) = &failure.domain_state {
            text.push_str(&format!("State: {}\n", escape(state)));
        }
        if let Some(next) = &failure.next {
            // Commands have lines of their own.
            let mut lines = next.lines();
            text.push_str(&format!("Next: {}\n", escape(lines.next().unwrap_or_default())));
            lines.for_each(|line| text.push_str(&format!("    {}\n", escape(line))));
        }
        text
    }

    /// For a program: `{"error": ...}`.
    pub(crate) fn json(&self) -> String {
        json("error", &self.failure())
    }
}

/// The system's words, without the number that the standard library adds.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}

fn detail(error: Option<&io::Error>) -> String {
    error.map(|error| format!(": {}", reason(error))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_lines_of_their_own() {
        let error = CommandError::Failed(Failure {
            r#type: "other-subnet".to_owned(),
            value: "what\nit is".to_owned(),
            domain_state: None,
            next: Some("run these\non a: ip link\x1b\non b: true".to_owned()),
        });
        assert_eq!(
            error.render(),
            "Error: what\\x0ait is\nNext: run these\n    on a: ip link\\x1b\n    on b: true\n"
        );
    }

    #[test]
    fn a_socket_that_is_not_ours() {
        let source = io::Error::from_raw_os_error(Errno::EACCES as i32);
        let error = CommandError::Connect {
            path: "/run/relocd/control".into(),
            source,
        };
        assert_eq!(
            error.render(),
            "Error: can't connect to relocd at /run/relocd/control: Permission denied\n\
             Next: only root may give orders to relocd: run xm as root\n"
        );
        assert_eq!(error.exit_code(), 3);
    }
}
