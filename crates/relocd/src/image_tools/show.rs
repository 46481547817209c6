//! `relocd image show`.

use std::{path::Path, process::ExitCode};

use image::inspect;

use super::{config, failed, file, say, table};

/// Shows a file: 0 if it could be followed to its end.
pub(super) fn run(file: &Path, json: bool) -> ExitCode {
    let name = file::name(file);
    let report = match file::open(file) {
        Ok(read) => inspect::inspect(read, &config::facts),
        Err(error) => return failed(&error),
    };
    let report = match report {
        Ok(report) => report,
        Err(error) => return failed(&format!("{name}: {error}")),
    };
    let text = if json {
        match serde_json::to_string(&report) {
            Ok(text) => text + "\n",
            Err(error) => return failed(&format!("{name}: {error}")),
        }
    } else {
        table::of(&name, &report)
    };
    let said = say(&text);
    if report.complete { said } else { ExitCode::FAILURE }
}
