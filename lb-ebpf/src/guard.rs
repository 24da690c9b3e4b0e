//! Which misses are refused: calls to a ClusterIP's unknown ports, and to unknown addresses of a Service CIDR.
//!
//! kube-proxy's nftables mode rejects the former and drops the latter (the chain `cluster-ips-check` in
//! pkg/proxy/nftables/proxier.go).

use lb_common::config::{
    GUARDED_IPV4, GUARDED_IPV6, MOST_SERVICE_CIDRS, SERVICE_CIDRS, first_half, last_half,
    service_cidr,
};
use lb_common::frontend::guard;
use lb_common::{Address, FrontendKey, is_mapped};

use crate::config;
use crate::frontend::Element;
use crate::verdict::Refusal;

/// Why a call to this key, which is no frontend's, is refused. None if it passes.
///
/// Only addresses inside of the guarded subnets cost a look-up.
#[inline(always)]
pub fn refusal(key: &FrontendKey) -> Option<Refusal> {
    if !may_be_guarded(key.address) || config::fails_open() {
        return None;
    }
    let port = key.port;
    let key = FrontendKey::new(key.address, 0, 0);
    let Some(element) = Element::find(&key) else {
        let is_unknown = is_in_service_cidr(key.address);
        return is_unknown.then_some(Refusal::UnknownAddress { port });
    };
    let is_refused = element
        .read(&key)
        .is_some_and(|target| target.frontend == guard::REFUSE);
    is_refused.then_some(Refusal::UnknownPort { port })
}

/// Whether the address is in the subnet that contains all guarded addresses of its family.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "takes the lower and the upper half"
)]
fn may_be_guarded(address: Address) -> bool {
    if is_mapped(address) {
        let subnet = config::word(GUARDED_IPV4);
        return address[3] & (subnet >> 32) as u32 == subnet as u32;
    }
    first_half(address) & config::word(GUARDED_IPV6) == config::word(GUARDED_IPV6 + 1)
}

#[inline(always)]
fn is_in_service_cidr(address: Address) -> bool {
    let (first, last) = (first_half(address), last_half(address));
    let number = config::word(SERVICE_CIDRS);
    for index in 0..MOST_SERVICE_CIDRS {
        let word = service_cidr(index);
        if u64::from(index) < number
            && first & config::word(word) == config::word(word + 2)
            && last & config::word(word + 1) == config::word(word + 3)
        {
            return true;
        }
    }
    false
}
