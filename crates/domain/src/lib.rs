//! What a domain is made of, what a host offers, and whether one fits the other.
//!
//! | part | what |
//! |---|---|
//! | [`DomainConfig`] | a domain's configuration, independent of any format |
//! | [`DomainConfig::from_xend`], [`DomainConfig::to_xend`] | xend's `(domain ...)`, every version; [`Unmapped`] is what is lost |
//! | [`DomainConfig::from_sxp`], [`DomainConfig::to_sxp`] | the same for another relocd: nothing is lost |
//! | [`DomainConfig::to_xl`] | xl's configuration text |
//! | [`config_file`] | files that describe a domain, as for `xm create` |
//! | [`DomainConfig::check_runnable`] | whether any current Xen can run it |
//! | [`DomainConfig::check_programs`] | whether it names only programs of Xen's, as one from another host has to |
//! | [`admission`] | whether a host can take it |

pub mod admission;
mod config;
pub mod config_file;
mod cpus;
mod devices;
mod disk;
mod features;
mod host;
mod platform;
mod programs;
mod runnable;
mod shown;
mod unmapped;
mod xend;
mod xl;

pub use config::{Action, DomainConfig, GuestKind};
pub use cpus::CpuSet;
pub use devices::{DeviceSettings, PciDevice, PortRange, Vbd, VbdClass, Vfb, Vif, Vtpm, is_dom0};
pub use disk::{Backing, Disk, DiskError, DiskFormat};
pub use features::{CpuidRegister, features, known_features};
pub use host::{Bridge, HostFacts};
pub use platform::{CPUID_REGISTERS, CpuidLeaf, DeviceModel, Platform, Switch, TIMER_MODES, TSC_MODES};
pub use programs::{ForeignProgram, check_bootloader, check_bootloader_argument, check_script};
pub use runnable::CannotRun;
pub use unmapped::{Unmapped, Why};
pub use xend::{ConfigError, ToXendError};
pub use xl::XlError;
