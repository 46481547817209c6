//! Disks: xend's `'phy:/dev/x,xvda,w'`, and the forms of xl-disk-configuration(5).

use super::devices::Wrong;
use crate::{Vbd, VbdClass, is_dom0};

/// A block device: what is behind it, the guest's name for it, and how it may be used.
pub(crate) fn disk(text: &str) -> Result<Vbd, Wrong> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    match parts.as_slice() {
        // xl's key=value words: none of the first three parts of xend's form has an equals sign, except perhaps the first.
        &[backing, device, mode] if !device.is_empty() && !device.contains('=') && !mode.contains('=') => {
            xends(text, backing, device, mode)
        }
        _ => xls(text),
    }
}

fn xends(text: &str, backing: &str, device: &str, mode: &str) -> Result<Vbd, Wrong> {
    // Types of xl's first versions, which no xend had.
    if let Some((format @ ("raw" | "qcow" | "qcow2" | "vhd"), target)) = backing.split_once(':') {
        let parts = Parts {
            target: Some(target),
            format: Some(format),
            vdev: Some(device),
            access: Some(mode),
            ..Parts::default()
        };
        return parts.finish(text);
    }
    Ok(Vbd {
        class: class(backing),
        device: device.to_owned(),
        backing: (!backing.is_empty()).then(|| backing.to_owned()),
        mode: access(mode)
            .ok_or_else(|| {
                let expected = "the mode r, w or w!, such as in 'phy:/dev/vg0/web,xvda,w'";
                (text.to_owned(), expected)
            })?
            .to_owned(),
        ..Vbd::default()
    })
}

/// Which of xend's drivers serves a backing.
fn class(backing: &str) -> VbdClass {
    match backing.split_once(':') {
        Some(("tap", _)) => VbdClass::Tap,
        Some(("tap2", _)) => VbdClass::Tap2,
        _ => VbdClass::Vbd,
    }
}

fn access(word: &str) -> Option<&'static str> {
    match word {
        "r" | "ro" => Some("r"),
        "w" | "rw" => Some("w"),
        "w!" => Some("w!"),
        _ => None,
    }
}

/// The parts of xl's form.
#[derive(Default)]
struct Parts<'a> {
    target: Option<&'a str>,
    format: Option<&'a str>,
    vdev: Option<&'a str>,
    access: Option<&'a str>,
    script: Option<&'a str>,
    backend: Option<&'a str>,
    cdrom: bool,
    other: Vec<(String, String)>,
}

/// `[TARGET,[FORMAT,[VDEV,[ACCESS]]]],key=value,...,target=TARGET`: each part in its place or by its key, and `target=` takes the rest of the text.
fn xls(text: &str) -> Result<Vbd, Wrong> {
    let mut parts = Parts::default();
    let mut rest = Some(text);
    while let Some(here) = rest {
        let here = here.trim_start();
        if let Some(target) = here.strip_prefix("target=") {
            parts.target = Some(target);
            break;
        }
        let (part, after) = match here.split_once(',') {
            None => (here, None),
            Some((part, after)) => (part, Some(after)),
        };
        rest = after;
        if part.is_empty() && after.is_none() {
            break;
        }
        parts
            .add(part)
            .ok_or_else(|| (part.to_owned(), "each part of a disk once"))?;
    }
    parts.finish(text)
}

impl<'a> Parts<'a> {
    /// Takes one part; `None` if it was there before.
    fn add(&mut self, part: &'a str) -> Option<()> {
        let place = match part.split_once('=') {
            Some(("format", value)) => (&mut self.format, value),
            Some(("vdev", value)) => (&mut self.vdev, value),
            Some(("access", value)) => (&mut self.access, value),
            Some(("script", value)) => (&mut self.script, value),
            Some(("backend", value)) => (&mut self.backend, value),
            Some(("devtype", "disk")) => return Some(()),
            Some(("devtype", "cdrom")) => {
                self.cdrom = true;
                return Some(());
            }
            Some((key, value)) => {
                self.other.push((key.to_owned(), value.to_owned()));
                return Some(());
            }
            None if part == "cdrom" => {
                self.cdrom = true;
                return Some(());
            }
            None if ["direct-io-safe", "discard", "no-discard", "trusted", "untrusted"].contains(&part) => {
                self.other.push((part.to_owned(), String::new()));
                return Some(());
            }
            None if self.target.is_none() => (&mut self.target, part),
            None if self.format.is_none() => (&mut self.format, part),
            None if self.vdev.is_none() => (&mut self.vdev, part),
            None => (&mut self.access, part),
        };
        let (place, value) = place;
        place.is_none().then(|| *place = Some(value))
    }

    fn finish(mut self, text: &str) -> Result<Vbd, Wrong> {
        let wrong = |expected| (text.to_owned(), expected);
        let vdev = self.vdev.filter(|vdev| !vdev.is_empty());
        let vdev = vdev.ok_or_else(|| wrong("a device name in it, such as vdev=xvda"))?;
        let (vdev, suffix) = vdev.split_once(':').unwrap_or((vdev, ""));
        self.cdrom |= suffix == "cdrom";
        // xl's CD drives are read-only whatever is said.
        let mode = match self.access.filter(|access| !access.is_empty()) {
            _ if self.cdrom => "r",
            None => "w",
            Some(word) => access(word).ok_or_else(|| wrong("access=ro or access=rw in it"))?,
        };
        let target = self.target.filter(|target| !target.is_empty());
        let format = self.format.filter(|format| !format.is_empty()).unwrap_or("raw");
        let (class, backing) = match (target, self.script, format) {
            (None, ..) if self.cdrom => (VbdClass::Vbd, None),
            (None, ..) => return Err(wrong("a target in it, such as target=/dev/vg0/web")),
            (Some(target), Some(script), _) => {
                let word = script
                    .strip_prefix("block-")
                    .ok_or_else(|| wrong("a script named block-NAME"))?;
                (VbdClass::Vbd, Some(format!("{word}:{target}")))
            }
            (Some(target), None, "raw") if target.starts_with("/dev/") => {
                (VbdClass::Vbd, Some(format!("phy:{target}")))
            }
            (Some(target), None, "raw") => (VbdClass::Vbd, Some(format!("file:{target}"))),
            (Some(target), None, "qcow" | "qcow2" | "vhd") => (VbdClass::Tap, Some(format!("tap:{format}:{target}"))),
            _ => return Err(wrong("the format raw, qcow, qcow2 or vhd")),
        };
        Ok(Vbd {
            class,
            device: format!("{vdev}:{}", if self.cdrom { "cdrom" } else { "disk" }),
            backing,
            mode: mode.to_owned(),
            bootable: None,
            backend: self.backend.filter(|name| !is_dom0(Some(name))).map(str::to_owned),
            other: self.other,
        })
    }
}
