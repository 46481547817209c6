//! xl's configuration text, as xl.cfg(5) has it, for Xen 4.2 to today.
//!
//! `xl create` takes it as a file. In an `xl save` file it stands in the place of libxl's JSON, with bit 0 of the header's mandatory flags clear: xl then reads it
//! as it reads a file (so does 4.17). It is bytes: what is not UTF-8 in a configuration is not in the text either.

mod text;
mod write;

#[cfg(test)]
mod tests;

use crate::{DiskError, DomainConfig};

/// Why a configuration can't be said in xl's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XlError {
    /// No guest of Xen's.
    #[error("a software machine of relocd's embedded toolstack is no guest of Xen's")]
    Kind,
    /// xl's texts end at a zero byte.
    #[error("{0}: xl's configuration can't hold a zero byte")]
    ZeroByte(String),
    /// A setting of a device with characters that end it.
    #[error("{key}: xl's configuration can't hold '{value}' here: commas and line ends separate settings")]
    Separator {
        /// The setting.
        key: String,
        /// What it says.
        value: String,
    },
    /// A disk.
    #[error("disk '{device}': {source}")]
    Disk {
        /// Its device name.
        device: String,
        /// Why.
        source: DiskError,
    },
    /// A backend is a number of the source host's.
    #[error("{key}: the backend is domain {id} of the source host; xl needs the name of a driver domain")]
    BackendNumber {
        /// The device.
        key: String,
        /// The number.
        id: String,
    },
    /// xl takes no paravirtualised guest that it could not boot.
    #[error("neither a kernel nor a bootloader: xl takes no paravirtualised guest without one")]
    NothingToBoot,
}

impl DomainConfig {
    /// The configuration as xl's text.
    ///
    /// [`DomainConfig::from_xend`] has told what of a xend's configuration is not in it; settings of devices that have no field are not in it either.
    ///
    /// # Errors
    /// [`XlError`]: something that the domain needs can't be said in xl's words.
    pub fn to_xl(&self) -> Result<Vec<u8>, XlError> {
        write::write(self)
    }
}
