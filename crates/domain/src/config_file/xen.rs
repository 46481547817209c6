//! What only Xen's guests have, in xl's words; xend's own words where they differ.

use super::{
    ConfigFileError, devices,
    settings::{At, Settings},
};
use crate::{
    CPUID_REGISTERS, CpuSet, CpuidLeaf, DeviceModel, DomainConfig, GuestKind, Switch, TIMER_MODES, TSC_MODES, Vfb,
};

pub(crate) fn read(settings: &mut Settings, config: &mut DomainConfig) -> Result<(), ConfigFileError> {
    processors(settings, config)?;
    if let Some((mib, _)) = settings.number("shadow_memory", 0, DomainConfig::MAX_MEMORY_KIB / 1024)? {
        config.shadow_memory_mib = Some(mib);
    }
    config.pool = settings.filled("pool")?;
    config.security_label = settings.filled("seclabel")?;
    boot(settings, config)?;
    platform(settings, config)?;
    for (text, at) in settings.list("cpuid")? {
        match cpuid(&text) {
            Some(leaf) => config.cpuid.push(leaf),
            None => settings.warnings.push(format!(
                "{}: cpuid: '{text}' is no mask of the form LEAF:REGISTER=32 BITS; it has no effect",
                at.place()
            )),
        }
    }
    if config.kind == GuestKind::Hvm {
        hvm(settings, config)?;
    }
    displays(settings, config)?;
    let wrong = |key: &'static str, at: &At, (found, expected): devices::Wrong| at.wrong(key, &found, expected);
    for (text, at) in settings.list("pci")? {
        let device = devices::pci(&text).map_err(|error| wrong("pci", &at, error))?;
        config.pci.push(device);
    }
    for (text, at) in settings.list("vtpm")? {
        let device = devices::vtpm(&text).map_err(|error| wrong("vtpm", &at, error))?;
        config.vtpms.push(device);
    }
    for (text, at) in settings.list("ioports")? {
        let ports = devices::ports(&text).map_err(|error| wrong("ioports", &at, error))?;
        config.io_ports.push(ports);
    }
    for (text, at) in settings.list("irqs")? {
        let irq = text.trim().parse().map_err(|_| at.wrong("irqs", &text, "a number"))?;
        config.irqs.push(irq);
    }
    Ok(())
}

fn processors(settings: &mut Settings, config: &mut DomainConfig) -> Result<(), ConfigFileError> {
    let online = config.vcpus;
    if let Some((most, at)) = settings.number("maxvcpus", 1, u64::from(DomainConfig::MAX_VCPUS))? {
        let most = u32::try_from(most).unwrap_or(DomainConfig::MAX_VCPUS);
        if most < online {
            let expected = format!("{online} or more: vcpus are that many");
            return Err(at.wrong("maxvcpus", &most.to_string(), &expected));
        }
        config.vcpus = most;
        config.online_vcpus = (online < most).then_some(online);
    }
    let expected = "processors such as '0-3,^1', or 'all'";
    let each = settings.is_list("cpus");
    let sets = settings
        .list("cpus")?
        .into_iter()
        .map(|(text, at)| CpuSet::from_text(&text).ok_or_else(|| at.wrong("cpus", &text, expected)));
    let mut sets = sets.collect::<Result<Vec<CpuSet>, _>>()?;
    if let ([set], false) = (sets.as_slice(), each) {
        sets = vec![set.clone(); config.vcpus as usize];
    }
    sets.truncate(config.vcpus as usize);
    while sets.last().is_some_and(CpuSet::is_any) {
        sets.pop();
    }
    config.affinity = sets;
    let number = |found: Option<(u64, At)>| found.and_then(|(number, _)| u32::try_from(number).ok());
    config.cpu_weight = number(settings.number("cpu_weight", 1, 0xffff)?);
    // xl's word, and xend's.
    let cap = number(settings.number("cap", 0, u64::from(u32::MAX))?);
    config.cpu_cap = cap.or(number(settings.number("cpu_cap", 0, u64::from(u32::MAX))?));
    Ok(())
}

fn boot(settings: &mut Settings, config: &mut DomainConfig) -> Result<(), ConfigFileError> {
    config.ramdisk = settings.filled("ramdisk")?;
    config.bootloader = settings.filled("bootloader")?;
    let each = settings.is_list("bootloader_args");
    let args = settings.list("bootloader_args")?.into_iter().map(|(text, _)| text);
    config.bootloader_args = match each {
        true => args.collect(),
        false => args
            .flat_map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .collect(),
    };
    let root = settings.filled("root")?.map(|root| format!("root={root}"));
    // The whole line, or its parts.
    if let Some(line) = settings.filled("cmdline")? {
        if root.is_some() || config.extra.is_some() {
            settings
                .warnings
                .push("cmdline is set: root and extra have no effect".to_owned());
        }
        config.extra = Some(line);
    } else if let Some(root) = root {
        config.extra = Some(match config.extra.take() {
            None => root,
            Some(extra) => format!("{root} {extra}"),
        });
    }
    Ok(())
}

fn platform(settings: &mut Settings, config: &mut DomainConfig) -> Result<(), ConfigFileError> {
    let platform = &mut config.platform;
    platform.localtime = settings.switch("localtime")?;
    platform.rtc_timeoffset = settings.read("rtc_timeoffset", "seconds", |text| text.parse().ok())?;
    platform.tsc_mode = settings.read("tsc_mode", &TSC_MODES.join(", "), |text| index(&TSC_MODES, text))?;
    platform.nomigrate = settings.switch("nomigrate")?;
    platform.pci_msitranslate = settings.switch("pci_msitranslate")?;
    platform.pci_power_mgmt = settings.switch("pci_power_mgmt")?;
    Ok(())
}

fn hvm(settings: &mut Settings, config: &mut DomainConfig) -> Result<(), ConfigFileError> {
    let platform = &mut config.platform;
    let models = "qemu-xen or qemu-xen-traditional";
    platform.device_model = settings.read("device_model_version", models, DeviceModel::from_word)?;
    platform.bios = settings.filled("bios")?;
    platform.bios = settings.filled("firmware")?.or(platform.bios.take());
    let modes = TIMER_MODES.join(", ");
    platform.timer_mode = settings.read("timer_mode", &modes, |text| index(&TIMER_MODES, text))?;
    platform.video_memory_mib = settings.number("videoram", 0, 1 << 20)?.map(|(mib, _)| mib);
    platform.boot = settings.filled("boot")?;
    platform.serial = settings.filled("serial")?;
    platform.sound = settings.filled("soundhw")?;
    platform.usb_devices = settings.list("usbdevice")?.into_iter().map(|(text, _)| text).collect();
    for switch in Switch::ALL {
        if let Some(on) = settings.switch(switch.word())? {
            platform.switches.insert(*switch, on);
        }
    }
    Ok(())
}

/// A word of a list, or its index.
fn index(words: &[&str], text: &str) -> Option<u8> {
    let at = words.iter().position(|word| *word == text);
    let at = at.or_else(|| text.parse().ok().filter(|at| *at < words.len()));
    at.and_then(|at| u8::try_from(at).ok())
}

/// Framebuffers; of an HVM guest, or without a list of them, what stands at the top of the file.
fn displays(settings: &mut Settings, config: &mut DomainConfig) -> Result<(), ConfigFileError> {
    if config.kind != GuestKind::Hvm {
        for (text, at) in settings.list("vfb")? {
            let vfb = devices::vfb(&text).map_err(|(found, expected)| at.wrong("vfb", &found, expected))?;
            config.vfbs.push(vfb);
        }
        if !config.vfbs.is_empty() {
            return Ok(());
        }
    }
    let vfb = Vfb {
        vnc: settings.switch("vnc")?,
        vnc_listen: settings.filled("vnclisten")?,
        vnc_display: settings.read("vncdisplay", "a number", |text| text.parse().ok())?,
        vnc_unused: settings.switch("vncunused")?,
        vnc_password: settings.filled("vncpasswd")?,
        sdl: settings.switch("sdl")?,
        opengl: settings.switch("opengl")?,
        keymap: settings.filled("keymap")?,
    };
    // A paravirtualised guest has one if it is switched on; an HVM guest has one in any case.
    if (config.kind == GuestKind::Hvm || vfb.vnc == Some(true)) && vfb != Vfb::default() {
        config.vfbs.push(vfb);
    }
    Ok(())
}

/// `LEAF[,SUBLEAF]:eax=MASK,...`.
fn cpuid(text: &str) -> Option<CpuidLeaf> {
    let (leaf, masks) = text.split_once(':')?;
    let (leaf, subleaf) = CpuidLeaf::leaf_from_text(leaf)?;
    let mut registers = [const { None }; 4];
    for part in masks.split(',').filter(|part| !part.trim().is_empty()) {
        let (name, mask) = part.split_once('=')?;
        let at = CPUID_REGISTERS.iter().position(|known| *known == name.trim())?;
        registers[at] = Some(CpuidLeaf::mask_from_text(mask)?);
    }
    Some(CpuidLeaf {
        leaf,
        subleaf,
        registers,
    })
}
