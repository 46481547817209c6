mod devices;
mod guests;

use super::*;
use crate::{
    Action, CannotRun, CpuSet, DeviceModel, GuestKind, PciDevice, PortRange, Switch, VbdClass, Vfb, Vif, Vtpm, Why,
};

/// A tree from its text.
fn tree(text: &str) -> Sexp {
    let values = sxp::read_all(text.as_bytes(), sxp::Limits::default()).unwrap();
    assert_eq!(values.len(), 1, "{text}");
    values[0].to_sexp()
}

const ID: &str = "(name web) (uuid 8d1f7f0e-6f4c-0d0c-2a53-6f3a1b2c3d4e) (memory 512)";

/// A domain with these elements besides name, uuid, memory and image.
fn pv(more: &str) -> (DomainConfig, Vec<Unmapped>) {
    let text = format!("(domain {ID} (image (linux (kernel /k))) {more})");
    DomainConfig::from_xend(&tree(&text)).unwrap()
}

/// A paravirtualised guest with these elements in its image.
fn pv_image(more: &str) -> (DomainConfig, Vec<Unmapped>) {
    DomainConfig::from_xend(&tree(&format!("(domain {ID} (image (linux {more})))"))).unwrap()
}

/// A fully virtualised one.
fn hvm(more: &str) -> (DomainConfig, Vec<Unmapped>) {
    DomainConfig::from_xend(&tree(&format!("(domain {ID} (image (hvm {more})))"))).unwrap()
}

/// What is lost, as paths.
fn paths(lost: &[Unmapped]) -> Vec<&str> {
    lost.iter().map(|lost| lost.path.as_str()).collect()
}

/// What an operator wants to know of it.
fn missed(lost: &[Unmapped]) -> Vec<&str> {
    let missed = lost.iter().filter(|lost| lost.matters());
    missed.map(|lost| lost.path.as_str()).collect()
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn what_every_domain_has() {
    let read = |text: &str| DomainConfig::from_xend(&tree(text));
    assert_eq!(read("(vm)"), Err(ConfigError::NotADomain));
    assert_eq!(read("domain"), Err(ConfigError::NotADomain));
    assert_eq!(read("(domain)"), Err(ConfigError::Missing("name")));
    for (text, key) in [
        ("(domain (name a/b))", "name"),
        ("(domain (name '')) ", "name"),
        ("(domain (name 'a\\nb'))", "name"),
        ("(domain (name a) (uuid x))", "uuid"),
        (&format!("(domain {ID} (maxmem x))"), "maxmem"),
        (&format!("(domain {ID} (vcpus 5000))"), "vcpus"),
        (&format!("(domain {ID} (image (vms)))"), "image"),
        (&format!("(domain {ID} (image (pvh)))"), "image"),
        (&format!("(domain {ID} (image hvm))"), "image"),
        (&format!("(domain {ID} (image ((hvm))))"), "image"),
        (&format!("(domain {ID} (on_crash maybe))"), "on_crash"),
        (&format!("(domain {})", ID.replace("512", "0")), "memory"),
    ] {
        match read(text) {
            Err(ConfigError::Wrong { key: found, .. }) => assert_eq!(found, key, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    // Names that xend allows, and bytes that are not UTF-8.
    for name in ["a.b:c+d-e_f", "'ein Name'", "\"it's\"", "'\\xe9t\\xe9'"] {
        let text = format!("(domain {})", ID.replace("web", name));
        assert_eq!(sxp::atom(&read(&text).unwrap().0.name), tree(name));
    }
    // The first of a name counts.
    let (config, lost) = pv("(name other) (maxmem 600) (maxmem 700) (memory 1)");
    assert_eq!((config.name.as_str(), config.max_memory_kib), ("web", 600 << 10));
    assert_eq!(paths(&lost), ["name", "maxmem", "memory"]);
    assert!(lost.iter().all(|lost| lost.why == Why::Repeated));
    // 3.0.x raises it.
    assert_eq!(pv("(maxmem 100)").0.max_memory_kib, 512 << 10);
}

#[test]
fn processors() {
    let online = |more: &str| {
        let (config, lost) = pv(more);
        (config.vcpus, config.online_vcpus, missed(&lost).len())
    };
    assert_eq!(online(""), (1, None, 0));
    assert_eq!(online("(vcpus 4) (vcpu_avail 15)"), (4, None, 0));
    assert_eq!(online("(vcpus 4) (vcpu_avail '3')"), (4, Some(2), 0));
    assert_eq!(online("(vcpus 4) (vcpu_avail 255)"), (4, None, 0));
    assert_eq!(online("(vcpus 4) (vcpu_avail 241)"), (4, Some(1), 0));
    assert_eq!(online("(vcpus 4) (vcpu_avail 5)"), (4, None, 1));
    assert_eq!(online("(vcpus 4) (vcpu_avail 0)"), (4, None, 1));
    assert_eq!(online("(vcpus 4) (vcpu_avail -1)"), (4, None, 1));
    assert_eq!(
        online("(vcpus 200) (vcpu_avail 340282366920938463463374607431768211455)"),
        (200, Some(128), 0)
    );
    assert_eq!(
        online("(vcpus 200) (vcpu_avail 999999999999999999999999999999999999999999)"),
        (200, None, 1)
    );

    let cpus = |more: &str| {
        let (config, lost) = pv(&format!("(vcpus 2) {more}"));
        let sets: Vec<String> = config.affinity.iter().map(CpuSet::to_string).collect();
        (sets.join(" "), missed(&lost).len())
    };
    assert_eq!(cpus("(cpus (() ()))"), (String::new(), 0));
    assert_eq!(cpus("(cpus ((0 1) (3)))"), ("0-1 3".to_owned(), 0));
    assert_eq!(cpus("(cpus (() (3)))"), ("all 3".to_owned(), 0));
    assert_eq!(cpus("(cpus ((3) ()))"), ("3".to_owned(), 0));
    assert_eq!(cpus("(cpus '0-3,^1')"), ("0,2-3 0,2-3".to_owned(), 0));
    assert_eq!(cpus("(cpus )"), (String::new(), 0));
    assert_eq!(cpus("(cpu 2)"), ("2 2".to_owned(), 0));
    assert_eq!(cpus("(cpu -1)"), (String::new(), 0));
    for bad in [
        "(cpus ((a)))",
        "(cpus ((0) (1) (2)))",
        "(cpus ((9999)))",
        "(cpus node:1)",
        "(cpus 0 1)",
    ] {
        assert_eq!(cpus(bad), (String::new(), 1), "{bad}");
    }
    let many = format!("(domain {ID} (vcpus 4096) (cpus 0-4095))");
    assert!(matches!(
        DomainConfig::from_xend(&tree(&many)),
        Err(ConfigError::TooMany { .. })
    ));

    let (config, lost) = pv("(cpu_weight 512) (cpu_cap 150) (pool_name Pool-7) (shadow_memory 9)");
    assert_eq!((config.cpu_weight, config.cpu_cap), (Some(512), Some(150)));
    assert_eq!(
        (config.pool.as_deref(), config.shadow_memory_mib),
        (Some("Pool-7"), Some(9))
    );
    assert_eq!(paths(&lost), Vec::<&str>::new());
    assert_eq!(missed(&pv("(cpu_weight 1.0)").1), ["cpu_weight"]);
    assert_eq!(missed(&pv("(cpu_weight 0)").1), ["cpu_weight"]);
}

#[test]
fn policy() {
    let (config, _) = pv("(on_poweroff preserve) (on_reboot rename-restart) (on_crash coredump-restart)");
    assert_eq!(
        (config.on_poweroff, config.on_reboot, config.on_crash),
        (Action::Preserve, Action::RenameRestart, Action::CoredumpRestart)
    );
    let (config, lost) = pv("(restart never) (on_crash preserve)");
    assert_eq!(
        (config.on_poweroff, config.on_reboot, config.on_crash),
        (Action::Destroy, Action::Destroy, Action::Preserve)
    );
    assert_eq!(paths(&lost), Vec::<&str>::new());
    let (config, lost) = pv("(security_label system_u:system_r:domU_t)");
    assert_eq!(
        (config.security_label.as_deref(), lost.len()),
        (Some("system_u:system_r:domU_t"), 0)
    );
    let (_, lost) = pv("(on_xend_start start) (on_xend_stop ignore) (features 'auto_translated') (security ((a b)))");
    assert_eq!(missed(&lost), ["on_xend_start", "features", "security"]);
}

#[test]
fn what_a_guest_boots() {
    let (config, lost) = pv_image("(kernel /boot/k) (ramdisk /boot/i) (args 'console=hvc0 ro')");
    assert_eq!((config.kernel, config.ramdisk), (some("/boot/k"), some("/boot/i")));
    assert_eq!((config.extra, lost.len()), (some("console=hvc0 ro"), 0));
    // 3.0.x has the parts apart.
    let (config, _) = pv_image("(kernel /k) (ip 10.0.0.2:1.2.3.4::::eth0:off) (root '/dev/xvda1 ro') (args 3)");
    assert_eq!(
        config.extra,
        some("ip=10.0.0.2:1.2.3.4::::eth0:off root=/dev/xvda1 ro 3")
    );

    let boots = |more: &str| {
        let text = format!("(domain {ID} (bootloader pygrub) (bootloader_args '-q  --x=1') {more})");
        DomainConfig::from_xend(&tree(&text)).unwrap()
    };
    // A kernel that is no copy stays.
    let (config, lost) = boots("(image (linux (kernel /boot/k) (args a)))");
    assert_eq!(
        (config.kernel, config.extra, lost.len()),
        (some("/boot/k"), some("a"), 0)
    );
    assert_eq!(config.bootloader_args, words(&["-q", "--x=1"]));
    for copy in [
        "/var/lib/xen/boot_kernel.p1Xz9K",
        "/var/run/xend/boot/boot_kernel.8Ub",
        "/var/lib/xen/vmlinuz.p1Xz9K",
        "",
    ] {
        let (config, lost) = boots(&format!("(image (linux (kernel '{copy}') (args a)))"));
        assert_eq!((config.kernel, config.extra), (None, None), "{copy}");
        assert!(lost.iter().all(|lost| lost.why == Why::OneBoot));
        assert_eq!(lost.len(), 1 + usize::from(!copy.is_empty()));
    }
    // 3.0.x leaves the image out.
    let (config, lost) = boots("");
    assert_eq!(
        (config.kind, config.bootloader, lost.len()),
        (GuestKind::Pv, some("pygrub"), 0)
    );
}

#[test]
fn the_machine() {
    let (config, lost) = pv_image("(localtime 1) (rtc_timeoffset -3600) (tsc_mode 2) (nomigrate 1) (videoram 4)");
    let platform = &config.platform;
    assert_eq!((platform.localtime, platform.rtc_timeoffset), (Some(true), Some(-3600)));
    assert_eq!((platform.tsc_mode, platform.nomigrate), (Some(2), Some(true)));
    assert_eq!(platform.video_memory_mib, None);
    assert_eq!(missed(&lost), Vec::<&str>::new());
    assert_eq!(config.check_runnable(), Err(CannotRun::NoMigrate));
    assert_eq!(
        missed(&pv_image("(superpages 1) (tsc_mode 9)").1),
        ["image/linux/superpages", "image/linux/tsc_mode"]
    );

    let (config, lost) = hvm(
        "(kernel '') (superpages 0) (videoram 4) (hpet 0) (stdvga 0)
         (loader /usr/lib/xen/boot/hvmloader) (xen_platform_pci 1) (boot cd) (serial pty) (opengl 1)
         (rtc_timeoffset 0) (pci ()) (pae 1) (vpt_align 1) (hap 1) (viridian 0) (acpi 1) (localtime 0)
         (timer_mode 1) (vnc 1) (nographic 0) (guest_os_type default) (pci_msitranslate 1) (oos 1) (apic 1)
         (sdl 0) (nomigrate 0) (usbdevice tablet) (device_model /usr/lib/xen/bin/qemu-dm) (pci_power_mgmt 0)
         (usb 1) (xauthority /root/.Xauthority) (isa 0) (display localhost:10.0) (notes (SUSPEND_CANCEL 1))
         (nestedhvm 1) (gfx_passthru 0) (soundhw sb16) (keymap de) (vncpasswd geheim) (vnclisten 0.0.0.0) (vncdisplay 3)",
    );
    assert_eq!(missed(&lost), Vec::<&str>::new());
    assert!(paths(&lost).contains(&"image/hvm/xauthority"));
    let platform = &config.platform;
    assert_eq!(platform.switches.len(), Switch::ALL.len());
    let on: Vec<&str> = platform
        .switches
        .iter()
        .filter(|(_, on)| **on)
        .map(|(name, _)| name.word())
        .collect();
    assert_eq!(
        on,
        [
            "pae",
            "acpi",
            "apic",
            "hap",
            "oos",
            "nestedhvm",
            "vpt_align",
            "xen_platform_pci",
            "usb"
        ]
    );
    assert_eq!((platform.timer_mode, platform.video_memory_mib), (Some(1), Some(4)));
    assert_eq!(
        (platform.boot.as_deref(), platform.serial.as_deref()),
        (Some("cd"), Some("pty"))
    );
    assert_eq!(
        (platform.sound.as_deref(), platform.bios.as_deref()),
        (Some("sb16"), Some("rombios"))
    );
    assert_eq!(
        (platform.pci_msitranslate, platform.pci_power_mgmt),
        (Some(true), Some(false))
    );
    assert_eq!(
        config.vfbs,
        [Vfb {
            vnc: Some(true),
            vnc_listen: some("0.0.0.0"),
            vnc_display: Some(3),
            vnc_password: some("geheim"),
            sdl: Some(false),
            opengl: Some(true),
            keymap: some("de"),
            ..Vfb::default()
        }]
    );
    let (_, lost) = hvm("(fda /floppy.img) (parallel none) (monitor 1) (guest_os_type vista) (new_thing 7)");
    assert_eq!(
        missed(&lost),
        [
            "image/hvm/fda",
            "image/hvm/monitor",
            "image/hvm/guest_os_type",
            "image/hvm/new_thing"
        ]
    );
}

#[test]
fn masks_of_cpuid() {
    let bits = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx0";
    let (config, lost) = pv(&format!(
        "(cpuid ((1 ((ecx {bits}) (eax 0x0000000f))) ('0x80000001,2' ((edx {bits})))))"
    ));
    assert_eq!(lost, []);
    assert_eq!((config.cpuid[0].leaf, config.cpuid[0].subleaf), (1, None));
    assert_eq!(config.cpuid[0].registers[0], some("00000000000000000000000000001111"));
    assert_eq!(config.cpuid[0].registers[2].as_deref(), Some(bits));
    assert_eq!((config.cpuid[1].leaf, config.cpuid[1].subleaf), (0x8000_0001, Some(2)));
    for bad in [
        "(cpuid ((x ())))",
        "(cpuid ((1 ((exx 0x1)))))",
        "(cpuid ((1 ((eax 01)))))",
        "(cpuid 5)",
    ] {
        assert_eq!(missed(&pv(bad).1), ["cpuid"], "{bad}");
    }
    assert_eq!(missed(&pv("(cpuid ()) (cpuid_check ())").1), Vec::<&str>::new());
}

#[test]
fn nothing_is_lost_silently() {
    let (_, lost) = pv("(brand (new 1)) loose () (vcpus (1)) (vncpasswd geheim) (x (vncpasswd geheim))");
    assert_eq!(paths(&lost), ["brand", "", "", "vcpus", "vncpasswd", "x"]);
    assert!(lost.iter().all(Unmapped::matters));
    assert_eq!(lost[0].to_string(), "brand ((new 1)) is not known");
    assert!(!format!("{lost:?}").contains("geheim"));
    assert_eq!(missed(&pv("(device (vif) (vbd))").1), ["device"]);
    assert_eq!(missed(&pv("('a\\x1b[2J\nb/c' 1)").1), ["a\\u{1b}[2J\\nb/c"]);
    // A peer can send many; the list does not grow with them.
    let (_, lost) = pv(&"(q 1) ".repeat(5000));
    assert_eq!((lost.len(), lost[512].value.as_str()), (513, "4488 more"));
    let vifs = format!("(domain {ID} {})", "(device (vif)) ".repeat(257));
    assert!(matches!(
        DomainConfig::from_xend(&tree(&vifs)),
        Err(ConfigError::TooMany { what: "vifs", .. })
    ));
    let all = format!("(domain {ID} {})", "(device (new)) ".repeat(2049));
    assert!(matches!(
        DomainConfig::from_xend(&tree(&all)),
        Err(ConfigError::TooMany { what: "devices", .. })
    ));
}

#[test]
fn names_for_a_xend() {
    let (mut config, _) = pv("(cpu_weight 300)");
    assert_eq!(config.to_xend().unwrap().1[0].path, "cpu_weight");
    config.name = "it's".to_owned();
    assert_eq!(config.to_xend(), Err(ToXendError::Name("it\\'s".to_owned())));
    config.name = "web".to_owned();
    config.kind = GuestKind::Embedded;
    assert!(config.to_xend().is_err());
}
