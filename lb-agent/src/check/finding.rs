//! What a check found.

use serde::Serialize;

/// One row of the output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was checked, always by the same name.
    pub check: &'static str,
    #[serde(rename = "result")]
    pub outcome: Outcome,
    /// One line.
    pub detail: String,
    /// What to do about it; none if nothing is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Ok,
    /// The agent runs, but some of its functions do not.
    Warning,
    /// The agent does not start, or does not balance.
    Failure,
}

impl Outcome {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failure => "failure",
        }
    }
}

impl Finding {
    pub(super) fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self {
            check,
            outcome: Outcome::Ok,
            detail: detail.into(),
            remedy: None,
        }
    }

    pub(super) fn warning(
        check: &'static str,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            outcome: Outcome::Warning,
            remedy: Some(remedy.into()),
            ..Self::ok(check, detail)
        }
    }

    pub(super) fn failure(
        check: &'static str,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            outcome: Outcome::Failure,
            ..Self::warning(check, detail, remedy)
        }
    }

    /// Of an error that a start would end with. Errors have the form "cannot VERB OBJECT: cause; remedy".
    pub(super) fn of_error(check: &'static str, error: &dyn std::error::Error) -> Self {
        let text = error.to_string();
        match text.split_once("; ") {
            Some((detail, remedy)) => Self::failure(check, detail, remedy),
            None => Self {
                remedy: None,
                ..Self::failure(check, text, "")
            },
        }
    }

    /// Of something that cannot be checked for want of a capability.
    pub(super) fn not_checked(check: &'static str, missing: &str) -> Self {
        Self::warning(
            check,
            format!("not checked: {missing} missing"),
            "see the row `capabilities`",
        )
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn an_error_is_split_into_detail_and_remedy() {
        let finding = Finding::of_error("x", &io::Error::other("cannot see it: dark; light; more"));
        assert_eq!(finding.outcome, Outcome::Failure);
        assert_eq!(finding.detail, "cannot see it: dark");
        assert_eq!(finding.remedy.as_deref(), Some("light; more"));
        let without = Finding::of_error("x", &io::Error::other("cannot see it"));
        assert_eq!((&*without.detail, without.remedy), ("cannot see it", None));
    }

    #[test]
    fn outcomes_are_ordered_by_severity() {
        assert!(Outcome::Ok < Outcome::Warning && Outcome::Warning < Outcome::Failure);
    }
}
