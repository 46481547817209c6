//! A host that takes domains to disk, domains that come, and what is found of them.

use std::{
    fs,
    io::{Cursor, Read},
    net::SocketAddr,
    path::PathBuf,
};

use image::save::SaveHeader;

use crate::{
    images::Legacy,
    support::{Host, xend_peer::Domain},
};

pub const ALLOW: &str = "(xend-relocation-hosts-allow '127.0.0.0/8')";

/// Memory of the domains that come, in MiB: more than buffers between two hosts hold.
pub const MEMORY: u64 = 32;

/// A host with `--toolstack spool`.
pub fn spool_host(extra: &str) -> Host {
    let mut host = prepare(extra);
    host.run();
    host
}

/// One that has not been started.
pub fn prepare(extra: &str) -> Host {
    let mut host = Host::prepare("");
    host.toolstack = "spool";
    let spool = host.path("spool");
    host.set_extra(&format!(
        "{ALLOW} (relocd-spool-directory '{}') {extra}",
        spool.display()
    ));
    host
}

pub fn port(host: &Host) -> SocketAddr {
    format!("{}:{}", host.address, host.port).parse().unwrap()
}

/// A configuration as xend 4.1 prints it.
pub fn config(name: &str, memory: u64, devices: &str) -> Vec<u8> {
    let number = name.bytes().fold(7_u64, |number, byte| number * 31 + u64::from(byte)) % (1 << 40);
    format!(
        "(domain (domid 24) (cpu_weight 256) (cpu_cap 0) (pool_name Pool-0) (bootloader '') (vcpus 1) (cpus (())) (on_poweroff destroy) \
         (description '') (on_crash restart) (uuid 5e43982e-a82f-fbcb-bb76-{number:012x}) (bootloader_args '') (name '{name}') (on_reboot restart) \
         (maxmem {memory}) (memory {memory}) (shadow_memory 0) (vcpu_avail 1) (features '') (on_xend_start ignore) (on_xend_stop ignore) \
         (start_time 1380000000.0) (cpu_time 12.5) (online_vcpus 1) \
         (image (linux (kernel /boot/vmlinuz) (args 'console=hvc0') (superpages 0) (videoram 4) (pci ()) (nomigrate 0) (tsc_mode 0))) \
         (status 2) (state -b----) (store_mfn 1234567) (console_mfn 1234566) {devices} (change_home_server False))"
    )
    .into_bytes()
}

/// The image of a domain of that many pages.
pub fn image(pages: u64) -> Legacy {
    Legacy {
        pages,
        batch: 1024,
        ..Legacy::pv64()
    }
}

/// The image of a domain with [`MEMORY`].
pub fn full_image() -> Legacy {
    image(MEMORY * 256)
}

/// The images in the spool, each with its record: name of the domain, and the stream behind the header.
pub fn spooled(host: &Host) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for file in fs::read_dir(host.path("spool")).into_iter().flatten() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "sxp") {
            continue;
        }
        let record = fs::read_to_string(&path).unwrap();
        assert!(record.starts_with("(spooled ") && record.ends_with(")\n"), "{record}");
        let name = record
            .split_once("(name ")
            .unwrap()
            .1
            .split_once(')')
            .unwrap()
            .0
            .trim_matches('\'')
            .to_owned();
        let bytes = fs::read(path.with_extension("save")).unwrap();
        assert!(record.contains(&format!("(bytes {})", bytes.len())), "{record}");
        let mut image = Cursor::new(bytes);
        SaveHeader::read(&mut image).unwrap();
        let mut stream = Vec::new();
        image.read_to_end(&mut stream).unwrap();
        found.push((name, stream));
    }
    found
}

/// Anything in the spool's directory but its lock.
pub fn left_over(host: &Host) -> Vec<PathBuf> {
    let files = fs::read_dir(host.path("spool"))
        .into_iter()
        .flatten()
        .map(|file| file.unwrap().path());
    files.filter(|path| !path.ends_with("lock")).collect()
}

/// Nothing is there, and nothing is on its way.
pub fn nothing_left(host: &Host) {
    host.wait("the end of what came", || left_over(host).is_empty());
    host.wait("the end of the relocation", || {
        !host.ok(&["status"]).contains("copying")
    });
}

/// The daemon, started again, settles what the last one left. Then the domain is at one place, whole.
pub fn settles(host: &mut Host, domain: Domain, today: &[u8], what: &str) {
    host.run();
    host.wait("the end of the relocation", || {
        let open = host.ok(&["status"]);
        // The journal's word, as the reason of one that is over may have it too.
        !host.journal_has("in", "receiving") && !open.contains("recovering") && !open.contains("copying")
    });
    let found = spooled(host);
    match domain {
        Domain::Runs => {
            assert!(found.is_empty(), "{what}: the domain is at both places\n{}", host.log());
            assert!(
                left_over(host).is_empty(),
                "{what}: {:?}\n{}",
                left_over(host),
                host.log()
            );
        }
        Domain::Destroyed => {
            let [(name, stream)] = &found[..] else {
                panic!("{what}: the domain is lost: {:?}\n{}", left_over(host), host.log());
            };
            assert!(name == "web" && stream == today, "{what}: the copy is not whole");
            assert!(host.journal_has("in", "kept"), "{what}\n{}", host.log());
        }
        Domain::Stuck => panic!("{what}: stuck"),
    }
}
