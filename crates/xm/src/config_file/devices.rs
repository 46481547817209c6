//! Devices: `'mac=..,bridge=..'` and `'phy:/dev/x,xvda,w'`.

use domain::{Vbd, Vif};

/// What was found, and what was expected.
type Wrong = (String, &'static str);

/// A network interface. An empty text is one with all the defaults.
pub(crate) fn vif(text: &str) -> Result<Vif, Wrong> {
    let expected = "key=value, such as 'mac=00:16:3e:00:00:01,bridge=xenbr0'";
    let mut vif = Vif::default();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let split = part.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
        let Some((key, value)) = split.filter(|(key, _)| !key.is_empty()) else {
            return Err((part.to_owned(), expected));
        };
        let field = match key {
            "mac" if !is_mac(value) => return Err((part.to_owned(), "a MAC address such as 00:16:3e:00:00:01")),
            "mac" => &mut vif.mac,
            "bridge" => &mut vif.bridge,
            "ip" => &mut vif.ip,
            "script" => &mut vif.script,
            _ => {
                vif.other.push((key.to_owned(), value.to_owned()));
                continue;
            }
        };
        if field.replace(value.to_owned()).is_some() {
            return Err((part.to_owned(), "each key once"));
        }
    }
    Ok(vif)
}

fn is_mac(text: &str) -> bool {
    let octet = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.split(':').count() == 6 && text.split(':').all(octet)
}

/// A block device: what is behind it, the guest's name for it, and how it may be used.
pub(crate) fn disk(text: &str) -> Result<Vbd, Wrong> {
    let expected = "'BACKING,DEVICE,MODE', such as 'phy:/dev/vg0/web,xvda,w'";
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let &[backing, device, mode] = parts.as_slice() else {
        return Err((text.to_owned(), expected));
    };
    // xl's other form has its keys in any place: format=raw,vdev=xvda,...
    if device.is_empty() || device.contains('=') || mode.contains('=') {
        return Err((text.to_owned(), expected));
    }
    let mode = match mode {
        "r" | "ro" => "r",
        "w" | "rw" => "w",
        "w!" => "w!",
        _ => {
            return Err((
                text.to_owned(),
                "the mode r, w or w!, such as in 'phy:/dev/vg0/web,xvda,w'",
            ));
        }
    };
    Ok(Vbd {
        device: device.to_owned(),
        backing: (!backing.is_empty()).then(|| backing.to_owned()),
        mode: mode.to_owned(),
        ..Vbd::default()
    })
}
