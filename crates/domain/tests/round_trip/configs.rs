//! Any configuration that there can be, device by device.

use domain::{
    Action, CpuSet, CpuidLeaf, DeviceModel, DomainConfig, GuestKind, PciDevice, Platform, PortRange, Switch, Vbd,
    VbdClass, Vfb, Vif, Vtpm,
};
use proptest::{collection::vec, option, prelude::*};
use sxp::text_from_bytes;

/// Text of any bytes that a guest's kernel or a path could have; not empty, and no zero byte, which ends a text everywhere.
fn text() -> BoxedStrategy<String> {
    prop_oneof![
        "[ -~]{1,12}",
        vec(1_u8..=255, 1..12).prop_map(|bytes| text_from_bytes(&bytes)),
        "[a-z0-9/._-]{1,12}",
    ]
    .boxed()
}

/// Text for a part of a device's settings: what separates them in xl's text is not in it.
fn word() -> BoxedStrategy<String> {
    let bytes = (0x21_u8..=255).prop_filter("separators", |byte| *byte != b',' && *byte != 0x7f);
    prop_oneof![
        vec(bytes, 1..10).prop_map(|bytes| text_from_bytes(&bytes)),
        "[a-z0-9/._-]{1,10}",
    ]
    // Blanks of other alphabets at an end are taken off.
    .prop_filter("blanks", |text| text.trim() == text)
    .boxed()
}

fn name() -> BoxedStrategy<String> {
    text().prop_filter("a name", |name| DomainConfig::is_name(name)).boxed()
}

fn action() -> impl Strategy<Value = Action> {
    prop::sample::select(vec![
        Action::Destroy,
        Action::Restart,
        Action::Preserve,
        Action::RenameRestart,
        Action::CoredumpDestroy,
        Action::CoredumpRestart,
    ])
}

fn vif() -> impl Strategy<Value = Vif> {
    let kind = prop::sample::select(vec!["ioemu".to_owned(), "vif".to_owned()]);
    let rate = prop::sample::select(vec!["10MB/s@50ms".to_owned(), "3b/s".to_owned(), "7B/s@3us".to_owned()]);
    // A name of the source's making and a script in its directory would be dropped and shortened.
    let host_name = "[a-uw-z][a-z0-9.]{0,6}";
    (
        (
            option::of("([0-9a-f]{2}:){5}[0-9a-f]{2}"),
            option::of(word()),
            option::of(word()),
        ),
        (
            option::of("[a-z-]{1,6}"),
            option::of(word()),
            option::of(kind),
            option::of(host_name),
        ),
        (option::of(rate), option::of("[a-z]{1,4}")),
    )
        .prop_map(
            |((mac, bridge, ip), (script, model, kind, host_name), (rate, backend))| Vif {
                mac,
                bridge,
                ip,
                script,
                model,
                kind,
                host_name,
                rate,
                backend,
                other: Vec::new(),
            },
        )
}

/// Disks as xl's text has them, which knows no difference between some of xend's forms.
fn vbd() -> impl Strategy<Value = Vbd> {
    let backing = (
        prop::sample::select(vec![
            "phy:/dev/",
            "file:/",
            "tap:qcow:/",
            "tap:qcow2:/",
            "tap:vhd:/",
            "drbd:",
        ]),
        word(),
    )
        .prop_map(|(kind, path)| format!("{kind}{path}"))
        .prop_filter("a file", |backing| !backing.starts_with("file:/dev/"));
    (
        backing,
        any::<(bool, bool, bool)>(),
        option::of("[a-z]{1,4}"),
        "[hx]vd[a-p]",
    )
        .prop_map(|(backing, (cdrom, empty, write), backend, device)| Vbd {
            class: if backing.starts_with("tap:") && !(cdrom && empty) {
                VbdClass::Tap
            } else {
                VbdClass::Vbd
            },
            device: format!("{device}:{}", if cdrom { "cdrom" } else { "disk" }),
            mode: if write && !cdrom { "w" } else { "r" }.to_owned(),
            backing: (!(cdrom && empty)).then_some(backing),
            bootable: None,
            backend,
            other: Vec::new(),
        })
}

fn vfb() -> impl Strategy<Value = Vfb> {
    (
        (
            option::of(any::<bool>()),
            option::of(word()),
            option::of(any::<u32>()),
            option::of(any::<bool>()),
        ),
        (
            option::of(word()),
            option::of(any::<bool>()),
            option::of(any::<bool>()),
            option::of(word()),
        ),
    )
        .prop_map(
            |((vnc, vnc_listen, vnc_display, vnc_unused), (vnc_password, sdl, opengl, keymap))| Vfb {
                vnc,
                vnc_listen,
                vnc_display,
                vnc_unused,
                vnc_password,
                sdl,
                opengl,
                keymap,
            },
        )
}

fn pci() -> impl Strategy<Value = PciDevice> {
    let options = vec(("msitranslate|power_mgmt|permissive|seize", "[01]"), 0..3);
    (
        any::<u16>(),
        any::<u8>(),
        0_u8..32,
        0_u8..8,
        option::of(1_u8..32),
        options,
    )
        .prop_map(|(domain, bus, slot, function, virtual_slot, options)| PciDevice {
            domain,
            bus,
            slot,
            function,
            virtual_slot,
            options,
        })
}

fn platform(kind: GuestKind) -> impl Strategy<Value = Platform> {
    let model = prop::sample::select(vec![DeviceModel::QemuXen, DeviceModel::QemuXenTraditional]);
    let switches = prop::collection::btree_map(prop::sample::select(Switch::ALL.to_vec()), any::<bool>(), 0..6);
    (
        (option::of(any::<bool>()), option::of(any::<i64>()), option::of(0_u8..4)),
        any::<(Option<bool>, Option<bool>, Option<bool>)>(),
        (
            option::of(0_u8..4),
            option::of(model),
            option::of(text()),
            option::of(0_u64..4096),
        ),
        (
            option::of("[acdn]{1,4}"),
            option::of(text()),
            option::of(text()),
            vec(text(), 0..3),
            switches,
        ),
    )
        .prop_map(
            move |((localtime, rtc_timeoffset, tsc_mode), (nomigrate, msi, power), hvm, more)| {
                let common = Platform {
                    localtime,
                    rtc_timeoffset,
                    tsc_mode,
                    nomigrate,
                    pci_msitranslate: msi,
                    pci_power_mgmt: power,
                    ..Platform::default()
                };
                if kind != GuestKind::Hvm {
                    return common;
                }
                let (timer_mode, device_model, bios, video_memory_mib) = hvm;
                let (boot, serial, sound, usb_devices, switches) = more;
                Platform {
                    timer_mode,
                    device_model,
                    bios,
                    video_memory_mib,
                    boot,
                    serial,
                    sound,
                    usb_devices,
                    switches,
                    ..common
                }
            },
        )
}

fn cpuid() -> impl Strategy<Value = CpuidLeaf> {
    let mask = || option::of("[01xks]{32}");
    (any::<u32>(), option::of(any::<u32>()), [mask(), mask(), mask(), mask()]).prop_map(|(leaf, subleaf, registers)| {
        CpuidLeaf {
            leaf,
            subleaf,
            registers,
        }
    })
}

/// A configuration as a reader makes them: affinities without any processor at the end, and so on.
pub fn config() -> impl Strategy<Value = DomainConfig> {
    let kinds = prop::sample::select(vec![GuestKind::Pv, GuestKind::Pv, GuestKind::Hvm, GuestKind::Pvh]);
    kinds.prop_flat_map(|kind| {
        let hvm = kind == GuestKind::Hvm;
        let identity = (name(), any::<u128>(), 1_u64..1 << 20, 0_u64..1 << 20);
        let set = vec(0_u32..CpuSet::LIMIT, 0..6).prop_map(CpuSet::new);
        let vcpus = prop_oneof![1_u32..64, 1_u32..=DomainConfig::MAX_VCPUS];
        let cpus = (vcpus, option::of(1_u32..300), vec(set, 0..4));
        let limits = (
            option::of(1_u32..=0xffff),
            option::of(0_u32..1000),
            option::of(text()),
            option::of(1_u64..4096),
        );
        let boot = (
            text(),
            option::of(text()),
            option::of(text()),
            option::of(text()),
            vec("[!-~]{1,6}", 0..3),
        );
        let policy = (
            [action(), action(), action()],
            option::of(text()),
            platform(kind),
            vec(cpuid(), 0..3),
        );
        let vfbs = vec(
            vfb().prop_filter("not empty", |vfb| *vfb != Vfb::default()),
            0..if hvm { 2 } else { 3 },
        );
        let vtpm = (option::of("[a-z]{1,4}"), option::of(word())).prop_map(|(backend, uuid)| Vtpm { backend, uuid });
        let ports = any::<(u16, u16)>().prop_map(|(a, b)| PortRange {
            first: a.min(b),
            last: a.max(b),
        });
        let devices = (
            vec(vif(), 0..3),
            vec(vbd(), 0..3),
            vfbs,
            vec(pci(), 0..3),
            vec(vtpm, 0..2),
        );
        let host = (vec(ports, 0..2), vec(any::<u32>(), 0..2));
        (identity, cpus, limits, boot, policy, devices, host).prop_map(
            move |(identity, (vcpus, online, mut affinity), limits, boot, policy, devices, host)| {
                let (name, uuid, memory, more) = identity;
                let mut config = DomainConfig::new(&name, uuid::Uuid::from_u128(uuid | 1), memory * 1024, kind);
                config.max_memory_kib += more * 1024;
                config.vcpus = vcpus;
                config.online_vcpus = online.filter(|online| *online < vcpus);
                affinity.truncate(vcpus as usize);
                while affinity.last().is_some_and(CpuSet::is_any) {
                    affinity.pop();
                }
                config.affinity = affinity;
                (config.cpu_weight, config.cpu_cap, config.pool, config.shadow_memory_mib) = limits;
                let (kernel, ramdisk, extra, bootloader, args) = boot;
                (config.kernel, config.ramdisk, config.extra, config.bootloader) =
                    (Some(kernel), ramdisk, extra, bootloader);
                config.bootloader_args = args;
                let ([poweroff, reboot, crash], label, platform, cpuid) = policy;
                (config.on_poweroff, config.on_reboot, config.on_crash) = (poweroff, reboot, crash);
                (config.security_label, config.platform, config.cpuid) = (label, platform, cpuid);
                (config.vifs, config.vbds, config.vfbs, config.pci, config.vtpms) = devices;
                (config.io_ports, config.irqs) = host;
                config
            },
        )
    })
}
