//! deploy/monitoring: the dashboard, which is generated, and the alert rules with their runbooks.

mod alerts;
mod dashboard;
mod grafana;
mod runbooks;

use std::fs;
use std::path::{Path, PathBuf};

/// A file of the repository.
fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
