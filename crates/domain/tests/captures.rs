//! Configurations that real xends sent. They are found through `RELOCD_CAPTURES`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{fs, path::PathBuf};

use domain::{Action, DomainConfig, GuestKind, Why};
use sxp::{Limits, read_all};

/// Every `*.sxp` of the captures; none, and a word about it, without them.
fn captures() -> Vec<(String, DomainConfig, Vec<domain::Unmapped>)> {
    let Some(directory) = std::env::var_os("RELOCD_CAPTURES") else {
        eprintln!("skipped: RELOCD_CAPTURES does not say where the captures are");
        return Vec::new();
    };
    let files = fs::read_dir(PathBuf::from(directory)).expect("RELOCD_CAPTURES is a directory");
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "sxp"));
    paths.sort();
    assert!(!paths.is_empty(), "no *.sxp in RELOCD_CAPTURES");
    let read = |path: PathBuf| {
        let values = read_all(&fs::read(&path).unwrap(), Limits::default()).unwrap();
        assert_eq!(values.len(), 1, "{}", path.display());
        let (config, lost) = DomainConfig::from_xend(&values[0].to_sexp()).unwrap();
        (path.file_stem().unwrap().to_string_lossy().into_owned(), config, lost)
    };
    paths.into_iter().map(read).collect()
}

#[test]
fn every_capture_is_understood_whole() {
    for (name, config, lost) in captures() {
        // What concerned the source only, or is so anyway: nothing that an operator would miss.
        let missed: Vec<String> = lost
            .iter()
            .filter(|lost| lost.matters())
            .map(ToString::to_string)
            .collect();
        assert_eq!(missed, Vec::<String>::new(), "{name}");
        assert!(
            lost.iter()
                .any(|lost| lost.path == "store_mfn" && lost.why == Why::SourceFact)
        );
        assert_eq!(config.kind, GuestKind::Pv);
        assert_eq!(
            (config.on_poweroff, config.on_reboot, config.on_crash),
            (Action::Destroy, Action::Restart, Action::Preserve),
            "{name}"
        );
        assert_eq!((config.online_vcpus, config.affinity.len()), (None, 0), "{name}");
        assert_eq!(config.check_runnable(), Ok(()));
        assert_eq!(DomainConfig::from_sxp(&config.to_sxp()).unwrap(), config, "{name}");
        let (back, lost) = config.to_xend().unwrap();
        assert_eq!(lost, [], "{name}");
        let (again, _) = DomainConfig::from_xend(&back).unwrap();
        // A weight of its own is the one thing that is not sent back.
        assert_eq!(
            DomainConfig {
                cpu_weight: config.cpu_weight,
                ..again
            },
            config,
            "{name}"
        );
        let xl = String::from_utf8(config.to_xl().unwrap()).unwrap();
        assert!(xl.starts_with("type = \"pv\"\nname = \""), "{name}: {xl}");
    }
}

#[test]
fn the_development_guest() {
    for (_, config, _) in captures().into_iter().filter(|(name, ..)| name == "pv64-dev-live") {
        let xl = String::from_utf8(config.to_xl().unwrap()).unwrap();
        assert_eq!(
            xl,
            r#"type = "pv"
name = "pvdev"
uuid = "c42b775c-5840-e50f-498b-5723197c2690"
memory = 128
maxmem = 128
maxvcpus = 1
vcpus = 1
cpu_weight = 256
cap = 0
pool = "Pool-0"
on_poweroff = "destroy"
on_reboot = "restart"
on_crash = "preserve"
kernel = "/guest/vmlinuz"
ramdisk = "/guest/gi.img"
cmdline = "console=hvc0 nokaslr loadmods"
tsc_mode = "default"
nomigrate = 0
disk = [ "format=raw,vdev=xvda,access=rw,target=/dev/loop5" ]
vif = [ "mac=00:16:3e:11:22:33,bridge=xenbr0,script=vif-bridge" ]
"#
        );
    }
}
