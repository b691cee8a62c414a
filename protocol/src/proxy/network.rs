//! A network in CIDR notation: `10.0.0.0/8`, `2001:db8::/32`, or one address.
//!
//! Why bits behind the prefix are a fault: `10.1.2.3/8` is either a mistake or 16 million addresses more than
//! its writer meant.
//! Invariant: an address of IPv4 and its form within IPv6 (`::ffff:10.0.0.1`) are one address.
//! Not here: host names, which are resolved by nobody.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The addresses that share a prefix with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    /// Its first address, in canonical form.
    address: IpAddr,
    prefix: u8,
}

/// Why a text is not a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkFault {
    /// Neither an address nor an address with a prefix length.
    NotANetwork,
    /// Bits behind the prefix are set; the network that was probably meant.
    BitsBehindPrefix(Network),
    /// Every address is in it.
    Everything,
}

impl fmt::Display for NetworkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetworkFault::NotANetwork => {
                f.write_str("it is no address and no network such as 10.0.0.0/8 or 2001:db8::/32")
            }
            NetworkFault::BitsBehindPrefix(network) => {
                write!(f, "bits behind the prefix are set: the network is {network}")
            }
            NetworkFault::Everything => f.write_str("every address is in it: name the proxies"),
        }
    }
}

impl std::error::Error for NetworkFault {}

impl Network {
    /// Whether the address is in this network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                first_v4(address.to_bits(), self.prefix) == network.to_bits()
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                first_v6(address.to_bits(), self.prefix) == network.to_bits()
            }
            _ => false,
        }
    }

    fn new(address: IpAddr, prefix: Option<u8>) -> Result<Network, NetworkFault> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(bits);
        if prefix > bits {
            return Err(NetworkFault::NotANetwork);
        }
        // `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
        let (address, prefix) = match address.to_canonical() {
            IpAddr::V4(v4) if bits == 128 && prefix >= 96 => (IpAddr::V4(v4), prefix - 96),
            IpAddr::V4(v4) if bits == 32 => (IpAddr::V4(v4), prefix),
            _ => (address, prefix),
        };
        if prefix == 0 {
            return Err(NetworkFault::Everything);
        }
        let first = match address {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(first_v4(v4.to_bits(), prefix))),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(first_v6(v6.to_bits(), prefix))),
        };
        let network = Network { address: first, prefix };
        if first == address { Ok(network) } else { Err(NetworkFault::BitsBehindPrefix(network)) }
    }
}

fn first_v4(bits: u32, prefix: u8) -> u32 {
    bits & u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

fn first_v6(bits: u128, prefix: u8) -> u128 {
    bits & u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

impl FromStr for Network {
    type Err = NetworkFault;

    fn from_str(text: &str) -> Result<Network, NetworkFault> {
        let (address, prefix) = match text.split_once('/') {
            None => (text, None),
            Some((address, prefix)) => {
                let is_plain = prefix.len() <= 3 && prefix.bytes().all(|byte| byte.is_ascii_digit());
                let prefix = prefix.parse().ok().filter(|_| is_plain);
                (address, Some(prefix.ok_or(NetworkFault::NotANetwork)?))
            }
        };
        Network::new(address.parse().map_err(|_| NetworkFault::NotANetwork)?, prefix)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = if self.address.is_ipv4() { 32 } else { 128 };
        write!(f, "{}", self.address)?;
        if self.prefix == bits { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        let cases = [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.0/31", "::ffff:192.0.2.1", "192.0.2.2"),
            ("::ffff:10.0.0.0/104", "10.9.9.9", "::a00:1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("::1", "::1", "::2"),
            ("fe80::/10", "febf::1", "fec0::1"),
        ];
        for (network, inside, outside) in cases {
            let network: Network = network.parse().unwrap();
            assert!(network.contains(ip(inside)) && !network.contains(ip(outside)), "{network}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_words() {
        for text in
            ["", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0/8", "::/129", "proxy", " ::1"]
        {
            assert_eq!(text.parse::<Network>(), Err(NetworkFault::NotANetwork), "{text}");
        }
        let fault = "10.1.2.3/8".parse::<Network>().unwrap_err();
        assert_eq!(fault.to_string(), "bits behind the prefix are set: the network is 10.0.0.0/8");
        for text in ["0.0.0.0/0", "::/0", "::ffff:0.0.0.0/96"] {
            assert_eq!(text.parse::<Network>(), Err(NetworkFault::Everything), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_network_is_read_as_it_is_written(bits: u128, prefix in 1u8..=128, is_v4: bool, other: u128) {
            let (address, prefix) = if is_v4 {
                let prefix = prefix.div_ceil(4);
                (IpAddr::V4(Ipv4Addr::from_bits(first_v4(bits as u32, prefix))), prefix)
            } else {
                (IpAddr::V6(Ipv6Addr::from_bits(first_v6(bits | 1 << 127, prefix))), prefix)
            };
            let network = Network::new(address, Some(prefix)).unwrap();
            prop_assert_eq!(network.to_string().parse(), Ok(network));
            prop_assert!(network.contains(address));
            let other = if is_v4 { IpAddr::V4(Ipv4Addr::from_bits(other as u32)) } else { IpAddr::V6(Ipv6Addr::from_bits(other)) };
            let shared = match (address, other) {
                (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
                (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
                _ => 0,
            };
            prop_assert_eq!(network.contains(other), shared >= u32::from(prefix));
        }
    }
}
