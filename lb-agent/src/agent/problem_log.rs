//! The log of problems. Each problem is logged once, and again when it is resolved.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::policy::Problem;

/// A condition that may pass by itself counts as a problem after this time.
const PASSES_WITHIN: Duration = Duration::from_secs(30);

/// The current problems.
#[derive(Debug, Default)]
pub struct ProblemLog(BTreeMap<Problem, LoggedProblem>);

#[derive(Clone, Copy, Debug)]
struct LoggedProblem {
    since: Instant,
    may_pass: bool,
    is_logged: bool,
}

impl ProblemLog {
    /// Replaces the current problems, each with whether it may pass by itself. Logs new and resolved ones.
    pub fn update<'p>(&mut self, now: impl Iterator<Item = (&'p Problem, bool)>) {
        let at = Instant::now();
        let mut before = std::mem::take(&mut self.0);
        for (problem, may_pass) in now {
            let (problem, state) = match before.remove_entry(problem) {
                Some((problem, state)) => (problem, LoggedProblem { may_pass, ..state }),
                None => {
                    if may_pass {
                        tracing::debug!(
                            event = "problem.noticed",
                            object = problem.object,
                            problem = problem.message,
                            "an object has a problem that may pass",
                        );
                    }
                    let state = LoggedProblem {
                        since: at,
                        may_pass,
                        is_logged: false,
                    };
                    (problem.clone(), state)
                }
            };
            self.0.insert(problem, state);
        }
        for (problem, state) in before {
            if state.is_logged {
                tracing::info!(
                    event = "problem.resolved",
                    object = problem.object,
                    problem = problem.message,
                    "a problem is resolved",
                );
            } else {
                tracing::debug!(
                    event = "problem.passed",
                    object = problem.object,
                    problem = problem.message,
                    "a problem has passed before it was reported",
                );
            }
        }
        self.log_lasting(at);
    }

    /// Warns of conditions that have lasted too long. Call it regularly.
    pub fn log_lasting(&mut self, now: Instant) {
        for (problem, state) in &mut self.0 {
            let has_lasted = now.duration_since(state.since) >= PASSES_WITHIN;
            if !state.is_logged && (has_lasted || !state.may_pass) {
                state.is_logged = true;
                tracing::warn!(
                    event = "problem.reported",
                    object = problem.object,
                    problem = problem.message,
                    "an object cannot be used, or only in part",
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(name: &str) -> Problem {
        Problem {
            object: name.to_owned(),
            message: "is not there".to_owned(),
        }
    }

    fn logged(log: &ProblemLog) -> Vec<&str> {
        let all = log.0.iter().filter(|(_, state)| state.is_logged);
        all.map(|(problem, _)| &*problem.object).collect()
    }

    #[test]
    fn a_transient_problem_is_logged_only_after_it_has_lasted() {
        let [lasting, passing, brief] = ["lasting", "passing", "brief"].map(problem);
        let mut all = ProblemLog::default();
        all.update([(&lasting, false), (&passing, true), (&brief, true)].into_iter());
        assert_eq!(logged(&all), ["lasting"]);
        let began = Instant::now();
        all.log_lasting(began + PASSES_WITHIN / 2);
        assert_eq!(logged(&all), ["lasting"]);
        // Reporting the same problem again does not restart its time.
        all.update([(&lasting, false), (&passing, true)].into_iter());
        all.log_lasting(began + PASSES_WITHIN);
        assert_eq!(logged(&all), ["lasting", "passing"]);
        all.update([(&brief, true)].into_iter());
        all.log_lasting(began + PASSES_WITHIN / 2);
        assert_eq!(logged(&all), [""; 0]);
    }
}
