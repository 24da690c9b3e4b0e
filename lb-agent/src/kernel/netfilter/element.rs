//! An element of the maps: from a backend's id to its address and port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lb_common::verdict::{BACKEND_MASK, CHOICE};

/// A map for each address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    pub const fn of(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(_) => Self::Ipv4,
            SocketAddr::V6(_) => Self::Ipv6,
        }
    }
}

/// The verdict without MASQUERADE, in the CPU's byte order as `skb->priority` is.
pub const fn key(id: u32) -> [u8; 4] {
    (CHOICE | id & BACKEND_MASK).to_ne_bytes()
}

/// The id of a key; none if no verdict has this key.
pub fn id_of(key: &[u8]) -> Option<u32> {
    let word = u32::from_ne_bytes(key.try_into().ok()?);
    (word & !BACKEND_MASK == CHOICE).then_some(word & BACKEND_MASK)
}

/// Address and port in network byte order; each field of a concatenation begins on a multiple of four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data {
    bytes: [u8; 20],
    length: usize,
}

impl Data {
    pub fn of(address: SocketAddr) -> Self {
        let mut bytes = [0; 20];
        let length = match address.ip() {
            IpAddr::V4(ip) => {
                bytes[..4].copy_from_slice(&ip.octets());
                4
            }
            IpAddr::V6(ip) => {
                bytes[..16].copy_from_slice(&ip.octets());
                16
            }
        };
        bytes[length..length + 2].copy_from_slice(&address.port().to_be_bytes());
        Self {
            bytes,
            length: length + 4,
        }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The address and port of an element; none if its length is of no family.
pub fn address_of(data: &[u8]) -> Option<SocketAddr> {
    let port = |bytes: &[u8]| bytes.first_chunk().map(|port| u16::from_be_bytes(*port));
    match data.len() {
        8 => {
            let ip = Ipv4Addr::from(*data.first_chunk::<4>()?);
            Some(SocketAddr::new(ip.into(), port(&data[4..])?))
        }
        20 => {
            let ip = Ipv6Addr::from(*data.first_chunk::<16>()?);
            Some(SocketAddr::new(ip.into(), port(&data[16..])?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_back_as_it_was_written() {
        for (text, length) in [("192.0.2.1:8080", 8), ("[2001:db8::1]:443", 20)] {
            let address: SocketAddr = text.parse().expect("an address");
            let data = Data::of(address);
            assert_eq!(data.bytes().len(), length);
            assert_eq!(address_of(data.bytes()), Some(address));
        }
        assert_eq!(address_of(&[0; 12]), None);
    }

    #[test]
    fn only_keys_of_choices_have_an_id() {
        assert_eq!(id_of(&key(0x00ab_cdef)), Some(0x00ab_cdef));
        assert_eq!(id_of(&0xc000_0001_u32.to_ne_bytes()), None);
        assert_eq!(id_of(&1_u32.to_ne_bytes()), None);
        assert_eq!(id_of(&[0; 8]), None);
    }
}
