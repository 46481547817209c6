//! Whether any current Xen can run a domain, from its configuration alone.

use crate::{
    config::{DomainConfig, GuestKind},
    platform::DeviceModel,
};

/// Why no current Xen can run a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotRun {
    /// The state of an HVM guest's devices is in its device model's own format, and that program is gone.
    #[error(
        "a fully virtualised guest with the device model qemu-xen-traditional: no current Xen has that program, and no other reads its state; shut the guest down and create it anew"
    )]
    TraditionalDeviceModel,
    /// Its configuration says that it stays where it is.
    #[error("its configuration says nomigrate")]
    NoMigrate,
    /// It has PCI devices of the host's.
    #[error("it has {0} PCI devices of its host; detach them first")]
    PciDevices(usize),
}

impl CannotRun {
    /// The word in `(err (type WORD) ...)`.
    pub fn word(self) -> &'static str {
        match self {
            CannotRun::TraditionalDeviceModel => "device-model",
            CannotRun::NoMigrate => "nomigrate",
            CannotRun::PciDevices(_) => "pci-devices",
        }
    }
}

impl DomainConfig {
    /// Whether a current Xen can run this domain if it arrives: asked before anything of it is taken in.
    ///
    /// # Errors
    /// Why not.
    pub fn check_runnable(&self) -> Result<(), CannotRun> {
        if self.kind == GuestKind::Hvm && self.platform.device_model == Some(DeviceModel::QemuXenTraditional) {
            return Err(CannotRun::TraditionalDeviceModel);
        }
        if self.platform.nomigrate == Some(true) {
            return Err(CannotRun::NoMigrate);
        }
        if !self.pci.is_empty() {
            return Err(CannotRun::PciDevices(self.pci.len()));
        }
        Ok(())
    }
}
