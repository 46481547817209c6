//! What is in a file, and whether it is right.
//!
//! A reading of its own: nothing here is shared with the readers and writers of [`v2`](crate::v2), [`legacy`](crate::legacy) and [`save`](crate::save), so
//! that a mistake of theirs is seen here. One pass over the file, which may be a pipe; memory for the p2m and the list of parts, both bounded, and for
//! nothing else that grows.
//!
//! [`inspect`] reads on after whatever is wrong as long as it can tell where the next part begins, and tells all that it saw. [`verify`] ends
//! at the first thing that is wrong: what a restorer (libxc and libxl of Xen 4.17, xc_restore for legacy images) refuses, what Xen's own
//! verify-stream-v2 refuses, and what the formats do not allow.
//!
//! | module | |
//! |---|---|
//! | `envelope` | what stands before an image: xend's and xl's |
//! | `libxl`, `libxc`, `bodies` | streams of Xen 4.6 and later |
//! | `legacy` | images before that |
//! | `pages`, `tables`, `vcpu`, `hvm` | what both kinds of images have |

mod bodies;
mod envelope;
mod hvm;
mod input;
mod legacy;
mod libxc;
mod libxl;
mod names;
mod pages;
mod report;
mod scan;
mod tables;
mod vcpu;

use std::io::{self, Read};

use crate::{FIRST_BYTES, Format, legacy::LegacyGuest, not_an_image, recognise};
use input::Input;
use scan::Scan;

pub use report::{
    Block, ConfigLanguage, ConfigText, Finding, Image, PageTypeCount, Pages, Parameter, Part, Report, Round, Tsc, Vcpu,
};

/// What a configuration says that is needed to read the image behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigFacts {
    /// The kind of guest: legacy images do not say.
    pub guest: Option<LegacyGuest>,
    /// What is wrong with the configuration, if anything is.
    pub wrong: Option<String>,
}

/// Looks into a configuration.
pub type ReadConfig<'a> = &'a dyn Fn(ConfigLanguage, &[u8]) -> ConfigFacts;

/// For whoever knows nothing about configurations: what kind of guest a legacy image is of is then found by its bytes.
pub fn no_config(_: ConfigLanguage, _: &[u8]) -> ConfigFacts {
    ConfigFacts::default()
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The file can't be read.
    #[error("reading it: {0}")]
    Io(#[source] io::Error),
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It is no image of a domain; perhaps it is known what else.
    #[error("{}", match .0 {
        Some(what) => format!("it is no image of a domain: it seems to be {what}"),
        None => "it is no image of a domain: neither an xend envelope, an xl save file, a libxl stream nor a libxc image of any version".to_owned(),
    })]
    NoImage(Option<&'static str>),
    /// It is not right.
    #[error("{0}")]
    Wrong(Finding),
}

/// Why a reading ends before its end.
enum Fail {
    Io(io::Error),
    /// It can't go on: the report says why.
    Broken,
}

/// Tells what is in a file. It is read to its end, or to where it can't be followed any more; [`Report::complete`] says which.
///
/// # Errors
/// [`InspectError::Io`], [`InspectError::Empty`], [`InspectError::NoImage`]. What is wrong within an image is in the report.
pub fn inspect(read: impl Read, config: ReadConfig<'_>) -> Result<Report, InspectError> {
    read_all(read, config, false)
}

/// Checks a file, up to the first thing that is wrong.
///
/// # Errors
/// As [`inspect`], and [`InspectError::Wrong`] for what is wrong.
pub fn verify(read: impl Read, config: ReadConfig<'_>) -> Result<Report, InspectError> {
    let report = read_all(read, config, true)?;
    match report.first_fault() {
        Some(finding) => Err(InspectError::Wrong(finding.clone())),
        None => Ok(report),
    }
}

fn read_all(read: impl Read, config: ReadConfig<'_>, strict: bool) -> Result<Report, InspectError> {
    let mut input = Input::new(read);
    let first = input.peek(FIRST_BYTES).map_err(InspectError::Io)?;
    if first.is_empty() {
        return Err(InspectError::Empty);
    }
    let Some(recognised) = recognise(first) else {
        return Err(InspectError::NoImage(not_an_image(first)));
    };
    let mut scan = Scan::new(input, &recognised, strict);
    let done = layers(&mut scan, recognised.format, config);
    scan.list_run();
    scan.report.bytes = scan.input.offset();
    scan.report.pages.types.sort_by_key(|known| known.nibble);
    match done {
        Ok(()) => scan.report.complete = true,
        Err(Fail::Io(error)) => return Err(InspectError::Io(error)),
        Err(Fail::Broken) => {}
    }
    Ok(scan.report)
}

/// The whole file.
fn layers<R: Read>(scan: &mut Scan<R>, format: Format, config: ReadConfig<'_>) -> Result<(), Fail> {
    match format {
        Format::Xend => envelope::xend(scan, config)?,
        Format::XlSave => envelope::xl_save(scan, config)?,
        Format::Libxl => libxl::stream(scan)?,
        Format::Libxc => {
            libxc::image(scan)?;
            hvm::device_model(scan, false)?;
        }
        Format::LegacyPv => legacy::image(scan, LegacyGuest::Pv)?,
        Format::LegacyHvm => legacy::image(scan, LegacyGuest::Hvm)?,
    }
    scan.begin("the end of the image");
    let offset = scan.input.offset();
    let rest = scan.input.skip(u64::MAX).map_err(Fail::Io)?;
    if rest > 0 {
        scan.fault(offset, format!("{rest} bytes more"), "the end of the file")?;
        scan.rename("trailing bytes");
        scan.end("belong to no part of the image");
    }
    if scan.pages.overflow {
        let offset = scan.input.offset();
        scan.note(offset, "more pages than can be followed: the highest were not checked");
    }
    Ok(())
}
