//! All labels of an object, for selectors.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::text::SharedText;

/// An object's labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelMap(Box<[(Arc<str>, Arc<str>)]>);

impl LabelMap {
    /// The value of a label; none if the object does not have it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let index = self.0.binary_search_by(|(known, _)| (**known).cmp(key));
        index.ok().map(|index| &*self.0[index].1)
    }
}

impl FromIterator<(Arc<str>, Arc<str>)> for LabelMap {
    /// Of several values of one key, the last one counts.
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Arc<str>)>>(labels: I) -> Self {
        let labels: std::collections::BTreeMap<_, _> = labels.into_iter().collect();
        Self(labels.into_iter().collect())
    }
}

impl<'de> Deserialize<'de> for LabelMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LabelVisitor;

        impl<'de> Visitor<'de> for LabelVisitor {
            type Value = LabelMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LabelMap, A::Error> {
                let mut labels = Vec::new();
                // Null means "" (Go's `encoding/json` of a `map[string]string`).
                while let Some((SharedText(key), value)) =
                    map.next_entry::<SharedText, Option<SharedText>>()?
                {
                    labels.push((key, value.map(|text| text.0).unwrap_or_default()));
                }
                Ok(labels.into_iter().collect())
            }
        }
        deserializer.deserialize_map(LabelVisitor)
    }
}
