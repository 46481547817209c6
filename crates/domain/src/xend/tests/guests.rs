//! Whole guests, as the versions of xend print them.

use super::*;

#[test]
fn the_small_example_of_the_envelope() {
    let error = DomainConfig::from_xend(&tree("(domain (domid 3) (name vm1) (memory 256))"));
    assert_eq!(error, Err(ConfigError::Missing("uuid")));
}

#[test]
fn a_guest_of_3_0_3_with_a_bootloader() {
    let (config, lost) = DomainConfig::from_xend(&tree(
        "(domain (domid 7) (uuid 8d1f7f0e-6f4c-0d0c-2a53-6f3a1b2c3d4e) (vcpus 2) (vcpu_avail 3)
         (cpu_weight 1.0) (memory 512) (shadow_memory 0) (maxmem 1024)
         (bootloader /usr/bin/pygrub) (features ) (name web1)
         (on_poweroff destroy) (on_reboot restart) (on_crash restart)
         (image (linux (kernel /var/lib/xen/boot_kernel.p1Xz9K) (ramdisk /var/lib/xen/boot_ramdisk.Yq2)
                (args 'ro root=/dev/VolGroup00/LogVol00 console=xvc0')))
         (device (vif (backend 0) (script vif-bridge) (bridge xenbr0) (mac 00:16:3e:11:22:33)))
         (device (vbd (backend 0) (dev xvda:disk) (uname phy:/dev/vg0/web1) (mode w)))
         (device (tap (backend 0) (dev xvdb:disk) (uname tap:aio:/srv/xen/data.img) (mode w)))
         (state -b----) (shutdown_reason poweroff) (cpu_time 41.2) (online_vcpus 2)
         (up_time 86400.5) (start_time 1190000000.12) (store_mfn 196608) (console_mfn 196607))",
    ))
    .unwrap();
    assert_eq!((config.name.as_str(), config.kind), ("web1", GuestKind::Pv));
    assert_eq!((config.memory_kib, config.max_memory_kib), (512 << 10, 1024 << 10));
    assert_eq!((config.vcpus, config.online_vcpus, config.cpu_weight), (2, None, None));
    assert_eq!(config.bootloader.as_deref(), Some("/usr/bin/pygrub"));
    assert_eq!((&config.kernel, &config.ramdisk, &config.extra), (&None, &None, &None));
    assert_eq!(config.vifs[0].script.as_deref(), Some("vif-bridge"));
    assert_eq!(
        (config.vbds[0].class, config.vbds[1].class),
        (VbdClass::Vbd, VbdClass::Tap)
    );
    assert_eq!(missed(&lost), ["cpu_weight"]);
    let why = |path: &str| lost.iter().find(|lost| lost.path == path).map(|lost| lost.why);
    assert_eq!(why("image/linux/kernel"), Some(Why::OneBoot));
    assert_eq!(why("image/linux/ramdisk"), Some(Why::OneBoot));
    assert_eq!(why("image/linux/args"), Some(Why::OneBoot));
    assert_eq!(why("features"), Some(Why::Default));
    assert_eq!(why("store_mfn"), Some(Why::SourceFact));
    assert_eq!(config.check_runnable(), Ok(()));
}

#[test]
fn an_hvm_guest_of_3_0_3() {
    let (config, lost) = DomainConfig::from_xend(&tree(
        "(domain (domid 9) (uuid 2b6c2b6c-6f4c-0d0c-2a53-6f3a1b2c3d4e) (vcpus 1) (vcpu_avail 1) (memory 1024)
         (shadow_memory 10) (maxmem 1024)
         (name win1) (localtime 1) (on_poweroff destroy) (on_reboot restart) (on_crash restart)
         (image (hvm (kernel /usr/lib/xen/boot/hvmloader) (device_model /usr/lib64/xen/bin/qemu-dm) (pae 1)
                (vcpus 2) (boot c) (serial pty) (vnc 1) (vncunused 1) (acpi 1) (apic 1) (usb 1)
                (usbdevice tablet)))
         (device (vif (backend 0) (script vif-bridge) (bridge xenbr0) (mac 00:16:3e:44:55:66) (type ioemu)))
         (device (vbd (backend 0) (dev hda:disk) (uname file:/var/lib/xen/images/win1.img) (mode w)))
         (device (vbd (backend 0) (dev hdc:cdrom) (mode r))) (state r-----))",
    ))
    .unwrap();
    assert_eq!(missed(&lost), Vec::<&str>::new());
    // The number in the image counts.
    assert_eq!((config.vcpus, config.online_vcpus), (2, Some(1)));
    assert_eq!(config.platform.localtime, Some(true));
    assert_eq!(config.platform.usb_devices, ["tablet"]);
    assert_eq!(config.platform.switches.get(&Switch::Apic), Some(&true));
    assert_eq!(
        (config.vfbs[0].vnc, config.vfbs[0].vnc_unused),
        (Some(true), Some(true))
    );
    assert_eq!(config.platform.device_model, Some(DeviceModel::QemuXenTraditional));
    assert_eq!(config.check_runnable(), Err(CannotRun::TraditionalDeviceModel));
    assert_eq!(config.to_xend(), Err(ToXendError::Kind("fully virtualised")));
}

#[test]
fn a_guest_of_4_1() {
    let (config, lost) = DomainConfig::from_xend(&tree(
        "(domain (domid 12) (cpu_weight 256) (cpu_cap 0) (pool_name Pool-0)
         (bootloader /usr/bin/pygrub) (vcpus 2) (cpus (() ())) (on_poweroff destroy) (description '')
         (on_crash restart) (uuid 5f2b5f2b-6f4c-0d0c-2a53-6f3a1b2c3d4e) (bootloader_args '') (name web2)
         (on_reboot restart) (maxmem 1024) (memory 1024) (shadow_memory 0) (vcpu_avail '3') (features '')
         (on_xend_start ignore) (on_xend_stop ignore) (start_time 1380000000.0) (cpu_time 12.5) (online_vcpus 2)
         (image (linux (kernel '') (superpages 0) (tsc_mode 0) (videoram 4) (pci ()) (nomigrate 0)
                (notes (HV_START_LOW 18446603336221196288) (FEATURES '!writable_page_tables|pae_pgdir_above_4gb'))))
         (status 2) (state -b----) (store_mfn 1234567) (console_mfn 1234566)
         (device (vif (bridge xenbr0) (mac 00:16:3e:aa:bb:cc) (script /etc/xen/scripts/vif-bridge) (uuid 9a) (backend 0)))
         (device (vkbd (backend 0)))
         (device (vfb (vncunused 1) (vnc 1) (uuid 77) (location 127.0.0.1:5900)))
         (device (console (protocol vt100) (location 2) (uuid 66)))
         (device (tap2 (protocol x86_64-abi) (uname tap:aio:/srv/web2.img) (bootable 1) (dev xvda:disk) (mode w)
                 (backend 0) (uuid 55) (VDI ''))))",
    ))
    .unwrap();
    assert_eq!(missed(&lost), Vec::<&str>::new());
    assert_eq!(
        config.vifs,
        [Vif {
            mac: some("00:16:3e:aa:bb:cc"),
            bridge: some("xenbr0"),
            script: some("vif-bridge"),
            ..Vif::default()
        }]
    );
    assert_eq!(
        (
            config.vbds[0].class,
            config.vbds[0].bootable,
            config.vbds[0].other.len()
        ),
        (VbdClass::Tap2, Some(true), 0)
    );
    assert_eq!((config.online_vcpus, config.affinity.as_slice()), (None, [].as_slice()));
    let (back, lost) = config.to_xend().unwrap();
    assert_eq!(lost, []);
    assert_eq!(
        DomainConfig {
            cpu_weight: Some(256),
            ..DomainConfig::from_xend(&back).unwrap().0
        },
        config
    );
    let text = String::from_utf8(sxp::to_bytes(&back)).unwrap();
    assert!(text.contains("(device (vkbd))"), "{text}");
    assert!(!text.contains("cpu_weight"), "{text}");
}
