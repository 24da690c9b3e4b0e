//! What is wrong with an object, in one line that says what to do.

use std::fmt;

use serde::Serialize;

use super::ObjectId;

/// Something in an object that could not be used; the rest of it may be in use.
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
        write!(f, "{}: {}", self.object, self.message)
    }
}
