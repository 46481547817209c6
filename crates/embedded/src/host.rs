//! What a Linux machine offers to software machines.

use std::{collections::BTreeMap, fs, net::IpAddr, path::Path};

use domain::{Bridge, HostFacts};
use nix::{ifaddrs::getifaddrs, sys::utsname::uname};

/// The host's facts. `used_kib`: what domains have; `limit_kib`: what they may have.
pub(crate) fn facts(used_kib: u64, limit_kib: Option<u64>) -> HostFacts {
    let available = meminfo("MemAvailable:");
    let free_memory_kib = limit_kib.map_or(available, |limit| available.min(limit.saturating_sub(used_kib)));
    let name = uname().map(|names| names.nodename().to_string_lossy().into_owned());
    HostFacts {
        name: name.unwrap_or_else(|_| "localhost".to_owned()),
        toolstack: "embedded".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        architecture: "riscv64".to_owned(),
        virtualization: vec!["rv64ima".to_owned()],
        free_memory_kib,
        total_memory_kib: meminfo("MemTotal:"),
        processors: std::thread::available_parallelism().map_or(1, |count| count.get() as u32),
        bridges: bridges(),
    }
}

/// A number of `/proc/meminfo`, in KiB; 0 if it is not there: then nothing fits, and says so.
fn meminfo(key: &str) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}

/// The bridges, with the subnets of the host's own addresses on them.
fn bridges() -> Vec<Bridge> {
    let Ok(interfaces) = fs::read_dir("/sys/class/net") else {
        return Vec::new();
    };
    let mut bridges: BTreeMap<String, Vec<ipnet::IpNet>> = interfaces
        .flatten()
        .filter(|interface| Path::new(&interface.path()).join("bridge").is_dir())
        .map(|interface| (interface.file_name().to_string_lossy().into_owned(), Vec::new()))
        .collect();
    if bridges.is_empty() {
        return Vec::new();
    }
    for interface in getifaddrs().into_iter().flatten() {
        let Some(subnets) = bridges.get_mut(&interface.interface_name) else {
            continue;
        };
        let ip = |address: Option<nix::sys::socket::SockaddrStorage>| {
            let address = address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        };
        let (Some(address), Some(mask)) = (ip(interface.address), ip(interface.netmask)) else {
            continue;
        };
        let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if let (Ok(subnet), false) = (ipnet::IpNet::with_netmask(address, mask), link_local) {
            subnets.push(subnet);
        }
    }
    bridges
        .into_iter()
        .map(|(name, subnets)| Bridge { name, subnets })
        .collect()
}
