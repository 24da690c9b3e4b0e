//! Objects as they would be applied.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// Objects by kind and name.
#[derive(Debug, PartialEq)]
pub struct Objects(BTreeMap<(String, String), Value>);

impl Objects {
    /// The objects in YAML documents, which must be distinct.
    pub fn parse(yaml: &str) -> Self {
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(yaml).unwrap_or_else(|error| panic!("{error}:\n{yaml}"));
        let mut objects = BTreeMap::new();
        for object in documents.into_iter().filter(|object| !object.is_null()) {
            let text = |value: &Value| value.as_str().expect("a text").to_owned();
            let key = (text(&object["kind"]), text(&object["metadata"]["name"]));
            let other = objects.insert(key.clone(), object);
            assert_eq!(other, None, "{key:?} twice");
        }
        Self(objects)
    }

    pub fn get(&self, kind: &str, name: &str) -> &Value {
        let found = self.0.get(&key(kind, name));
        found.unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    pub fn get_mut(&mut self, kind: &str, name: &str) -> &mut Value {
        let found = self.0.get_mut(&key(kind, name));
        found.unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    pub fn remove(&mut self, kind: &str, name: &str) {
        let removed = self.0.remove(&key(kind, name));
        assert!(removed.is_some(), "no {kind} {name}");
    }
}

fn key(kind: &str, name: &str) -> (String, String) {
    (kind.to_owned(), name.to_owned())
}

/// The folder deploy/.
pub fn deploy() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "deploy"]
        .iter()
        .collect()
}

/// Renders a folder of deploy/kustomize with `kubectl kustomize`.
pub fn kustomize(folder: &str) -> Objects {
    let output = Command::new("kubectl")
        .arg("kustomize")
        .arg(deploy().join("kustomize").join(folder))
        .output()
        .expect("`kubectl` (1.27 or later) cannot be started: install it");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "kubectl kustomize {folder} (of kubectl 1.27 or later): {errors}"
    );
    Objects::parse(&String::from_utf8_lossy(&output.stdout))
}
