//! Error texts for unreadable objects, common to all sources.

use crate::catalog::{ObjectName, is_name};

/// Rewords serde's errors for users who write YAML and not Rust.
pub(super) fn plain(message: &str) -> String {
    let message = message.replace("expected i32", "expected a whole number");
    let Some((before, after)) = message.split_once("expected struct ") else {
        return message;
    };
    let rest = after.split_once(' ').map(|(_, rest)| rest);
    let rest = rest.map(|rest| format!(" {rest}")).unwrap_or_default();
    format!("{before}expected a mapping{rest}")
}

/// `Err` states which field of `metadata` is not a valid name.
pub(super) fn check_name(name: &ObjectName) -> Result<(), String> {
    if name.name.is_empty() {
        return Err("metadata.name is empty: write one".to_owned());
    }
    let fields = [("name", &name.name), ("namespace", &name.namespace)];
    match fields
        .iter()
        .find(|(_, text)| !text.is_empty() && !is_name(text))
    {
        Some((field, text)) => Err(format!(
            "metadata.{field} {text:?} is not a valid name: use lower-case letters, digits, - and ."
        )),
        None => Ok(()),
    }
}
