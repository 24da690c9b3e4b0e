//! The weight of endpoints: an annotation of their slice.

use super::report::Report;
use crate::catalog::EndpointSlice;

/// The largest value of `socklb.dev/weight`.
const MOST: u16 = 1_000;
/// The weight in Cilium of slices without annotation (`DefaultBackendWeight` in pkg/loadbalancer/loadbalancer.go).
const CILIUM_DEFAULT: u16 = 100;

/// The weight of those slices of a Service that have no annotation for it.
///
/// If a slice has Cilium's annotation and not ours, it is Cilium's default: otherwise Cilium's weights would count a hundred
/// times as much as intended.
pub(super) fn default<'a>(mut slices: impl Iterator<Item = &'a EndpointSlice>) -> u16 {
    let is_ciliums = |slice: &EndpointSlice| {
        let annotations = &slice.metadata.annotations;
        annotations.weight.is_none() && annotations.cilium_weight.is_some()
    };
    match slices.any(is_ciliums) {
        true => CILIUM_DEFAULT,
        false => 1,
    }
}

/// The weight of a slice's endpoints; 0: they get no new connections.
///
/// `default`: see [`default()`].
pub(super) fn of(slice: &EndpointSlice, default: u16, report: &mut Report<'_>) -> u16 {
    let annotations = &slice.metadata.annotations;
    let (name, text, most) = match (&annotations.weight, &annotations.cilium_weight) {
        (Some(text), _) => ("socklb.dev/weight", text, MOST),
        (None, Some(text)) => ("service.cilium.io/weight", text, u16::MAX),
        (None, None) => return default,
    };
    parse(text, most).unwrap_or_else(|| {
        report.add(format!(
            "annotation {name} {text:?}: write 0 to {most}; {default} is used"
        ));
        default
    })
}

/// Only digits, as in Go's `ParseUint`.
fn parse(text: &str, most: u16) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let weight = text.parse().ok().filter(|_| is_number)?;
    (weight <= most).then_some(weight)
}
