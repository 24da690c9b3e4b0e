//! The used annotations of Services, EndpointSlices and Pods, and the names of those that look like ours and are not.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::object_id::Kind;
use super::text::{self, SharedText};
use super::trigger_time::TriggerTime;

/// The names of socklb's annotations begin with this.
const PREFIX: &str = "socklb.dev/";

/// See [`TriggerTime`].
const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// An annotation that is a text: its name, the kind of object on which it has a meaning, and its place.
type Known = (&'static str, Kind, fn(&mut Annotations) -> &mut Text);

/// None: the annotation is absent. Null means "".
type Text = Option<Arc<str>>;

const KNOWN: [Known; 10] = [
    ("socklb.dev/algorithm", Kind::Service, |of| {
        &mut of.algorithm
    }),
    ("socklb.dev/drain", Kind::Service, |of| &mut of.drain),
    ("socklb.dev/ignore", Kind::Service, |of| &mut of.ignore),
    ("socklb.dev/outlier-detection", Kind::Service, |of| {
        &mut of.outlier_detection
    }),
    ("socklb.dev/slow-start", Kind::Service, |of| {
        &mut of.slow_start
    }),
    ("socklb.dev/spill-over", Kind::Service, |of| {
        &mut of.spill_over
    }),
    ("socklb.dev/sockets", Kind::Pod, |of| &mut of.sockets),
    ("socklb.dev/weight", Kind::EndpointSlice, |of| {
        &mut of.weight
    }),
    ("service.cilium.io/weight", Kind::EndpointSlice, |of| {
        &mut of.cilium_weight
    }),
    ("kubernetes.io/config.mirror", Kind::Pod, |of| {
        &mut of.config_mirror
    }),
];

/// The annotations that are used: those of Services, the weights of slices, those of pods, and one that the control plane writes on
/// slices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Annotations {
    pub ignore: Text,
    pub algorithm: Text,
    pub outlier_detection: Text,
    pub slow_start: Text,
    pub spill_over: Text,
    pub weight: Text,
    pub cilium_weight: Text,
    pub drain: Text,
    pub sockets: Text,
    /// On the mirror of a static pod: the UID by which the kubelet knows the pod (`getPodHash` in pkg/kubelet/pod/mirror_client.go,
    /// `applyDefaults` in pkg/kubelet/config/common.go).
    pub(super) config_mirror: Text,
    /// `endpoints.kubernetes.io/last-change-trigger-time`.
    pub last_change_trigger_time: TriggerTime,
    /// The places in [`KNOWN`] of those that the object has, as bits.
    known: u16,
    /// Those below `socklb.dev/` that do not exist, as written.
    unknown: Box<[Arc<str>]>,
}

impl Annotations {
    /// The names below `socklb.dev/` that mean nothing on an object of this kind.
    pub fn meaningless_on(&self, kind: Kind) -> impl Iterator<Item = &str> {
        let known = KNOWN.iter().enumerate();
        let has = known.filter(|(place, _)| self.known & (1 << place) != 0);
        let misplaced = has.filter(move |(_, (name, on, _))| *on != kind && is_ours(name));
        let misplaced = misplaced.map(|(_, (name, ..))| *name);
        misplaced.chain(self.unknown.iter().map(|name| &**name))
    }

    /// The names below `socklb.dev/` that have a meaning on an object of this kind.
    pub fn of_kind(kind: Kind) -> impl Iterator<Item = &'static str> {
        let names = KNOWN.iter().filter(move |(_, on, _)| *on == kind);
        names.map(|(name, ..)| *name).filter(|name| is_ours(name))
    }
}

fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// The name of an annotation.
enum Name {
    /// A place in [`KNOWN`].
    Known(usize),
    TriggerTime,
    Unknown(Arc<str>),
    /// Another program's.
    Other,
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl Visitor<'_> for NameVisitor {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of an annotation")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Name, E> {
                let known = KNOWN.iter().position(|(known, ..)| *known == name);
                Ok(match known {
                    Some(place) => Name::Known(place),
                    None if name == TRIGGER_TIME => Name::TriggerTime,
                    None if is_ours(name) => Name::Unknown(text::shared(name)),
                    None => Name::Other,
                })
            }
        }
        deserializer.deserialize_identifier(NameVisitor)
    }
}

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnnotationsVisitor;

        impl<'de> Visitor<'de> for AnnotationsVisitor {
            type Value = Annotations;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Annotations, A::Error> {
                let mut read = Annotations::default();
                let mut unknown = Vec::new();
                while let Some(name) = map.next_key()? {
                    match name {
                        Name::Known(place) => {
                            let value: Option<SharedText> = map.next_value()?;
                            let value = value.map(|text| text.0).unwrap_or_default();
                            *KNOWN[place].2(&mut read) = Some(value);
                            read.known |= 1 << place;
                        }
                        Name::TriggerTime => read.last_change_trigger_time = map.next_value()?,
                        Name::Unknown(name) => {
                            map.next_value::<IgnoredAny>()?;
                            unknown.push(name);
                        }
                        Name::Other => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                read.unknown = unknown.into();
                Ok(read)
            }
        }
        deserializer.deserialize_map(AnnotationsVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_without_a_meaning_are_kept_by_name() {
        let text = r#"{"socklb.dev/algoritm": "maglev", "socklb.dev/drain": null, "socklb.dev/weight": "3",
            "service.cilium.io/weight": "7", "example.com/other": {}, "socklb.dev/sockets": "false"}"#;
        let read: Annotations = serde_json::from_str(text).expect("a map of strings");
        assert_eq!(read.drain.as_deref(), Some(""));
        assert_eq!(read.cilium_weight.as_deref(), Some("7"));
        let on = |kind| read.meaningless_on(kind).collect::<Vec<_>>();
        assert_eq!(
            on(Kind::Service),
            [
                "socklb.dev/sockets",
                "socklb.dev/weight",
                "socklb.dev/algoritm"
            ]
        );
        assert_eq!(
            on(Kind::EndpointSlice),
            [
                "socklb.dev/drain",
                "socklb.dev/sockets",
                "socklb.dev/algoritm"
            ]
        );
        assert_eq!(
            on(Kind::Pod),
            [
                "socklb.dev/drain",
                "socklb.dev/weight",
                "socklb.dev/algoritm"
            ]
        );
    }
}
