//! Daemons that die, and hosts in network namespaces.

use std::{
    fs,
    process::{Command, Stdio},
};

use super::Host;

/// A command in a network namespace; the process is the program's own.
pub fn inside(namespace: Option<&str>, program: &str) -> Command {
    let Some(namespace) = namespace else {
        return Command::new(program);
    };
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, program]);
    command
}

impl Host {
    /// A host in a network namespace, on the real port. It has not been started.
    pub fn in_namespace(namespace: &str, address: &str, extra: &str) -> Host {
        let mut host = Host::prepare(extra);
        host.namespace = Some(namespace.to_owned());
        host.address = address.to_owned();
        host.port = 8002;
        host.configure(extra);
        host
    }

    /// Starts the daemon with these fault points, and does not wait.
    pub fn launch(&mut self, faults: &str) {
        faults.clone_into(&mut self.faults);
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap();
        let child = self.command().stdout(Stdio::null()).stderr(log).spawn();
        self.child = Some(child.unwrap());
    }

    /// Whether the daemon has fault points.
    pub fn is_armed(&self) -> bool {
        !self.faults.is_empty()
    }

    /// Whether the daemon has ended since it was launched, or was not.
    pub fn is_down(&mut self) -> bool {
        if self
            .child
            .as_mut()
            .is_some_and(|child| child.try_wait().unwrap().is_some())
        {
            self.child = None;
        }
        self.child.is_none()
    }

    /// Whether the daemon answers.
    pub fn answers(&self) -> bool {
        self.xm(&["info"]).status.success()
    }
}
