//! The writer.

use super::{
    XlError,
    text::{Lines, Spec},
};
use crate::{
    config::{DomainConfig, GuestKind},
    devices::{PciDevice, Vbd, Vfb, Vif, Vtpm},
    disk::Backing,
    platform::{CPUID_REGISTERS, CpuidLeaf, TIMER_MODES, TSC_MODES},
    shown::shown,
};

pub(crate) fn write(config: &DomainConfig) -> Result<Vec<u8>, XlError> {
    let hvm = config.kind == GuestKind::Hvm;
    let kind = match config.kind {
        GuestKind::Pv => "pv",
        GuestKind::Pvh => "pvh",
        GuestKind::Hvm => "hvm",
        GuestKind::Embedded => return Err(XlError::Kind),
    };
    if !hvm && config.kernel.is_none() && config.bootloader.is_none() {
        return Err(XlError::NothingToBoot);
    }
    let mut lines = Lines::default();
    lines.text("type", Some(kind))?;
    // Before 4.10 there was no `type`.
    lines.text("builder", hvm.then_some("hvm"))?;
    lines.text("name", Some(&config.name))?;
    lines.text("uuid", Some(&config.uuid.to_string()))?;
    lines.number("memory", Some(config.memory_kib.div_ceil(1024)));
    lines.number("maxmem", Some(config.max_memory_kib.div_ceil(1024)));
    lines.number("shadow_memory", config.shadow_memory_mib.filter(|mib| *mib > 0));
    lines.number("maxvcpus", Some(config.vcpus));
    lines.number("vcpus", Some(config.online_vcpus.unwrap_or(config.vcpus)));
    let sets: Vec<String> = config.affinity.iter().map(ToString::to_string).collect();
    lines.list("cpus", &sets)?;
    lines.number("cpu_weight", config.cpu_weight);
    lines.number("cap", config.cpu_cap);
    lines.text("pool", config.pool.as_deref())?;
    lines.text("seclabel", config.security_label.as_deref())?;
    lines.text("on_poweroff", Some(config.on_poweroff.word()))?;
    lines.text("on_reboot", Some(config.on_reboot.word()))?;
    lines.text("on_crash", Some(config.on_crash.word()))?;
    lines.text("bootloader", config.bootloader.as_deref())?;
    lines.list("bootloader_args", &config.bootloader_args)?;
    lines.text("kernel", config.kernel.as_deref())?;
    lines.text("ramdisk", config.ramdisk.as_deref())?;
    lines.text("cmdline", config.extra.as_deref())?;
    platform(config, &mut lines)?;
    devices(config, &mut lines)?;
    Ok(lines.finish())
}

fn platform(config: &DomainConfig, lines: &mut Lines) -> Result<(), XlError> {
    let platform = &config.platform;
    lines.switch("localtime", platform.localtime);
    lines.number("rtc_timeoffset", platform.rtc_timeoffset);
    let word = |words: &[&'static str], index: Option<u8>| words.get(usize::from(index?)).copied();
    lines.text("tsc_mode", word(&TSC_MODES, platform.tsc_mode))?;
    lines.switch("nomigrate", platform.nomigrate);
    lines.switch("pci_msitranslate", platform.pci_msitranslate);
    lines.switch("pci_power_mgmt", platform.pci_power_mgmt);
    let masks: Vec<String> = config.cpuid.iter().map(cpuid).collect();
    lines.list("cpuid", &masks)?;
    if config.kind != GuestKind::Hvm {
        return Ok(());
    }
    lines.text("device_model_version", platform.device_model.map(|model| model.word()))?;
    lines.text("bios", platform.bios.as_deref())?;
    lines.text("timer_mode", word(&TIMER_MODES, platform.timer_mode))?;
    lines.number("videoram", platform.video_memory_mib);
    lines.text("boot", platform.boot.as_deref())?;
    lines.text("serial", platform.serial.as_deref())?;
    lines.text("soundhw", platform.sound.as_deref())?;
    match platform.usb_devices.as_slice() {
        [device] => lines.text("usbdevice", Some(device))?,
        devices => lines.list("usbdevice", devices)?,
    }
    for (switch, on) in &platform.switches {
        lines.switch(switch.word(), Some(*on));
    }
    if let Some(vfb) = config.vfbs.first() {
        lines.switch("vnc", vfb.vnc);
        lines.text("vnclisten", vfb.vnc_listen.as_deref())?;
        lines.number("vncdisplay", vfb.vnc_display);
        lines.switch("vncunused", vfb.vnc_unused);
        lines.text("vncpasswd", vfb.vnc_password.as_deref())?;
        lines.switch("sdl", vfb.sdl);
        lines.switch("opengl", vfb.opengl);
        lines.text("keymap", vfb.keymap.as_deref())?;
    }
    Ok(())
}

/// `0x1:eax=MASK,ecx=MASK`: xend's form, which xl takes too.
fn cpuid(leaf: &CpuidLeaf) -> String {
    let number = match leaf.subleaf {
        None => format!("{:#x}", leaf.leaf),
        Some(subleaf) => format!("{:#x},{subleaf}", leaf.leaf),
    };
    let registers = CPUID_REGISTERS.iter().zip(&leaf.registers);
    let masks: Vec<String> = registers
        .filter_map(|(name, mask)| Some(format!("{name}={}", mask.as_deref()?)))
        .collect();
    format!("{number}:{}", masks.join(","))
}

fn devices(config: &DomainConfig, lines: &mut Lines) -> Result<(), XlError> {
    let mut vbds: Vec<&Vbd> = config.vbds.iter().collect();
    // xl's bootloader looks at the first disk, xend's at the one that is bootable.
    if let Some(at) = vbds.iter().position(|vbd| vbd.bootable == Some(true))
        && config.bootloader.is_some()
    {
        let bootable = vbds.remove(at);
        vbds.insert(0, bootable);
    }
    lines.list("disk", &all(vbds, disk)?)?;
    lines.list("vif", &all(&config.vifs, |vif| self::vif(vif, config.kind))?)?;
    if config.kind != GuestKind::Hvm {
        lines.list("vfb", &all(&config.vfbs, vfb)?)?;
    }
    lines.list("pci", &all(&config.pci, pci)?)?;
    lines.list("vtpm", &all(&config.vtpms, vtpm)?)?;
    let ports = config
        .io_ports
        .iter()
        .map(|ports| format!("{:x}-{:x}", ports.first, ports.last));
    lines.list("ioports", &ports.collect::<Vec<_>>())?;
    let irqs = config.irqs.iter().map(ToString::to_string);
    lines.list("irqs", &irqs.collect::<Vec<_>>())
}

fn all<T>(
    items: impl IntoIterator<Item = T>,
    one: impl Fn(T) -> Result<String, XlError>,
) -> Result<Vec<String>, XlError> {
    items.into_iter().map(one).collect()
}

fn disk(vbd: &Vbd) -> Result<String, XlError> {
    let disk = vbd.disk().map_err(|source| XlError::Disk {
        device: shown(&vbd.device),
        source,
    })?;
    let mut spec = Spec::new(format!("disk '{}'", shown(&vbd.device)));
    if let Backing::Path { format, .. } = &disk.backing {
        spec.pair("format", Some(format.word()))?;
    }
    if let Backing::Script { .. } = &disk.backing {
        spec.pair("format", Some("raw"))?;
    }
    spec.pair("vdev", Some(&disk.vdev))?;
    spec.pair("access", Some(if disk.read_only { "ro" } else { "rw" }))?;
    if disk.cdrom {
        spec.pair("devtype", Some("cdrom"))?;
    }
    spec.backend(vbd.backend.as_deref())?;
    match &disk.backing {
        Backing::Empty => spec.last("target", "")?,
        Backing::Path { path, .. } => spec.last("target", path)?,
        Backing::Script { word, target } => {
            spec.pair("script", Some(&format!("block-{word}")))?;
            spec.last("target", target)?;
        }
    }
    Ok(spec.finish())
}

fn vif(vif: &Vif, kind: GuestKind) -> Result<String, XlError> {
    let mut spec = Spec::new("vif");
    spec.pair("mac", vif.mac.as_deref())?;
    spec.pair("bridge", vif.bridge.as_deref())?;
    spec.pair("script", vif.script.as_deref())?;
    spec.pair("ip", vif.ip.as_deref())?;
    spec.pair("model", vif.model.as_deref())?;
    let default = (kind == GuestKind::Hvm).then_some("ioemu");
    spec.pair("type", vif.kind.as_deref().or(default))?;
    spec.pair("vifname", vif.host_name.as_deref())?;
    spec.pair("rate", vif.rate.as_deref())?;
    spec.backend(vif.backend.as_deref())?;
    Ok(spec.finish())
}

fn vfb(vfb: &Vfb) -> Result<String, XlError> {
    let mut spec = Spec::new("vfb");
    spec.switch("vnc", vfb.vnc);
    spec.pair("vnclisten", vfb.vnc_listen.as_deref())?;
    spec.pair(
        "vncdisplay",
        vfb.vnc_display.map(|display| display.to_string()).as_deref(),
    )?;
    spec.switch("vncunused", vfb.vnc_unused);
    spec.pair("vncpasswd", vfb.vnc_password.as_deref())?;
    spec.switch("sdl", vfb.sdl);
    spec.switch("opengl", vfb.opengl);
    spec.pair("keymap", vfb.keymap.as_deref())?;
    Ok(spec.finish())
}

fn pci(device: &PciDevice) -> Result<String, XlError> {
    let mut address = format!(
        "{:04x}:{:02x}:{:02x}.{:x}",
        device.domain, device.bus, device.slot, device.function
    );
    if let Some(slot) = device.virtual_slot {
        address.push_str(&format!("@{slot:x}"));
    }
    let mut spec = Spec::new(format!("pci '{address}'"));
    spec.word(&address);
    // xl ends at an option that it does not know. xend has the first two of these.
    let known = ["msitranslate", "power_mgmt", "permissive", "seize"];
    for (key, value) in &device.options {
        if known.contains(&key.as_str()) && matches!(value.as_str(), "0" | "1") {
            spec.pair(key, Some(value))?;
        }
    }
    Ok(spec.finish())
}

fn vtpm(vtpm: &Vtpm) -> Result<String, XlError> {
    let mut spec = Spec::new("vtpm");
    // xl wants one.
    match vtpm.backend.as_deref() {
        None => spec.pair("backend", Some("0"))?,
        name => spec.backend(name)?,
    }
    spec.pair("uuid", vtpm.uuid.as_deref())?;
    Ok(spec.finish())
}
