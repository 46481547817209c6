//! Commands that join two bridges of one name, which are on different networks, into one layer-2 network.

use std::net::IpAddr;

/// A host at one end of a tunnel.
#[derive(Clone, Copy, Debug)]
pub struct Ends<'a> {
    /// The source's name.
    pub source: &'a str,
    /// Its address, as the destination sees it.
    pub source_address: IpAddr,
    /// The destination's name.
    pub destination: &'a str,
    /// Its address, as the source sees it.
    pub destination_address: IpAddr,
}

/// What to run at both hosts, a line for each, to be pasted into a shell.
///
/// A VXLAN between the two addresses becomes a port of the bridge, which keeps its MTU: packets that are too long for the way between the hosts with 50 bytes more
/// are fragmented. Made a second time it fails, at either end and for either direction, for its name is the same: two such ways would be a loop.
pub fn tunnel(bridge: &str, ends: Ends<'_>) -> String {
    let Ends {
        source,
        source_address,
        destination,
        destination_address,
    } = ends;
    let number = number(bridge, source_address, destination_address);
    let line = |host: &str, local: &str, remote: &str| {
        format!(
            "on {host}: ip link add vxlan{number} type vxlan id {number} local {local} remote {remote} dstport 4789 && \
             ip link set vxlan{number} mtu \"$(cat /sys/class/net/{0}/mtu)\" master {0} up",
            quoted(bridge)
        )
    };
    let here = address(source_address, "SOURCE");
    let there = address(destination_address, "DESTINATION");
    format!("{}\n{}", line(source, &here, &there), line(destination, &there, &here))
}

/// An address that the other host can reach; an operator has to find one where the connection goes through a tunnel itself.
fn address(address: IpAddr, whose: &str) -> String {
    let address = address.to_canonical();
    if address.is_loopback() || address.is_unspecified() {
        format!("ADDRESS-OF-{whose}")
    } else {
        address.to_string()
    }
}

/// A word of a shell. The name of an interface may have anything in it but blanks and slashes.
fn quoted(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.bytes().all(plain) {
        return name.to_owned();
    }
    format!("'{}'", name.replace('\'', "'\\''"))
}

/// A number of a VXLAN, 1 to 2^24 - 1: the same for the same bridge and hosts, whichever is the source.
fn number(bridge: &str, a: IpAddr, b: IpAddr) -> u32 {
    let text = format!("{bridge} {} {}", a.min(b), a.max(b));
    // FNV-1a.
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    1 + hash % ((1 << 24) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends<'a>(a: &str, b: &str) -> Ends<'a> {
        Ends {
            source: "dom0-a",
            source_address: a.parse().unwrap(),
            destination: "dom0-b",
            destination_address: b.parse().unwrap(),
        }
    }

    #[test]
    fn a_line_for_each_host() {
        let text = tunnel("xenbr0", ends("192.0.2.10", "::ffff:198.51.100.20"));
        let [here, there] = text.lines().collect::<Vec<_>>()[..] else {
            panic!("{text}");
        };
        assert!(here.starts_with("on dom0-a: ip link add vxlan"), "{here}");
        assert!(
            here.contains(" local 192.0.2.10 remote 198.51.100.20 dstport 4789 && "),
            "{here}"
        );
        assert!(
            here.ends_with(" mtu \"$(cat /sys/class/net/xenbr0/mtu)\" master xenbr0 up"),
            "{here}"
        );
        assert!(there.starts_with("on dom0-b: ip link add vxlan"), "{there}");
        assert!(
            there.contains(" local 198.51.100.20 remote 192.0.2.10 dstport 4789 && "),
            "{there}"
        );
    }

    #[test]
    fn the_number_is_the_same_both_ways() {
        let [a, b] = ["192.0.2.10", "198.51.100.20"].map(|text| text.parse().unwrap());
        assert_eq!(number("xenbr0", a, b), number("xenbr0", b, a));
        assert_ne!(number("xenbr0", a, b), number("xenbr1", a, b));
        // The name of an interface has 15 bytes at most.
        assert!(format!("vxlan{}", (1 << 24) - 1).len() <= 15);
    }

    #[test]
    fn what_can_not_be_pasted_is_seen() {
        let text = tunnel("a;b'c", ends("127.0.0.1", "::1"));
        assert!(
            text.contains("local ADDRESS-OF-SOURCE remote ADDRESS-OF-DESTINATION"),
            "{text}"
        );
        assert!(text.contains("master 'a;b'\\''c' up"), "{text}");
    }
}
