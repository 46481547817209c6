//! The reader: `(image (KIND ...))`, and what a guest boots with.

use sexp::Sexp;

use super::{
    ConfigError,
    devices::fill_vfb,
    read::Origin,
    tree::{Fields, Known, Lost},
};
use crate::{
    config::{DomainConfig, GuestKind},
    devices::Vfb,
    platform::{DeviceModel, Switch},
    unmapped::Why,
};

/// The image: what kind of guest, and its elements.
pub(crate) struct Image<'a> {
    pub(crate) kind: GuestKind,
    pub(crate) fields: Fields<'a>,
}

const KINDS: &str = "linux, hvm, pvh or embedded";

/// `rest`: what stands after `image`.
pub(crate) fn image(rest: Option<&[Sexp]>) -> Result<Image<'_>, ConfigError> {
    let list = match rest.and_then(<[Sexp]>::first) {
        Some(Sexp::List(list)) => list.as_slice(),
        Some(value @ Sexp::Atom(_)) if sxp::text(value).is_some_and(|text| !text.is_empty()) => {
            let found = sxp::text(value).unwrap_or_default();
            return Err(ConfigError::wrong("image", &found, "a list such as (linux ...)"));
        }
        _ => &[],
    };
    let Some((head, elements)) = list.split_first() else {
        // xend 3.0.x with a bootloader may leave the image out: such a guest is paravirtualised.
        return Ok(Image {
            kind: GuestKind::Pv,
            fields: Fields::new("image/linux/", &[]),
        });
    };
    let word = sxp::text(head).ok_or_else(|| ConfigError::wrong("image", "a list", KINDS))?;
    let kind = GuestKind::from_image_word(&word).ok_or_else(|| ConfigError::wrong("image", &word, KINDS))?;
    Ok(Image {
        kind,
        fields: Fields::new(&format!("image/{word}/"), elements),
    })
}

/// What an image says that has no counterpart, and its values that say nothing.
pub(crate) fn known(kind: GuestKind) -> &'static [Known] {
    match kind {
        GuestKind::Hvm => HVM,
        _ => PV,
    }
}

const PV: &[Known] = &[
    // What the kernel said of itself when it was loaded.
    ("notes", Why::SourceFact, &[]),
    // It repeats the devices.
    ("pci", Why::Implied, &[]),
    // A paravirtualised guest has no graphics card whose memory this could be; for xl it would be taken off the guest's.
    ("videoram", Why::Implied, &[]),
    ("superpages", Why::NoCounterpart, &["", "0"]),
    ("memory_sharing", Why::NoCounterpart, &["", "0"]),
    ("display", Why::SourceFact, &[]),
    ("xauthority", Why::SourceFact, &[]),
    ("guest_os_type", Why::NoCounterpart, &["", "default"]),
    ("tsc_mode", Why::NoSuchValue("is no mode that is known"), &[]),
    // In old versions an image has all of these, whatever the guest.
    ("vhpt", Why::NoCounterpart, &["", "0"]),
    ("xen_extended_power_mgmt", Why::NoCounterpart, &["", "0"]),
];

const HVM: &[Known] = &[
    ("notes", Why::SourceFact, &[]),
    ("pci", Why::Implied, &[]),
    ("args", Why::NoCounterpart, &[""]),
    ("ramdisk", Why::NoCounterpart, &[""]),
    // The toolstack has its own.
    ("kernel", Why::Implied, &[]),
    ("loader", Why::Implied, &[]),
    ("device_model", Why::Implied, &[]),
    ("fda", Why::NoCounterpart, &[""]),
    ("fdb", Why::NoCounterpart, &[""]),
    ("display", Why::SourceFact, &[]),
    ("xauthority", Why::SourceFact, &[]),
    ("vncconsole", Why::SourceFact, &[]),
    ("isa", Why::NoCounterpart, &["", "0"]),
    ("monitor", Why::NoCounterpart, &["", "0"]),
    ("monitor_path", Why::NoCounterpart, &[""]),
    ("parallel", Why::NoCounterpart, &["", "none"]),
    ("vhpt", Why::NoCounterpart, &["", "0"]),
    ("guest_os_type", Why::NoCounterpart, &["", "default"]),
    ("xen_extended_power_mgmt", Why::NoCounterpart, &["", "0"]),
    ("superpages", Why::NoCounterpart, &["", "0"]),
    ("memory_sharing", Why::NoCounterpart, &["", "0"]),
    ("timer_mode", Why::NoSuchValue("is no mode that is known"), &[]),
    ("tsc_mode", Why::NoSuchValue("is no mode that is known"), &[]),
];

/// What a guest boots with, and the machine that it boots on.
pub(crate) fn boot(fields: &mut Fields, image: &mut Image, config: &mut DomainConfig, origin: Origin, lost: &mut Lost) {
    config.bootloader = fields.filled("bootloader");
    config.bootloader_args = words(fields.text("bootloader_args"));
    let outer_localtime = fields.switch("localtime");
    let image = &mut image.fields;
    if config.kind != GuestKind::Hvm || origin == Origin::Relocd {
        kernel(image, config, origin, lost);
    }
    let platform = &mut config.platform;
    platform.localtime = image.switch("localtime").or(outer_localtime);
    platform.rtc_timeoffset = image.read("rtc_timeoffset", |text| text.parse().ok());
    let mode = |text: &str| text.parse().ok().filter(|mode| (0..4).contains(mode));
    platform.tsc_mode = image.read("tsc_mode", mode);
    platform.nomigrate = image.switch("nomigrate");
    platform.pci_msitranslate = image.switch("pci_msitranslate");
    platform.pci_power_mgmt = image.switch("pci_power_mgmt");
    if config.kind != GuestKind::Hvm {
        return;
    }
    platform.timer_mode = image.read("timer_mode", mode);
    platform.video_memory_mib = image.read("videoram", |text| text.parse().ok());
    platform.boot = image.filled("boot");
    platform.serial = image.filled("serial");
    platform.sound = image.filled("soundhw");
    // xend has one, as text; relocd's own shape repeats the element.
    platform.usb_devices = match origin {
        Origin::Xend => image.filled("usbdevice").into_iter().collect(),
        Origin::Relocd => image
            .take_all("usbdevice")
            .into_iter()
            .filter_map(|value| sxp::text(value.first()?))
            .collect(),
    };
    for switch in Switch::ALL {
        if let Some(on) = image.switch(switch.word()) {
            platform.switches.insert(*switch, on);
        }
    }
    match origin {
        // It never had another one.
        Origin::Xend => {
            platform.device_model = Some(DeviceModel::QemuXenTraditional);
            platform.bios = Some("rombios".to_owned());
        }
        Origin::Relocd => {
            platform.device_model = image.read("device_model_version", DeviceModel::from_word);
            platform.bios = image.filled("bios");
        }
    }
}

/// Kernel, ramdisk and command line.
fn kernel(image: &mut Fields, config: &mut DomainConfig, origin: Origin, lost: &mut Lost) {
    let kernel = image.filled("kernel");
    let ramdisk = image.filled("ramdisk");
    let args = image.filled("args");
    // xend 3.0.x has the first words of the command line apart; later ones print one line.
    let ip = image.filled("ip").map(|ip| format!("ip={ip}"));
    let root = image.filled("root").map(|root| format!("root={root}"));
    let line: Vec<&str> = [&ip, &root, &args].into_iter().flatten().map(String::as_str).collect();
    let line = (!line.is_empty()).then(|| line.join(" "));
    if origin == Origin::Xend && config.bootloader.is_some() && kernel.as_deref().is_none_or(is_for_one_boot) {
        // The bootloader had copied them out of the guest's disk, and will again.
        for (key, value) in [("kernel", kernel), ("ramdisk", ramdisk), ("args", line)] {
            if let Some(value) = value {
                lost.add(image.path(key), &[sxp::atom(&value)], Why::OneBoot);
            }
        }
        return;
    }
    config.kernel = kernel;
    config.ramdisk = ramdisk;
    config.extra = line;
}

/// Whether a path is one that xend's bootloaders copy a kernel to: `/var/lib/xen/boot_kernel.p1Xz9K`, `/var/run/xend/boot/boot_kernel.p1Xz9K`, and in
/// 3.0.2 `/var/lib/xen/vmlinuz.p1Xz9K`.
fn is_for_one_boot(path: &str) -> bool {
    let (directory, file) = path.rsplit_once('/').unwrap_or(("", path));
    let copies = ["/var/lib/xen", "/var/run/xen", "/var/run/xend/boot", "/run/xend/boot"];
    file.starts_with("boot_kernel.") || copies.contains(&directory)
}

/// The display of an HVM guest's graphics card. From 3.1 on there is a `vfb` device that says the same.
pub(crate) fn displays(image: &mut Image, config: &mut DomainConfig, lost: &mut Lost) {
    if config.kind != GuestKind::Hvm {
        return;
    }
    let mut vfb = Vfb::default();
    fill_vfb(&mut image.fields, &mut vfb);
    if config.vfbs.len() > 1 {
        let path = "device/vfb".to_owned();
        let why = Why::NoSuchValue("is more than the one display that an HVM guest has");
        lost.add(path, &[sxp::atom(&config.vfbs.len().to_string())], why);
    }
    let device = config.vfbs.drain(..).next().unwrap_or_default();
    let merged = Vfb {
        vnc: vfb.vnc.or(device.vnc),
        vnc_listen: vfb.vnc_listen.or(device.vnc_listen),
        vnc_display: vfb.vnc_display.or(device.vnc_display),
        vnc_unused: vfb.vnc_unused.or(device.vnc_unused),
        vnc_password: vfb.vnc_password.or(device.vnc_password),
        sdl: vfb.sdl.or(device.sdl),
        opengl: vfb.opengl.or(device.opengl),
        keymap: vfb.keymap.or(device.keymap),
    };
    if merged != Vfb::default() {
        config.vfbs.push(merged);
    }
}

/// The words of a text.
fn words(text: Option<String>) -> Vec<String> {
    let text = text.unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}
