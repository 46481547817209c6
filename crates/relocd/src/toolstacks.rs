//! Which toolstack runs domains here.

use std::{path::Path, sync::Arc};

use config::Config;
use embedded::Embedded;
use toolstack::{
    Settings, Toolstack, ToolstackError,
    spool::{Spool, SpoolToolstack},
};
use xl::Xl;

/// The operator's choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// `xl` where Xen runs, else `embedded`.
    #[default]
    Auto,
    /// Software machines.
    Embedded,
    /// Xen, through its xl.
    Xl,
    /// None: arriving domains become files in the spool.
    Spool,
}

/// What Linux shows on a Xen dom0, where xenfs is mounted.
const XEN_CAPABILITIES: &str = "/proc/xen/capabilities";

/// What Linux shows in every domain of a Xen.
const HYPERVISOR: &str = "/sys/hypervisor/type";

/// Opens the toolstack.
///
/// # Errors
/// The toolstack's, when it does not work here. `auto` takes another one only where that is no surprise: see [`Choice::Auto`].
pub fn open(
    choice: Choice,
    config: &Config,
    state_directory: &Path,
    spool: &Spool,
) -> Result<Arc<dyn Toolstack>, ToolstackError> {
    let settings = Settings {
        state_directory: state_directory.to_owned(),
        embedded_memory_kib: config.embedded_memory_kib,
        console_limit_kib: config.console_limit_kib,
    };
    let says = |file: &str, word: &str| std::fs::read_to_string(file).is_ok_and(|text| text.contains(word));
    let choice = match choice {
        // On a dom0 an xl that does not work is an error, and no reason to run domains of another kind.
        Choice::Auto if says(XEN_CAPABILITIES, "control_d") => Choice::Xl,
        // A dom0 without xenfs, or a guest.
        Choice::Auto if says(HYPERVISOR, "xen") => match xl(&settings) {
            Ok(xl) => return Ok(xl),
            Err(error) => {
                tracing::info!(%error, "this is a domain of Xen, but xl does not work here");
                Choice::Embedded
            }
        },
        Choice::Auto => Choice::Embedded,
        choice => choice,
    };
    match choice {
        Choice::Xl => xl(&settings),
        Choice::Spool => Ok(Arc::new(SpoolToolstack::new(spool.clone()))),
        Choice::Auto | Choice::Embedded => {
            // This very program, even if its file has been replaced since: machines speak the version of their daemon.
            let program = "/proc/self/exe".into();
            Ok(Arc::new(Embedded::new(&settings, program)?))
        }
    }
}

fn xl(settings: &Settings) -> Result<Arc<dyn Toolstack>, ToolstackError> {
    // This very program, by a path that other processes understand as well.
    let helper = format!("/proc/{}/exe", std::process::id());
    Ok(Arc::new(Xl::new(settings, "xl".into(), helper.into())?))
}
