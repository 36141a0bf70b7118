//! Networks of addresses, as a setting names them.

use std::net::IpAddr;
use std::str::FromStr;

/// Addresses that begin alike, such as `10.0.0.0/8` or `2001:db8::/32`; or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    bits: u32,
}

/// The text names no network.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("no address or network such as `10.0.0.0/8`")]
pub struct MalformedNetwork;

impl Network {
    /// Whether an address is one of these. An IPv4 address is the same in IPv6's clothes.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (own, own_length) = number(self.first);
        let (other, other_length) = number(address.to_canonical());
        own_length == other_length && (own ^ other).checked_shr(own_length - self.bits).unwrap_or(0) == 0
    }
}

impl FromStr for Network {
    type Err = MalformedNetwork;

    fn from_str(text: &str) -> Result<Self, MalformedNetwork> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let first = address.parse::<IpAddr>().map_err(|_| MalformedNetwork)?.to_canonical();
        let (_, length) = number(first);
        let bits = bits.map_or(Ok(length), |bits| bits.parse::<u32>().map_err(|_| MalformedNetwork))?;
        if bits > length { Err(MalformedNetwork) } else { Ok(Self { first, bits }) }
    }
}

/// An address as a number, and how many bits it has.
fn number(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_what_begins_as_it_does() {
        for (network, inside, outside) in [
            (
                "10.0.0.0/8",
                &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"][..],
                &["11.0.0.0", "9.255.255.255", "::1"][..],
            ),
            ("192.0.2.7", &["192.0.2.7"], &["192.0.2.6", "192.0.2.8"]),
            ("192.0.2.7/31", &["192.0.2.6", "192.0.2.7"], &["192.0.2.8"]),
            ("0.0.0.0/0", &["0.0.0.0", "255.255.255.255"], &["::", "2001:db8::1"]),
            ("::/0", &["::", "ffff::"], &["127.0.0.1", "::ffff:127.0.0.1"]),
            ("2001:db8::/32", &["2001:db8::1", "2001:db8:ffff::"], &["2001:db9::"]),
            ("::1", &["::1"], &["::2", "0.0.0.1"]),
        ] {
            let network: Network = network.parse().unwrap();
            let contains = |address: &&&str| network.contains(address.parse().unwrap());
            assert!(inside.iter().all(|address| contains(&address)), "{network:?}");
            assert!(!outside.iter().any(|address| contains(&address)), "{network:?}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for wrong in ["", "/", "/8", "10.0.0.0/33", "::1/129", "10.0.0/8", "10.0.0.0/-1", "10.0.0.0/8/8", "localhost"] {
            assert_eq!(wrong.parse::<Network>(), Err(MalformedNetwork), "{wrong}");
        }
    }
}
