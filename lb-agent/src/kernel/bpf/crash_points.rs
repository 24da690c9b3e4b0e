//! The steps at which a test can end the agent while it puts the data path in place.

/// Ends the process at once if `SOCKLB_END_AT` names this step. Does nothing in a release build.
#[cfg(debug_assertions)]
pub fn end_at(step: &str) {
    if std::env::var_os("SOCKLB_END_AT").is_some_and(|end| end == step) {
        tracing::warn!(
            event = "test.crash_point",
            step,
            "aborting at a step that a test has named",
        );
        std::process::abort();
    }
}

#[cfg(not(debug_assertions))]
pub const fn end_at(_: &str) {}
