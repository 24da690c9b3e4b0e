//! Which Services a list is about, as the query of a request: `?namespace=shop&service=web&service=shop/db`.

use std::fmt;

/// The Services whose objects a list contains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// None: all.
    pub namespace: Option<String>,
    /// Empty: all.
    pub services: Vec<ServiceName>,
}

/// A Service's name, in one namespace or in any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceName {
    pub namespace: Option<String>,
    pub name: String,
}

const NAMESPACE: &str = "namespace";
const SERVICE: &str = "service";

impl Selection {
    #[must_use]
    pub fn includes(&self, namespace: &str, name: &str) -> bool {
        let is_of = |wanted: &Option<String>| wanted.as_ref().is_none_or(|ns| ns == namespace);
        let is_named = |wanted: &ServiceName| wanted.name == name && is_of(&wanted.namespace);
        is_of(&self.namespace) && (self.services.is_empty() || self.services.iter().any(is_named))
    }

    /// A path with this selection as its query.
    #[must_use]
    pub fn of(&self, path: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(namespace) = &self.namespace {
            query.append_pair(NAMESPACE, namespace);
        }
        for service in &self.services {
            query.append_pair(SERVICE, &service.to_string());
        }
        match query.finish() {
            query if query.is_empty() => path.to_owned(),
            query => format!("{path}?{query}"),
        }
    }

    /// From the query of a request, without its `?`. Unknown parameters are ignored.
    #[must_use]
    pub fn from_query(query: &str) -> Self {
        let mut selection = Self::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                NAMESPACE => selection.namespace = Some(value.into_owned()),
                SERVICE => selection.services.push(ServiceName::parse(&value)),
                _ => {}
            }
        }
        selection
    }
}

impl ServiceName {
    /// `web` or `shop/web`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace.to_owned()), name),
            None => (None, text),
        };
        Self {
            namespace,
            name: name.to_owned(),
        }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::{Selection, ServiceName};

    #[test]
    fn a_selection_survives_the_query() {
        for (namespace, services, path) in [
            (None, &[][..], "/v1/backends"),
            (Some("shop"), &[], "/v1/backends?namespace=shop"),
            (
                Some("shop"),
                &["web", "shop/a&b="],
                "/v1/backends?namespace=shop&service=web&service=shop%2Fa%26b%3D",
            ),
        ] {
            let selection = Selection {
                namespace: namespace.map(str::to_owned),
                services: services
                    .iter()
                    .map(|name| ServiceName::parse(name))
                    .collect(),
            };
            assert_eq!(selection.of("/v1/backends"), path);
            let query = path.split_once('?').map_or("", |(_, query)| query);
            assert_eq!(Selection::from_query(query), selection);
        }
    }

    #[test]
    fn names_select_within_the_namespace() {
        let includes =
            |query: &str, namespace, name| Selection::from_query(query).includes(namespace, name);
        assert!(includes("", "shop", "web"));
        assert!(includes("namespace=shop", "shop", "web"));
        assert!(!includes("namespace=shop", "default", "web"));
        assert!(includes("service=db&service=web", "shop", "web"));
        assert!(!includes("service=db", "shop", "web"));
        assert!(includes("service=shop/web", "shop", "web"));
        assert!(!includes("service=shop/web", "default", "web"));
        assert!(!includes(
            "namespace=default&service=shop/web",
            "shop",
            "web"
        ));
    }
}
