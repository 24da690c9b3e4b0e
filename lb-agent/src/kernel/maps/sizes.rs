//! The sizes of the tables: the values of the flags, and the lengths that follow from them.

/// What the tables must have room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Services, each with about six frontends.
    pub services: u32,
    /// Endpoints of service ports: an endpoint of a Service with two ports counts twice.
    pub endpoints: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            services: 10_000,
            endpoints: 250_000,
        }
    }
}

/// Smaller tables save nothing.
pub const LEAST: u32 = 16;
/// NEAR_FRONTENDS has no room for the frontend ids of more Services.
pub const MOST_SERVICES: u32 = 200_000;
/// More would exceed 320 MB of BACKENDS and SLOTS.
pub const MOST_ENDPOINTS: u32 = 4_000_000;

/// A few ports in both families, and sometimes a NodePort.
const FRONTENDS_OF_A_SERVICE: u32 = 6;
/// Maglev tables and weights need many cells even for few backends.
const FEWEST_SLOTS: u32 = 4_096;

impl Sizes {
    /// The number of frontend ids and of view indexes.
    pub fn frontends(self) -> u32 {
        with_reserve(self.services.saturating_mul(FRONTENDS_OF_A_SERVICE))
    }

    /// The number of elements of FRONTENDS: the frontends, and one guard for each ClusterIP.
    pub fn frontend_keys(self) -> u32 {
        2 * self.frontends()
    }

    pub fn backends(self) -> u32 {
        with_reserve(self.endpoints)
    }

    /// Each cell holds two slots. A view that changes has two runs for a moment.
    pub fn slots(self) -> u32 {
        self.backends().max(FEWEST_SLOTS)
    }
}

/// Room for this number at a time. Freed ids are quarantined before they are reused, so there is 1/25 more. The result
/// is rounded up to a multiple of a sixteenth of the next power of two.
fn with_reserve(number: u32) -> u32 {
    let number = number.saturating_add(number / 25 + 8);
    number.next_multiple_of((number.next_power_of_two() / 16).max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_default_sizes_give_round_table_lengths() {
        let sizes = Sizes::default();
        assert_eq!(
            (sizes.frontends(), sizes.frontend_keys()),
            (65_536, 131_072)
        );
        assert_eq!((sizes.backends(), sizes.slots()), (262_144, 262_144));
    }

    #[test]
    fn the_smallest_tables_have_room_for_quarantine() {
        let sizes = Sizes {
            services: LEAST,
            endpoints: LEAST,
        };
        assert_eq!((sizes.frontends(), sizes.backends()), (112, 24));
        assert_eq!(sizes.slots(), FEWEST_SLOTS);
    }

    proptest! {
        #[test]
        fn tables_exceed_the_requested_size_by_little(
            services in LEAST..=MOST_SERVICES,
            endpoints in LEAST..=MOST_ENDPOINTS,
        ) {
            let sizes = Sizes { services, endpoints };
            for (asked, room) in [(endpoints, sizes.backends()), (6 * services, sizes.frontends())] {
                prop_assert!(room > asked + asked / 25);
                // A sixteenth of the power of two is at most an eighth of the number.
                prop_assert!(room <= (asked + asked / 25 + 8) / 8 * 9 + 8);
            }
            // The bits of an id in the programs and in NEAR_FRONTENDS.
            prop_assert!(sizes.frontends() < 1 << 23);
            prop_assert!(sizes.slots() < 1 << 29);
        }
    }
}
