//! What an xend of which age takes.

use std::fmt;

/// The version of Xen whose xend is to take an image: nothing on the wire says it, so the operator has to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LegacyTarget {
    /// 3.0.3 and 3.0.4 (Red Hat Enterprise Linux 5 among them). Guests of one vcpu only.
    Xen30,
    /// 3.1.
    Xen31,
    /// 3.2 to 3.4.
    Xen32,
    /// 4.0.
    Xen40,
    /// 4.1.
    Xen41,
    /// 4.2.
    Xen42,
    /// 4.3 and 4.4, the last one with an xend.
    Xen43,
}

impl LegacyTarget {
    /// Whether it takes extended information, and a vcpu's extended context.
    pub(super) fn has_extended(self) -> bool {
        self >= LegacyTarget::Xen32
    }

    /// Whether it takes VCPU_INFO; without, a guest has one vcpu.
    pub(super) fn has_vcpu_info(self) -> bool {
        self >= LegacyTarget::Xen31
    }

    /// Whether it takes TSC_INFO.
    pub(super) fn has_tsc(self) -> bool {
        self >= LegacyTarget::Xen40
    }

    /// Whether it takes LAST_CHECKPOINT: 4.0 must not have it, 4.4 must.
    pub(super) fn has_last_checkpoint(self) -> bool {
        self >= LegacyTarget::Xen41
    }

    /// Whether it takes xsave data.
    pub(super) fn has_xsave(self) -> bool {
        self >= LegacyTarget::Xen41
    }

    /// Whether it takes an extended context of more than 32 bytes.
    pub(super) fn has_long_extended(self) -> bool {
        self >= LegacyTarget::Xen42
    }

    /// Whether it takes pages that are to be allocated only.
    pub(super) fn has_allocate_only(self) -> bool {
        self >= LegacyTarget::Xen42
    }

    /// Whether it takes broken pages.
    pub(super) fn has_broken(self) -> bool {
        self >= LegacyTarget::Xen43
    }

    /// The highest vcpu.
    pub(super) fn max_vcpu(self) -> u32 {
        match self {
            LegacyTarget::Xen30 => 0,
            LegacyTarget::Xen42 | LegacyTarget::Xen43 => 4095,
            _ => 63,
        }
    }
}

impl fmt::Display for LegacyTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LegacyTarget::Xen30 => "Xen 3.0",
            LegacyTarget::Xen31 => "Xen 3.1",
            LegacyTarget::Xen32 => "Xen 3.2 to 3.4",
            LegacyTarget::Xen40 => "Xen 4.0",
            LegacyTarget::Xen41 => "Xen 4.1",
            LegacyTarget::Xen42 => "Xen 4.2",
            LegacyTarget::Xen43 => "Xen 4.3 or 4.4",
        })
    }
}
