//! A domain's configuration as text that `xl create` and `xl restore` read (xl.cfg).

use domain::{DomainConfig, GuestKind, Vbd, Vif};

/// The text. `name`: what the domain is to be called.
///
/// # Errors
/// What xl can't have, in words.
pub(crate) fn config(config: &DomainConfig, name: &str) -> Result<String, String> {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| text.push_str(&format!("{key} = {value}\n"));
    line("name", &quoted(name));
    line("uuid", &quoted(&config.uuid.to_string()));
    match config.kind {
        GuestKind::Pv => line("type", "\"pv\""),
        GuestKind::Pvh => line("type", "\"pvh\""),
        GuestKind::Hvm => {
            line("type", "\"hvm\"");
            // Xen before 4.10 knows this one only.
            line("builder", "\"hvm\"");
        }
        GuestKind::Embedded => return Err("Xen runs no guests of the embedded toolstack".to_owned()),
    }
    line("memory", &config.memory_kib.div_ceil(1024).to_string());
    line("maxmem", &config.max_memory_kib.div_ceil(1024).to_string());
    line("vcpus", &config.vcpus.to_string());
    for (key, value) in [("kernel", &config.kernel), ("extra", &config.extra)] {
        if let Some(value) = value {
            line(key, &quoted(value));
        }
    }
    line("on_poweroff", &quoted(config.on_poweroff.word()));
    line("on_reboot", &quoted(config.on_reboot.word()));
    line("on_crash", &quoted(config.on_crash.word()));
    let vifs: Vec<String> = config.vifs.iter().map(|vif| quoted(&nic(vif))).collect();
    if !vifs.is_empty() {
        line("vif", &format!("[ {} ]", vifs.join(", ")));
    }
    let disks: Result<Vec<String>, String> = config
        .vbds
        .iter()
        .map(|vbd| disk(vbd).map(|disk| quoted(&disk)))
        .collect();
    let disks = disks?;
    if !disks.is_empty() {
        line("disk", &format!("[ {} ]", disks.join(", ")));
    }
    Ok(text)
}

fn nic(vif: &Vif) -> String {
    let known = [
        ("mac", &vif.mac),
        ("bridge", &vif.bridge),
        ("ip", &vif.ip),
        ("script", &vif.script),
    ];
    let known = known
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.as_deref()?)));
    let other = vif
        .other
        .iter()
        .filter(|(key, _)| matches!(key.as_str(), "model" | "vifname" | "rate" | "type"))
        .map(|(key, value)| (key.as_str(), value.as_str()));
    let parts: Vec<String> = known
        .chain(other)
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    parts.join(",")
}

/// xend's words for a disk in xl's. The target stands last: there it may hold commas.
fn disk(vbd: &Vbd) -> Result<String, String> {
    let device = vbd.device.strip_prefix("ioemu:").unwrap_or(&vbd.device);
    let (device, cdrom) = match device.split_once(':') {
        Some((device, kind)) => (device, kind == "cdrom"),
        None => (device, false),
    };
    let access = if vbd.mode.starts_with('w') { "rw" } else { "ro" };
    let mut text = format!("vdev={device},access={access}");
    if cdrom {
        text.push_str(",devtype=cdrom");
    }
    let Some(backing) = vbd.backing.as_deref().filter(|backing| !backing.is_empty()) else {
        text.push_str(",format=empty");
        return Ok(text);
    };
    let unknown = || format!("disk {device}: xl has nothing for '{backing}'");
    let (kind, target) = backing.split_once(':').ok_or_else(unknown)?;
    let (format, target) = match kind {
        "phy" if !target.starts_with('/') => ("raw", format!("/dev/{target}")),
        "phy" | "file" => ("raw", target.to_owned()),
        "tap" | "tap2" => {
            let target = target.strip_prefix("tapdisk:").unwrap_or(target);
            let (format, path) = target.split_once(':').ok_or_else(unknown)?;
            match format {
                "aio" | "sync" => ("raw", path.to_owned()),
                "qcow" | "qcow2" | "vhd" => (format, path.to_owned()),
                _ => return Err(unknown()),
            }
        }
        // It names a program: nothing that could lead out of the directory of scripts.
        word if word
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
            && !word.is_empty() =>
        {
            text.push_str(&format!(",script=block-{word}"));
            ("raw", target.to_owned())
        }
        _ => return Err(unknown()),
    };
    text.push_str(&format!(",format={format},target={target}"));
    Ok(text)
}

/// A string as xl's configurations have it, with C's escapes.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for byte in sxp::bytes_of_text(text) {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            0x20..=0x7e => out.push(char::from(byte)),
            byte => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_whole_one() {
        let uuid = Uuid::from_u128(7);
        let mut domain = DomainConfig::new("web", uuid, 262_144, GuestKind::Hvm);
        domain.kernel = Some("/boot/a \"b\"".to_owned());
        domain.vifs.push(Vif {
            mac: Some("00:16:3e:00:00:01".to_owned()),
            bridge: Some("xenbr0".to_owned()),
            other: vec![
                ("accel".to_owned(), "0".to_owned()),
                ("model".to_owned(), "e1000".to_owned()),
            ],
            ..Vif::default()
        });
        domain.vbds.push(Vbd {
            device: "xvda:disk".to_owned(),
            backing: Some("phy:vg/web,a".to_owned()),
            mode: "w!".to_owned(),
            ..Vbd::default()
        });
        let text = config(&domain, "arriving-x-web").unwrap();
        assert_eq!(
            text,
            "name = \"arriving-x-web\"\nuuid = \"00000000-0000-0000-0000-000000000007\"\ntype = \"hvm\"\nbuilder = \"hvm\"\nmemory = 256\n\
             maxmem = 256\nvcpus = 1\nkernel = \"/boot/a \\\"b\\\"\"\non_poweroff = \"destroy\"\non_reboot = \"restart\"\non_crash = \"restart\"\n\
             vif = [ \"mac=00:16:3e:00:00:01,bridge=xenbr0,model=e1000\" ]\n\
             disk = [ \"vdev=xvda,access=rw,format=raw,target=/dev/vg/web,a\" ]\n"
        );
        domain.kind = GuestKind::Embedded;
        assert!(config(&domain, "web").is_err());
    }

    #[test]
    fn disks() {
        let text = |device: &str, backing: Option<&str>, mode: &str| {
            disk(&Vbd {
                device: device.to_owned(),
                backing: backing.map(str::to_owned),
                mode: mode.to_owned(),
                ..Vbd::default()
            })
        };
        for (device, backing, mode, expected) in [
            ("xvda", Some("file:/a"), "r", "vdev=xvda,access=ro,format=raw,target=/a"),
            (
                "ioemu:hda",
                Some("tap:aio:/a"),
                "w",
                "vdev=hda,access=rw,format=raw,target=/a",
            ),
            (
                "xvda",
                Some("tap2:tapdisk:qcow2:/a"),
                "w",
                "vdev=xvda,access=rw,format=qcow2,target=/a",
            ),
            ("hdc:cdrom", None, "r", "vdev=hdc,access=ro,devtype=cdrom,format=empty"),
            (
                "xvda",
                Some("drbd:res"),
                "w",
                "vdev=xvda,access=rw,script=block-drbd,format=raw,target=res",
            ),
        ] {
            assert_eq!(text(device, backing, mode).unwrap(), expected);
        }
        for bad in ["/dev/x", "tap:ram:/a", "../x:/a", "tap:aio"] {
            assert!(text("xvda", Some(bad), "w").is_err(), "{bad}");
        }
    }
}
