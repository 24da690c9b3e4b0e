//! Parses addresses and ports as kube-proxy does.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::catalog::{Family, is_name};

/// Parses an address that clients or backends may have, with the rules of the API server's validation.
///
/// Numbers with leading zeros are decimal (as in Go's `ParseIPSloppy`, for old objects). An IPv4-mapped address counts as the
/// IPv4 address in it. `Err` contains the reason, worded to follow the field's name.
pub(super) fn parse(text: &str) -> Result<IpAddr, String> {
    let text = text.trim();
    let address =
        lenient(text).ok_or_else(|| format!("{text:?} is not an IP address: correct it"))?;
    let address = address.to_canonical();
    if let Some(special) = special(address) {
        return Err(format!("{text} is {special}: write another"));
    }
    Ok(address)
}

/// Like [`parse`], but the address must be of the given family.
pub(super) fn parse_of(family: Family, text: &str) -> Result<IpAddr, String> {
    let address = parse(text)?;
    if Family::of(address) == family {
        Ok(address)
    } else {
        Err(format!("{text} is not an {family} address"))
    }
}

/// Parses a TCP or UDP port. `Err` contains the reason, worded to follow the field's name.
pub(super) fn port(number: Option<i32>) -> Result<u16, String> {
    let Some(number) = number else {
        return Err("is missing: write a port from 1 to 65535".into());
    };
    match u16::try_from(number) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("{number} is not a port: write one from 1 to 65535")),
    }
}

/// Parses a port's name, which may be empty. `Err` contains the reason, worded to follow the field's name.
pub(super) fn port_name(name: &str) -> Result<(), String> {
    if name.is_empty() || is_name(name) {
        return Ok(());
    }
    Err(format!(
        "{name:?} is not a valid name: use lower-case letters, digits and -"
    ))
}

/// Parses a range like 10.0.0.0/8. Numbers with leading zeros are decimal here too.
pub(super) fn range(text: &str) -> Option<IpNet> {
    let (address, length) = text.trim().split_once('/')?;
    IpNet::new(lenient(address)?, length.parse().ok()?).ok()
}

/// The special meaning of an address that no Service and no endpoint can have, such as loopback or multicast.
const fn special(address: IpAddr) -> Option<&'static str> {
    let (is_link_local, is_broadcast) = match address {
        IpAddr::V4(address) => (address.is_link_local(), address.is_broadcast()),
        IpAddr::V6(address) => (address.is_unicast_link_local(), false),
    };
    Some(if address.is_unspecified() {
        "the unspecified address"
    } else if address.is_loopback() {
        "a loopback address"
    } else if is_link_local {
        "a link-local address"
    } else if address.is_multicast() {
        "a multicast address"
    } else if is_broadcast {
        "the broadcast address"
    } else {
        return None;
    })
}

pub(super) fn lenient(text: &str) -> Option<IpAddr> {
    let address = text.parse().or_else(|_| strip_zeros(text).parse());
    address.ok()
}

fn strip_zeros(text: &str) -> String {
    let octets = text.split('.').map(|octet| {
        let stripped = octet.trim_start_matches('0');
        if stripped.is_empty() && !octet.is_empty() {
            "0"
        } else {
            stripped
        }
    });
    octets.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_zeros_are_decimal() {
        assert_eq!(parse("010.0.00.012"), Ok([10, 0, 0, 12].into()));
    }

    #[test]
    fn a_mapped_address_equals_its_ipv4_address() {
        assert_eq!(parse("::ffff:10.0.0.1"), Ok([10, 0, 0, 1].into()));
    }

    #[test]
    fn invalid_addresses_are_errors() {
        for text in ["", "10.0.0", "10.0.0.256", "web"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse_of(Family::Ipv6, "10.0.0.1").is_err());
    }

    #[test]
    fn a_range_has_a_prefix_length_valid_for_its_family() {
        for (text, said) in [
            ("10.0.0.0/8", Some((Family::Ipv4, 8))),
            (" 010.00.0.1/08\n", Some((Family::Ipv4, 8))),
            ("0.0.0.0/0", Some((Family::Ipv4, 0))),
            ("fd00::/128", Some((Family::Ipv6, 128))),
            ("10.0.0.0/33", None),
            ("fd00::/129", None),
            ("10.0.0.0", None),
            ("10.0.0/8", None),
            ("10.0.0.0/", None),
            ("10.0.0.0/-1", None),
            ("", None),
        ] {
            let parsed = range(text).map(|range| (Family::of(range.addr()), range.prefix_len()));
            assert_eq!(parsed, said, "{text:?}");
        }
    }

    #[test]
    fn wildcard_loopback_and_multicast_addresses_are_refused() {
        let cases = [
            ("the unspecified address", ["0.0.0.0", "::"]),
            ("a loopback address", ["127.1.2.3", "::1"]),
            ("a loopback address", ["::ffff:127.0.0.1", "127.0.0.1"]),
            ("a link-local address", ["169.254.169.254", "fe80::1"]),
            ("a multicast address", ["224.0.0.5", "ff02::1"]),
            (
                "the broadcast address",
                ["255.255.255.255", "255.255.255.255"],
            ),
        ];
        for (special, texts) in cases {
            for text in texts {
                let line = format!("{text} is {special}: write another");
                assert_eq!(parse(text), Err(line));
            }
        }
        for text in ["192.0.2.255", "fec0::1", "0.0.0.1", "100.64.0.1"] {
            assert!(parse(text).is_ok(), "{text}");
        }
    }
}
