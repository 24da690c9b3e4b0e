//! The watched objects as the API server sends them. Only used fields are decoded. An object that cannot be decoded does not
//! affect the others.

use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::Arc;

use kube::Resource;
use kube::api::ObjectMeta;
use kube::core::ClusterResourceScope;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::catalog::{
    EndpointSlice, Kind, Namespace, Node, Object, ObjectId, ObjectName, Pod, Service, ServiceCidr,
};
use crate::source::object_errors::{check_name, plain};

/// A kind of object that can be watched.
pub trait WatchedKind: Clone + DeserializeOwned + Debug + Send + Sync + 'static {
    const KIND: Kind;
    const GROUP: &'static str;
    /// In lower case, as in paths.
    const PLURAL: &'static str;
    /// Old servers do not have this kind, and the agent works without it.
    const IS_OPTIONAL: bool = false;

    fn into_object(self: Arc<Self>) -> Object;
}

impl WatchedKind for Service {
    const KIND: Kind = Kind::Service;
    const GROUP: &'static str = "";
    const PLURAL: &'static str = "services";

    fn into_object(self: Arc<Self>) -> Object {
        Object::Service(self)
    }
}

impl WatchedKind for EndpointSlice {
    const KIND: Kind = Kind::EndpointSlice;
    const GROUP: &'static str = "discovery.k8s.io";
    const PLURAL: &'static str = "endpointslices";

    fn into_object(self: Arc<Self>) -> Object {
        Object::EndpointSlice(self)
    }
}

impl WatchedKind for Node {
    const KIND: Kind = Kind::Node;
    const GROUP: &'static str = "";
    const PLURAL: &'static str = "nodes";

    fn into_object(self: Arc<Self>) -> Object {
        Object::Node(self)
    }
}

impl WatchedKind for ServiceCidr {
    const KIND: Kind = Kind::ServiceCidr;
    const GROUP: &'static str = "networking.k8s.io";
    const PLURAL: &'static str = "servicecidrs";
    const IS_OPTIONAL: bool = true;

    fn into_object(self: Arc<Self>) -> Object {
        Object::ServiceCidr(self)
    }
}

impl WatchedKind for Pod {
    const KIND: Kind = Kind::Pod;
    const GROUP: &'static str = "";
    const PLURAL: &'static str = "pods";

    fn into_object(self: Arc<Self>) -> Object {
        Object::Pod(self)
    }
}

/// Its metadata is nearly all that it has, so nothing would be saved by asking for that alone.
impl WatchedKind for Namespace {
    const KIND: Kind = Kind::Namespace;
    const GROUP: &'static str = "";
    const PLURAL: &'static str = "namespaces";

    fn into_object(self: Arc<Self>) -> Object {
        Object::Namespace(self)
    }
}

/// An object as received: the metadata that kube needs, and the content.
#[derive(Clone, Debug)]
pub struct Sent<T> {
    /// Name, namespace and resourceVersion only.
    metadata: ObjectMeta,
    /// `Err` names the field and what was expected.
    decoded: Result<Arc<T>, String>,
}

impl<T: WatchedKind> Sent<T> {
    #[must_use]
    pub fn id(&self) -> ObjectId {
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        let name = self.metadata.name.as_deref().unwrap_or_default();
        ObjectId::new(T::KIND, ObjectName::new(namespace, name))
    }

    /// The content. `Err` names the field and what was expected.
    pub fn into_object(self) -> Result<Object, String> {
        self.decoded.map(T::into_object)
    }
}

impl<'de, T: WatchedKind> Deserialize<'de> for Sent<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let metadata = match serde_json::from_str::<Head>(text.get()) {
            Ok(head) => head.metadata,
            Err(error) => return Err(serde::de::Error::custom(error)),
        };
        let decoded = typed(text.get()).and_then(|object: T| {
            let name = ObjectName::new(
                metadata.namespace.as_deref().unwrap_or_default(),
                metadata.name.as_deref().unwrap_or_default(),
            );
            check_name(&name).map(|()| Arc::new(object))
        });
        Ok(Self {
            metadata: ObjectMeta {
                name: metadata.name,
                namespace: metadata.namespace,
                resource_version: metadata.resource_version,
                ..ObjectMeta::default()
            },
            decoded,
        })
    }
}

fn typed<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        // Lines and columns refer to a text that no user sees.
        let message = error.inner().to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        format!("{}: {}", error.path(), plain(message))
    })
}

/// The fields that identify an object.
#[derive(Deserialize)]
struct Head {
    metadata: HeadMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeadMetadata {
    name: Option<String>,
    namespace: Option<String>,
    resource_version: Option<String>,
}

impl<T: WatchedKind> Resource for Sent<T> {
    type DynamicType = ();
    /// All kinds are read in all namespaces.
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        T::KIND.to_string().into()
    }

    fn group((): &()) -> Cow<'_, str> {
        T::GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        T::PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use kube::api::{ObjectList, WatchEvent};

    use super::*;

    const BAD: &str = r#"{"metadata": {"name": "b", "namespace": "x", "resourceVersion": "7"},
        "spec": {"ports": [{"port": "eighty"}]}}"#;

    #[test]
    fn an_unreadable_object_in_a_list_does_not_affect_others() {
        let text = format!(
            r#"{{"kind": "ServiceList", "apiVersion": "v1", "metadata": {{"resourceVersion": "9"}},
                "items": [{BAD}, {{"metadata": {{"name": "a", "namespace": "x"}}, "spec": {{}}}}]}}"#
        );
        let list: ObjectList<Sent<Service>> = serde_json::from_str(&text).expect("a list");
        let said: Vec<_> = list
            .items
            .into_iter()
            .map(|sent| (sent.id().to_string(), sent.into_object().map(|o| o.id())))
            .collect();
        assert_eq!(said[0].0, "Service x/b");
        let message = said[0].1.as_ref().expect_err("\"eighty\" is no port");
        assert!(
            message.starts_with("spec.ports[0].port: invalid type"),
            "{message}"
        );
        assert!(!message.contains("line"), "{message}");
        assert_eq!(
            said[1].1.as_ref().map(ToString::to_string),
            Ok("Service x/a".to_owned())
        );
    }

    #[test]
    fn an_unreadable_object_in_a_watch_keeps_its_resource_version() {
        let text = format!(r#"{{"type": "MODIFIED", "object": {BAD}}}"#);
        let event: WatchEvent<Sent<Service>> = serde_json::from_str(&text).expect("an event");
        let WatchEvent::Modified(sent) = event else {
            panic!("it is a change");
        };
        assert_eq!(sent.meta().resource_version.as_deref(), Some("7"));
        assert!(sent.into_object().is_err());
    }

    #[test]
    fn request_paths_match_the_servers() {
        assert_eq!(Sent::<Service>::url_path(&(), None), "/api/v1/services");
        assert_eq!(
            Sent::<EndpointSlice>::url_path(&(), None),
            "/apis/discovery.k8s.io/v1/endpointslices"
        );
        assert_eq!(
            Sent::<ServiceCidr>::url_path(&(), None),
            "/apis/networking.k8s.io/v1/servicecidrs"
        );
    }
}
