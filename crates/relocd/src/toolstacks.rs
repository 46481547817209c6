//! Which toolstack runs domains here.

use std::{path::Path, sync::Arc};

use config::Config;
use embedded::Embedded;
use toolstack::{Settings, Toolstack, ToolstackError, spool::Spool};

/// A toolstack, and the spool beside it.
pub type Opened = (Arc<dyn Toolstack>, Option<Spool>);

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
    /// None: arriving domains become files; not in this version.
    Spool,
}

/// What Linux shows on a Xen dom0.
const XEN_CAPABILITIES: &str = "/proc/xen/capabilities";

/// Opens the toolstack.
///
/// # Errors
/// The toolstack's; [`ToolstackError::Unsupported`] for those that this version does not have.
pub fn open(choice: Choice, config: &Config, state_directory: &Path) -> Result<Opened, ToolstackError> {
    let on_xen = || std::fs::read_to_string(XEN_CAPABILITIES).is_ok_and(|text| text.contains("control_d"));
    match choice {
        Choice::Auto if on_xen() => unsupported("xl"),
        Choice::Xl => unsupported("xl"),
        Choice::Spool => {
            let spool = Spool::open(&config.spool_directory)?;
            Ok((Arc::new(stopgap::Disk), Some(spool)))
        }
        Choice::Auto | Choice::Embedded => {
            let settings = Settings {
                state_directory: state_directory.to_owned(),
                embedded_memory_kib: config.embedded_memory_kib,
                console_limit_kib: config.console_limit_kib,
            };
            // This very program, even if its file has been replaced since: machines speak the version of their daemon.
            let program = "/proc/self/exe".into();
            Ok((Arc::new(Embedded::new(&settings, program)?), None))
        }
    }
}

fn unsupported(toolstack: &'static str) -> Result<Opened, ToolstackError> {
    Err(ToolstackError::Unsupported {
        toolstack,
        what: "be used in this version; use --toolstack embedded",
    })
}

mod stopgap {
    //! Stands in for the spool's toolstack until that is there.

    use std::os::unix::net::UnixStream;

    use domain::{DomainConfig, HostFacts};
    use image::{ImageSink, ImageSource};
    use toolstack::{
        Arrival, Arrived, Departed, Departure, Domain, DomainId, Observer, Result, Toolstack, ToolstackError,
    };
    use uuid::Uuid;

    pub struct Disk;

    fn no<T>(what: &'static str) -> Result<T> {
        Err(ToolstackError::Unsupported {
            toolstack: "spool",
            what,
        })
    }

    impl Toolstack for Disk {
        fn name(&self) -> &'static str {
            "spool"
        }
        fn host(&self) -> Result<HostFacts> {
            Ok(HostFacts {
                name: "spool".to_owned(),
                toolstack: "spool".to_owned(),
                version: "1".to_owned(),
                architecture: "x86_64".to_owned(),
                virtualization: Vec::new(),
                free_memory_kib: 0,
                total_memory_kib: 0,
                processors: 1,
                bridges: Vec::new(),
            })
        }
        fn domains(&self) -> Result<Vec<Domain>> {
            Ok(Vec::new())
        }
        fn config(&self, id: DomainId) -> Result<DomainConfig> {
            Err(ToolstackError::NoDomain(id))
        }
        fn depart(&self, _: &Departure<'_>, _: &mut dyn ImageSink, _: &mut dyn Observer) -> Result<Box<dyn Departed>> {
            no("send")
        }
        fn arrive(&self, _: &Arrival<'_>, _: &mut dyn ImageSource) -> Result<Box<dyn Arrived>> {
            no("take in from a relocd")
        }
        fn find_departed(&self, _: Uuid, _: Uuid) -> Result<Option<Box<dyn Departed>>> {
            Ok(None)
        }
        fn find_arrived(&self, _: Uuid, _: Uuid) -> Result<Option<Box<dyn Arrived>>> {
            Ok(None)
        }
        fn create(&self, _: &DomainConfig) -> Result<DomainId> {
            no("create domains")
        }
        fn destroy(&self, _: DomainId) -> Result<()> {
            no("destroy domains")
        }
        fn pause(&self, _: DomainId) -> Result<()> {
            no("pause domains")
        }
        fn unpause(&self, _: DomainId) -> Result<()> {
            no("run domains")
        }
        fn console(&self, _: DomainId) -> Result<UnixStream> {
            no("show consoles")
        }
    }
}
