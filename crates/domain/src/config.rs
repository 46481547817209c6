//! The configuration of a domain, independent of any format.

use serde::Serialize;
use uuid::Uuid;

/// What kind of guest a domain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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

/// Settings of a device that have no field of their own here, in their order: key and value.
pub type DeviceSettings = Vec<(String, String)>;

/// A virtual network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Vif {
    /// MAC address, as written.
    pub mac: Option<String>,
    /// The bridge that it is on; `None` = the host's default.
    pub bridge: Option<String>,
    /// IP addresses for anti-spoofing rules, separated by blanks.
    pub ip: Option<String>,
    /// The script that plugs it in.
    pub script: Option<String>,
    /// Anything else.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other: DeviceSettings,
}

/// A virtual block device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Vbd {
    /// The guest's name for it, such as `xvda`, with xend's suffix `:disk` or `:cdrom` if it had one.
    pub device: String,
    /// What is behind it, such as `phy:/dev/vg0/web`; `None` for an empty drive.
    pub backing: Option<String>,
    /// `r`, `w` or `w!`.
    pub mode: String,
    /// Anything else.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other: DeviceSettings,
}

/// The configuration of a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DomainConfig {
    /// Its name: not empty, at most [`DomainConfig::MAX_NAME`] bytes, no control characters, no `/`.
    pub name: String,
    /// Its identity on all hosts.
    pub uuid: Uuid,
    /// Memory now, in KiB.
    pub memory_kib: u64,
    /// Memory at most, in KiB; not less than `memory_kib`.
    pub max_memory_kib: u64,
    /// Virtual processors, 1 or more.
    pub vcpus: u32,
    /// What kind of guest.
    pub kind: GuestKind,
    /// The kernel's path on the host where it was created, or a name that the toolstack knows.
    pub kernel: Option<String>,
    /// The kernel's command line.
    pub extra: Option<String>,
    /// What happens after poweroff.
    pub on_poweroff: Action,
    /// What happens after a reboot.
    pub on_reboot: Action,
    /// What happens after a crash.
    pub on_crash: Action,
    /// Network interfaces.
    pub vifs: Vec<Vif>,
    /// Block devices.
    pub vbds: Vec<Vbd>,
}

impl DomainConfig {
    /// Bytes in a name at most.
    pub const MAX_NAME: usize = 255;
    /// Memory at most, in KiB: 64 TiB.
    pub const MAX_MEMORY_KIB: u64 = 1 << 36;
    /// Virtual processors at most: what Xen's interfaces can count.
    pub const MAX_VCPUS: u32 = 4096;

    /// A configuration with these values and the defaults of xend for everything else.
    pub fn new(name: &str, uuid: Uuid, memory_kib: u64, kind: GuestKind) -> DomainConfig {
        DomainConfig {
            name: name.to_owned(),
            uuid,
            memory_kib,
            max_memory_kib: memory_kib,
            vcpus: 1,
            kind,
            kernel: None,
            extra: None,
            on_poweroff: Action::Destroy,
            on_reboot: Action::Restart,
            on_crash: Action::Restart,
            vifs: Vec::new(),
            vbds: Vec::new(),
        }
    }

    /// The bridges that the domain's interfaces name, each once.
    pub fn bridges(&self) -> Vec<&str> {
        let mut bridges: Vec<&str> = self.vifs.iter().filter_map(|vif| vif.bridge.as_deref()).collect();
        bridges.sort_unstable();
        bridges.dedup();
        bridges
    }
}
