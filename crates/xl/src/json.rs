//! A domain's configuration in libxl's JSON: what `xl list -l` prints and `xl save` puts before an image.
//!
//! Facts from what Xen 4.17 prints and from the types of libxl (`libxl_types.idl`): a field that has its default is often absent.

use domain::{
    Action, CPUID_REGISTERS, CpuidLeaf, DeviceSettings, DomainConfig, GuestKind, PciDevice, TSC_MODES, Vbd, Vif,
    check_bootloader, check_bootloader_argument, check_script, is_dom0,
};
use serde_json::Value;
use toolstack::DomainId;
use uuid::Uuid;

/// The configuration of one domain in what `xl list -l` prints: `[{"domid": 16, "config": {...}}, ...]`.
///
/// # Errors
/// What is wrong, in words; that the domain is not in it is `None`.
pub(crate) fn find(text: &[u8], id: DomainId) -> Result<Option<Value>, String> {
    let list: Value = serde_json::from_slice(text).map_err(|error| format!("xl list -l prints no JSON: {error}"))?;
    let Value::Array(list) = list else {
        return Err("xl list -l prints no list".to_owned());
    };
    let of_id = |entry: &Value| entry.get("domid").and_then(Value::as_u64) == Some(u64::from(id));
    let found = list.into_iter().find(of_id);
    Ok(found.and_then(|mut entry| entry.get_mut("config").map(Value::take)))
}

/// Understands a `libxl_domain_config`.
///
/// # Errors
/// What is missing or wrong, in words.
pub(crate) fn config(value: &Value) -> Result<DomainConfig, String> {
    let create = value.get("c_info").ok_or("c_info is missing")?;
    let build = value.get("b_info").ok_or("b_info is missing")?;
    let name = text(create, "name").ok_or("c_info.name is missing")?;
    if !DomainConfig::is_name(&name) {
        return Err(format!("a domain can't have the name {name:?}"));
    }
    let uuid = text(create, "uuid").ok_or("c_info.uuid is missing")?;
    let uuid = Uuid::try_parse(&uuid).map_err(|_| format!("c_info.uuid is {uuid:?}"))?;
    let kind = match text(create, "type").as_deref() {
        Some("pv") => GuestKind::Pv,
        Some("pvh") => GuestKind::Pvh,
        Some("hvm") => GuestKind::Hvm,
        other => return Err(format!("c_info.type is {other:?}")),
    };
    let most = number(build, "max_memkb").filter(|kib| (1..=DomainConfig::MAX_MEMORY_KIB).contains(kib));
    let most = most.ok_or("b_info.max_memkb is missing or out of range")?;
    let memory = number(build, "target_memkb")
        .filter(|kib| (1..=most).contains(kib))
        .unwrap_or(most);
    let mut config = DomainConfig::new(&name, uuid, memory, kind);
    config.max_memory_kib = most;
    let vcpus = number(build, "max_vcpus")
        .unwrap_or(1)
        .clamp(1, u64::from(DomainConfig::MAX_VCPUS));
    config.vcpus = u32::try_from(vcpus).unwrap_or(DomainConfig::MAX_VCPUS);
    // Before Xen 4.8 they stood in the part that only PV guests have.
    let image = |key: &str| text(build, key).or_else(|| text(build.get("type.pv").or(build.get("u"))?, key));
    config.kernel = image("kernel");
    config.extra = image("cmdline");
    config.ramdisk = image("ramdisk");
    config.bootloader = image("bootloader");
    config.bootloader_args = list(build, "bootloader_args")
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    config.shadow_memory_mib = number(build, "shadow_memkb").map(|kib| kib / 1024);
    let index = |word: &str| TSC_MODES.iter().position(|mode| *mode == word);
    let tsc_mode = text(build, "tsc_mode").and_then(|word| index(&word));
    config.platform.tsc_mode = tsc_mode.and_then(|index| u8::try_from(index).ok());
    // Since Xen 4.19 there may be registers of another kind beside them.
    let policy = build.get("cpuid").map(|policy| policy.get("cpuid").unwrap_or(policy));
    let leaves = policy.and_then(Value::as_array).into_iter().flatten();
    config.cpuid = leaves.filter_map(cpuid).take(DomainConfig::MAX_DEVICES).collect();
    action(value, "on_poweroff", &mut config.on_poweroff);
    action(value, "on_reboot", &mut config.on_reboot);
    action(value, "on_crash", &mut config.on_crash);
    config.vifs = list(value, "nics").map(vif).collect();
    config.vbds = list(value, "disks").filter_map(vbd).collect();
    config.pci = list(value, "pcidevs").map(pci).collect();
    Ok(config)
}

/// Device models and their arguments: programs, and what makes one start others. xl's `device_model_override` is libxl's `device_model`.
const DEVICE_MODELS: [&str; 5] = [
    "device_model",
    "device_model_override",
    "extra",
    "extra_pv",
    "extra_hvm",
];

/// Whether all programs of the host that a peer's configuration names are Xen's own, wherever they stand in it: libxl takes some at more than one place.
///
/// # Errors
/// The first that is not, in words.
pub(crate) fn check_programs(value: &Value) -> Result<(), String> {
    match value {
        Value::Array(values) => values.iter().try_for_each(check_programs),
        Value::Object(fields) => fields.iter().try_for_each(|(key, value)| {
            let checked = match (key.as_str(), value) {
                ("script", Value::String(script)) if !script.is_empty() => check_script(script),
                ("bootloader", Value::String(bootloader)) if !bootloader.is_empty() => check_bootloader(bootloader),
                ("bootloader_args", Value::Array(arguments)) => arguments
                    .iter()
                    .filter_map(Value::as_str)
                    .try_for_each(check_bootloader_argument),
                (key, value) if DEVICE_MODELS.contains(&key) && !is_unset(value) => {
                    return Err(format!("{key}: a device model of its own can't come with a domain"));
                }
                _ => Ok(()),
            };
            checked.map_err(|foreign| foreign.to_string())?;
            check_programs(value)
        }),
        _ => Ok(()),
    }
}

fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        _ => false,
    }
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn number(value: &Value, key: &str) -> Option<u64> {
    value.get(key).and_then(Value::as_u64)
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// A leaf of CPUID whose bits the configuration sets. What is no such leaf has no meaning here.
fn cpuid(leaf: &Value) -> Option<CpuidLeaf> {
    let small = |key: &str| number(leaf, key).and_then(|number| u32::try_from(number).ok());
    let mask = |key: &str| text(leaf, key).filter(|mask| CpuidLeaf::is_mask(mask));
    Some(CpuidLeaf {
        leaf: small("leaf")?,
        subleaf: small("subleaf"),
        registers: CPUID_REGISTERS.map(mask),
    })
}

/// libxl's word for what a domain does at its end. `soft-reset` and words of other versions have none here: the default stays.
fn action(value: &Value, key: &str, action: &mut Action) {
    let word = match text(value, key).as_deref() {
        Some("restart_rename") => "rename-restart".to_owned(),
        Some(word) => word.replace('_', "-"),
        None => return,
    };
    if let Some(known) = Action::from_word(&word) {
        *action = known;
    }
}

/// The bridge that libxl takes for an interface that names none (Xen 4.17, `libxl_nic.c`); it does not write it into the configuration.
const DEFAULT_BRIDGE: &str = "xenbr0";

fn vif(nic: &Value) -> Vif {
    let filled = |key| text(nic, key).filter(|word| !word.is_empty());
    let script = filled("script");
    let bridged = script
        .as_deref()
        .is_none_or(|script| script.rsplit('/').next() == Some("vif-bridge"));
    // What another domain serves is on a bridge of that domain's.
    let backend = filled("backend_domname");
    let default = (bridged && is_dom0(backend.as_deref())).then(|| DEFAULT_BRIDGE.to_owned());
    Vif {
        mac: text(nic, "mac"),
        bridge: filled("bridge").or(default),
        ip: text(nic, "ip"),
        script,
        model: text(nic, "model"),
        host_name: text(nic, "ifname"),
        backend,
        ..Vif::default()
    }
}

/// A PCI device of the host's. A field that has its default, 0, is absent.
fn pci(device: &Value) -> PciDevice {
    let small = |key: &str| number(device, key).unwrap_or_default();
    PciDevice {
        domain: u16::try_from(small("domain")).unwrap_or_default(),
        bus: u8::try_from(small("bus")).unwrap_or_default(),
        slot: u8::try_from(small("dev")).unwrap_or_default(),
        function: u8::try_from(small("func")).unwrap_or_default(),
        virtual_slot: None,
        options: DeviceSettings::default(),
    }
}

/// A disk in xend's words.
fn vbd(disk: &Value) -> Option<Vbd> {
    // libxl writes booleans of its own kind as words and plain C ones as numbers.
    let is = |key: &str| match disk.get(key) {
        Some(Value::Bool(is)) => *is,
        Some(Value::Number(number)) => number.as_u64() != Some(0),
        Some(Value::String(word)) => word == "True",
        _ => false,
    };
    let device = text(disk, "vdev")?;
    let path = text(disk, "pdev_path").filter(|path| !path.is_empty());
    let backing = path.map(|path| match (text(disk, "script"), text(disk, "format").as_deref()) {
        // It may stand there with its directory.
        (Some(script), _) => {
            let name = script.rsplit_once('/').map_or(script.as_str(), |(_, name)| name);
            format!("{}:{path}", name.trim_start_matches("block-"))
        }
        (None, Some(format @ ("qcow" | "qcow2" | "vhd"))) => format!("tap:{format}:{path}"),
        (None, _) if path.starts_with("/dev/") || text(disk, "backend").as_deref() == Some("phy") => {
            format!("phy:{path}")
        }
        (None, _) => format!("file:{path}"),
    });
    let kind = if is("is_cdrom") { "cdrom" } else { "disk" };
    Some(Vbd {
        device: format!("{device}:{kind}"),
        backing,
        mode: if is("readwrite") { "w" } else { "r" }.to_owned(),
        backend: text(disk, "backend_domname"),
        ..Vbd::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Xen 4.17 printed it.
    const SEEN: &str = r#"[ { "domid": 0, "config": { "c_info": { "type": "pv", "name": "Domain-0" } } },
        { "domid": 16, "config": {
            "c_info": { "type": "pv", "name": "g128", "domid": 4294967295, "uuid": "32fe8dbd-ead2-49dd-af32-89b799ba445a", "run_hotplug_scripts": "True" },
            "b_info": { "max_vcpus": 1, "avail_vcpus": [ 0 ], "max_memkb": 131072, "target_memkb": 131072, "video_memkb": 0,
                "sched_params": { "sched": "credit2", "weight": 256, "cap": 0 }, "claim_mode": "True", "kernel": "/guest/vmlinuz",
                "cmdline": "console=hvc0 quiet gip=192.168.77.10 wss=0 dirty=0", "ramdisk": "/guest/gi.img", "type.pv": { }, "arch_arm": { },
                "arch_x86": { "msr_relaxed": "False" } },
            "nics": [ { "devid": 0, "mac": "00:16:3e:77:00:10", "bridge": "xenbr0", "nictype": "vif" } ],
            "on_reboot": "restart", "on_crash": "preserve", "on_soft_reset": "soft_reset" } } ]"#;

    fn seen() -> Value {
        find(SEEN.as_bytes(), 16).unwrap().unwrap()
    }

    #[test]
    fn what_xen_printed() {
        let config = config(&seen()).unwrap();
        assert_eq!((config.name.as_str(), config.kind), ("g128", GuestKind::Pv));
        assert_eq!(
            (config.memory_kib, config.max_memory_kib, config.vcpus),
            (131072, 131072, 1)
        );
        assert_eq!(config.kernel.as_deref(), Some("/guest/vmlinuz"));
        assert_eq!(
            config.extra.as_deref(),
            Some("console=hvc0 quiet gip=192.168.77.10 wss=0 dirty=0")
        );
        assert_eq!(
            (config.on_poweroff, config.on_crash),
            (Action::Destroy, Action::Preserve)
        );
        assert_eq!(config.ramdisk.as_deref(), Some("/guest/gi.img"));
        assert_eq!(config.vifs[0].mac.as_deref(), Some("00:16:3e:77:00:10"));
        assert_eq!(config.bridges(), ["xenbr0"]);
        assert_eq!(find(SEEN.as_bytes(), 17), Ok(None));
    }

    #[test]
    fn an_interface_without_a_bridge_is_on_libxls_default() {
        let mut value = seen();
        for (nic, expected) in [
            (r#"{ "mac": "00:16:3e:77:00:10" }"#, vec!["xenbr0"]),
            (
                r#"{ "bridge": "", "script": "/etc/xen/scripts/vif-bridge" }"#,
                vec!["xenbr0"],
            ),
            (r#"{ "bridge": "br1", "script": "vif-bridge" }"#, vec!["br1"]),
            (r#"{ "script": "vif-route" }"#, vec![]),
            (r#"{ "backend_domname": "driver" }"#, vec![]),
            (r#"{ "backend_domname": "driver", "bridge": "br1" }"#, vec![]),
            (r#"{ "backend_domname": "Domain-0", "bridge": "br1" }"#, vec!["br1"]),
        ] {
            value["nics"] = serde_json::from_str(&format!("[{nic}]")).unwrap();
            assert_eq!(config(&value).unwrap().bridges(), expected, "{nic}");
        }
    }

    #[test]
    fn pci_devices() {
        let mut value = seen();
        assert!(config(&value).unwrap().pci.is_empty());
        value["pcidevs"] = serde_json::json!([{ "bus": 3, "func": 1, "dev": 2, "rdm_policy": "strict" }, {}]);
        let devices = config(&value).unwrap().pci;
        assert_eq!(devices.len(), 2);
        assert_eq!(
            (devices[0].domain, devices[0].bus, devices[0].slot, devices[0].function),
            (0, 3, 2, 1)
        );
    }

    #[test]
    fn disks_and_actions() {
        let mut value = seen();
        value["b_info"]["tsc_mode"] = "native".into();
        value["on_crash"] = "restart_rename".into();
        value["on_poweroff"] = "coredump_destroy".into();
        value["disks"] = serde_json::from_str(
            r#"[ { "pdev_path": "/dev/vg/web", "vdev": "xvda", "backend": "phy", "format": "raw", "readwrite": 1 },
                 { "pdev_path": "/images/a.qcow2", "vdev": "xvdb", "backend": "qdisk", "format": "qcow2", "readwrite": 1, "is_cdrom": 0 },
                 { "pdev_path": "/images/b.iso", "vdev": "hdc", "format": "raw", "is_cdrom": 1, "readwrite": 0 },
                 { "vdev": "hdd", "format": "empty", "is_cdrom": 1 },
                 { "pdev_path": "res", "vdev": "xvdc", "script": "block-drbd", "readwrite": 1 },
                 { "pdev_path": "res", "vdev": "xvdd", "script": "/etc/xen/scripts/block-iscsi", "readwrite": 1 } ]"#,
        )
        .unwrap();
        let config = config(&value).unwrap();
        assert_eq!(config.platform.tsc_mode, Some(2));
        assert_eq!(
            (config.on_crash, config.on_poweroff),
            (Action::RenameRestart, Action::CoredumpDestroy)
        );
        let disks: Vec<(&str, Option<&str>, &str)> = config
            .vbds
            .iter()
            .map(|vbd| (vbd.device.as_str(), vbd.backing.as_deref(), vbd.mode.as_str()))
            .collect();
        assert_eq!(
            disks,
            [
                ("xvda:disk", Some("phy:/dev/vg/web"), "w"),
                ("xvdb:disk", Some("tap:qcow2:/images/a.qcow2"), "w"),
                ("hdc:cdrom", Some("file:/images/b.iso"), "r"),
                ("hdd:cdrom", None, "r"),
                ("xvdc:disk", Some("drbd:res"), "w"),
                ("xvdd:disk", Some("iscsi:res"), "w"),
            ]
        );
    }

    #[test]
    fn masks_of_cpuid() {
        let (mask, mut value) = ("x".repeat(27) + "0xxxx", seen());
        let leaf = serde_json::json!({ "leaf": 7, "subleaf": 0, "ebx": mask, "ecx": "wrong" });
        for policy in [
            serde_json::json!([leaf]),
            serde_json::json!({ "cpuid": [leaf], "msr": [] }),
        ] {
            value["b_info"]["cpuid"] = policy;
            let expected = CpuidLeaf {
                leaf: 7,
                subleaf: Some(0),
                registers: [None, Some(mask.clone()), None, None],
            };
            assert_eq!(config(&value).unwrap().cpuid, [expected]);
        }
        assert!(config(&seen()).unwrap().cpuid.is_empty());
    }

    #[test]
    fn programs_of_a_peers_choice_are_refused() {
        let with = |pointer: &str, key: &str, new: Value| {
            let mut value = seen();
            value["disks"] = serde_json::json!([{ "pdev_path": "res", "vdev": "xvda" }]);
            value.pointer_mut(pointer).unwrap()[key] = new;
            check_programs(&value)
        };
        for (pointer, key, new) in [
            ("/nics/0", "script", "vif-bridge".into()),
            ("/nics/0", "script", "/etc/xen/scripts/vif-route".into()),
            ("/disks/0", "script", "block-drbd".into()),
            ("/b_info", "bootloader", "/usr/lib/xen/bin/pygrub".into()),
            ("/b_info", "bootloader_args", serde_json::json!(["-q", "--entry=1"])),
            ("/b_info", "extra", serde_json::json!([])),
            ("/b_info", "device_model", Value::Null),
        ] {
            assert_eq!(with(pointer, key, new), Ok(()), "{key}");
        }
        for (pointer, key, new) in [
            ("/nics/0", "script", "/tmp/x".into()),
            ("/disks/0", "script", "../../../tmp/x".into()),
            ("/b_info", "bootloader", "/bin/sh".into()),
            ("/b_info/type.pv", "bootloader", "/bin/sh".into()),
            ("/b_info", "bootloader_args", serde_json::json!(["--output=/x"])),
            ("/b_info/type.pv", "bootloader_args", serde_json::json!(["--runas=0"])),
            ("/b_info", "device_model", "/tmp/x".into()),
            ("/b_info", "device_model_override", "/tmp/x".into()),
            ("/b_info", "extra", serde_json::json!(["-x"])),
            ("/b_info", "extra_hvm", serde_json::json!(["-x"])),
        ] {
            let said = with(pointer, key, new).unwrap_err();
            // `bootloader_args`, `script`, ...: by name.
            assert!(said.starts_with(key), "{said}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (path, word) in [
            ("/c_info/name", "c_info.name"),
            ("/c_info/uuid", "c_info.uuid"),
            ("/c_info/type", "c_info.type"),
            ("/b_info/max_memkb", "b_info.max_memkb"),
            ("/b_info", "max_memkb"),
        ] {
            let mut value = seen();
            *value.pointer_mut(path).unwrap() = Value::Null;
            assert!(config(&value).unwrap_err().contains(word), "{path}");
        }
        assert!(find(b"x", 1).is_err() && find(b"{}", 1).is_err());
    }
}
