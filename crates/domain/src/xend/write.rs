//! The writer, for another relocd and for a xend.

use sexp::Sexp;
use sxp::atom;

use super::ToXendError;
use crate::{
    config::{DomainConfig, GuestKind},
    cpus::CpuSet,
    devices::{DeviceSettings, PciDevice, Vbd, Vfb, Vif},
    platform::CPUID_REGISTERS,
    shown::shown,
    unmapped::{Unmapped, Why},
};

/// Whom it is written for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    Relocd,
    Xend,
}

/// Virtual processors in a mask at most.
const MAX_MASK: u32 = 128;

/// Everything.
pub(crate) fn relocd(config: &DomainConfig) -> Sexp {
    write(config, For::Relocd)
}

/// What every xend takes.
pub(crate) fn xend(config: &DomainConfig) -> Result<(Sexp, Vec<Unmapped>), ToXendError> {
    if config.kind != GuestKind::Pv {
        return Err(ToXendError::Kind(match config.kind {
            GuestKind::Hvm => "fully virtualised",
            GuestKind::Pvh => "of kind pvh",
            _ => "a software machine",
        }));
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:+-".contains(&byte);
    if !config.name.bytes().all(fits) {
        return Err(ToXendError::Name(shown(&config.name)));
    }
    let mut lost = Vec::new();
    if let Some(weight) = config.cpu_weight.filter(|weight| *weight != 256) {
        // 3.0.2 and 3.0.3 mean something else by it, and 3.2 to 3.4 ignore it.
        let why = Why::NoSuchValue("means another thing to some versions of xend; set it there with xm sched-credit");
        lost.push(Unmapped::new(
            "cpu_weight".to_owned(),
            &[atom(&weight.to_string())],
            why,
        ));
    }
    if let Some(online) = config
        .online_vcpus
        .filter(|online| (MAX_MASK..config.vcpus).contains(online))
    {
        let why = Why::NoSuchValue("is more than xend has bits for; all of them will be online");
        lost.push(Unmapped::new(
            "vcpu_avail".to_owned(),
            &[atom(&online.to_string())],
            why,
        ));
    }
    for (at, device) in config.pci.iter().enumerate() {
        for (key, value) in device.options.iter().filter(|(key, _)| !is_option(key)) {
            let path = format!("device/pci[0]/dev[{at}]/opts");
            lost.push(Unmapped::new(path, &[pair(key, value)], Why::NoCounterpart));
        }
    }
    for (class, at, settings) in others(config) {
        for (key, value) in settings {
            let path = format!("device/{class}[{at}]/{key}");
            lost.push(Unmapped::new(path, &[atom(value)], Why::NoCounterpart));
        }
    }
    Ok((write(config, For::Xend), lost))
}

fn write(config: &DomainConfig, to: For) -> Sexp {
    let mut list = vec![
        atom("domain"),
        pair("name", &config.name),
        pair("uuid", &config.uuid.to_string()),
        // xend counts in MiB; memory-kib tells what that rounds away.
        pair("memory", &config.memory_kib.div_ceil(1024).to_string()),
        pair("maxmem", &config.max_memory_kib.div_ceil(1024).to_string()),
    ];
    let whole = config.memory_kib.is_multiple_of(1024) && config.max_memory_kib.is_multiple_of(1024);
    if to == For::Relocd && !whole {
        list.push(pair("memory-kib", &config.memory_kib.to_string()));
        list.push(pair("maxmem-kib", &config.max_memory_kib.to_string()));
    }
    number(&mut list, "shadow_memory", config.shadow_memory_mib);
    list.push(pair("vcpus", &config.vcpus.to_string()));
    match config.online_vcpus.filter(|online| *online < config.vcpus) {
        Some(online @ 0..MAX_MASK) => list.push(pair("vcpu_avail", &((1_u128 << online) - 1).to_string())),
        Some(online) if to == For::Relocd => list.push(pair("online-vcpus", &online.to_string())),
        _ => {}
    }
    if !config.affinity.is_empty() {
        list.push(Sexp::List(vec![atom("cpus"), affinity(config)]));
    }
    if to == For::Relocd {
        number(&mut list, "cpu_weight", config.cpu_weight);
    }
    number(&mut list, "cpu_cap", config.cpu_cap);
    text(&mut list, "pool_name", config.pool.as_deref());
    text(&mut list, "bootloader", config.bootloader.as_deref());
    if !config.bootloader_args.is_empty() {
        list.push(pair("bootloader_args", &config.bootloader_args.join(" ")));
    }
    list.extend([
        pair("on_poweroff", config.on_poweroff.word()),
        pair("on_reboot", config.on_reboot.word()),
        pair("on_crash", config.on_crash.word()),
    ]);
    text(&mut list, "security_label", config.security_label.as_deref());
    if !config.cpuid.is_empty() {
        list.push(Sexp::List(vec![atom("cpuid"), cpuid(config)]));
    }
    list.push(Sexp::List(vec![atom("image"), image(config, to)]));
    devices(&mut list, config, to);
    Sexp::List(list)
}

/// One list for each virtual processor: xend wants them all.
fn affinity(config: &DomainConfig) -> Sexp {
    let any = CpuSet::default();
    let sets = config.affinity.iter().chain(std::iter::repeat(&any));
    let list = |set: &CpuSet| Sexp::List(set.cpus().map(|cpu| atom(&cpu.to_string())).collect());
    Sexp::List(sets.take(config.vcpus as usize).map(list).collect())
}

fn cpuid(config: &DomainConfig) -> Sexp {
    let leaf = |leaf: &crate::platform::CpuidLeaf| {
        let number = match leaf.subleaf {
            None => format!("{:#x}", leaf.leaf),
            Some(subleaf) => format!("{:#x},{subleaf}", leaf.leaf),
        };
        let registers = CPUID_REGISTERS.iter().zip(&leaf.registers);
        let registers = registers.filter_map(|(name, mask)| Some(pair(name, mask.as_deref()?)));
        Sexp::List(vec![atom(&number), Sexp::List(registers.collect())])
    };
    Sexp::List(config.cpuid.iter().map(leaf).collect())
}

fn image(config: &DomainConfig, to: For) -> Sexp {
    let mut list = vec![atom(config.kind.image_word())];
    text(&mut list, "kernel", config.kernel.as_deref());
    text(&mut list, "ramdisk", config.ramdisk.as_deref());
    text(&mut list, "args", config.extra.as_deref());
    let platform = &config.platform;
    switch(&mut list, "localtime", platform.localtime);
    number(&mut list, "rtc_timeoffset", platform.rtc_timeoffset);
    number(&mut list, "tsc_mode", platform.tsc_mode);
    switch(&mut list, "nomigrate", platform.nomigrate);
    switch(&mut list, "pci_msitranslate", platform.pci_msitranslate);
    switch(&mut list, "pci_power_mgmt", platform.pci_power_mgmt);
    if to == For::Xend || config.kind != GuestKind::Hvm {
        return Sexp::List(list);
    }
    number(&mut list, "timer_mode", platform.timer_mode);
    text(
        &mut list,
        "device_model_version",
        platform.device_model.map(|model| model.word()),
    );
    text(&mut list, "bios", platform.bios.as_deref());
    number(&mut list, "videoram", platform.video_memory_mib);
    text(&mut list, "boot", platform.boot.as_deref());
    text(&mut list, "serial", platform.serial.as_deref());
    text(&mut list, "soundhw", platform.sound.as_deref());
    list.extend(platform.usb_devices.iter().map(|device| pair("usbdevice", device)));
    for (name, on) in &platform.switches {
        switch(&mut list, name.word(), Some(*on));
    }
    if let Some(vfb) = config.vfbs.first() {
        list.extend(vfb_elements(vfb));
    }
    Sexp::List(list)
}

fn devices(list: &mut Vec<Sexp>, config: &DomainConfig, to: For) {
    list.extend(config.vifs.iter().map(|vif| device("vif", vif_elements(vif, to))));
    list.extend(
        config
            .vbds
            .iter()
            .map(|vbd| device(vbd.class.word(), vbd_elements(vbd, to))),
    );
    if config.kind != GuestKind::Hvm {
        list.extend(config.vfbs.iter().map(|vfb| device("vfb", vfb_elements(vfb))));
        if !config.vfbs.is_empty() && to == For::Xend {
            list.push(device("vkbd", Vec::new()));
        }
    }
    if !config.pci.is_empty() {
        list.push(device(
            "pci",
            config.pci.iter().map(|device| pci_element(device, to)).collect(),
        ));
    }
    list.extend(config.vtpms.iter().map(|vtpm| {
        let mut elements = Vec::new();
        text(&mut elements, "backend", vtpm.backend.as_deref());
        text(&mut elements, "uuid", vtpm.uuid.as_deref());
        device("vtpm", elements)
    }));
    list.extend(config.io_ports.iter().map(|ports| {
        let end = |key, port| pair(key, &format!("{port:#x}"));
        device("ioports", vec![end("from", ports.first), end("to", ports.last)])
    }));
    list.extend(
        config
            .irqs
            .iter()
            .map(|irq| device("irq", vec![pair("irq", &irq.to_string())])),
    );
}

fn vif_elements(vif: &Vif, to: For) -> Vec<Sexp> {
    let mut list = Vec::new();
    text(&mut list, "mac", vif.mac.as_deref());
    text(&mut list, "bridge", vif.bridge.as_deref());
    text(&mut list, "ip", vif.ip.as_deref());
    text(&mut list, "script", vif.script.as_deref());
    text(&mut list, "model", vif.model.as_deref());
    text(&mut list, "type", vif.kind.as_deref());
    text(&mut list, "vifname", vif.host_name.as_deref());
    text(&mut list, "rate", vif.rate.as_deref());
    text(&mut list, "backend", vif.backend.as_deref());
    other(&mut list, &vif.other, to);
    list
}

fn vbd_elements(vbd: &Vbd, to: For) -> Vec<Sexp> {
    let mut list = vec![pair("dev", &vbd.device)];
    text(&mut list, "uname", vbd.backing.as_deref());
    list.push(pair("mode", &vbd.mode));
    switch(&mut list, "bootable", vbd.bootable);
    text(&mut list, "backend", vbd.backend.as_deref());
    other(&mut list, &vbd.other, to);
    list
}

/// What only another relocd may know.
fn other(list: &mut Vec<Sexp>, settings: &[(String, String)], to: For) {
    if to == For::Relocd {
        list.extend(settings.iter().map(|(key, value)| pair(key, value)));
    }
}

fn vfb_elements(vfb: &Vfb) -> Vec<Sexp> {
    let mut list = Vec::new();
    switch(&mut list, "vnc", vfb.vnc);
    text(&mut list, "vnclisten", vfb.vnc_listen.as_deref());
    number(&mut list, "vncdisplay", vfb.vnc_display);
    switch(&mut list, "vncunused", vfb.vnc_unused);
    text(&mut list, "vncpasswd", vfb.vnc_password.as_deref());
    switch(&mut list, "sdl", vfb.sdl);
    switch(&mut list, "opengl", vfb.opengl);
    text(&mut list, "keymap", vfb.keymap.as_deref());
    list
}

fn pci_element(device: &PciDevice, to: For) -> Sexp {
    let hex = |key, number: u32| pair(key, &format!("{number:#x}"));
    let mut list = vec![
        atom("dev"),
        hex("domain", device.domain.into()),
        hex("bus", device.bus.into()),
        hex("slot", device.slot.into()),
        hex("func", device.function.into()),
    ];
    if let Some(slot) = device.virtual_slot {
        // All three names that xend has had for it.
        list.push(hex("vslt", slot.into()));
        list.push(hex("vslot", slot.into()));
        list.push(hex("vdevfn", u32::from(slot) << 3));
    }
    let option = |(key, value): &(String, String)| Sexp::List(vec![atom("opts"), pair(key, value)]);
    let options = device
        .options
        .iter()
        .filter(|(key, _)| to == For::Relocd || is_option(key));
    list.extend(options.map(option));
    Sexp::List(list)
}

/// Settings of devices that have no field: the class, which one of them all, and the settings.
fn others(config: &DomainConfig) -> impl Iterator<Item = (&'static str, usize, &DeviceSettings)> {
    let vifs = config.vifs.iter().enumerate().map(|(at, vif)| ("vif", at, &vif.other));
    let vbds = config.vbds.iter().enumerate().map(|(at, vbd)| ("vbd", at, &vbd.other));
    vifs.chain(vbds)
}

/// Whether xend knows an option of a PCI device: it refuses the domain for another one.
fn is_option(key: &str) -> bool {
    ["msitranslate", "power_mgmt"].contains(&key)
}

fn pair(key: &str, value: &str) -> Sexp {
    Sexp::List(vec![atom(key), atom(value)])
}

fn text(list: &mut Vec<Sexp>, key: &str, value: Option<&str>) {
    list.extend(value.map(|value| pair(key, value)));
}

fn number(list: &mut Vec<Sexp>, key: &str, value: Option<impl ToString>) {
    list.extend(value.map(|value| pair(key, &value.to_string())));
}

fn switch(list: &mut Vec<Sexp>, key: &str, value: Option<bool>) {
    list.extend(value.map(|on| pair(key, if on { "1" } else { "0" })));
}

fn device(class: &str, settings: Vec<Sexp>) -> Sexp {
    let list = std::iter::once(atom(class)).chain(settings).collect();
    Sexp::List(vec![atom("device"), Sexp::List(list)])
}
