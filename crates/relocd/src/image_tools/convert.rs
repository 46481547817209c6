//! `relocd image convert`.

use std::{path::Path, process::ExitCode};

use super::failed;

/// Converts.
pub(super) fn run(_input: &Path, _output: &Path, _config: Option<&Path>, _force: bool) -> ExitCode {
    failed(&"convert: to come")
}
