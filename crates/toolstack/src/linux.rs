//! What Linux tells of a host, for every toolstack alike.

use std::{collections::BTreeMap, fs, net::IpAddr, path::Path};

use domain::Bridge;
use nix::ifaddrs::getifaddrs;

/// The bridges, with the subnets of the host's own addresses on them.
pub fn bridges() -> Vec<Bridge> {
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
