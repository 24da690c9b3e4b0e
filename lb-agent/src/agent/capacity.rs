//! Logs when a table is nearly full, and when it no longer is.

use std::collections::BTreeSet;

use crate::policy::Problem;
use crate::tables::Usage;

/// In percent: a usage above this causes a warning.
const NEARLY_FULL: usize = 80;
/// In percent: a usage up to this ends the warning.
const ROOMY: usize = 75;

/// The tables that are nearly full.
#[derive(Debug, Default)]
pub struct Capacity {
    crowded: BTreeSet<&'static str>,
}

impl Capacity {
    /// Checks how full the tables are, and logs changes of that.
    pub fn check(&mut self, tables: &[Usage]) {
        for usage in tables {
            let Usage {
                table,
                used,
                capacity,
            } = *usage;
            if usage.is_above(NEARLY_FULL) && self.crowded.insert(table) {
                tracing::warn!(
                    event = "tables.nearly_full",
                    table,
                    used,
                    capacity,
                    flag = flag(table),
                    "more than 80 % of a table's elements are in use: the flag makes it larger",
                );
            } else if !usage.is_above(ROOMY) && self.crowded.remove(table) {
                tracing::info!(
                    event = "tables.no_longer_full",
                    table,
                    used,
                    capacity,
                    "a table has room again",
                );
            }
        }
    }

    pub fn problems(&self) -> impl Iterator<Item = Problem> {
        self.crowded.iter().map(|table| problem(table))
    }
}

/// The flag that enlarges a table.
pub fn flag(table: &str) -> &'static str {
    match table {
        "BACKENDS" | "SLOTS" => "--max-endpoints",
        _ => "--max-services",
    }
}

fn problem(table: &str) -> Problem {
    Problem {
        object: format!("table {table}"),
        message: format!(
            "more than {NEARLY_FULL} % of its elements are in use: {} makes it larger",
            flag(table)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_begins_above_80_percent_and_ends_at_75() {
        let mut capacity = Capacity::default();
        let mut check = |used| {
            capacity.check(&[Usage {
                table: "BACKENDS",
                used,
                capacity: 1000,
            }]);
            capacity.problems().count()
        };
        let seen = [0, 800, 801, 1000, 751, 750, 800].map(&mut check);
        assert_eq!(seen, [0, 0, 1, 1, 1, 0, 0]);
        check(900);
        let problem = capacity.problems().next().expect("it is one");
        assert_eq!(problem.object, "table BACKENDS");
        assert!(problem.message.contains("--max-endpoints"));
    }
}
