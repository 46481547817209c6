//! `xm create`.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use domain::config_file::{self, MAX_FILE};
use peer::control::{Reply, Request};

use super::Answer;
use crate::{
    cli::CreateArgs,
    client::{Connection, unexpected},
    error::{CommandError, reason},
    notice,
    render::escape,
};

/// Where xend's `xm` looks for a file that is not here.
const DIRECTORY: &str = "/etc/xen";

/// Makes a domain from a file and starts it.
pub(crate) fn run(control: &Path, args: &CreateArgs) -> Answer {
    let (path, bytes) = read(&args.file)?;
    let loaded = config_file::load(&path.display().to_string(), &bytes, &args.settings).map_err(|error| {
        CommandError::Local {
            what: error.to_string(),
            next: None,
        }
    })?;
    for warning in &loaded.warnings {
        notice(&format!("Warning: {}", escape(warning)));
    }
    let request = Request::Create {
        config: sxp::Raw(loaded.config.to_sxp()),
    };
    match Connection::ask(control, &request)? {
        Reply::Created { domid } => Ok(format!(
            "Domain '{}' started (domain {domid})\n",
            escape(&loaded.config.name)
        )),
        _ => Err(unexpected()),
    }
}

fn read(file: &Path) -> Result<(PathBuf, Vec<u8>), CommandError> {
    let bare = file.components().count() == 1 && file.file_name().is_some();
    let mut path = file.to_owned();
    let mut opened = File::open(&path);
    if bare
        && opened
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    {
        let other = Path::new(DIRECTORY).join(file);
        if let Ok(found) = File::open(&other) {
            path = other;
            opened = Ok(found);
        }
    }
    let mut bytes = Vec::new();
    // One byte more than is allowed tells that there is more.
    match opened.and_then(|file| file.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes)) {
        Ok(_) => Ok((path, bytes)),
        Err(error) => Err(CommandError::Local {
            what: format!("can't read {}: {}", path.display(), reason(&error)),
            next: None,
        }),
    }
}
