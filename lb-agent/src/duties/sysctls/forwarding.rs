//! Whether the kernel forwards packets from outside to pods.

use super::Sysctl;
use super::files::Values;
use crate::catalog::{Family, Problem};

pub(super) fn problems(read: &Values, families: &[Family]) -> Vec<Problem> {
    let checked = [
        (Family::Ipv4, Sysctl::Ipv4Forwarding, ""),
        (
            Family::Ipv6,
            Sysctl::Ipv6Forwarding,
            "; interfaces that get addresses from router advertisements then need accept_ra=2",
        ),
    ];
    let checked = checked
        .into_iter()
        .filter(|(family, ..)| families.contains(family));
    let problems = checked.filter_map(|(family, sysctl, further)| {
        let message = match read.get(&sysctl) {
            Some(Ok(0)) => format!(
                "is 0, so {family} packets from outside do not reach pods: set it to 1 on this node{further}"
            ),
            Some(Err(error)) => format!(
                "cannot be read: {error}; without forwarding, {family} packets from outside do not reach pods: \
                 see whether the kernel has {family}"
            ),
            _ => return None,
        };
        Some(Problem {
            object: format!("sysctl {sysctl}"),
            message,
        })
    });
    problems.collect()
}
