//! The values of the Kubernetes API that decide which tables an object goes to.

use std::fmt;
use std::net::IpAddr;

/// Whether the text can be the name of an object or a port.
///
/// The API server is stricter. This check only rejects names that would not display as one word.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
    !text.is_empty() && text.bytes().all(is_fit)
}

/// A transport protocol that has socket hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    /// The API's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }

    /// Parses the API's name, in capitals. None for any other, SCTP included.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    /// Parses the API's name. None for any other, FQDN included.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "IPv4" => Some(Self::Ipv4),
            "IPv6" => Some(Self::Ipv6),
            _ => None,
        }
    }

    /// Returns an address's family. An IPv4-mapped IPv6 address is not converted.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}
