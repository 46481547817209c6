//! The devices of a domain.

use serde::{Deserialize, Serialize};

/// Settings of a device that have no field of their own here, in their order: key and value.
pub type DeviceSettings = Vec<(String, String)>;

/// A virtual network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vif {
    /// MAC address, as written.
    pub mac: Option<String>,
    /// The bridge that it is on; `None` = the host's default.
    pub bridge: Option<String>,
    /// IP addresses for anti-spoofing rules, separated by blanks.
    pub ip: Option<String>,
    /// The script that plugs it in: a name in the host's directory of them, or a path.
    pub script: Option<String>,
    /// The network card that an HVM guest sees, such as `e1000`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// `ioemu`: an HVM guest sees an emulated card too; `vif`: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The interface's name on the host, if an operator chose it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
    /// Limit of what it sends, such as `10MB/s@50ms`: bytes (`B`) or bits (`b`) a second, and how often the allowance is renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
    /// The domain that serves it; `None`: dom0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Anything else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other: DeviceSettings,
}

/// Whether the domain that serves a device is domain 0, by its name or number in a configuration; `None` is domain 0, too.
pub fn is_dom0(backend: Option<&str>) -> bool {
    matches!(backend, None | Some("0" | "Domain-0"))
}

/// The class of a block device's element in xend's configuration: which of its drivers serves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VbdClass {
    /// The kernel's block backend: `phy:`, `file:` and block scripts.
    #[default]
    Vbd,
    /// blktap.
    Tap,
    /// blktap2, Xen 4.0 and later.
    Tap2,
}

impl VbdClass {
    /// xend's word.
    pub fn word(self) -> &'static str {
        match self {
            VbdClass::Vbd => "vbd",
            VbdClass::Tap => "tap",
            VbdClass::Tap2 => "tap2",
        }
    }

    /// The class for xend's word.
    pub fn from_word(word: &str) -> Option<VbdClass> {
        [VbdClass::Vbd, VbdClass::Tap, VbdClass::Tap2]
            .into_iter()
            .find(|class| class.word() == word)
    }
}

/// A virtual block device, in xend's words; [`Vbd::disk`] tells what they mean.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vbd {
    /// Which of xend's drivers serves it.
    #[serde(default)]
    pub class: VbdClass,
    /// The guest's name for it, such as `xvda`, with xend's suffix `:disk` or `:cdrom` if it had one.
    pub device: String,
    /// What is behind it, such as `phy:/dev/vg0/web`; `None` for an empty drive.
    pub backing: Option<String>,
    /// `r`, `w` or `w!`.
    pub mode: String,
    /// Whether a bootloader looks for a kernel on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootable: Option<bool>,
    /// The domain that serves it; `None`: dom0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Anything else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other: DeviceSettings,
}

/// A framebuffer and how to see it; with it come a keyboard and a pointer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vfb {
    /// Whether a VNC server shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vnc: Option<bool>,
    /// The address that the server listens on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vnc_listen: Option<String>,
    /// The number of its display: port 5900 plus this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vnc_display: Option<u32>,
    /// Whether it takes the next free display.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vnc_unused: Option<bool>,
    /// Its password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vnc_password: Option<String>,
    /// Whether a window on the host shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdl: Option<bool>,
    /// Whether that window is drawn by OpenGL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opengl: Option<bool>,
    /// The keyboard layout, such as `de`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keymap: Option<String>,
}

/// A function of a PCI device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PciDevice {
    /// PCI domain (segment).
    pub domain: u16,
    /// Bus.
    pub bus: u8,
    /// Slot, below 32.
    pub slot: u8,
    /// Function, below 8.
    pub function: u8,
    /// The slot that the guest sees it in; `None`: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_slot: Option<u8>,
    /// Options, such as `msitranslate` `1`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: DeviceSettings,
}

/// A virtual TPM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vtpm {
    /// The domain that serves it; `None`: dom0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Its identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
}

/// I/O ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last; not before `first`.
    pub last: u16,
}
