//! Which files are found, and which of them can be read.

use std::fs;

use tempfile::TempDir;

use super::super::Manifests;
use super::{lines, service, told};

#[test]
fn a_path_that_does_not_exist_is_an_error_that_names_it() {
    let error = Manifests::open(vec!["/nowhere/web.yaml".into()]).expect_err("there is nothing");
    assert_eq!(
        error.to_string(),
        "cannot read manifests from /nowhere/web.yaml"
    );
}

#[test]
fn a_folder_is_read_like_kubectl_does_and_the_first_definition_counts() {
    let folder = TempDir::new().expect("a folder");
    let write =
        |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
    write("b.yml", &(service("web") + "---\n" + &service("b")));
    write("a.yaml", &service("web"));
    write(
        "c.json",
        r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}"#,
    );
    write(".hidden.yaml", "{{");
    write("notes.txt", "{{");
    fs::create_dir(folder.path().join("deeper.yaml")).expect("a folder");
    let (_, listing) = Manifests::open(vec![folder.path().into(), folder.path().join("a.yaml")])
        .expect("readable");
    assert_eq!(
        told(&listing.changes),
        ["+Service default/b", "+Service default/web", "+Node n1"]
    );
    assert_eq!(listing.files, 3);
    let problems = lines(&listing.problems);
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].starts_with("Service default/web: is defined in "),
        "{problems:?}"
    );
    assert!(problems[0].contains("a.yaml and again in "), "{problems:?}");
}
