//! A configuration as xend's `(domain ...)`, from and to every version of xend that could relocate domains (3.0.2 to 4.4), and from and to another relocd.
//!
//! Elements are found by name; of scalars the first one counts, all `device` elements count. Kernel and command line stand in
//! `(image (KIND (kernel K) (args A)))`. What is not understood is reported as [`Unmapped`]. relocd's own shape is the same with a few more elements; what an xend
//! does not know of them it ignores.

mod boot;
mod devices;
mod error;
mod read;
mod tree;
mod write;

#[cfg(test)]
mod tests;

use sexp::Sexp;

use crate::{DomainConfig, unmapped::Unmapped};

pub(crate) use devices::is_rate;
pub use error::{ConfigError, ToXendError};

impl DomainConfig {
    /// Understands the `(domain ...)` of a xend that relocates a domain, and says what of it is lost here or in xl's configuration.
    ///
    /// # Errors
    /// [`ConfigError`] names the element, what stands there, and what may.
    pub fn from_xend(value: &Sexp) -> Result<(DomainConfig, Vec<Unmapped>), ConfigError> {
        read::read(value, read::Origin::Xend)
    }

    /// Understands a `(domain ...)` of relocd's own.
    ///
    /// # Errors
    /// [`ConfigError`] names the element, what stands there, and what may.
    pub fn from_sxp(value: &Sexp) -> Result<DomainConfig, ConfigError> {
        read::read(value, read::Origin::Relocd).map(|(config, _)| config)
    }

    /// The whole configuration as `(domain ...)`.
    pub fn to_sxp(&self) -> Sexp {
        write::relocd(self)
    }

    /// The configuration as a xend of any version takes it when a domain is relocated to it, and what is lost.
    ///
    /// # Errors
    /// [`ToXendError`]: no xend can run such a domain, or none would take it under its name.
    pub fn to_xend(&self) -> Result<(Sexp, Vec<Unmapped>), ToXendError> {
        write::xend(self)
    }
}
