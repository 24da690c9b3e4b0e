//! Guards, once all frontends are in place.

use lb_common::Address;
use lb_common::config::{GUARDED_IPV4, GUARDED_IPV6};
use lb_common::frontend::guard::REFUSE;

use super::super::model::{Model, guard_key, in_order};
use super::rows::config_word;
use super::step::{Plan, Step};

/// The guard of an address as it should be. The prefixes cover it first.
pub fn guard(model: &mut Model, address: Address, plan: &mut Plan) {
    let wanted = model.guards.wanted(&address);
    if wanted == model.guards.in_place.get(&address).copied() {
        return;
    }
    match wanted {
        Some(verdict) => {
            if verdict == REFUSE {
                model.guards.cover(address);
                prefixes(model, plan);
            }
            plan.push(Step::PutGuard(address, verdict));
        }
        None => plan.push(Step::Remove(guard_key(address))),
    }
}

/// The prefixes of guarded addresses in CONFIG.
pub fn prefixes(model: &Model, plan: &mut Plan) {
    let (mask, value) = model.guards.ipv4.mask_and_value();
    let half = |bits: u64| u64::from(u32::try_from(bits >> 32).unwrap_or(0).to_be());
    let ipv4 = half(mask) << 32 | half(value);
    let (mask, value) = model.guards.ipv6.mask_and_value();
    plan.extend(config_word(model, GUARDED_IPV4, ipv4));
    plan.extend(config_word(model, GUARDED_IPV6, in_order(mask)));
    plan.extend(config_word(model, GUARDED_IPV6 + 1, in_order(value)));
}
