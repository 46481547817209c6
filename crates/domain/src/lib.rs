//! What a domain is made of, what a host offers, and whether one fits the other.

pub mod admission;
mod config;
mod config_sxp;
mod host;

pub use config::{Action, DeviceSettings, DomainConfig, GuestKind, Vbd, Vif};
pub use config_sxp::ConfigError;
pub use host::{Bridge, HostFacts};
