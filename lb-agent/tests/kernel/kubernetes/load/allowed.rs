//! The servers that may answer a request: those that were allowed to at some time between its start and its end.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;

/// Represents, among the names, a request that is refused because there is no pod.
pub const REFUSED: &str = "nobody";

/// The allowed names at all times since the beginning; during a change both the old and the new ones.
#[derive(Clone, Debug, Default)]
pub struct Allowed(Arc<Mutex<Vec<BTreeSet<String>>>>);

impl Allowed {
    fn times(&self) -> MutexGuard<'_, Vec<BTreeSet<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on these are allowed too.
    pub fn also(&self, names: &BTreeSet<String>) {
        let mut times = self.times();
        let both = match times.last() {
            Some(last) => last | names,
            None => names.clone(),
        };
        times.push(both);
    }

    /// From now on only these are allowed.
    pub fn only(&self, names: BTreeSet<String>) {
        self.times().push(names);
    }

    /// Sends a request and returns the fault of its answer.
    pub fn judge(&self, ask: impl FnOnce() -> Result<String>) -> Result<(), String> {
        let began = self.times().len().saturating_sub(1);
        let name = match ask() {
            Ok(name) => name,
            Err(error) if is_refusal(&error) => REFUSED.to_owned(),
            Err(error) => return Err(format!("{error:#}")),
        };
        let times = self.times();
        let meanwhile = times.get(began..).unwrap_or_default();
        match meanwhile.iter().any(|names| names.contains(&name)) {
            true => Ok(()),
            false => Err(format!("{name} answered, not one of {meanwhile:?}")),
        }
    }
}

fn is_refusal(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}
