//! Saves a file repeatedly as a manifest, and compares the effect.

use std::path::Path;

use lb_agent::source::Manifests;

use crate::effect::{Effect, check_problems};

/// Separates successive contents of a file. Two in a row switch to the other file.
const NEXT: u8 = 0x0c;

/// The bytes of a file, or of several versions of it with [`NEXT`] between them.
pub fn run(bytes: &[u8]) {
    let mut manifests = Manifests::default();
    let mut effect = Effect::new();
    let mut path = Path::new("a.yaml");
    for text in bytes.split(|&byte| byte == NEXT).take(8) {
        if text.is_empty() {
            path = Path::new("b.json");
            continue;
        }
        // As the watch does: first with patience, then without.
        for is_patient in [true, false] {
            if let Some(batch) = manifests.apply_file(path, text.to_vec(), is_patient) {
                check_problems(&batch.problems);
                effect.take(batch.changes);
            }
        }
        effect.settle();
    }
}
