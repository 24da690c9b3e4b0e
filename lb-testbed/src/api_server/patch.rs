//! Patches: JSON merge patches, and of strategic ones what `kubectl apply` sends for the kinds that are here.

use serde_json::{Map, Value};

use super::kind::Kind;
use super::refusal::Refusal;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patch {
    Merge,
    Strategic(Kind),
}

impl Patch {
    /// By the header `Content-Type`.
    pub(super) fn of(kind: Kind, content_type: &str) -> Result<Self, Refusal> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic(kind)),
            other => Err(Refusal::unsupported_media_type(format!(
                "the body of the request was in an unknown format: {other}; accepted media types include: \
                 application/merge-patch+json, application/strategic-merge-patch+json"
            ))),
        }
    }

    pub(super) fn apply(self, target: &mut Map<String, Value>, patch: Map<String, Value>) {
        let mut patch = patch;
        if let Self::Strategic(_) = self {
            retain_keys(target, patch.remove("$retainKeys"));
            delete_from_lists(target, &mut patch);
        }
        let order = take_order(&mut patch);
        for (field, value) in patch {
            match value {
                Value::Null => {
                    target.remove(&field);
                }
                Value::Object(value) if directive(&value) == Some("delete") => {
                    target.remove(&field);
                }
                Value::Object(value) => {
                    let old = target.entry(field).or_insert_with(|| Map::new().into());
                    self.apply_object(old, value);
                }
                Value::Array(value) => {
                    let rule = self.rule(&field);
                    let old = target.entry(field).or_insert_with(|| Value::Array(vec![]));
                    self.apply_list(rule, old, value);
                }
                value => {
                    target.insert(field, value);
                }
            }
        }
        for (field, order) in order {
            self.put_in_order(target, &field, &order);
        }
    }

    fn apply_object(self, old: &mut Value, patch: Map<String, Value>) {
        let mut patch = patch;
        if directive(&patch) == Some("replace") || !old.is_object() {
            *old = Map::new().into();
        }
        patch.remove("$patch");
        if let Value::Object(old) = old {
            self.apply(old, patch);
        }
    }

    fn apply_list(self, rule: Rule, old: &mut Value, patch: Vec<Value>) {
        let replaces = |value: &Value| value.as_object().and_then(directive) == Some("replace");
        if patch.iter().any(replaces) {
            *old = patch.into_iter().filter(|value| !replaces(value)).collect();
            return;
        }
        match (rule, old) {
            (Rule::MergeBy(key), Value::Array(old)) => self.merge_by(key, old, patch),
            (Rule::Union, Value::Array(old)) => {
                for value in patch {
                    if !old.contains(&value) {
                        old.push(value);
                    }
                }
            }
            (_, old) => *old = patch.into(),
        }
    }

    fn merge_by(self, key: &str, old: &mut Vec<Value>, patch: Vec<Value>) {
        for value in patch {
            let place = old.iter().position(|old| old.get(key) == value.get(key));
            let deletes = value.as_object().and_then(directive) == Some("delete");
            match (place, value) {
                (Some(place), _) if deletes => {
                    old.remove(place);
                }
                (None, _) if deletes => {}
                (Some(place), Value::Object(value)) => self.apply_object(&mut old[place], value),
                (_, value) => old.push(value),
            }
        }
    }

    /// Sorts a merged list as the patch says; what it does not name goes last.
    fn put_in_order(self, target: &mut Map<String, Value>, field: &str, order: &[Value]) {
        let rule = self.rule(field);
        let Some(list) = target.get_mut(field).and_then(Value::as_array_mut) else {
            return;
        };
        let same = |element: &Value, named: &Value| match rule {
            Rule::MergeBy(key) => element.get(key) == named.get(key),
            Rule::Union | Rule::Replace => element == named,
        };
        list.sort_by_key(|element| {
            let place = order.iter().position(|named| same(element, named));
            place.unwrap_or(order.len())
        });
    }

    fn rule(self, field: &str) -> Rule {
        match (self, field) {
            (Self::Strategic(Kind::Service), "ports") => Rule::MergeBy("port"),
            (Self::Strategic(Kind::Node), "addresses") => Rule::MergeBy("type"),
            (Self::Strategic(_), "conditions") => Rule::MergeBy("type"),
            (Self::Strategic(_), "ownerReferences") => Rule::MergeBy("uid"),
            (Self::Strategic(_), "finalizers") => Rule::Union,
            (Self::Strategic(Kind::Node), "podCIDRs") => Rule::Union,
            _ => Rule::Replace,
        }
    }
}

/// What becomes of a list that a patch names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Replace,
    /// Objects with the same value here are merged.
    MergeBy(&'static str),
    Union,
}

/// The word that a strategic patch may have in an object: `replace`, `delete` or `merge`.
fn directive(patch: &Map<String, Value>) -> Option<&str> {
    patch.get("$patch")?.as_str()
}

fn retain_keys(target: &mut Map<String, Value>, keys: Option<Value>) {
    if let Some(Value::Array(keys)) = keys {
        target.retain(|field, _| keys.iter().any(|key| key == field));
    }
}

fn delete_from_lists(target: &mut Map<String, Value>, patch: &mut Map<String, Value>) {
    for (field, gone) in take_directives(patch, "$deleteFromPrimitiveList/") {
        if let Some(list) = target.get_mut(&field).and_then(Value::as_array_mut) {
            list.retain(|value| !gone.contains(value));
        }
    }
}

fn take_order(patch: &mut Map<String, Value>) -> Vec<(String, Vec<Value>)> {
    take_directives(patch, "$setElementOrder/")
}

/// The fields and lists of directives like `$setElementOrder/ports`, which leave the patch.
fn take_directives(patch: &mut Map<String, Value>, prefix: &str) -> Vec<(String, Vec<Value>)> {
    let fields: Vec<String> = patch
        .keys()
        .filter_map(|field| field.strip_prefix(prefix).map(str::to_owned))
        .collect();
    fields
        .into_iter()
        .filter_map(|field| match patch.remove(&format!("{prefix}{field}"))? {
            Value::Array(list) => Some((field, list)),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(patch: Patch, target: Value, with: Value) -> Value {
        let (Value::Object(mut target), Value::Object(with)) = (target, with) else {
            unreachable!("tests write objects");
        };
        patch.apply(&mut target, with);
        target.into()
    }

    #[test]
    fn a_merge_patch_replaces_lists_and_removes_nulls() {
        let target = json!({"a": {"b": 1, "c": [1, 2]}, "d": 1});
        let with = json!({"a": {"b": null, "c": [3]}, "e": {"f": null, "g": 1}});
        let expected = json!({"a": {"c": [3]}, "d": 1, "e": {"g": 1}});
        assert_eq!(patched(Patch::Merge, target, with), expected);
    }

    #[test]
    fn a_strategic_patch_merges_ports_by_number() {
        let target =
            json!({"spec": {"ports": [{"port": 80, "name": "a"}, {"port": 81}, {"port": 82}]}});
        let with = json!({"spec": {
            "$setElementOrder/ports": [{"port": 83}, {"port": 80}, {"port": 82}],
            "ports": [{"port": 80, "nodePort": 30080}, {"port": 83}, {"$patch": "delete", "port": 81}],
        }});
        let ports =
            json!([{"port": 83}, {"port": 80, "name": "a", "nodePort": 30080}, {"port": 82}]);
        assert_eq!(
            patched(Patch::Strategic(Kind::Service), target.clone(), with),
            json!({"spec": {"ports": ports}})
        );
        let with = json!({"spec": {"ports": [{"port": 1}, {"$patch": "replace"}]}});
        assert_eq!(
            patched(Patch::Strategic(Kind::Service), target, with),
            json!({"spec": {"ports": [{"port": 1}]}})
        );
    }

    #[test]
    fn other_lists_are_replaced_and_finalizers_united() {
        let target = json!({"endpoints": [1, 2], "finalizers": ["a", "b"], "kept": 1, "gone": 1});
        let with = json!({
            "endpoints": [3],
            "finalizers": ["c"],
            "$deleteFromPrimitiveList/finalizers": ["a"],
            "$retainKeys": ["endpoints", "finalizers", "kept"],
        });
        let expected = json!({"endpoints": [3], "finalizers": ["b", "c"], "kept": 1});
        let patch = Patch::Strategic(Kind::EndpointSlice);
        assert_eq!(patched(patch, target, with), expected);
    }
}
