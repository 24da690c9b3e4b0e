//! Stores texts that many objects share only once: a cluster's objects repeat `default`, `http`, `TCP` and the names of
//! Services and nodes.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

/// The texts of one thread's objects.
#[derive(Default)]
struct Texts {
    known: HashSet<Arc<str>>,
    /// When the number of texts reaches this, the unused ones are removed.
    sweep_at: usize,
}

thread_local! {
    static TEXTS: RefCell<Texts> = RefCell::default();
}

const FEW: usize = 1_024;

/// Returns the shared copy of a text.
#[must_use]
pub fn shared(text: &str) -> Arc<str> {
    TEXTS.with_borrow_mut(|texts| {
        if let Some(known) = texts.known.get(text) {
            return Arc::clone(known);
        }
        if texts.known.len() >= texts.sweep_at {
            texts.known.retain(|text| Arc::strong_count(text) > 1);
            texts.sweep_at = FEW.max(2 * texts.known.len());
        }
        let new: Arc<str> = text.into();
        texts.known.insert(Arc::clone(&new));
        new
    })
}

/// For required fields.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    SharedText::deserialize(deserializer).map(|text| text.0)
}

/// For fields that may be absent or null.
pub(super) fn maybe<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Arc<str>>, D::Error> {
    let text: Option<SharedText> = Option::deserialize(deserializer)?;
    Ok(text.map(|text| text.0))
}

/// For fields in which absent and null mean "".
pub(super) fn or_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    maybe(deserializer).map(Option::unwrap_or_default)
}

/// For labels and annotations: null means "", absent does not (Go's `encoding/json` of a `map[string]string`).
pub(super) fn present<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Arc<str>>, D::Error> {
    or_empty(deserializer).map(Some)
}

/// For lists that may be absent or null.
pub(super) fn list<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Box<[Arc<str>]>, D::Error> {
    let texts: Option<Vec<SharedText>> = Option::deserialize(deserializer)?;
    let texts = texts.unwrap_or_default().into_iter();
    Ok(texts.map(|text| text.0).collect())
}

/// A text that is shared when it is read.
pub(super) struct SharedText(pub(super) Arc<str>);

impl<'de> Deserialize<'de> for SharedText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SharedVisitor;

        impl Visitor<'_> for SharedVisitor {
            type Value = SharedText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<SharedText, E> {
                Ok(SharedText(shared(text)))
            }
        }
        deserializer.deserialize_str(SharedVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_share_one_copy_while_in_use() {
        let first = shared("one and the same");
        assert!(Arc::ptr_eq(&first, &shared("one and the same")));
        for number in 0..3 * FEW {
            let _ = shared(&number.to_string());
        }
        assert!(Arc::ptr_eq(&first, &shared("one and the same")));
        let left = TEXTS.with_borrow(|texts| texts.known.len());
        assert!(left <= 2 * FEW, "{left} unused texts");
    }
}
