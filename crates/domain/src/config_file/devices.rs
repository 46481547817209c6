//! Devices: `'mac=..,bridge=..'` and `'phy:/dev/x,xvda,w'`.

use crate::{PciDevice, PortRange, Vfb, Vif, Vtpm, is_dom0};

/// What was found, and what was expected.
pub(crate) type Wrong = (String, &'static str);

/// The `key=value` pairs of a text.
fn pairs<'a>(text: &'a str, expected: &'static str) -> impl Iterator<Item = Result<(&'a str, &'a str), Wrong>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(move |part| {
        let split = part.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
        split
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| (part.to_owned(), expected))
    })
}

/// A network interface. An empty text is one with all the defaults.
pub(crate) fn vif(text: &str) -> Result<Vif, Wrong> {
    let expected = "key=value, such as 'mac=00:16:3e:00:00:01,bridge=xenbr0'";
    let mut vif = Vif::default();
    for pair in pairs(text, expected) {
        let (key, value) = pair?;
        let part = || format!("{key}={value}");
        let field = match key {
            "mac" if !is_mac(value) => return Err((part(), "a MAC address such as 00:16:3e:00:00:01")),
            "mac" => &mut vif.mac,
            "bridge" => &mut vif.bridge,
            "ip" => &mut vif.ip,
            "script" => &mut vif.script,
            "model" => &mut vif.model,
            "type" if !["ioemu", "vif", "netfront"].contains(&value) => return Err((part(), "type=ioemu or type=vif")),
            "type" if value == "netfront" => {
                vif.kind = Some("vif".to_owned());
                continue;
            }
            "type" => &mut vif.kind,
            "vifname" => &mut vif.host_name,
            "rate" if !crate::xend::is_rate(value) => return Err((part(), "a rate such as rate=10MB/s@50ms")),
            "rate" => &mut vif.rate,
            "backend" => &mut vif.backend,
            _ => {
                vif.other.push((key.to_owned(), value.to_owned()));
                continue;
            }
        };
        if field.replace(value.to_owned()).is_some() {
            return Err((part(), "each key once"));
        }
    }
    Ok(vif)
}

fn is_mac(text: &str) -> bool {
    let octet = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.split(':').count() == 6 && text.split(':').all(octet)
}

/// A framebuffer. An empty text is one with all the defaults.
pub(crate) fn vfb(text: &str) -> Result<Vfb, Wrong> {
    let mut vfb = Vfb::default();
    for pair in pairs(text, "key=value, such as 'vnc=1,vnclisten=127.0.0.1'") {
        let (key, value) = pair?;
        let part = || format!("{key}={value}");
        let number = || value.parse::<u32>().map_err(|_| (part(), "a number"));
        let on = || number().map(|number| Some(number != 0));
        let text = || Some(value.to_owned()).filter(|text| !text.is_empty());
        match key {
            "vnc" => vfb.vnc = on()?,
            "vnclisten" => vfb.vnc_listen = text(),
            "vncdisplay" => vfb.vnc_display = Some(number()?),
            "vncunused" => vfb.vnc_unused = on()?,
            "vncpasswd" => vfb.vnc_password = text(),
            "sdl" => vfb.sdl = on()?,
            "opengl" => vfb.opengl = on()?,
            "keymap" => vfb.keymap = text(),
            // xend 3.0.4's words.
            "type" if value == "vnc" => vfb.vnc = Some(true),
            "type" if value == "sdl" => vfb.sdl = Some(true),
            // They name a screen of the host, not of the guest.
            "display" | "xauthority" => {}
            _ => {
                return Err((
                    part(),
                    "a setting of a framebuffer, such as vnc, vnclisten, vncdisplay or keymap",
                ));
            }
        }
    }
    Ok(vfb)
}

/// A function of a PCI device: `[DDDD:]BB:SS.F[@VSLOT][,option=value...]`, all in hexadecimal.
pub(crate) fn pci(text: &str) -> Result<PciDevice, Wrong> {
    let expected = "[DDDD:]BB:SS.F[@VSLOT], such as '0000:03:10.1'";
    let wrong = || (text.to_owned(), expected);
    let (address, options) = text.split_once(',').unwrap_or((text, ""));
    let (address, slot) = match address.trim().split_once('@') {
        None => (address.trim(), None),
        Some((address, slot)) => (address, Some(slot)),
    };
    let byte = |text: &str| u8::from_str_radix(text, 16).ok();
    let (device, function) = address.split_once('.').ok_or_else(wrong)?;
    let parts: Vec<&str> = device.split(':').collect();
    let (domain, bus, device) = match *parts.as_slice() {
        [bus, device] => ("0", bus, device),
        [domain, bus, device] => (domain, bus, device),
        _ => return Err(wrong()),
    };
    let mut pci = PciDevice {
        domain: u16::from_str_radix(domain, 16).map_err(|_| wrong())?,
        bus: byte(bus).ok_or_else(wrong)?,
        slot: byte(device).filter(|slot| *slot < 32).ok_or_else(wrong)?,
        function: byte(function).filter(|function| *function < 8).ok_or_else(wrong)?,
        ..PciDevice::default()
    };
    if let Some(slot) = slot {
        let slot = byte(slot).filter(|slot| *slot < 32).ok_or_else(wrong)?;
        pci.virtual_slot = Some(slot).filter(|slot| *slot != 0);
    }
    for pair in pairs(options, "option=value, such as msitranslate=1") {
        let (key, value) = pair?;
        pci.options.push((key.to_owned(), value.to_owned()));
    }
    Ok(pci)
}

/// A virtual TPM.
pub(crate) fn vtpm(text: &str) -> Result<Vtpm, Wrong> {
    let mut vtpm = Vtpm::default();
    let expected = "backend=NAME,uuid=UUID";
    for pair in pairs(text, expected) {
        let (key, value) = pair?;
        match key {
            "backend" => vtpm.backend = Some(value.to_owned()).filter(|name| !is_dom0(Some(name))),
            "uuid" => vtpm.uuid = Some(value.to_owned()),
            _ => return Err((format!("{key}={value}"), expected)),
        }
    }
    Ok(vtpm)
}

/// I/O ports: `2f8-2ff` or `2f8`, in hexadecimal.
pub(crate) fn ports(text: &str) -> Result<PortRange, Wrong> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| {
        let text = text.trim();
        u16::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
    };
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first <= last => Ok(PortRange { first, last }),
        _ => Err((text.to_owned(), "a range of ports in hexadecimal, such as '2f8-2ff'")),
    }
}
