//! The guarantees of the tables, checked against random changes after every store.

mod capacity;
mod cases;
mod compare;
mod crash;
mod drift;
mod properties;
mod recognized;
mod sockets;
mod stale;
mod steps;

use proptest::test_runner::Config;

/// So many cases, or as many as PROPTEST_CASES says, which does not replace a number in a [`Config`].
fn random_cases(number: u32) -> Config {
    let is_set = std::env::var_os("PROPTEST_CASES").is_some();
    let config = Config::default();
    Config {
        cases: if is_set { config.cases } else { number },
        max_shrink_iters: 10_000,
        max_shrink_time: 60_000,
        ..config
    }
}
