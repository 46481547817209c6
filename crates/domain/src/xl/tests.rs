use sexp::Sexp;

use super::*;
use crate::{GuestKind, PciDevice, Vbd, Vif};

fn from_xend(text: &str) -> DomainConfig {
    let values = sxp::read_all(text.as_bytes(), sxp::Limits::default()).unwrap();
    let value: Sexp = values[0].to_sexp();
    DomainConfig::from_xend(&value).unwrap().0
}

fn pv(more: &str) -> DomainConfig {
    from_xend(&format!(
        "(domain (name web) (uuid 8d1f7f0e-6f4c-0d0c-2a53-6f3a1b2c3d4e) (memory 512) (image (linux (kernel /k))) {more})"
    ))
}

/// xl's text, without the lines that every domain has.
fn lines(config: &DomainConfig) -> Vec<String> {
    let text = String::from_utf8(config.to_xl().unwrap()).unwrap();
    assert!(text.ends_with('\n'));
    let usual = [
        "type =",
        "builder =",
        "name =",
        "uuid =",
        "memory =",
        "maxmem =",
        "maxvcpus =",
        "vcpus =",
        "on_",
        "kernel =",
    ];
    let lines = text
        .lines()
        .filter(|line| !usual.iter().any(|key| line.starts_with(key)));
    lines.map(str::to_owned).collect()
}

/// The one line that a setting makes.
fn line(more: &str) -> String {
    let lines = lines(&pv(more));
    assert_eq!(lines.len(), 1, "{more}: {lines:?}");
    lines[0].clone()
}

#[test]
fn what_every_domain_has() {
    let text = String::from_utf8(pv("(maxmem 1024) (vcpus 4) (vcpu_avail 3)").to_xl().unwrap()).unwrap();
    assert_eq!(
        text,
        "type = \"pv\"\nname = \"web\"\nuuid = \"8d1f7f0e-6f4c-0d0c-2a53-6f3a1b2c3d4e\"\nmemory = 512\nmaxmem = 1024\n\
         maxvcpus = 4\nvcpus = 2\non_poweroff = \"destroy\"\non_reboot = \"restart\"\non_crash = \"restart\"\nkernel = \"/k\"\n"
    );
    let mut config = pv("");
    config.kind = GuestKind::Embedded;
    assert_eq!(config.to_xl(), Err(XlError::Kind));
    config.kind = GuestKind::Pv;
    config.kernel = None;
    assert_eq!(config.to_xl(), Err(XlError::NothingToBoot));
    config.memory_kib = 1500;
    config.kind = GuestKind::Hvm;
    let text = String::from_utf8(config.to_xl().unwrap()).unwrap();
    assert!(text.starts_with("type = \"hvm\"\nbuilder = \"hvm\"\nname"), "{text}");
    assert!(text.contains("\nmemory = 2\n"), "{text}");
}

#[test]
fn quoting() {
    let mut config = pv("");
    let mut printed = |extra: &[u8]| {
        config.extra = Some(sxp::text_from_bytes(extra));
        let text = config.to_xl()?;
        let at = text.windows(10).position(|part| part == b"cmdline = ").unwrap();
        Ok::<_, XlError>(text[at + 10..text.len() - 1].to_vec())
    };
    assert_eq!(printed(b"a b").unwrap(), b"\"a b\"");
    assert_eq!(printed(b"\"it's\" \\ #;[]").unwrap(), b"\"\\\"it's\\\" \\\\ #;[]\"");
    assert_eq!(printed(b"a\nb\rc\td").unwrap(), b"\"a\\nb\\rc\td\"");
    assert_eq!(printed(b"caf\xe9 \xc3\xa9 \x01").unwrap(), b"\"caf\xe9 \xc3\xa9 \x01\"");
    assert_eq!(printed(b"a\0b"), Err(XlError::ZeroByte("cmdline".to_owned())));
}

#[test]
fn a_line_for_each_setting() {
    for (xend, xl) in [
        ("(cpus ((0 1) (3)))(vcpus 3)", "cpus = [ \"0-1\", \"3\" ]"),
        ("(cpu_weight 512)", "cpu_weight = 512"),
        ("(cpu_cap 50)", "cap = 50"),
        ("(pool_name p)", "pool = \"p\""),
        ("(shadow_memory 9)", "shadow_memory = 9"),
        ("(security_label a:b:c)", "seclabel = \"a:b:c\""),
        ("(bootloader pygrub)", "bootloader = \"pygrub\""),
        ("(bootloader_args '-q x')", "bootloader_args = [ \"-q\", \"x\" ]"),
        (
            "(cpuid ((1 ((ecx xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx0) (eax 0x1)))))",
            "cpuid = [ \"0x1:eax=00000000000000000000000000000001,ecx=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx0\" ]",
        ),
        (
            "(device (vbd (dev xvda:disk) (uname phy:vg/lv) (mode w)))",
            "disk = [ \"format=raw,vdev=xvda,access=rw,target=/dev/vg/lv\" ]",
        ),
        (
            "(device (vbd (dev hdc:cdrom) (mode r)))",
            "disk = [ \"vdev=hdc,access=ro,devtype=cdrom,target=\" ]",
        ),
        (
            "(device (vbd (dev hdc:cdrom) (uname file:/a,b.iso) (mode r)))",
            "disk = [ \"format=raw,vdev=hdc,access=ro,devtype=cdrom,target=/a,b.iso\" ]",
        ),
        (
            "(device (tap (dev xvda) (uname tap:qcow2:/p) (mode r) (backend d)))",
            "disk = [ \"format=qcow2,vdev=xvda,access=ro,backend=d,target=/p\" ]",
        ),
        (
            "(device (vbd (dev xvda) (uname drbd:res) (mode 'w!')))",
            "disk = [ \"format=raw,vdev=xvda,access=rw,script=block-drbd,target=res\" ]",
        ),
        (
            "(device (vif (mac 00:16:3e:00:00:01) (bridge b) (script vif-bridge) (ip '1.2.3.4 1.2.3.5') (vifname v) (rate 1250000,50000) (backend d)))",
            "vif = [ \"mac=00:16:3e:00:00:01,bridge=b,script=vif-bridge,ip=1.2.3.4 1.2.3.5,vifname=v,rate=25000000B/s@50000us,backend=d\" ]",
        ),
        ("(device (vif))", "vif = [ \"\" ]"),
        (
            "(device (vfb (vnc 1) (vnclisten 0.0.0.0) (vncdisplay 2) (vncunused 0) (vncpasswd p) (sdl 0) (opengl 0) (keymap de)))",
            "vfb = [ \"vnc=1,vnclisten=0.0.0.0,vncdisplay=2,vncunused=0,vncpasswd=p,sdl=0,opengl=0,keymap=de\" ]",
        ),
        (
            "(device (pci (dev (domain 0x1) (bus 0x2) (slot 0x1f) (func 0x7) (vslot 0x6) (opts (msitranslate 1)))))",
            "pci = [ \"0001:02:1f.7@6,msitranslate=1\" ]",
        ),
        ("(device (vtpm (uuid u)))", "vtpm = [ \"backend=0,uuid=u\" ]"),
        (
            "(device (ioports (from 0x2f8) (to 0x2ff)))",
            "ioports = [ \"2f8-2ff\" ]",
        ),
        ("(device (irq (irq 5)))", "irqs = [ \"5\" ]"),
    ] {
        assert_eq!(line(xend), xl, "{xend}");
    }
    for (image, xl) in [
        ("(ramdisk /i)", "ramdisk = \"/i\""),
        ("(args 'ro \"x\"')", "cmdline = \"ro \\\"x\\\"\""),
        ("(localtime 1)", "localtime = 1"),
        ("(rtc_timeoffset 60)", "rtc_timeoffset = 60"),
        ("(rtc_timeoffset -60)", "rtc_timeoffset = \"-60\""),
        ("(tsc_mode 3)", "tsc_mode = \"native_paravirt\""),
        ("(nomigrate 0)", "nomigrate = 0"),
        ("(pci_msitranslate 0)", "pci_msitranslate = 0"),
        ("(pci_power_mgmt 1)", "pci_power_mgmt = 1"),
    ] {
        let text = format!(
            "(domain (name web) (uuid 8d1f7f0e-6f4c-0d0c-2a53-6f3a1b2c3d4e) (memory 512) (image (linux (kernel /k) {image})))"
        );
        assert_eq!(lines(&from_xend(&text)), [xl], "{image}");
    }
}

#[test]
fn an_hvm_guest() {
    let config = from_xend(
        "(domain (name win) (uuid 8d1f7f0e-6f4c-0d0c-2a53-6f3a1b2c3d4e) (memory 512)
         (image (hvm (loader /usr/lib/xen/boot/hvmloader) (device_model /usr/lib/xen/bin/qemu-dm) (videoram 4) (boot cd)
                (serial pty) (soundhw sb16) (usbdevice tablet) (timer_mode 2) (pae 1) (hap 0) (stdvga 0) (vnc 1) (vncunused 0)
                (vncdisplay 3) (vnclisten 127.0.0.1) (vncpasswd '') (keymap de)))
         (device (vif (mac 00:16:3e:00:00:01) (model e1000))) (device (vif (type netfront)))
         (device (vfb (vnc 1) (uuid 5) (location x))))",
    );
    assert_eq!(
        lines(&config),
        [
            "device_model_version = \"qemu-xen-traditional\"",
            "bios = \"rombios\"",
            "timer_mode = \"no_missed_ticks_pending\"",
            "videoram = 4",
            "boot = \"cd\"",
            "serial = \"pty\"",
            "soundhw = \"sb16\"",
            "usbdevice = \"tablet\"",
            "pae = 1",
            "hap = 0",
            "stdvga = 0",
            "vnc = 1",
            "vnclisten = \"127.0.0.1\"",
            "vncdisplay = 3",
            "vncunused = 0",
            "keymap = \"de\"",
            "vif = [ \"mac=00:16:3e:00:00:01,model=e1000,type=ioemu\", \"type=vif\" ]",
        ]
    );
}

#[test]
fn the_bootloader_finds_the_bootable_disk() {
    let disks = "(device (vbd (dev xvda) (uname phy:a) (mode w) (bootable 0))) (device (vbd (dev xvdb) (uname phy:b) (mode w) (bootable 1)))";
    let order = |more: &str| {
        let text = line_of("disk", &lines(&pv(&format!("{disks} {more}"))));
        (text.find("xvda") < text.find("xvdb"), text)
    };
    assert!(order("").0);
    let (same, text) = order("(bootloader pygrub)");
    assert!(!same, "{text}");
}

fn line_of(key: &str, lines: &[String]) -> String {
    lines.iter().find(|line| line.starts_with(key)).unwrap().clone()
}

#[test]
fn what_cannot_be_said() {
    let error = |more: &str| pv(more).to_xl().unwrap_err().to_string();
    assert_eq!(
        error("(device (vbd (dev xvda) (uname tap:vmdk:/p) (mode w)))"),
        "disk 'xvda': 'tap:vmdk:/p': no current Xen reads this format; convert the image to raw, qcow2 or vhd first"
    );
    assert_eq!(
        error("(device (vbd (dev xvda) (uname phy:a) (mode w) (backend 3)))"),
        "disk 'xvda': the backend is domain 3 of the source host; xl needs the name of a driver domain"
    );
    assert_eq!(
        error("(device (vif (bridge 'a,b')))"),
        "vif: bridge: xl's configuration can't hold 'a,b' here: commas and line ends separate settings"
    );
    // A comma at the end would be taken off, and a line end is one.
    for uname in ["file:/p,", "'file:/p\\nx'", "file:/a,b,"] {
        assert!(
            error(&format!(
                "(device (vbd (dev xvda) (uname '{}') (mode w)))",
                uname.trim_matches('\'')
            ))
            .contains("target")
        );
    }
    assert_eq!(
        error("(device (vfb (vncpasswd 'geheim,b')))"),
        "vfb: vncpasswd: xl's configuration can't hold '(not shown)' here: commas and line ends separate settings"
    );
    let mut config = pv("");
    config.vbds.push(Vbd::default());
    assert!(config.to_xl().is_err());
    config.vbds.clear();
    config.vifs.push(Vif {
        other: vec![("speed".to_owned(), "11".to_owned())],
        ..Vif::default()
    });
    // xl would end at an option that it does not know.
    config.pci.push(PciDevice {
        options: vec![("new".to_owned(), "1".to_owned())],
        ..PciDevice::default()
    });
    assert_eq!(lines(&config), ["vif = [ \"\" ]", "pci = [ \"0000:00:00.0\" ]"]);
}
