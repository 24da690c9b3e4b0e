//! A document as a tree of JSON values, converted as kubectl converts YAML to JSON (sigs.k8s.io/yaml, `YAMLToJSON`): every key
//! becomes a string, a whole number has no fraction, and the last of several equal keys in a mapping counts.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The largest number of repeated keys stored for one document.
const MOST_REPEATED: usize = 1_000;

/// The key with which YAML 1.1 merges other mappings into this one.
const MERGE: &str = "<<";

/// A document, or an item of a list.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Tree {
    pub(super) value: Value,
    /// The keys that occur more than once in their mapping.
    pub(super) repeated: BTreeSet<Path>,
}

/// The position of a key in a tree: `metadata.labels.app`, `spec.ports[0].port`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Path(Vec<PathSegment>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PathSegment {
    Key(String),
    Item(usize),
}

impl Tree {
    /// Takes the items out of a list, each with its repeated keys. None if `items` is missing, `Err` if it is not a list.
    pub(super) fn take_items(&mut self) -> Option<Result<Vec<Self>, Value>> {
        let values = match self.value.get_mut("items").map(Value::take)? {
            Value::Array(values) => values,
            other => return Some(Err(other)),
        };
        let mut by_item: BTreeMap<usize, BTreeSet<Path>> = BTreeMap::new();
        self.repeated.retain(|path| match path.0.as_slice() {
            [PathSegment::Key(key), PathSegment::Item(index), rest @ ..] if key == "items" => {
                let of_item = by_item.entry(*index).or_default();
                of_item.insert(Path(rest.to_vec()));
                false
            }
            _ => true,
        });
        let items = values.into_iter().enumerate().map(|(index, value)| Self {
            value,
            repeated: by_item.remove(&index).unwrap_or_default(),
        });
        Some(Ok(items.collect()))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                PathSegment::Key(key) if index == 0 => f.write_str(key)?,
                PathSegment::Key(key) => write!(f, ".{key}")?,
                PathSegment::Item(item) => write!(f, "[{item}]")?,
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut reader = ReadingState::default();
        let value = ValueReader(&mut reader).deserialize(deserializer)?;
        Ok(Self {
            value,
            repeated: reader.repeated,
        })
    }
}

/// The current position of reading, and the repeated keys found.
#[derive(Default)]
struct ReadingState {
    path: Path,
    repeated: BTreeSet<Path>,
}

/// Reads the next value.
struct ValueReader<'a>(&'a mut ReadingState);

impl ValueReader<'_> {
    fn inside<T>(&mut self, step: PathSegment, read: impl FnOnce(ValueReader<'_>) -> T) -> T {
        self.0.path.0.push(step);
        let read = read(ValueReader(self.0));
        self.0.path.0.pop();
        read
    }
}

impl<'de> DeserializeSeed<'de> for ValueReader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueReader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        loop {
            let step = PathSegment::Item(values.len());
            match self.inside(step, |node| items.next_element_seed(node))? {
                Some(value) => values.push(value),
                None => return Ok(values.into()),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        let mut merged = HashSet::new();
        while let Some(MappingKey(key)) = entries.next_key()? {
            let step = PathSegment::Key(key.clone());
            let value = self.inside(step, |node| entries.next_value_seed(node))?;
            let value = match merge_sources(&key, value) {
                Ok(sources) => {
                    for (key, value) in sources.into_iter().flatten() {
                        merged.insert(key.clone());
                        map.insert(key, value);
                    }
                    continue;
                }
                Err(value) => value,
            };
            let is_repeated = map.contains_key(&key) && !merged.remove(&key);
            if is_repeated && self.0.repeated.len() < MOST_REPEATED {
                let mut path = self.0.path.clone();
                path.0.push(PathSegment::Key(key.clone()));
                self.0.repeated.insert(path);
            }
            map.insert(key, value);
        }
        Ok(map.into())
    }
}

/// Returns the mappings that a merge key stands for, in the order in which they must be stored. `Err` if this is not a merge.
///
/// As in kubectl, and unlike in YAML 1.1, a merge key overrides the keys before it. In a sequence the first mapping overrides
/// the others.
fn merge_sources(key: &str, value: Value) -> Result<Vec<Map<String, Value>>, Value> {
    match value {
        Value::Object(map) if key == MERGE => Ok(vec![map]),
        Value::Array(items) if key == MERGE && items.iter().all(Value::is_object) => {
            let maps = items.into_iter().rev().filter_map(|item| match item {
                Value::Object(map) => Some(map),
                _ => None,
            });
            Ok(maps.collect())
        }
        other => Err(other),
    }
}

/// A mapping's key, as the string that JSON uses for it.
struct MappingKey(String);

impl<'de> Deserialize<'de> for MappingKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;

        impl Visitor<'_> for KeyVisitor {
            type Value = MappingKey;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key that is a string")
            }

            fn visit_bool<E>(self, value: bool) -> Result<MappingKey, E> {
                Ok(MappingKey(value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<MappingKey, E> {
                Ok(MappingKey(value.to_string()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<MappingKey, E> {
                Ok(MappingKey(value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<MappingKey, E> {
                Ok(MappingKey(float_key(value)))
            }

            fn visit_str<E>(self, value: &str) -> Result<MappingKey, E> {
                Ok(MappingKey(value.to_owned()))
            }
        }
        deserializer.deserialize_any(KeyVisitor)
    }
}

/// JSON does not distinguish 80 and 80.0, and Go writes 80.
fn number(value: f64) -> Value {
    // Beyond 2^53 a float cannot represent every whole number.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it is whole, and within the range"
        )]
        return Value::from(value as i64);
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// Formats a float like Go's `strconv.FormatFloat(value, 'g', -1, 32)`: 1.1 for 1.10, 1e+06 for a million.
fn float_key(value: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "Go has the key so")]
    let value = value as f32;
    let scientific = format!("{value:e}");
    let parts = scientific.split_once('e');
    let parts = parts.and_then(|(digits, exponent)| Some((digits, exponent.parse::<i32>().ok()?)));
    match parts {
        Some((digits, exponent)) if !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
        _ => value.to_string(),
    }
}
