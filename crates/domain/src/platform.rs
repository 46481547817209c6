//! The machine around a guest: firmware, clocks, emulated hardware.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The program that emulates an HVM guest's devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceModel {
    /// Xen's old fork of QEMU, `qemu-dm`: the only one that xend had.
    QemuXenTraditional,
    /// QEMU proper.
    QemuXen,
}

impl DeviceModel {
    /// xl's word.
    pub fn word(self) -> &'static str {
        match self {
            DeviceModel::QemuXenTraditional => "qemu-xen-traditional",
            DeviceModel::QemuXen => "qemu-xen",
        }
    }

    /// The device model for xl's word.
    pub fn from_word(word: &str) -> Option<DeviceModel> {
        [DeviceModel::QemuXenTraditional, DeviceModel::QemuXen]
            .into_iter()
            .find(|model| model.word() == word)
    }
}

macro_rules! switches {
    ($($(#[$doc:meta])* $name:ident $word:literal,)*) => {
        /// Something that an HVM guest's machine has or has not. xend and xl call them by the same words.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Switch {
            $($(#[$doc])* #[serde(rename = $word)] $name,)*
        }

        impl Switch {
            /// All of them.
            pub const ALL: &[Switch] = &[$(Switch::$name,)*];

            /// The word in configurations.
            pub fn word(self) -> &'static str {
                match self { $(Switch::$name => $word,)* }
            }
        }
    };
}

switches! {
    /// Physical address extension.
    Pae "pae",
    /// ACPI tables.
    Acpi "acpi",
    /// Interrupt controllers in the processors.
    Apic "apic",
    /// High precision timer.
    Hpet "hpet",
    /// Hyper-V's interfaces.
    Viridian "viridian",
    /// Nested page tables.
    Hap "hap",
    /// Shadow page tables that may be out of sync.
    OutOfSync "oos",
    /// Virtualization inside the guest.
    NestedHvm "nestedhvm",
    /// A standard VGA card in place of a Cirrus one.
    StdVga "stdvga",
    /// Timers of all processors tick together.
    VptAlign "vpt_align",
    /// The PCI device by which drivers find Xen.
    XenPlatformPci "xen_platform_pci",
    /// A USB controller.
    Usb "usb",
    /// No graphics card.
    NoGraphic "nographic",
    /// The host's graphics card is the guest's.
    GfxPassthru "gfx_passthru",
}

impl Switch {
    /// The switch for a word.
    pub fn from_word(word: &str) -> Option<Switch> {
        Switch::ALL.iter().copied().find(|switch| switch.word() == word)
    }
}

/// What happens to timer ticks of an HVM guest while it is not running; xend's number, xl's word.
pub const TIMER_MODES: [&str; 4] = [
    "delay_for_missed_ticks",
    "no_delay_for_missed_ticks",
    "no_missed_ticks_pending",
    "one_missed_tick_pending",
];

/// How a guest reads the time stamp counter; xend's number, xl's word.
pub const TSC_MODES: [&str; 4] = ["default", "always_emulate", "native", "native_paravirt"];

/// The machine around a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Platform {
    /// Whether its clock is the host's local time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub localtime: Option<bool>,
    /// Seconds that its clock differs from the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtc_timeoffset: Option<i64>,
    /// Index in [`TSC_MODES`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tsc_mode: Option<u8>,
    /// Whether it must stay on its host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nomigrate: Option<bool>,
    /// Whether MSI of its PCI devices is translated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pci_msitranslate: Option<bool>,
    /// Whether it manages the power of its PCI devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pci_power_mgmt: Option<bool>,
    /// HVM: index in [`TIMER_MODES`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timer_mode: Option<u8>,
    /// HVM: the program that emulates its devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_model: Option<DeviceModel>,
    /// HVM: the firmware, such as `rombios`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bios: Option<String>,
    /// HVM: memory of the graphics card, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video_memory_mib: Option<u64>,
    /// HVM: what it boots from, in order: letters of a (floppy), c (disk), d (CD), n (network).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// HVM: where its serial port ends, such as `pty`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// HVM: its sound cards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sound: Option<String>,
    /// HVM: its USB devices, such as `tablet`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub usb_devices: Vec<String>,
    /// HVM: what is on and off. What is not in it is as the toolstack has it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub switches: BTreeMap<Switch, bool>,
}

/// The registers of a `cpuid` leaf, in their order.
pub const CPUID_REGISTERS: [&str; 4] = ["eax", "ebx", "ecx", "edx"];

/// A mask over a leaf of `cpuid`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuidLeaf {
    /// The leaf.
    pub leaf: u32,
    /// The subleaf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subleaf: Option<u32>,
    /// For `eax`, `ebx`, `ecx` and `edx`: 32 of the characters `0`, `1`, `x`, `k` and `s`, highest bit first.
    pub registers: [Option<String>; 4],
}

impl CpuidLeaf {
    /// Whether a text is a mask.
    pub fn is_mask(text: &str) -> bool {
        text.len() == 32 && text.bytes().all(|byte| b"01xks".contains(&byte))
    }

    /// `1`, `0x80000001`, and the same with `,SUBLEAF`.
    pub fn leaf_from_text(text: &str) -> Option<(u32, Option<u32>)> {
        let number = |text: &str| match text.trim().strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => text.trim().parse().ok(),
        };
        match text.split_once(',') {
            None => Some((number(text)?, None)),
            Some((leaf, subleaf)) => Some((number(leaf)?, Some(number(subleaf)?))),
        }
    }

    /// The mask that a register's text stands for: a mask as it is, or a number whose 32 bits it fixes.
    pub fn mask_from_text(text: &str) -> Option<String> {
        let text = text.trim();
        if CpuidLeaf::is_mask(text) {
            return Some(text.to_owned());
        }
        let number = u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()?;
        Some(format!("{number:032b}"))
    }
}
