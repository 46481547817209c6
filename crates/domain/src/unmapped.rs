//! What a configuration loses on its way from one format to another.

use std::fmt;

use sexp::Sexp;

use crate::shown::shown;

/// Why a field is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It tells of the source host or of the running domain there.
    SourceFact,
    /// It says what is so without it.
    Default,
    /// Another setting says the same, or the toolstack finds it by itself.
    Implied,
    /// It is a file that the source's bootloader made for one boot, or what it read from the guest's disk for that boot.
    OneBoot,
    /// An element of the same name came before it, and xend takes the first.
    Repeated,
    /// The other format has no such setting.
    NoCounterpart,
    /// The other format has the setting, but not this value.
    NoSuchValue(&'static str),
    /// It is in no version of xend that is known here, or not in this form.
    Unknown,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::SourceFact => "holds for the source host only",
            Why::Default => "is so anyway",
            Why::Implied => "follows from the rest",
            Why::OneBoot => "was for one boot; the bootloader finds it anew at the next",
            Why::Repeated => "stands twice; the first one counts",
            Why::NoCounterpart => "has no counterpart",
            Why::NoSuchValue(why) => why,
            Why::Unknown => "is not known",
        })
    }
}

/// A field that is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmapped {
    /// Where it stands: `image/linux/notes`, `device/vif[1]/accel`.
    pub path: String,
    /// What it says, as sxp, shortened; passwords are not in it.
    pub value: String,
    /// Why it is lost.
    pub why: Why,
}

impl Unmapped {
    /// Characters of a value at most.
    const MAX_VALUE: usize = 120;

    pub(crate) fn new(path: String, values: &[Sexp], why: Why) -> Unmapped {
        let mut value = String::new();
        for item in values {
            if !value.is_empty() {
                value.push(' ');
            }
            // The printer writes ASCII only.
            value.push_str(&String::from_utf8_lossy(&sxp::to_bytes(item)));
            if value.len() > Unmapped::MAX_VALUE {
                value.truncate(Unmapped::MAX_VALUE);
                value.push_str("...");
                break;
            }
        }
        // Names in it are a peer's too.
        let path: Vec<String> = path.split('/').map(shown).collect();
        let path = path.join("/");
        if path.contains("passw") || value.contains("passw") {
            value = "hidden".to_owned();
        }
        Unmapped { path, value, why }
    }

    /// Whether an operator wants to know: the domain would be another one without it.
    pub fn matters(&self) -> bool {
        matches!(self.why, Why::NoCounterpart | Why::NoSuchValue(_) | Why::Unknown)
    }
}

impl fmt::Display for Unmapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) {}", self.path, self.value, self.why)
    }
}
