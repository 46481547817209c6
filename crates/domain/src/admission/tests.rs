use uuid::Uuid;

use super::*;
use crate::{Bridge, CpuidLeaf, GuestKind, PciDevice, Vif};

fn host(toolstack: &str, architecture: &str) -> HostFacts {
    HostFacts {
        name: "a".to_owned(),
        toolstack: toolstack.to_owned(),
        version: String::new(),
        architecture: architecture.to_owned(),
        virtualization: vec![architecture.to_owned()],
        free_memory_kib: 1000,
        total_memory_kib: 2000,
        processors: 1,
        ..HostFacts::default()
    }
}

fn xen(version: &str, words: &str) -> HostFacts {
    HostFacts {
        name: "a".to_owned(),
        toolstack: "xl".to_owned(),
        version: version.to_owned(),
        architecture: "x86_64".to_owned(),
        virtualization: words.split(' ').map(str::to_owned).collect(),
        free_memory_kib: 1 << 20,
        total_memory_kib: 1 << 21,
        processors: 1,
        ..HostFacts::default()
    }
}

#[test]
fn a_disk_takes_whatever_fits() {
    let mut domain = DomainConfig::new("web", Uuid::nil(), 1000, GuestKind::Pv);
    domain.vifs.push(Vif {
        bridge: Some("xenbr0".to_owned()),
        ..Vif::default()
    });
    let (xl, spool) = (xen("4.17.5", "pv"), host("spool", "any"));
    assert_eq!(check(&domain, &xl, &spool, Terms::default()), Ok(Vec::new()));
    let reserved = Terms {
        reserved_kib: 1,
        ..Terms::default()
    };
    let memory = Refusal::Memory {
        needed_kib: 1000,
        free_kib: 999,
    };
    assert_eq!(check(&domain, &xl, &spool, reserved), Err(memory));
    assert_eq!(
        check(&domain, &spool, &xl, Terms::default()),
        Err(Refusal::Bridge("xenbr0".to_owned()))
    );
}

#[test]
fn what_comes_from_a_disk_goes_where_such_guests_run() {
    let spool = host("spool", "any");
    let (xl, embedded) = (xen("4.17.5", "pv hvm"), host("embedded", "b"));
    for (kind, fits, other) in [
        (GuestKind::Pv, &xl, &embedded),
        (GuestKind::Hvm, &xl, &embedded),
        (GuestKind::Embedded, &embedded, &xl),
    ] {
        let domain = DomainConfig::new("web", Uuid::nil(), 1000, kind);
        assert_eq!(check(&domain, &spool, fits, Terms::default()), Ok(Vec::new()));
        let refused = check(&domain, &spool, other, Terms::default()).unwrap_err();
        assert_eq!(refused.word(), "other-toolstack");
    }
    let domain = DomainConfig::new("web", Uuid::nil(), 1000, GuestKind::Embedded);
    let refused = check(&domain, &host("xl", "a"), &host("embedded", "a"), Terms::default()).unwrap_err();
    assert_eq!(refused.word(), "other-toolstack");
}

fn refusal(kind: GuestKind, here: &HostFacts, there: &HostFacts) -> Option<&'static str> {
    let domain = DomainConfig::new("web", Uuid::nil(), 1024, kind);
    check(&domain, here, there, Terms::default())
        .err()
        .map(|refusal| refusal.word())
}

#[test]
fn kinds_of_guests_on_xen() {
    let svm = xen("4.17.5", "pv hvm hap svm");
    let vmx = xen("4.17.5", "pv hvm hap shadow vmx");
    let pv = xen("4.17.5", "pv");
    let none = xen("4.17.5", "hvm hap vmx");
    for (kind, here, there, expected) in [
        (GuestKind::Pv, &svm, &vmx, None),
        (GuestKind::Pv, &svm, &none, Some("other-kind")),
        (GuestKind::Pvh, &svm, &svm, None),
        (GuestKind::Pvh, &svm, &vmx, Some("other-virtualization")),
        (GuestKind::Hvm, &vmx, &svm, Some("other-virtualization")),
        (GuestKind::Hvm, &vmx, &pv, Some("other-kind")),
        (GuestKind::Pvh, &vmx, &pv, Some("other-kind")),
    ] {
        assert_eq!(refusal(kind, here, there), expected, "{kind:?}");
    }
}

#[test]
fn a_32_bit_pv_guest_wants_a_xen_that_runs_such() {
    let (with, without) = (xen("4.17.5", "pv pv32"), xen("4.17.5", "pv hvm"));
    let mut domain = DomainConfig::new("web", Uuid::nil(), 1024, GuestKind::Pv);
    for (bits, there, expected) in [
        (Some(32), &without, Err(Refusal::Narrow)),
        (Some(32), &with, Ok(Vec::new())),
        (Some(64), &without, Ok(Vec::new())),
        (None, &without, Ok(Vec::new())),
    ] {
        domain.kernel_bits = bits;
        assert_eq!(check(&domain, &with, there, Terms::default()), expected, "{bits:?}");
    }
    domain.kernel_bits = Some(32);
    let force = Terms {
        force: true,
        ..Terms::default()
    };
    assert_eq!(check(&domain, &with, &without, force), Ok(vec![Refusal::Narrow]));
}

#[test]
fn an_older_xen_takes_nothing_of_a_newer_one() {
    let of = |version| xen(version, "pv hvm svm");
    for (here, there, expected) in [
        ("4.17.5", "4.20.1", None),
        ("4.17.5", "4.17.0", None),
        ("4.20-unstable", "4.17.5", Some("older-xen")),
        ("4.9.1", "4.17.5", None),
        ("4.17.5", "4.9.1", Some("older-xen")),
        ("4.17.5", "?", Some("older-xen")),
    ] {
        assert_eq!(
            refusal(GuestKind::Pv, &of(here), &of(there)),
            expected,
            "{here} {there}"
        );
    }
}

#[test]
fn pv_guests_go_live_only_with_shadow_paging() {
    let live = |kind, words| {
        check_departure(
            &DomainConfig::new("web", Uuid::nil(), 1024, kind),
            &xen("4.17.5", words),
            true,
        )
        .is_ok()
    };
    assert!(live(GuestKind::Pv, "pv shadow") && !live(GuestKind::Pv, "pv hvm hap"));
    assert!(live(GuestKind::Pvh, "pv hvm hap") && live(GuestKind::Hvm, "hvm"));
}

#[test]
fn pci_devices_stay_with_their_host() {
    let mut domain = DomainConfig::new("web", Uuid::nil(), 1024, GuestKind::Hvm);
    let here = xen("4.17.5", "pv hvm hap svm");
    for live in [true, false] {
        assert_eq!(check_departure(&domain, &here, live), Ok(()));
        domain.pci.push(PciDevice::default());
        assert_eq!(check_departure(&domain, &here, live), Err(Refusal::PciDevices(1)));
        domain.pci.clear();
    }
}

#[test]
fn xens_own_memory_counts() {
    let needed = |kind, mib: u64| needed_kib(&DomainConfig::new("web", Uuid::nil(), mib * 1024, kind));
    assert_eq!(needed(GuestKind::Embedded, 256), 256 * 1024);
    // libxl rounds up to 2 MiB.
    assert_eq!(needed(GuestKind::Pv, 255), 256 * 1024);
    assert_eq!(needed(GuestKind::Pv, 256), 258 * 1024);
    assert_eq!(needed(GuestKind::Hvm, 1024), (1024 + 2 + 1 + 8 + 1) * 1024);
    assert_eq!(needed(GuestKind::Hvm, u64::MAX / 1024), u64::MAX);
    let mut domain = DomainConfig::new("web", Uuid::nil(), 1024, GuestKind::Hvm);
    domain.shadow_memory_mib = Some(32);
    assert_eq!(needed_kib(&domain), (1 + 2 + 32 + 1) * 1024);
}

fn forced(domain: &DomainConfig, here: &HostFacts, there: &HostFacts) -> Result<Vec<&'static str>, &'static str> {
    let terms = Terms {
        force: true,
        ..Terms::default()
    };
    match check(domain, here, there, terms) {
        Ok(passed_over) => Ok(passed_over.iter().map(Refusal::word).collect()),
        Err(refusal) => Err(refusal.word()),
    }
}

#[test]
fn features_that_the_guest_may_use() {
    let with = |features: &[&str]| HostFacts {
        features: features.iter().map(|name| (*name).to_owned()).collect(),
        ..xen("4.17.5", "pv hvm svm")
    };
    let (more, less, unknown) = (with(&["sse", "avx", "aes"]), with(&["sse", "adx"]), with(&[]));
    assert_eq!(refusal(GuestKind::Pv, &more, &less), Some("cpu-features"));
    assert_eq!(refusal(GuestKind::Pvh, &with(&["sse"]), &more), None);
    // One of the two is a relocd that does not tell.
    assert_eq!(refusal(GuestKind::Pv, &more, &unknown), None);
    assert_eq!(refusal(GuestKind::Pv, &unknown, &less), None);
    let mut domain = DomainConfig::new("web", Uuid::nil(), 1024, GuestKind::Pv);
    assert_eq!(
        check(&domain, &more, &less, Terms::default()),
        Err(Refusal::Features(vec!["avx".to_owned(), "aes".to_owned()]))
    );
    assert_eq!(forced(&domain, &more, &less), Ok(vec!["cpu-features"]));
    // Bits 28 and 25 of 1.ecx.
    let mask = "xxx0xx0xxxxxxxxxxxxxxxxxxxxxxxxx";
    domain.cpuid.push(CpuidLeaf {
        leaf: 1,
        subleaf: None,
        registers: [None, None, Some(mask.to_owned()), None],
    });
    assert_eq!(check(&domain, &more, &less, Terms::default()), Ok(Vec::new()));
}

#[test]
fn features_that_go_with_the_guest() {
    let host = |version, features: &[&str]| HostFacts {
        features: features.iter().map(|name| (*name).to_owned()).collect(),
        ..xen(version, "pv hvm svm")
    };
    let kept = |here: &HostFacts, there: &HostFacts| {
        let of = |kind| features_to_keep(kind, here, there).join(" ");
        assert_eq!(of(GuestKind::Pvh), of(GuestKind::Hvm));
        (of(GuestKind::Pvh), of(GuestKind::Pv))
    };
    let pair = |pvh: &str, pv: &str| (pvh.to_owned(), pv.to_owned());
    let lesser = host("4.17.5", &["sse", "avx"]);
    let better = host("4.14.0", &["sse", "avx", "avx2"]);
    // A PV guest may find avx2 there.
    assert_eq!(kept(&lesser, &better), pair("sse avx", ""));
    // By force: what it was started with is still what it counts on.
    let all = "sse avx avx2";
    assert_eq!(kept(&better, &lesser), pair(all, all));
    let other = host("4.17.5", &["sse", "aes"]);
    assert_eq!(kept(&better, &other), pair(all, "sse aes avx avx2"));
    // Nothing that the destination does not know by itself, or that nobody knows.
    for (here, there) in [(&better, &better), (&host("4.17.5", &[]), &better)] {
        assert_eq!(kept(here, there), pair("", ""));
    }
    // A peer's words are no features.
    let words = host("4.17.5", &["avx", "no-such", "sse", "avx"]);
    assert_eq!(kept(&words, &better), pair("sse avx", ""));
    // Where the image does not carry the processor, the guest sees that of each host that it comes to.
    for (old, new) in [("4.13.4", "4.17.5"), ("4.17.5", "4.13.4"), ("4.13.4", "4.13.4")] {
        let (here, there) = (host(old, &["sse", "aes"]), host(new, &["sse", "avx"]));
        assert_eq!(kept(&here, &there), pair("sse aes avx", "sse aes avx"));
        let better = host(new, &["sse", "aes", "avx"]);
        assert_eq!(kept(&here, &better), pair("", ""));
    }
    let spool = HostFacts {
        toolstack: HostFacts::SPOOL.to_owned(),
        ..lesser
    };
    assert_eq!(kept(&spool, &better), pair("", ""));
}

#[test]
fn only_what_may_go_well_can_be_forced() {
    let on = |version, words, subnet: &str, features: &str| HostFacts {
        bridges: vec![Bridge {
            name: "xenbr0".to_owned(),
            subnets: vec![subnet.parse().unwrap()],
        }],
        features: vec![features.to_owned()],
        ..xen(version, words)
    };
    let here = on("4.20.1", "pv hvm svm", "192.0.2.1/24", "avx");
    let there = on("4.17.5", "pv hvm svm", "198.51.100.1/24", "sse");
    let mut domain = DomainConfig::new("web", Uuid::nil(), 1024, GuestKind::Pvh);
    domain.vifs.push(Vif {
        bridge: Some("xenbr0".to_owned()),
        ..Vif::default()
    });
    assert_eq!(
        forced(&domain, &here, &there),
        Ok(vec!["older-xen", "cpu-features", "other-subnet"])
    );
    assert_eq!(forced(&domain, &here, &here), Ok(vec![]));
    let vmx = on("4.17.5", "pv hvm vmx", "198.51.100.1/24", "sse");
    assert_eq!(forced(&domain, &here, &vmx), Err("other-virtualization"));
    let bare = HostFacts {
        bridges: Vec::new(),
        ..there.clone()
    };
    assert_eq!(forced(&domain, &here, &bare), Err("bridge-missing"));
    let full = HostFacts {
        free_memory_kib: 1000,
        ..there
    };
    assert_eq!(forced(&domain, &here, &full), Err("insufficient-memory"));
}
