//! How long tests wait for what must happen.

use std::{env, time::Duration};

/// By how much time limits are stretched, a whole number: set where the machine is emulated.
const VARIABLE: &str = "SOCKLB_TEST_PATIENCE";

/// A time limit of a test, as long as this machine needs it to be.
pub fn stretched(limit: Duration) -> Duration {
    limit * factor(env::var(VARIABLE).ok().as_deref())
}

fn factor(variable: Option<&str>) -> u32 {
    variable
        .and_then(|text| text.parse().ok())
        .filter(|factor| *factor > 0)
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_never_shortened() {
        assert_eq!(factor(Some("20")), 20);
        for useless in [None, Some("0"), Some("-1"), Some("long")] {
            assert_eq!(factor(useless), 1);
        }
    }
}
