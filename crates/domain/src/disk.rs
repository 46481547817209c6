//! What a block device's settings mean, and xl's words for it.
//!
//! xend's `uname` is `TYPE:PARAMS` (Xen 3.0.2 to 4.4): `phy:` a block device, `file:` a file, `tap:FORMAT:` and `tap2:FORMAT:` a file through blktap, any other
//! word the name of a hotplug script `block-WORD`. xl's forms are those of xl-disk-configuration(5).

use crate::{devices::Vbd, shown::shown};

/// The format of a disk image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFormat {
    /// Nothing but the disk's bytes: a block device or a file.
    Raw,
    /// QEMU's old one.
    Qcow,
    /// QEMU's.
    Qcow2,
    /// Virtual PC's.
    Vhd,
}

impl DiskFormat {
    /// The word for it, in blktap's prefixes and in xl.
    pub fn word(self) -> &'static str {
        match self {
            DiskFormat::Raw => "raw",
            DiskFormat::Qcow => "qcow",
            DiskFormat::Qcow2 => "qcow2",
            DiskFormat::Vhd => "vhd",
        }
    }
}

/// What is behind a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Nothing: an empty drive.
    Empty,
    /// A path on the host.
    Path {
        /// How to read it.
        format: DiskFormat,
        /// Where it is.
        path: String,
    },
    /// Something that a hotplug script makes a block device of.
    Script {
        /// The script's name without `block-`: `drbd`, `iscsi`, `nbd`.
        word: String,
        /// What the script is told.
        target: String,
    },
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The guest's name for it.
    pub vdev: String,
    /// Whether it is a CD drive.
    pub cdrom: bool,
    /// Whether the guest can't write to it.
    pub read_only: bool,
    /// What is behind it.
    pub backing: Backing,
}

/// Why a block device can't be said in xl's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// The guest has no name for it.
    #[error("it has no device name, such as xvda")]
    NoName,
    /// It is no drive, and there is nothing behind it.
    #[error("nothing is behind it, and it is no CD drive")]
    NoBacking,
    /// Not `TYPE:PARAMS`.
    #[error("'{0}': expected TYPE:PARAMS, such as phy:/dev/vg0/web")]
    NoType(String),
    /// A format that no current toolstack reads.
    #[error("'{0}': no current Xen reads this format; convert the image to raw, qcow2 or vhd first")]
    Format(String),
    /// A mode that is none.
    #[error("mode '{0}': expected r, w or w!")]
    Mode(String),
}

impl Vbd {
    /// What xend's words for this device mean.
    ///
    /// # Errors
    /// [`DiskError`]: no current toolstack can provide this.
    pub fn disk(&self) -> Result<Disk, DiskError> {
        let device = self.device.strip_prefix("ioemu:").unwrap_or(&self.device);
        let (vdev, cdrom) = match device.split_once(':') {
            None => (device, false),
            Some((vdev, suffix)) => (vdev, suffix == "cdrom"),
        };
        if vdev.is_empty() {
            return Err(DiskError::NoName);
        }
        let read_only = match self.mode.as_str() {
            "r" | "ro" => true,
            "w" | "rw" | "w!" => false,
            mode => return Err(DiskError::Mode(shown(mode))),
        };
        let backing = match self.backing.as_deref() {
            None | Some("") if cdrom => Backing::Empty,
            None | Some("") => return Err(DiskError::NoBacking),
            Some(uname) => backing(uname)?,
        };
        Ok(Disk {
            vdev: vdev.to_owned(),
            cdrom,
            read_only,
            backing,
        })
    }
}

fn backing(uname: &str) -> Result<Backing, DiskError> {
    let no_type = || DiskError::NoType(shown(uname));
    let (kind, params) = uname.split_once(':').ok_or_else(no_type)?;
    if params.is_empty() {
        return Err(no_type());
    }
    let raw = |path: String| Backing::Path {
        format: DiskFormat::Raw,
        path,
    };
    match kind {
        "phy" if params.starts_with('/') => Ok(raw(params.to_owned())),
        "phy" => Ok(raw(format!("/dev/{params}"))),
        "file" => Ok(raw(params.to_owned())),
        "tap" | "tap2" => tap(params).ok_or_else(|| DiskError::Format(shown(uname))),
        // It becomes the name of a program: nothing that could lead out of the directory of scripts.
        word if word
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
            && !word.is_empty() =>
        {
            Ok(Backing::Script {
                word: word.to_owned(),
                target: params.to_owned(),
            })
        }
        _ => Err(no_type()),
    }
}

fn tap(params: &str) -> Option<Backing> {
    let params = params.strip_prefix("tapdisk:").unwrap_or(params);
    let (format, path) = params.split_once(':')?;
    let format = match format {
        "aio" | "sync" => DiskFormat::Raw,
        "qcow" => DiskFormat::Qcow,
        "qcow2" => DiskFormat::Qcow2,
        "vhd" => DiskFormat::Vhd,
        _ => return None,
    };
    let path = path.to_owned();
    (!path.is_empty()).then_some(Backing::Path { format, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vbd(device: &str, uname: Option<&str>, mode: &str) -> Vbd {
        Vbd {
            device: device.to_owned(),
            backing: uname.map(str::to_owned),
            mode: mode.to_owned(),
            ..Vbd::default()
        }
    }

    fn read(uname: &str) -> Result<Backing, DiskError> {
        vbd("xvda:disk", Some(uname), "w").disk().map(|disk| disk.backing)
    }

    #[test]
    fn every_uname_of_the_mapping() {
        let path = |format, path: &str| {
            Ok(Backing::Path {
                format,
                path: path.to_owned(),
            })
        };
        assert_eq!(read("phy:/dev/x"), path(DiskFormat::Raw, "/dev/x"));
        assert_eq!(read("phy:vg/lv"), path(DiskFormat::Raw, "/dev/vg/lv"));
        assert_eq!(read("file:/p"), path(DiskFormat::Raw, "/p"));
        for raw in [
            "tap:aio:/p",
            "tap:sync:/p",
            "tap:tapdisk:aio:/p",
            "tap2:aio:/p",
            "tap2:tapdisk:aio:/p",
        ] {
            assert_eq!(read(raw), path(DiskFormat::Raw, "/p"), "{raw}");
        }
        assert_eq!(read("tap:qcow:/p"), path(DiskFormat::Qcow, "/p"));
        assert_eq!(read("tap2:qcow2:/a:b"), path(DiskFormat::Qcow2, "/a:b"));
        assert_eq!(read("tap:tapdisk:vhd:/p"), path(DiskFormat::Vhd, "/p"));
        for (uname, word, target) in [
            ("drbd:res", "drbd", "res"),
            ("iscsi:iqn.2001:x", "iscsi", "iqn.2001:x"),
            ("my-own_1:a,b", "my-own_1", "a,b"),
        ] {
            let (word, target) = (word.to_owned(), target.to_owned());
            assert_eq!(read(uname), Ok(Backing::Script { word, target }));
        }
        for bad in ["tap:vmdk:/p", "tap:ram:/p", "tap:/p", "tap2:aio:", "tap:aio"] {
            assert_eq!(read(bad), Err(DiskError::Format(bad.to_owned())), "{bad}");
        }
        for bad in ["/dev/x", "phy:", ":x", "../evil:x", "a b:x"] {
            assert_eq!(read(bad), Err(DiskError::NoType(bad.to_owned())), "{bad}");
        }
    }

    #[test]
    fn devices_and_modes() {
        let disk = vbd("ioemu:hdc:cdrom", None, "r").disk().unwrap();
        assert_eq!((disk.vdev.as_str(), disk.cdrom, disk.read_only), ("hdc", true, true));
        assert_eq!(disk.backing, Backing::Empty);
        let disk = vbd("hda", Some("file:/i"), "w!").disk().unwrap();
        assert_eq!((disk.vdev.as_str(), disk.cdrom, disk.read_only), ("hda", false, false));
        assert_eq!(vbd("hda:disk", None, "r").disk(), Err(DiskError::NoBacking));
        assert_eq!(vbd(":disk", Some("phy:a"), "r").disk(), Err(DiskError::NoName));
        assert_eq!(
            vbd("hda", Some("phy:a"), "x").disk(),
            Err(DiskError::Mode("x".to_owned()))
        );
    }
}
