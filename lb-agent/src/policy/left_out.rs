//! Why an endpoint of an EndpointSlice is not in a view.

use std::fmt;

use crate::catalog::Family;

/// Why an endpoint is not in a view of a service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// Its slice cannot be used for this service port.
    Slice(SliceSkip),
    /// Its slice does not have the port, or not with this protocol.
    OtherPort,
    /// Its address cannot be used, and why.
    Address(String),
    /// Another endpoint has the same address and port: the one in this slice counts.
    Duplicate {
        slice: String,
    },
    NotReady,
    /// It terminates, and others are ready.
    Terminating,
    /// It terminates, and no longer serves.
    NotServing,
    /// Its slice has weight 0.
    NoWeight,
    OtherNode,
    OtherNodesHint,
    OtherZonesHint,
}

/// Why no endpoint of a slice is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SliceSkip {
    /// It has the label of headless Services.
    Headless,
    /// It has a family that the Service, or this service port, does not have.
    OtherFamily(Family),
    /// It has endpoints, and no ports.
    NoPorts,
    /// Its addressType, as written.
    AddressType(String),
}

impl LeftOut {
    /// The reason as one word, for programs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Slice(SliceSkip::Headless) => "Headless",
            Self::Slice(SliceSkip::OtherFamily(_)) => "OtherFamily",
            Self::Slice(SliceSkip::NoPorts) => "NoPorts",
            Self::Slice(SliceSkip::AddressType(_)) => "AddressType",
            Self::OtherPort => "OtherPort",
            Self::Address(_) => "Address",
            Self::Duplicate { .. } => "Duplicate",
            Self::NotReady => "NotReady",
            Self::Terminating => "Terminating",
            Self::NotServing => "NotServing",
            Self::NoWeight => "NoWeight",
            Self::OtherNode => "OtherNode",
            Self::OtherNodesHint => "OtherNodesHint",
            Self::OtherZonesHint => "OtherZonesHint",
        }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slice(skip) => return skip.fmt(f),
            Self::Address(error) => return f.write_str(error),
            Self::Duplicate { slice } => {
                return write!(f, "the endpoint with this address in slice {slice} counts");
            }
            Self::OtherPort => "its slice does not have this port",
            Self::NotReady => "not ready",
            Self::Terminating => "terminating, and others are ready",
            Self::NotServing => "terminating, and no longer serving",
            Self::NoWeight => "its slice has weight 0",
            Self::OtherNode => "not on this node",
            Self::OtherNodesHint => "its hints name other nodes",
            Self::OtherZonesHint => "its hints name other zones",
        })
    }
}

impl SliceSkip {
    /// Whether it is a mistake in the slice.
    pub(super) const fn is_problem(&self) -> bool {
        matches!(self, Self::NoPorts | Self::AddressType(_))
    }
}

impl fmt::Display for SliceSkip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Headless => f.write_str("its slice has the label service.kubernetes.io/headless"),
            Self::OtherFamily(family) => write!(f, "its slice is of the family {family}"),
            Self::NoPorts => {
                f.write_str("ports is empty, so the endpoints are skipped: add their ports")
            }
            Self::AddressType(text) => match &**text {
                "FQDN" => f.write_str(
                    "addressType FQDN is not supported: use IPv4 or IPv6, with addresses",
                ),
                "" => f.write_str("addressType is missing: write IPv4 or IPv6"),
                other => write!(f, "addressType {other:?}: write IPv4 or IPv6"),
            },
        }
    }
}
