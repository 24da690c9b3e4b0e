//! A problem with an object, in one line that names the remedy.

use std::fmt::{self, Write as _};

use serde::Serialize;

use super::object_id::ObjectId;

/// Something in an object that the agent could not use. It may use the rest of the object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// `Service default/web`, `EndpointSlice default/web-abc`, or a file.
    pub object: String,
    /// Names the field and the remedy; one line.
    pub message: String,
}

impl Problem {
    #[must_use]
    pub fn of(object: &ObjectId, message: impl Into<String>) -> Self {
        Self {
            object: object.to_string(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}",
            Printable(&self.object),
            Printable(&self.message)
        )
    }
}

/// Prints a text in one line, whatever characters a manifest or a path contains.
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Problem;

    #[test]
    fn a_problem_is_one_line_without_control_characters() {
        let problem = Problem {
            object: "a\nb".to_owned(),
            message: "\u{1b}[31mré".to_owned(),
        };
        assert_eq!(problem.to_string(), r"a\nb: \u{1b}[31mré");
    }
}
