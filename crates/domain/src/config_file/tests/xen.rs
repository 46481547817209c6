//! What only Xen's guests have. That everything that `to_xl` writes is read back is a property test of the crate; here is what people write.

use super::*;
use crate::{CpuSet, DiskFormat, Switch, VbdClass, disk::Backing};

fn pv(more: &str) -> Result<Loaded, ConfigFileError> {
    read(&format!("{SMALL}kernel='/k'\n{more}"))
}

fn hvm(more: &str) -> Result<Loaded, ConfigFileError> {
    read(&format!("{SMALL}type='hvm'\n{more}"))
}

#[test]
fn processors() {
    let config = pv("vcpus = 2\nmaxvcpus = 4\ncpus = '0-3,^1'\ncpu_weight = 512\ncpu_cap = 50")
        .unwrap()
        .config;
    assert_eq!((config.vcpus, config.online_vcpus), (4, Some(2)));
    assert_eq!(config.affinity, vec![CpuSet::new([0, 2, 3]); 4]);
    assert_eq!((config.cpu_weight, config.cpu_cap), (Some(512), Some(50)));
    let config = pv("vcpus = 3\ncpus = ['1', 'all', '2', '3']\ncap = 0").unwrap().config;
    assert_eq!(config.affinity, [CpuSet::new([1]), CpuSet::default(), CpuSet::new([2])]);
    assert_eq!(config.cpu_cap, Some(0));
    assert_eq!(
        pv("vcpus = 3\nmaxvcpus = 2").unwrap_err().to_string(),
        "web.cfg:5:12: maxvcpus: found '2', expected 3 or more: vcpus are that many"
    );
    assert!(pv("cpus = 'nodes:1'").is_err());
    assert!(pv("cpu_weight = 0").is_err());
}

#[test]
fn command_lines() {
    let extra = |more: &str| {
        let loaded = pv(more).unwrap();
        (loaded.config.extra.unwrap_or_default(), loaded.warnings.len())
    };
    assert_eq!(
        extra("root = '/dev/xvda1 ro'\nextra = '3'"),
        ("root=/dev/xvda1 ro 3".to_owned(), 0)
    );
    assert_eq!(extra("root = '/dev/xvda1'"), ("root=/dev/xvda1".to_owned(), 0));
    assert_eq!(extra("cmdline = 'a b'"), ("a b".to_owned(), 0));
    assert_eq!(extra("cmdline = 'a b'\nroot = 'x'"), ("a b".to_owned(), 1));
    assert_eq!(extra("ramdisk = '/i'"), (String::new(), 0));
    let config = pv("bootloader = 'pygrub'\nbootloader_args = '-q  x'").unwrap().config;
    assert_eq!(config.bootloader_args, ["-q", "x"]);
    let config = pv("bootloader = 'pygrub'\nbootloader_args = ['-q', 'x y']")
        .unwrap()
        .config;
    assert_eq!(config.bootloader_args, ["-q", "x y"]);
}

#[test]
fn machines() {
    let config = hvm(
        "timer_mode = 2\ntsc_mode = 'native'\nviridian = True\nhap = 0\nusbdevice = ['tablet', 'mouse']\nfirmware = 'seabios'\n\
         vnc = 1\nvncdisplay = 4\nvnclisten = '0.0.0.0'\nrtc_timeoffset = '-60'\nlocaltime = 1",
    )
    .unwrap()
    .config;
    let platform = &config.platform;
    assert_eq!((platform.timer_mode, platform.tsc_mode), (Some(2), Some(2)));
    assert_eq!(platform.switches.get(&Switch::Viridian), Some(&true));
    assert_eq!(platform.switches.get(&Switch::Hap), Some(&false));
    assert_eq!(platform.usb_devices, ["tablet", "mouse"]);
    assert_eq!(
        (platform.bios.as_deref(), platform.rtc_timeoffset),
        (Some("seabios"), Some(-60))
    );
    assert_eq!((config.vfbs[0].vnc, config.vfbs[0].vnc_display), (Some(true), Some(4)));
    assert_eq!(config.check_runnable(), Ok(()));
    let old = hvm("device_model_version = 'qemu-xen-traditional'").unwrap().config;
    assert!(old.check_runnable().is_err());
    for wrong in [
        "timer_mode = 4",
        "tsc_mode = 'fast'",
        "viridian = ['all']",
        "device_model_version = 'kvm'",
        "hap = 'x'",
    ] {
        assert!(hvm(wrong).is_err(), "{wrong}");
    }
    assert_eq!(
        pv("hap = 1\ncpuid = 'host,tm=0'").unwrap().warnings,
        [
            "web.cfg:5:9: cpuid: 'host,tm=0' is no mask of the form LEAF:REGISTER=32 BITS; it has no effect",
            "web.cfg:4:1: hap has no effect on this kind of guest",
        ]
    );
}

#[test]
fn disks() {
    let disk = |text: &str| pv(&format!("disk = ['{text}']")).map(|loaded| loaded.config.vbds[0].clone());
    // The examples of xl-disk-configuration(5): what is behind each, format, device, whether it can be written, whether it is a CD drive.
    for (text, path, format, vdev, read_only, cdrom) in [
        (
            "/dev/vg/guest-volume,,hda",
            "/dev/vg/guest-volume",
            DiskFormat::Raw,
            "hda",
            false,
            false,
        ),
        (
            "/dev/vg/guest-volume,raw,hda,rw",
            "/dev/vg/guest-volume",
            DiskFormat::Raw,
            "hda",
            false,
            false,
        ),
        (
            "format=raw, vdev=hda, access=rw, target=/dev/vg/guest-volume",
            "/dev/vg/guest-volume",
            DiskFormat::Raw,
            "hda",
            false,
            false,
        ),
        (
            "raw:/dev/vg/guest-volume,hda,w",
            "/dev/vg/guest-volume",
            DiskFormat::Raw,
            "hda",
            false,
            false,
        ),
        (
            "/root/image.iso,,hdc,cdrom",
            "/root/image.iso",
            DiskFormat::Raw,
            "hdc",
            true,
            true,
        ),
        (
            "format=raw, vdev=hdc, access=ro, devtype=cdrom, target=/root/image.iso",
            "/root/image.iso",
            DiskFormat::Raw,
            "hdc",
            true,
            true,
        ),
        (
            "format=qcow2,vdev=xvda,target=/a,b=c",
            "/a,b=c",
            DiskFormat::Qcow2,
            "xvda",
            false,
            false,
        ),
        ("/p,vhd,xvda,ro", "/p", DiskFormat::Vhd, "xvda", true, false),
    ] {
        let disk = disk(text).unwrap().disk().unwrap();
        let backing = Backing::Path {
            format,
            path: path.to_owned(),
        };
        assert_eq!(
            (disk.backing, disk.vdev.as_str(), disk.read_only, disk.cdrom),
            (backing, vdev, read_only, cdrom),
            "{text}"
        );
    }
    let script = disk("vdev=xvda,script=block-drbd,backend=storage,discard,target=res").unwrap();
    assert_eq!(
        (script.backing.as_deref(), script.backend.as_deref()),
        (Some("drbd:res"), Some("storage"))
    );
    assert_eq!(script.other, [("discard".to_owned(), String::new())]);
    let empty = disk("vdev=hdc,devtype=cdrom").unwrap();
    assert_eq!(
        (empty.device.as_str(), empty.backing, empty.mode.as_str()),
        ("hdc:cdrom", None, "r")
    );
    assert_eq!(disk("tap:aio:/p,xvda,w").unwrap().class, VbdClass::Tap);
    for wrong in [
        "vdev=xvda",
        "target=/p",
        "vdev=xvda,vdev=xvdb,target=/p",
        "format=qed,vdev=xvda,target=/p",
        "vdev=xvda,script=own,target=/p",
        "vdev=xvda,access=x,target=/p",
        "/p,raw,xvda,w,more",
        "",
    ] {
        assert!(disk(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn other_devices() {
    let config = pv(
        "vfb = ['type=vnc,vncunused=1', '']\npci = ['01:1f.7', '0001:02:03.0@6,msitranslate=1']\nvtpm = ['backend=0']\n\
         ioports = ['2f8-2ff', '3f8']\nirqs = [5, '7']\nvif = ['rate=10MB/s,type=netfront,vifname=web0,backend=net']",
    )
    .unwrap()
    .config;
    assert_eq!((config.vfbs.len(), config.vfbs[0].vnc), (2, Some(true)));
    assert_eq!(
        (config.pci[0].domain, config.pci[0].bus, config.pci[0].slot),
        (0, 1, 31)
    );
    assert_eq!((config.pci[1].domain, config.pci[1].virtual_slot), (1, Some(6)));
    assert_eq!(config.vtpms[0].backend, None);
    assert_eq!((config.io_ports[1].first, config.io_ports[1].last), (0x3f8, 0x3f8));
    assert_eq!(config.irqs, [5, 7]);
    assert_eq!(
        (config.vifs[0].rate.as_deref(), config.vifs[0].host_name.as_deref()),
        (Some("10MB/s"), Some("web0"))
    );
    assert_eq!(config.vifs[0].kind.as_deref(), Some("vif"));
    // A display at the top of the file is a framebuffer too.
    assert_eq!(
        pv("vnc = 1\nkeymap = 'de'").unwrap().config.vfbs[0].keymap.as_deref(),
        Some("de")
    );
    assert_eq!(pv("vnc = 0").unwrap().config.vfbs, []);
    for wrong in [
        "vfb = ['colour=1']",
        "vfb = ['vncdisplay=x']",
        "pci = ['01.2']",
        "pci = ['01:20.0']",
        "pci = ['01:02.8']",
        "vtpm = ['x=1']",
        "ioports = ['9-1']",
        "irqs = ['x']",
        "vif = ['rate=fast']",
        "vif = ['type=odd']",
    ] {
        assert!(pv(wrong).is_err(), "{wrong}");
    }
}
