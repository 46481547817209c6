//! Every class of devices.

use super::*;

#[test]
fn interfaces() {
    let vif = |settings: &str| {
        let (config, lost) = pv(&format!("(device (vif {settings}))"));
        let missed = missed(&lost).join(" ");
        (config.vifs[0].clone(), missed)
    };
    let (all, missed) = vif(
        "(backend drv) (script /etc/xen/scripts/vif-route) (bridge br0) (mac 00:16:3e:00:00:01) (ip '10.0.0.1 10.0.0.2')
         (type ioemu) (vifname web0) (rate 10MB/s@50ms) (model e1000) (uuid x)",
    );
    assert_eq!(missed, "");
    assert_eq!(
        all,
        Vif {
            mac: some("00:16:3e:00:00:01"),
            bridge: some("br0"),
            ip: some("10.0.0.1 10.0.0.2"),
            script: some("vif-route"),
            model: some("e1000"),
            kind: some("ioemu"),
            host_name: some("web0"),
            rate: some("10MB/s@50ms"),
            backend: some("drv"),
            other: Vec::new(),
        }
    );
    assert_eq!(vif("(ip 10.0.0.1) (ip 10.0.0.2)").0.ip, some("10.0.0.1 10.0.0.2"));
    assert_eq!(vif("(script /opt/own/vif)").0.script, some("/opt/own/vif"));
    assert_eq!(vif("(vifname vif6.0)").0.host_name, None);
    assert_eq!(vif("(backend Domain-0)").0.backend, None);
    assert_eq!(vif("(type netfront)").0.kind, some("vif"));
    assert_eq!(
        vif("(accel eth2) (security_label x)").1,
        "device/vif[0]/accel device/vif[0]/security_label"
    );
    let (odd, missed) = vif("(speed 11) (type odd)");
    assert_eq!(odd.other, [("speed".to_owned(), "11".to_owned())]);
    // A key that has a field is never among the others, not even if the first of its name can't be read.
    let (odd, missed_too) = vif("(bridge a b) (bridge c) (model (x)) (model y)");
    assert_eq!((odd.bridge, odd.model, odd.other.len()), (None, None, 0));
    assert_eq!(missed_too.split(' ').count(), 4);
    assert_eq!(missed, "device/vif[0]/speed device/vif[0]/type");
}

#[test]
fn rates() {
    let rate = |text: &str| pv(&format!("(device (vif (rate '{text}')))")).0.vifs[0].rate.clone();
    assert_eq!(rate("1250000,50000"), some("25000000B/s@50000us"));
    assert_eq!(rate("100Kb/s"), some("100Kb/s"));
    assert_eq!(rate("4294967295,0"), None);
    assert_eq!(rate("4294967295,1"), None);
    assert_eq!(rate("4294967295,100000"), some("42949673KB/s@100000us"));
    for bad in ["0,5", "fast", "5,x", "1B/s@", "1B/s@s", "B/s", "1,99999999999"] {
        let (config, lost) = pv(&format!("(device (vif (rate '{bad}')))"));
        assert_eq!(
            (&config.vifs[0].rate, missed(&lost)),
            (&None, vec!["device/vif[0]/rate"]),
            "{bad}"
        );
    }
    // What the other side makes of it is the same number of bytes in the same time.
    for (bytes, usecs) in [(1_u64, 999_999_u64), (1234, 50_000), (7, 3), (4_000_000, 1000)] {
        let text = rate(&format!("{bytes},{usecs}")).unwrap();
        let (number, _) = text.split_once("B/s@").unwrap();
        assert_eq!(number.parse::<u64>().unwrap() * usecs / 1_000_000, bytes);
    }
}

#[test]
fn disks() {
    let (config, lost) = pv(
        "(device (vbd (dev ioemu:hda) (uname phy:vg/lv) (mode 'w!') (bootable 0) (backend 0)))
         (device (vbd (dev hdc:cdrom) (mode r)))
         (device (tap (dev xvdb:disk) (uname tap:qcow2:/p) (mode w) (backend storage)))
         (device (tap2 (dev xvdc:disk) (uname tap2:vhd:/p) (mode r) (weird 1)))",
    );
    let classes: Vec<VbdClass> = config.vbds.iter().map(|vbd| vbd.class).collect();
    assert_eq!(classes, [VbdClass::Vbd, VbdClass::Vbd, VbdClass::Tap, VbdClass::Tap2]);
    assert_eq!(
        (config.vbds[0].mode.as_str(), config.vbds[0].bootable),
        ("w!", Some(false))
    );
    assert_eq!(
        (&config.vbds[1].backing, config.vbds[2].backend.as_deref()),
        (&None, Some("storage"))
    );
    assert_eq!(missed(&lost), ["device/vbd[0]/mode", "device/tap2[0]/weird"]);
}

#[test]
fn other_devices() {
    let (config, lost) = pv("(device (vfb (type vnc) (vncdisplay 7) (vncpasswd p) (display :1))) (device (vkbd))");
    assert_eq!((config.vfbs[0].vnc, config.vfbs[0].vnc_display), (Some(true), Some(7)));
    assert_eq!(missed(&lost), Vec::<&str>::new());
    assert_eq!(
        pv("(device (vfb (sdl 1) (opengl 0) (keymap fr)))").0.vfbs[0].opengl,
        Some(false)
    );
    assert_eq!(missed(&pv("(device (vkbd (backend 0)))").1), ["device/vkbd[0]"]);

    let (config, lost) = pv(
        "(device (pci (backend 0) (dev (domain 0x0) (bus 0x1) (slot 0x1f) (func 0x7) (vdevfn 0x100) (key a) (uuid b))
                      (dev (bus 0x2) (slot 0x3) (func 0x0) (vslt 0x6) (opts (msitranslate 1)) (opts ((power_mgmt 0))))
                      (dev (domain 0x1) (bus 0x2) (slot 0x3) (func 0x0) (vdevfn 0x28))))",
    );
    assert_eq!(missed(&lost), Vec::<&str>::new());
    assert_eq!(
        (
            config.pci[0].bus,
            config.pci[0].slot,
            config.pci[0].function,
            config.pci[0].virtual_slot
        ),
        (1, 31, 7, None)
    );
    assert_eq!(
        config.pci[1],
        PciDevice {
            bus: 2,
            slot: 3,
            virtual_slot: Some(6),
            options: vec![
                ("msitranslate".to_owned(), "1".to_owned()),
                ("power_mgmt".to_owned(), "0".to_owned())
            ],
            ..PciDevice::default()
        }
    );
    assert_eq!((config.pci[2].domain, config.pci[2].virtual_slot), (1, Some(5)));
    assert_eq!(config.check_runnable(), Err(CannotRun::PciDevices(3)));
    // One that can't be read is one all the same: the domain can't leave its host.
    let good = "(dev (bus 1) (slot 2) (func 0))";
    for bad in [
        "(dev)",
        "(dev (bus 1))",
        "(dev (slot 2) (func 0))",
        "(dev (bus 1) (func 0))",
        "(dev (bus 1) (slot 2))",
        "(dev (bus 1) (slot 0x20) (func 0))",
        "(dev (bus 1) (slot 2) (func 8))",
        "(dev (bus 0x100) (slot 2) (func 0))",
        "(dev (domain 0x10000) (bus 1) (slot 2) (func 0))",
        // No elements, but a number.
        "(bus 1) (dev 2) (func 0)",
    ] {
        let text = format!("(domain {ID} (image (linux)) (device (vif)) (device (pci {good} {bad})))");
        let error = DomainConfig::from_xend(&tree(&text)).unwrap_err();
        let path = "device/pci[0]/dev[1]".to_owned();
        assert_eq!(error, ConfigError::PciDevice { path }, "{bad}");
    }
    let (config, lost) = pv("(device (pci (dev (bus 1) (slot 2) (func 0) (opts (power_mgmt yes)) (opts (new 1)))))");
    assert_eq!(config.pci[0].options[0], ("power_mgmt".to_owned(), "1".to_owned()));
    assert_eq!(missed(&lost), ["device/pci[0]/dev[0]/opts"]);

    let (config, lost) = pv(
        "(device (vtpm (backend 0) (instance 1) (uuid u))) (device (ioports (from 0x2f8) (to 0x2ff)))
         (device (irq (irq 5)))",
    );
    assert_eq!(
        config.vtpms,
        [Vtpm {
            backend: None,
            uuid: some("u")
        }]
    );
    assert_eq!(
        config.io_ports,
        [PortRange {
            first: 0x2f8,
            last: 0x2ff
        }]
    );
    assert_eq!((config.irqs.as_slice(), missed(&lost).len()), ([5].as_slice(), 0));

    let (_, lost) = pv(
        "(device (usb (path 1-2))) (device (vscsi (feature-host 0))) (device (vusb)) (device (vif2)) (device (new))
         (device (ioports (from 9) (to 1))) (device (irq)) (device x) (device)",
    );
    assert_eq!(
        missed(&lost),
        [
            "device/usb[0]",
            "device/vscsi[0]",
            "device/vusb[0]",
            "device/vif2[0]",
            "device/new[0]",
            "device/ioports[0]",
            "device/irq[0]",
            "device",
            "device"
        ]
    );
}
