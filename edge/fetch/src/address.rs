//! Addresses: which of them belong to the public Internet.
//!
//! Why a table of our own: the one of std is not stable, and leaves out addresses that reach a machine's
//! own network all the same: 6to4, Teredo and NAT64 carry an IPv4 address inside, and a cloud's metadata is
//! served at an address that is public by every standard (168.63.129.16).
//! Invariant: what is not known to be public is refused. Of IPv6 only 2000::/3 is assigned to the Internet.
//! Not here: exceptions that an operator configured (`policy`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Networks of IPv4 that are not public: address, prefix and what it is (IANA's registry of special purposes,
/// and the metadata servers of clouds).
const NOT_PUBLIC_V4: &[([u8; 4], u32, &str)] = &[
    ([0, 0, 0, 0], 8, "this network"),
    ([10, 0, 0, 0], 8, "private"),
    ([100, 64, 0, 0], 10, "behind a carrier's NAT"),
    ([127, 0, 0, 0], 8, "loopback"),
    ([168, 63, 129, 16], 32, "metadata of Azure"),
    ([169, 254, 0, 0], 16, "link-local, and the metadata of clouds"),
    ([172, 16, 0, 0], 12, "private"),
    ([192, 0, 0, 0], 24, "IETF assignments, and metadata of Oracle"),
    ([192, 0, 2, 0], 24, "documentation"),
    ([192, 31, 196, 0], 24, "AS112"),
    ([192, 52, 193, 0], 24, "relays of multicast"),
    ([192, 88, 99, 0], 24, "6to4 relays"),
    ([192, 168, 0, 0], 16, "private"),
    ([192, 175, 48, 0], 24, "AS112"),
    ([198, 18, 0, 0], 15, "benchmarks"),
    ([198, 51, 100, 0], 24, "documentation"),
    ([203, 0, 113, 0], 24, "documentation"),
    ([224, 0, 0, 0], 4, "multicast"),
    ([240, 0, 0, 0], 4, "reserved, and broadcast"),
];

/// Networks inside 2000::/3 that are not public.
const NOT_PUBLIC_V6: &[([u16; 4], u32, &str)] = &[
    ([0x2001, 0, 0, 0], 23, "IETF assignments: Teredo, benchmarks, ORCHID, relays"),
    ([0x2001, 0xdb8, 0, 0], 32, "documentation"),
    ([0x2002, 0, 0, 0], 16, "6to4, with an IPv4 address inside"),
    ([0x2620, 0x4f, 0x8000, 0], 48, "AS112"),
    ([0x3fff, 0, 0, 0], 20, "documentation"),
];

/// Is this an address of the public Internet? An IPv4 address that is mapped into IPv6 is judged as IPv4,
/// since that is where a socket connects to.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let is_in =
        |net: [u8; 4], prefix: u32| (address.to_bits() ^ u32::from_be_bytes(net)) >> (32 - prefix) == 0;
    !NOT_PUBLIC_V4.iter().any(|&(net, prefix, _)| is_in(net, prefix))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let bits = address.to_bits();
    let is_in = |net: [u16; 4], prefix: u32| {
        let [a, b, c, d] = net;
        let net = Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).to_bits();
        (bits ^ net) >> (128 - prefix) == 0
    };
    is_in([0x2000, 0, 0, 0], 3) && !NOT_PUBLIC_V6.iter().any(|&(net, prefix, _)| is_in(net, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_address_of_every_network_is_refused_and_its_neighbours_are_not() {
        for &(net, prefix, what) in NOT_PUBLIC_V4 {
            let first = u32::from_be_bytes(net);
            let last = first | (u32::MAX.checked_shr(prefix).unwrap_or(0));
            for address in [first, last] {
                assert!(!is_public(IpAddr::V4(address.into())), "{what}: {}", Ipv4Addr::from(address));
                let mapped = Ipv4Addr::from(address).to_ipv6_mapped();
                assert!(!is_public(IpAddr::V6(mapped)), "{what}: {mapped}");
            }
        }
        for &([a, b, c, d], prefix, what) in NOT_PUBLIC_V6 {
            let first = Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).to_bits();
            for address in [first, first | (u128::MAX >> prefix)] {
                assert!(!is_public(IpAddr::V6(address.into())), "{what}: {}", Ipv6Addr::from(address));
            }
        }
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "168.63.129.15",
            "168.63.129.17",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450:4001:81b::200e",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2003::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn ipv6_outside_of_the_internet_is_refused_whatever_it_carries_inside() {
        for address in [
            "::",
            "::1",
            "::127.0.0.1",
            "::8.8.8.8",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::1",
            "100::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
            "5f00::1",
            "2002:7f00:1::",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:2::1",
            "2001:20::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }
}
