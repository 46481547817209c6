//! The addresses of this host's interfaces.

use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;

/// The name and address of each interface, as often as it has addresses. None if the system does not tell.
pub fn addresses() -> impl Iterator<Item = (String, IpAddr)> {
    getifaddrs().into_iter().flatten().filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        let ip = v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))?;
        Some((interface.interface_name, ip))
    })
}
