//! The reader: `(device (CLASS (KEY VALUE)...))`.

use std::collections::BTreeMap;

use sexp::Sexp;

use super::{
    ConfigError,
    read::Origin,
    tree::{Fields, Known, Lost},
};
use crate::{
    config::{DomainConfig, GuestKind},
    devices::{DeviceSettings, PciDevice, PortRange, Vbd, VbdClass, Vfb, Vif, Vtpm, is_dom0},
    unmapped::Why,
};

/// Devices of all classes at most.
const MAX_ALL: usize = 2048;

/// What every device may say that concerns the source only.
const COMMON: &[Known] = &[
    ("uuid", Why::SourceFact, &[]),
    ("backend", Why::NoCounterpart, &["", "0", "Domain-0"]),
    ("protocol", Why::SourceFact, &[]),
    ("VDI", Why::SourceFact, &[]),
    ("location", Why::SourceFact, &[]),
    ("handle", Why::SourceFact, &[]),
    ("devid", Why::SourceFact, &[]),
    ("display", Why::SourceFact, &[]),
    ("xauthority", Why::SourceFact, &[]),
    ("vncconsole", Why::SourceFact, &[]),
    ("vifname", Why::SourceFact, &[]),
    ("accel", Why::NoCounterpart, &["", "0"]),
    ("security_label", Why::NoCounterpart, &[""]),
    ("rate", Why::NoSuchValue("is no rate that is known"), &[]),
    ("type", Why::NoSuchValue("is no type that is known"), &[]),
    ("instance", Why::SourceFact, &[]),
    ("pref_instance", Why::SourceFact, &[]),
    ("key", Why::SourceFact, &[]),
    ("vdevfn", Why::NoSuchValue("is no slot"), &[]),
    ("vslot", Why::NoSuchValue("is no slot"), &[]),
    ("vslt", Why::NoSuchValue("is no slot"), &[]),
];

pub(crate) fn read(
    devices: Vec<&[Sexp]>,
    config: &mut DomainConfig,
    origin: Origin,
    lost: &mut Lost,
) -> Result<(), ConfigError> {
    if devices.len() > MAX_ALL {
        return Err(ConfigError::TooMany {
            what: "devices",
            limit: MAX_ALL,
        });
    }
    let mut counts = BTreeMap::<String, usize>::new();
    let mut keyboards = Vec::new();
    for device in devices {
        let class = match device.first() {
            Some(Sexp::List(list)) => list
                .split_first()
                .and_then(|(head, rest)| Some((sxp::text(head)?, rest))),
            _ => None,
        };
        let Some((class, elements)) = class else {
            lost.add("device".to_owned(), device, Why::Unknown);
            continue;
        };
        if device.len() > 1 {
            lost.add("device".to_owned(), &device[1..], Why::Unknown);
        }
        let count = counts.entry(class.clone()).or_default();
        let path = format!("device/{class}[{count}]");
        *count += 1;
        let mut fields = Fields::new(&format!("{path}/"), elements);
        match class.as_str() {
            "vif" => config.vifs.push(vif(&mut fields, origin)),
            "vfb" => {
                let mut vfb = Vfb::default();
                fill_vfb(&mut fields, &mut vfb);
                config.vfbs.push(vfb);
            }
            "pci" => pci(&mut fields, config, lost)?,
            "vtpm" => config.vtpms.push(Vtpm {
                backend: backend(&mut fields, origin),
                uuid: fields.filled("uuid"),
            }),
            "ioports" => match ports(&mut fields) {
                Some(ports) => config.io_ports.push(ports),
                None => lost.add(path, elements, Why::Unknown),
            },
            "irq" => match fields.read("irq", |text| text.parse().ok()) {
                Some(irq) => config.irqs.push(irq),
                None => lost.add(path, elements, Why::Unknown),
            },
            // Every guest has one.
            "console" => {
                lost.add(path, elements, Why::Implied);
                continue;
            }
            "vkbd" => {
                keyboards.push((path, elements));
                continue;
            }
            class => match VbdClass::from_word(class) {
                Some(class) => config.vbds.push(vbd(class, &mut fields, origin, lost)),
                None => {
                    let known = ["usb", "vscsi", "vusb", "vif2"].contains(&class);
                    lost.add(path, elements, if known { Why::NoCounterpart } else { Why::Unknown });
                    continue;
                }
            },
        }
        other(&class, &fields, config, origin);
        fields.finish(COMMON, lost);
    }
    for (path, elements) in keyboards {
        // It comes with a framebuffer, and never without.
        let framebuffer = config.kind == GuestKind::Hvm || !config.vfbs.is_empty();
        let why = if framebuffer { Why::Implied } else { Why::NoCounterpart };
        lost.add(path, elements, why);
    }
    check_counts(config)
}

fn check_counts(config: &DomainConfig) -> Result<(), ConfigError> {
    for (what, count) in [
        ("vifs", config.vifs.len()),
        ("vbds", config.vbds.len()),
        ("vfbs", config.vfbs.len()),
        ("PCI devices", config.pci.len()),
        ("vtpms", config.vtpms.len()),
        ("ranges of I/O ports", config.io_ports.len()),
        ("interrupts", config.irqs.len()),
    ] {
        if count > DomainConfig::MAX_DEVICES {
            let limit = DomainConfig::MAX_DEVICES;
            return Err(ConfigError::TooMany { what, limit });
        }
    }
    Ok(())
}

/// Keeps the settings that nobody knows here: another relocd or a toolstack of its own may.
fn other(class: &str, fields: &Fields, config: &mut DomainConfig, origin: Origin) {
    let settings = match class {
        "vif" => config.vifs.last_mut().map(|vif| &mut vif.other),
        "vbd" | "tap" | "tap2" => config.vbds.last_mut().map(|vbd| &mut vbd.other),
        _ => None,
    };
    if let Some(settings) = settings {
        let lost = match origin {
            Origin::Xend => COMMON,
            Origin::Relocd => &[],
        };
        *settings = fields.unknown(lost);
    }
}

/// The domain that serves a device, if it is not dom0.
fn backend(fields: &mut Fields, origin: Origin) -> Option<String> {
    let dom0 = |backend: &str| origin == Origin::Xend && is_dom0(Some(backend));
    fields.filled("backend").filter(|backend| !dom0(backend))
}

fn vif(fields: &mut Fields, origin: Origin) -> Vif {
    let mut vif = Vif {
        mac: fields.filled("mac"),
        bridge: fields.filled("bridge"),
        ip: addresses(fields),
        model: fields.filled("model"),
        backend: backend(fields, origin),
        ..Vif::default()
    };
    if origin == Origin::Relocd {
        vif.script = fields.filled("script");
        vif.kind = fields.filled("type");
        vif.host_name = fields.filled("vifname");
        vif.rate = fields.filled("rate");
        return vif;
    }
    vif.script = fields.filled("script").map(|script| script_name(&script));
    vif.kind = fields.read("type", |kind| match kind {
        "ioemu" => Some("ioemu".to_owned()),
        "netfront" | "vif" => Some("vif".to_owned()),
        _ => None,
    });
    // A name that the source made up says nothing.
    vif.host_name = fields.read("vifname", |name| (!is_made_up(name)).then(|| name.to_owned()));
    vif.rate = fields.read("rate", rate).flatten();
    vif
}

/// One element with all addresses, or in 3.0.2 and 3.0.3 one for each.
fn addresses(fields: &mut Fields) -> Option<String> {
    let all: Vec<String> = fields
        .take_all("ip")
        .into_iter()
        .flatten()
        .filter_map(sxp::text)
        .filter(|ip| !ip.is_empty())
        .collect();
    (!all.is_empty()).then(|| all.join(" "))
}

/// A script in one of the directories where xend looks for them is called by its name alone.
fn script_name(script: &str) -> String {
    match script.rsplit_once('/') {
        Some((directory, name)) if directory.ends_with("/xen/scripts") && !name.is_empty() => name.to_owned(),
        _ => script.to_owned(),
    }
}

/// `vif6.0`: from the domain's number on the source.
fn is_made_up(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.strip_prefix("vif")
        .and_then(|rest| rest.split_once('.'))
        .is_some_and(|(domain, device)| digits(domain) && digits(device))
}

fn vbd(class: VbdClass, fields: &mut Fields, origin: Origin, lost: &mut Lost) -> Vbd {
    let mode = fields.filled("mode").unwrap_or_else(|| "r".to_owned());
    if origin == Origin::Xend && mode == "w!" {
        let why = Why::NoSuchValue("becomes w: xl has no word for a disk that others write to as well");
        lost.add(fields.path("mode"), &[sxp::atom(&mode)], why);
    }
    Vbd {
        class,
        device: fields.text("dev").unwrap_or_default(),
        backing: fields.filled("uname"),
        mode,
        bootable: fields.switch("bootable"),
        backend: backend(fields, origin),
        other: DeviceSettings::new(),
    }
}

/// Takes what concerns a display out of a `vfb`, or out of an HVM guest's image.
pub(crate) fn fill_vfb(fields: &mut Fields, vfb: &mut Vfb) {
    // 3.0.4 has (type vnc) or (type sdl) in place of (vnc 1) or (sdl 1).
    let kind = fields.read("type", |kind| ["vnc", "sdl"].contains(&kind).then(|| kind.to_owned()));
    let is = |word: &str| kind.as_deref().filter(|kind| *kind == word).map(|_| true);
    vfb.vnc = fields.switch("vnc").or(is("vnc"));
    vfb.sdl = fields.switch("sdl").or(is("sdl"));
    vfb.vnc_listen = fields.filled("vnclisten");
    vfb.vnc_display = fields.read("vncdisplay", |text| text.parse().ok());
    vfb.vnc_unused = fields.switch("vncunused");
    vfb.vnc_password = fields.filled("vncpasswd");
    vfb.opengl = fields.switch("opengl");
    vfb.keymap = fields.filled("keymap");
}

fn pci(fields: &mut Fields, config: &mut DomainConfig, lost: &mut Lost) -> Result<(), ConfigError> {
    let path = fields.path("dev");
    for (at, elements) in fields.take_all("dev").into_iter().enumerate() {
        let mut fields = Fields::new(&format!("{path}[{at}]/"), elements);
        let device = pci_device(&mut fields).ok_or_else(|| ConfigError::PciDevice {
            path: format!("{path}[{at}]"),
        })?;
        for (key, value) in &device.options {
            if !matches!(
                (key.as_str(), value.as_str()),
                ("msitranslate" | "power_mgmt", "0" | "1")
            ) {
                lost.add(
                    fields.path("opts"),
                    &[sxp::atom(key), sxp::atom(value)],
                    Why::NoCounterpart,
                );
            }
        }
        config.pci.push(device);
        fields.finish(COMMON, lost);
    }
    Ok(())
}

fn pci_device(fields: &mut Fields) -> Option<PciDevice> {
    let domain = fields.read("domain", hex).unwrap_or(0);
    let bus = fields.read("bus", hex)?;
    let slot = fields.read("slot", hex).filter(|slot| *slot < 32)?;
    let function = fields.read("func", hex).filter(|function| *function < 8)?;
    // 3.3 and 3.4 have a slot, and 0 for any; 4.0 and later a slot and a function in one, and 0x100 and up for any.
    let slot_of = |text: &str| hex(text).filter(|slot| *slot < 32);
    let devfn = |text: &str| hex(text).map(|devfn| if devfn < 0x100 { devfn >> 3 } else { 0 });
    let slots = [
        fields.read("vdevfn", devfn),
        fields.read("vslot", slot_of),
        fields.read("vslt", slot_of),
    ];
    let virtual_slot = slots.into_iter().flatten().next();
    let virtual_slot = virtual_slot
        .and_then(|slot| u8::try_from(slot).ok())
        .filter(|slot| *slot != 0);
    let mut options = DeviceSettings::new();
    for value in fields.take_all("opts") {
        pairs(value, &mut options);
    }
    Some(PciDevice {
        domain: u16::try_from(domain).ok()?,
        bus: u8::try_from(bus).ok()?,
        slot: u8::try_from(slot).ok()?,
        function: u8::try_from(function).ok()?,
        virtual_slot,
        options,
    })
}

/// `(msitranslate 1)`, alone or in a list of such. xend takes `yes` and `no` too, xl numbers only.
fn pairs(values: &[Sexp], options: &mut DeviceSettings) {
    for value in values {
        let Sexp::List(list) = value else { continue };
        match list.as_slice() {
            [Sexp::Atom(_), Sexp::Atom(_)] => {
                let texts: Vec<String> = list.iter().filter_map(sxp::text).collect();
                if let [key, value] = texts.as_slice() {
                    let value = match value.as_str() {
                        "yes" => "1",
                        "no" => "0",
                        value => value,
                    };
                    options.push((key.clone(), value.to_owned()));
                }
            }
            [Sexp::List(_), ..] => pairs(list, options),
            _ => {}
        }
    }
}

/// xend prints numbers of PCI devices and ports with `0x`, and takes them without too.
fn hex(text: &str) -> Option<u32> {
    let digits = text
        .strip_prefix("0x")
        .or_else(|| text.strip_prefix("0X"))
        .unwrap_or(text);
    u32::from_str_radix(digits, 16).ok()
}

fn ports(fields: &mut Fields) -> Option<PortRange> {
    let first = u16::try_from(fields.read("from", hex)?).ok()?;
    let last = u16::try_from(fields.read("to", hex)?).ok()?;
    (first <= last).then_some(PortRange { first, last })
}

/// A rate in the one form that xl and every xend take. From 3.1 on xend prints `BYTES,USECS` (how many bytes in how many microseconds; 0 microseconds: no
/// limit), which it does not understand itself. `Some(None)`: no limit. `None`: it is no rate.
pub(crate) fn rate(text: &str) -> Option<Option<String>> {
    let Some((bytes, usecs)) = text.split_once(',') else {
        return is_rate(text).then(|| Some(text.to_owned()));
    };
    let (bytes, usecs) = (bytes.trim().parse::<u64>().ok()?, usecs.trim().parse::<u64>().ok()?);
    if bytes == 0 || usecs > u64::from(u32::MAX) {
        return None;
    }
    if usecs == 0 {
        return Some(None);
    }
    // Rounded up: what is rounded down to whole bytes again on the other side is then the same number.
    let a_second = (u128::from(bytes) * 1_000_000).div_ceil(u128::from(usecs));
    let limit = u128::from(u32::MAX);
    // xl takes no larger number than 32 bits hold, but a unit with it.
    let rate = match a_second {
        _ if a_second <= limit => format!("{a_second}B/s"),
        _ if a_second.div_ceil(1000) <= limit => format!("{}KB/s", a_second.div_ceil(1000)),
        // Beyond 4 TB/s: no limit.
        _ => return Some(None),
    };
    Some(Some(format!("{rate}@{usecs}us")))
}

/// `NUMBER[GMK](B|b)/s`, and after `@` an interval: `NUMBER[mu]s`.
pub(crate) fn is_rate(text: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (rate, interval) = match text.split_once('@') {
        None => (text, None),
        Some((rate, interval)) => (rate, Some(interval)),
    };
    let rate = rate.strip_suffix("B/s").or_else(|| rate.strip_suffix("b/s"));
    let interval = interval.map(|interval| interval.strip_suffix('s'));
    let interval_is = |interval: Option<&str>| {
        interval.is_some_and(|interval| number(interval.strip_suffix(['m', 'u']).unwrap_or(interval)))
    };
    rate.is_some_and(|rate| number(rate.strip_suffix(['G', 'M', 'K']).unwrap_or(rate)))
        && interval.is_none_or(interval_is)
}
