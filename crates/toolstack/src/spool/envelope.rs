//! The configuration in an image's file.

use domain::{DomainConfig, XlError};
use image::save::SaveConfig;

/// What `xl restore` reads before the image: text as in a file of xl.cfg. What can't be said in it does not keep the image from being written: `xl restore`
/// takes a configuration beside the file as well, and relocd has the record.
pub(super) fn config(config: &DomainConfig) -> SaveConfig {
    match config.to_xl() {
        Ok(text) => SaveConfig::Text(text),
        // No xl runs it in any case.
        Err(XlError::Kind) => SaveConfig::Absent,
        Err(error) => {
            tracing::warn!(%error, domain = config.name, "the image is written without a configuration for xl");
            SaveConfig::Absent
        }
    }
}
