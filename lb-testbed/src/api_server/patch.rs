//! JSON merge patches (RFC 7386), as `kubectl label` and `kubectl annotate` send them.

use serde_json::{Map, Value};

/// Changes an object: null removes a field, objects are merged, and everything else replaces what was there.
pub(super) fn merge(target: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (field, value) in patch {
        match value {
            Value::Null => {
                target.remove(&field);
            }
            Value::Object(value) => {
                let old = target.entry(field).or_insert(Value::Null);
                if !old.is_object() {
                    *old = Map::new().into();
                }
                if let Value::Object(old) = old {
                    merge(old, value);
                }
            }
            value => {
                target.insert(field, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_are_replaced_and_nulls_removed() {
        let target = json!({"a": {"b": 1, "c": [1, 2]}, "d": 1, "h": "text"});
        let patch = json!({"a": {"b": null, "c": [3]}, "e": {"f": null, "g": 1}, "h": {"i": 1}});
        let (Value::Object(mut target), Value::Object(patch)) = (target, patch) else {
            unreachable!("both are objects");
        };
        merge(&mut target, patch);
        let expected = json!({"a": {"c": [3]}, "d": 1, "e": {"g": 1}, "h": {"i": 1}});
        assert_eq!(Value::Object(target), expected);
    }
}
