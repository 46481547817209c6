//! Xen's own store of what domains and their devices are: through the programs `xenstore-read`, `xenstore-write` and `xenstore-ls`.
//!
//! What is below a domain's node goes with the domain; after a reboot it has another node.

use std::{path::PathBuf, time::Duration};

use toolstack::{DomainId, Result};

use crate::program::Program;

/// How long the store may take: shorter than anybody waits for a guest that stands still.
const ANSWERING: Duration = Duration::from_secs(10);

/// What xenstore-read and xenstore-ls say of a node that is not there (Xen 4.17).
const NO_NODE: [&str; 2] = ["couldn't read path", "No such file or directory"];

/// A node of a domain's own.
pub(crate) fn node(id: DomainId, below: &str) -> String {
    format!("/local/domain/{id}/{below}")
}

/// What a node holds. `None`: there is none, or the store does not answer.
pub(crate) fn read(node: &str) -> Option<String> {
    ask("xenstore-read", node).map(|value| value.trim_ascii().to_owned())
}

/// A node and all below it, a line each. `None`: there is none, or the store does not answer.
pub(crate) fn list(node: &str) -> Option<String> {
    ask("xenstore-ls", node)
}

/// Makes a node, or changes it.
pub(crate) fn write(node: &str, value: &str) -> Result<()> {
    tool("xenstore-write").run(&[node, value], ANSWERING).map(drop)
}

fn ask(program: &str, node: &str) -> Option<String> {
    match tool(program).run(&[node], ANSWERING) {
        Ok(said) => Some(String::from_utf8_lossy(&said).into_owned()),
        Err(error) => {
            if NO_NODE.iter().any(|words| error.to_string().contains(words)) {
                tracing::debug!("xenstore has no {node}");
            } else {
                tracing::warn!(%error, "xenstore does not tell whether it has {node}");
            }
            None
        }
    }
}

fn tool(name: &str) -> Program {
    Program::new(PathBuf::from(name))
}
