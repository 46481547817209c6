//! What an xend of which age takes.

use std::{fmt, str::FromStr};

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

/// A version of Xen whose xend is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no version of Xen with an xend; known are 3.0 to 3.4 and 4.0 to 4.4")]
pub struct UnknownVersion(String);

impl FromStr for LegacyTarget {
    type Err = UnknownVersion;

    /// From a version of Xen: `3.0.3`, `4.1`, `4.1.6.1`. What stands behind the second number does not matter.
    fn from_str(text: &str) -> Result<LegacyTarget, UnknownVersion> {
        let mut numbers = text.split('.').map(|number| number.parse::<u8>().ok());
        let version = (numbers.next().flatten(), numbers.next().flatten());
        if numbers.all(|number| number.is_some())
            && let (Some(major), Some(minor)) = version
        {
            match (major, minor) {
                (3, 0) => return Ok(LegacyTarget::Xen30),
                (3, 1) => return Ok(LegacyTarget::Xen31),
                (3, 2..=4) => return Ok(LegacyTarget::Xen32),
                (4, 0) => return Ok(LegacyTarget::Xen40),
                (4, 1) => return Ok(LegacyTarget::Xen41),
                (4, 2) => return Ok(LegacyTarget::Xen42),
                (4, 3 | 4) => return Ok(LegacyTarget::Xen43),
                _ => {}
            }
        }
        Err(UnknownVersion(text.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_xen_name_their_xend() {
        for (text, target) in [
            ("3.0", LegacyTarget::Xen30),
            ("3.0.3", LegacyTarget::Xen30),
            ("3.1", LegacyTarget::Xen31),
            ("3.4.3", LegacyTarget::Xen32),
            ("4.0", LegacyTarget::Xen40),
            ("4.1.6.1", LegacyTarget::Xen41),
            ("4.2", LegacyTarget::Xen42),
            ("4.4", LegacyTarget::Xen43),
        ] {
            assert_eq!(text.parse(), Ok(target), "{text}");
        }
        for text in ["", "4", "4.", "4.5", "5.0", "2.0", "4.1.x", "xen", "4.1.", "-4.1"] {
            assert!(text.parse::<LegacyTarget>().is_err(), "{text}");
        }
    }
}
