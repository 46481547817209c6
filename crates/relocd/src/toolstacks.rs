//! Which toolstack runs domains here.

use std::{path::Path, sync::Arc};

use config::Config;
use embedded::Embedded;
use toolstack::{
    Settings, Toolstack, ToolstackError,
    spool::{Spool, SpoolToolstack},
};

/// The operator's choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// `xl` where Xen runs, else `embedded`.
    #[default]
    Auto,
    /// Software machines.
    Embedded,
    /// Xen, through its xl; not in this version.
    Xl,
    /// None: arriving domains become files in the spool.
    Spool,
}

/// What Linux shows on a Xen dom0.
const XEN_CAPABILITIES: &str = "/proc/xen/capabilities";

/// Opens the toolstack.
///
/// # Errors
/// The toolstack's; [`ToolstackError::Unsupported`] for those that this version does not have.
pub fn open(
    choice: Choice,
    config: &Config,
    state_directory: &Path,
    spool: &Spool,
) -> Result<Arc<dyn Toolstack>, ToolstackError> {
    let on_xen = || std::fs::read_to_string(XEN_CAPABILITIES).is_ok_and(|text| text.contains("control_d"));
    match choice {
        Choice::Auto if on_xen() => unsupported("xl"),
        Choice::Xl => unsupported("xl"),
        Choice::Spool => Ok(Arc::new(SpoolToolstack::new(spool.clone()))),
        Choice::Auto | Choice::Embedded => {
            let settings = Settings {
                state_directory: state_directory.to_owned(),
                embedded_memory_kib: config.embedded_memory_kib,
                console_limit_kib: config.console_limit_kib,
            };
            // This very program, even if its file has been replaced since: machines speak the version of their daemon.
            let program = "/proc/self/exe".into();
            Ok(Arc::new(Embedded::new(&settings, program)?))
        }
    }
}

fn unsupported(toolstack: &'static str) -> Result<Arc<dyn Toolstack>, ToolstackError> {
    Err(ToolstackError::Unsupported {
        toolstack,
        what: "be used in this version; use --toolstack embedded",
    })
}
