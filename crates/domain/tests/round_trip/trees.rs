//! Trees that are nearly configurations.

use proptest::{collection::vec, prelude::*};
use sxp::{Limits, Sexp, atom, read_all};

/// Trees of the words that configurations have, so that they get beyond the first one.
pub fn tree() -> impl Strategy<Value = Sexp> {
    let words = prop::sample::select(vec![
        "name",
        "uuid",
        "memory",
        "maxmem",
        "vcpus",
        "vcpu_avail",
        "cpus",
        "cpu",
        "image",
        "linux",
        "hvm",
        "kernel",
        "args",
        "bootloader",
        "device",
        "vif",
        "vbd",
        "tap",
        "pci",
        "dev",
        "domain",
        "bus",
        "slot",
        "func",
        "opts",
        "rate",
        "1,0",
        "0,1",
        "ip",
        "script",
        "mac",
        "cpuid",
        "eax",
        "restart",
        "never",
        "irq",
        "ioports",
        "from",
        "to",
        "vfb",
        "vncdisplay",
        "uname",
        "phy:x",
        "tap:aio:",
        "mode",
        "w!",
        "0",
        "1",
        "-1",
        "0x10",
        "4294967296",
        "340282366920938463463374607431768211455",
        "",
        "8d1f7f0e-6f4c-0d0c-2a53-6f3a1b2c3d4e",
    ]);
    let leaf = prop_oneof![
        4 => words.prop_map(atom),
        1 => any::<String>().prop_map(|text| atom(&text)),
        1 => any::<i64>().prop_map(|number| Sexp::Atom(sxp::Atom::I(number))),
        1 => any::<f64>().prop_map(|number| Sexp::Atom(sxp::Atom::F(number))),
    ];
    let inner = leaf.prop_recursive(5, 64, 6, |inner| vec(inner, 0..6).prop_map(Sexp::List));
    // Half of them are domains with what every domain needs.
    (any::<bool>(), vec(inner, 0..12)).prop_map(|(domain, items)| {
        let base = match domain {
            true => b"(domain (name a) (uuid 8d1f7f0e-6f4c-0d0c-2a53-6f3a1b2c3d4e) (memory 1))".as_slice(),
            false => b"(domain)".as_slice(),
        };
        let Sexp::List(mut list) = read_all(base, Limits::default()).unwrap()[0].to_sexp() else {
            panic!("a list");
        };
        list.extend(items);
        Sexp::List(list)
    })
}
