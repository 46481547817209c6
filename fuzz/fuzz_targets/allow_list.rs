//! A value of xend-relocation-hosts-allow, and a peer: 16 bytes of address, the peer's name and a line end, the value.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use config::{AllowedBy, Config, Verdict};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((address, rest)) = input.split_first_chunk::<16>() else {
        return;
    };
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (name, list) = rest.split_at(end);
    let list = list.strip_prefix(b"\n").unwrap_or(list);
    let name = String::from_utf8_lossy(name).into_owned();

    let value = sxp::Sexp::List(vec![
        sxp::atom("xend-relocation-hosts-allow"),
        sxp::atom(&sxp::text_from_bytes(list)),
    ]);
    let Ok(loaded) = Config::parse(&sxp::to_bytes(&value), "fuzz.sxp") else {
        return;
    };
    let allowed = loaded.config.hosts_allow;
    assert_eq!(allowed.is_everyone(), list.is_empty());

    let v6 = IpAddr::V6(Ipv6Addr::from(*address));
    let [.., a, b, c, d] = *address;
    let v4 = IpAddr::V4(Ipv4Addr::new(a, b, c, d));
    for address in [v4, v6] {
        let names = [name.clone()];
        let verdict = allowed.check(address, &names);
        match &verdict {
            Verdict::Refused => {
                assert!(!allowed.is_everyone());
                // A name can only add to what the address alone allows.
                assert_eq!(allowed.check(address, &[]), Verdict::Refused);
            }
            Verdict::Allowed {
                by: AllowedBy::Name(by),
                ..
            } => {
                assert_eq!(*by, name);
                assert!(allowed.needs_names());
            }
            Verdict::Allowed {
                by: AllowedBy::Address, ..
            } => {}
        }
    }
    // A list of nothing but networks lets in exactly these.
    if !allowed.is_everyone() && !allowed.entries().iter().any(|entry| entry.is_pattern()) {
        for address in [v4, v6] {
            let within = allowed
                .entries()
                .iter()
                .flat_map(|entry| entry.networks())
                .any(|network| network.contains(&address.to_canonical()));
            assert_eq!(allowed.check(address, &[name.clone()]) != Verdict::Refused, within);
        }
    }
    // An IPv4 peer on an IPv6 socket is the same peer.
    let IpAddr::V4(plain) = v4 else { return };
    let mapped = IpAddr::V6(plain.to_ipv6_mapped());
    assert_eq!(allowed.check(v4, &[name.clone()]), allowed.check(mapped, &[name]));
});
