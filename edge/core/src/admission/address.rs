//! Addresses: what counts as one address, and as one neighbourhood, when places are shared out.
//!
//! Why blocks: one subscriber has an IPv4 address or an IPv6 /64 (RFC 6177), and can use every address in it.
//! Somebody who rents a network has a /24 or a /48.
//! Invariant: this is the one place that turns an address into what limits and shares are counted by.
//! Not here: which addresses are exempt (`limits`), whose address a proxy names (the driver).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What counts as one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// An IPv4 address.
    V4(u32),
    /// The first 64 bits of an IPv6 address.
    V6(u64),
}

/// What counts as one neighbourhood of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressNet {
    /// The first 24 bits of an IPv4 address.
    V4(u32),
    /// The first 48 bits of an IPv6 address.
    V6(u64),
}

impl Address {
    /// The block of an address; an IPv4 address that is mapped into IPv6 is the IPv4 address.
    pub fn of(addr: IpAddr) -> Address {
        match addr.to_canonical() {
            IpAddr::V4(v4) => Address::V4(v4.to_bits()),
            IpAddr::V6(v6) => Address::V6(subscriber(v6)),
        }
    }

    /// The neighbourhood of the block.
    pub fn net(self) -> AddressNet {
        match self {
            Address::V4(v4) => AddressNet::V4(v4 >> 8),
            Address::V6(v6) => AddressNet::V6(v6 >> 16),
        }
    }
}

/// An IPv4 address, or `2001:db8::/64`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Address::V4(bits) => write!(f, "{}", Ipv4Addr::from_bits(bits)),
            Address::V6(bits) => write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(bits) << 64)),
        }
    }
}

/// The /64: what one subscriber is given, RFC 6177.
fn subscriber(v6: Ipv6Addr) -> u64 {
    (v6.to_bits() >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(text: &str) -> Address {
        Address::of(text.parse().unwrap())
    }

    #[test]
    fn a_block_is_a_subscriber_and_a_net_is_a_neighbourhood() {
        assert_eq!(block("::ffff:192.0.2.1"), block("192.0.2.1"));
        assert_eq!(block("2001:db8::1"), block("2001:db8::ffff:3"));
        assert_ne!(block("2001:db8::1"), block("2001:db8:0:1::1"));
        assert_eq!(block("2001:db8::1").net(), block("2001:db8:0:ffff::1").net());
        assert_ne!(block("2001:db8::1").net(), block("2001:db8:1::1").net());
        assert_eq!(block("192.0.2.1").net(), block("192.0.2.200").net());
        assert_ne!(block("192.0.2.1").net(), block("192.0.3.1").net());
    }
}
