//! The configuration of a domain, independent of any format.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    cpus::CpuSet,
    devices::{PciDevice, PortRange, Vbd, Vfb, Vif, Vtpm, is_dom0},
    platform::{CpuidLeaf, Platform},
};

/// What kind of guest a domain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuestKind {
    /// Paravirtualised.
    Pv,
    /// Paravirtualised in a hardware container.
    Pvh,
    /// Fully virtualised.
    Hvm,
    /// A software machine of relocd's embedded toolstack.
    Embedded,
}

impl GuestKind {
    /// The word for it in an `(image (WORD ...))` element; `linux` is xend's word for any PV guest.
    pub fn image_word(self) -> &'static str {
        match self {
            GuestKind::Pv => "linux",
            GuestKind::Pvh => "pvh",
            GuestKind::Hvm => "hvm",
            GuestKind::Embedded => "embedded",
        }
    }

    /// The toolstack that runs such guests.
    pub fn toolstack(self) -> &'static str {
        match self {
            GuestKind::Embedded => "embedded",
            GuestKind::Pv | GuestKind::Pvh | GuestKind::Hvm => "xl",
        }
    }

    /// The kind for the word of an `(image (WORD ...))` element.
    pub fn from_image_word(word: &str) -> Option<GuestKind> {
        match word {
            "linux" => Some(GuestKind::Pv),
            "pvh" => Some(GuestKind::Pvh),
            "hvm" => Some(GuestKind::Hvm),
            "embedded" => Some(GuestKind::Embedded),
            _ => None,
        }
    }
}

/// What happens to a domain that ends. xend's and xl's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It goes away.
    Destroy,
    /// It is started anew.
    Restart,
    /// It stays as it is, for inspection.
    Preserve,
    /// It stays under another name, and a new one is started.
    RenameRestart,
    /// Its memory is written to disk, then it goes away.
    CoredumpDestroy,
    /// Its memory is written to disk, then it is started anew.
    CoredumpRestart,
}

impl Action {
    /// The word in configuration files.
    pub fn word(self) -> &'static str {
        match self {
            Action::Destroy => "destroy",
            Action::Restart => "restart",
            Action::Preserve => "preserve",
            Action::RenameRestart => "rename-restart",
            Action::CoredumpDestroy => "coredump-destroy",
            Action::CoredumpRestart => "coredump-restart",
        }
    }

    /// The action for a word of a configuration file.
    pub fn from_word(word: &str) -> Option<Action> {
        [
            Action::Destroy,
            Action::Restart,
            Action::Preserve,
            Action::RenameRestart,
            Action::CoredumpDestroy,
            Action::CoredumpRestart,
        ]
        .into_iter()
        .find(|action| action.word() == word)
    }
}

/// The configuration of a domain.
///
/// Its texts are what [`sxp::text_from_bytes`] makes of bytes: what is not UTF-8 is kept, in sxp and in xl's configuration as the same bytes, in JSON as
/// private code points (U+10FF80 to U+10FFFF), because JSON has no bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainConfig {
    /// Its name: not empty, at most [`DomainConfig::MAX_NAME`] bytes, no control characters, no `/`.
    pub name: String,
    /// Its identity on all hosts.
    pub uuid: Uuid,
    /// Memory now, in KiB.
    pub memory_kib: u64,
    /// Memory at most, in KiB; not less than `memory_kib`.
    pub max_memory_kib: u64,
    /// Memory for shadow or nested page tables, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow_memory_mib: Option<u64>,
    /// Virtual processors, 1 or more.
    pub vcpus: u32,
    /// Virtual processors that are online when it starts, the first ones; `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online_vcpus: Option<u32>,
    /// Processors that each virtual processor may run on; an empty set, or none at the end of the list, is any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub affinity: Vec<CpuSet>,
    /// Weight for the credit schedulers, 1 to 65535.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_weight: Option<u32>,
    /// Processor time at most, in percent of one processor; 0 is without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_cap: Option<u32>,
    /// The cpupool that it runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// What kind of guest.
    pub kind: GuestKind,
    /// Of a running PV guest: the bits of its kernel's words, 32 or 64. `None`: not known. Its own host alone knows: neither sxp nor xl's configuration has a
    /// place for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_bits: Option<u8>,
    /// Of a running guest that was started on another host: the features of processors that it may have found by now, names of [`crate::features()`]. Empty:
    /// what its host has. Its own host alone knows, as with `kernel_bits`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cpu_features: Vec<String>,
    /// The kernel's path on the host where it was created, or a name that the toolstack knows.
    pub kernel: Option<String>,
    /// The initial ramdisk's path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramdisk: Option<String>,
    /// The kernel's command line.
    pub extra: Option<String>,
    /// The program that finds a kernel on the guest's disk, at each boot: not when it arrives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootloader: Option<String>,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bootloader_args: Vec<String>,
    /// What happens after poweroff.
    pub on_poweroff: Action,
    /// What happens after a reboot.
    pub on_reboot: Action,
    /// What happens after a crash.
    pub on_crash: Action,
    /// The machine around the guest.
    #[serde(default)]
    pub platform: Platform,
    /// Masks over what the processor says of itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cpuid: Vec<CpuidLeaf>,
    /// The security label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_label: Option<String>,
    /// Network interfaces.
    pub vifs: Vec<Vif>,
    /// Block devices.
    pub vbds: Vec<Vbd>,
    /// Framebuffers. Of an HVM guest the first one counts: the display of its emulated graphics card.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vfbs: Vec<Vfb>,
    /// Functions of PCI devices that are the guest's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pci: Vec<PciDevice>,
    /// Virtual TPMs. Their state does not move with the domain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vtpms: Vec<Vtpm>,
    /// I/O ports that it may use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub io_ports: Vec<PortRange>,
    /// Interrupts of the host that it gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub irqs: Vec<u32>,
}

impl DomainConfig {
    /// Bytes in a name at most.
    pub const MAX_NAME: usize = 255;
    /// Memory at most, in KiB: 64 TiB.
    pub const MAX_MEMORY_KIB: u64 = 1 << 36;
    /// Virtual processors at most: what Xen's interfaces can count.
    pub const MAX_VCPUS: u32 = 4096;
    /// Devices of one class at most; more than any hypervisor gives a domain.
    pub const MAX_DEVICES: usize = 256;

    /// A configuration with these values and the defaults of xend for everything else.
    pub fn new(name: &str, uuid: Uuid, memory_kib: u64, kind: GuestKind) -> DomainConfig {
        DomainConfig {
            name: name.to_owned(),
            uuid,
            memory_kib,
            max_memory_kib: memory_kib,
            shadow_memory_mib: None,
            vcpus: 1,
            online_vcpus: None,
            affinity: Vec::new(),
            cpu_weight: None,
            cpu_cap: None,
            pool: None,
            kind,
            kernel_bits: None,
            cpu_features: Vec::new(),
            kernel: None,
            ramdisk: None,
            extra: None,
            bootloader: None,
            bootloader_args: Vec::new(),
            on_poweroff: Action::Destroy,
            on_reboot: Action::Restart,
            on_crash: Action::Restart,
            platform: Platform::default(),
            cpuid: Vec::new(),
            security_label: None,
            vifs: Vec::new(),
            vbds: Vec::new(),
            vfbs: Vec::new(),
            pci: Vec::new(),
            vtpms: Vec::new(),
            io_ports: Vec::new(),
            irqs: Vec::new(),
        }
    }

    /// The memory that the domain may come to have, in KiB.
    pub fn most_memory_kib(&self) -> u64 {
        self.max_memory_kib.max(self.memory_kib)
    }

    /// The bridges that the domain's interfaces name, each once.
    pub fn bridges(&self) -> Vec<&str> {
        let here = self.vifs.iter().filter(|vif| is_dom0(vif.backend.as_deref()));
        let mut bridges: Vec<&str> = here.filter_map(|vif| vif.bridge.as_deref()).collect();
        bridges.sort_unstable();
        bridges.dedup();
        bridges
    }

    /// Whether a toolstack and its peers can know a domain by this name: 1 to [`DomainConfig::MAX_NAME`] bytes without control characters and without `/`
    /// (names become parts of file names and of paths in xenstore), and without space around it (which is lost where names are read from a list).
    pub fn is_name(name: &str) -> bool {
        let fits = !name.is_empty() && sxp::bytes_of_text(name).len() <= DomainConfig::MAX_NAME;
        fits && name.trim() == name && !name.chars().any(|c| c.is_control() || c == '/')
    }
}
