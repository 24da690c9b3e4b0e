//! Files as people write them, break them, and replace them.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::mpsc::Receiver;

use super::{Batch, Manifests, parse};
use crate::catalog::{Change, Object, Problem};

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec: {{clusterIP: 10.96.0.1, ports: [{{port: 80}}]}}\n"
    )
}

/// `+` set, `-` removed.
fn told(changes: &[Change]) -> Vec<String> {
    let line = |change: &Change| match change {
        Change::Set(object) => format!("+{}", object.id()),
        Change::Remove(id) => format!("-{id}"),
    };
    changes.iter().map(line).collect()
}

fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

/// What a text with that name says: objects, then problems.
fn parsed(name: &str, text: &str) -> (Vec<String>, Vec<String>) {
    let parsed = parse::text(Path::new(name), text);
    let objects = parsed.objects.keys().map(ToString::to_string).collect();
    (objects, lines(&parsed.problems))
}

#[test]
fn documents_lists_and_other_kinds() {
    let text = format!(
        "%YAML 1.2\n# a comment\n---\n{}---\n\n--- # nothing\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\n---\n\
         apiVersion: v1\nkind: List\nitems:\n- apiVersion: discovery.k8s.io/v1\n  kind: EndpointSlice\n  metadata: {{name: a, namespace: shop, creationTimestamp: null}}\n  \
         addressType: IPv4\n  endpoints: null\n  ports: null\n- {{apiVersion: v1, kind: Node, metadata: {{name: n1}}}}\n---\n\
         apiVersion: v1\nkind: ServiceList\nitems: [{{metadata: {{name: db}}, spec: {{}}, status: {{loadBalancer: {{}}}}}}]\n---\n\
         apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {{name: fn}}\n---\nreplicas: 3\n...\n",
        service("web")
    );
    let (objects, problems) = parsed("all.yaml", &text);
    assert_eq!(
        objects,
        [
            "Service default/db",
            "Service default/web",
            "EndpointSlice shop/a",
            "Node n1"
        ]
    );
    assert_eq!(problems, [""; 0]);
    assert_eq!(parse::text(Path::new("all.yaml"), &text).passed_over, 3);
}

#[test]
fn json_files_and_json_in_yaml_files() {
    let web =
        r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": null}"#;
    let two = format!("{web}\n{}", web.replace("web", "db"));
    for name in ["a.json", "a.yaml"] {
        assert_eq!(
            parsed(name, &two).0,
            ["Service default/db", "Service default/web"],
            "{name}"
        );
    }
    let (objects, problems) = parsed("a.json", &format!("{web}\n{{\"kind\": }}"));
    assert_eq!(objects, ["Service default/web"]);
    assert_eq!(
        problems,
        ["a.json: line 2, column 10: expected value: correct it"]
    );
    assert_eq!(
        parsed(
            "a.yaml",
            "{apiVersion: v1, kind: Node, metadata: {name: n1}}"
        )
        .0,
        ["Node n1"]
    );
}

#[test]
fn bad_yaml_is_told_with_line_and_column_and_leaves_the_other_documents() {
    let text = format!(
        "{}---\nkind: Service\nmetadata:\n  name: [a\nspec: b\n---\n{}",
        service("a"),
        service("b")
    );
    let (objects, problems) = parsed("web.yaml", &text);
    assert_eq!(objects, ["Service default/a", "Service default/b"]);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(
        problems[0].starts_with("web.yaml: line 10, column"),
        "{problems:#?}"
    );
    assert!(!problems[0].contains('\n'), "{problems:#?}");
}

#[test]
fn a_wrong_type_names_object_field_and_file() {
    let text = service("web").replace("port: 80", "port: http");
    assert_eq!(
        parsed("web.yaml", &text).1,
        [
            "Service default/web: spec.ports[0].port: invalid type: string \"http\", expected a whole number (web.yaml, document at line 1)"
        ]
    );
    let text = service("web").replace("[{port: 80}]", "80");
    assert!(
        parsed("web.yaml", &text).1[0]
            .contains("spec.ports: invalid type: integer `80`, expected a sequence")
    );
    let text = service("web").replace("metadata:\n  name: web\n", "metadata: web\n");
    assert!(parsed("web.yaml", &text).1[0].starts_with(
        "Service in web.yaml: metadata: invalid type: string \"web\", expected a mapping"
    ));
}

#[test]
fn what_does_not_say_what_it_is_is_told() {
    let cases = [
        (
            service("web").replace("apiVersion: v1\n", ""),
            "Service default/web: apiVersion is missing: write v1",
        ),
        (
            service("web").replace("kind: Service\n", ""),
            "web.yaml: kind is missing",
        ),
        (
            service("web").replace("  name: web\n", "  labels: {}\n"),
            "Service in web.yaml: metadata: missing field `name`",
        ),
        (
            "apiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice\nmetadata: {name: a}\n"
                .to_owned(),
            "EndpointSlice default/a: apiVersion discovery.k8s.io/v1beta1 is not read",
        ),
        (
            "hello\n".to_owned(),
            "web.yaml: this is not a Kubernetes object",
        ),
        (
            service("web") + "---\n" + &service("web"),
            "Service default/web: is there twice in web.yaml, document at line 7",
        ),
    ];
    for (text, expected) in cases {
        let problems = parsed("web.yaml", &text).1;
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert!(problems[0].starts_with(expected), "{problems:#?}");
    }
}

#[test]
fn a_dump_of_a_large_cluster_is_not_too_large() {
    let item = "- {apiVersion: v1, kind: Service, metadata: {name: sNUMBER}, spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}}\n";
    let items: String = (0..20_000)
        .map(|n| item.replace("NUMBER", &n.to_string()))
        .collect();
    let text = format!("apiVersion: v1\nkind: List\nitems:\n{items}");
    assert_eq!(
        parse::text(Path::new("all.yaml"), &text).objects.len(),
        20_000
    );
}

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

/// What takes 20 to 60 ms on an idle machine, on one that is building something else.
const SOON: Duration = Duration::from_millis(500);

/// A watched folder.
struct Watched {
    folder: TempDir,
    batches: Receiver<Batch>,
}

impl Watched {
    fn new(files: &[(&str, &str)], given: impl Fn(&Path) -> Vec<std::path::PathBuf>) -> Self {
        let folder = TempDir::new().expect("a folder");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("written");
        }
        let (manifests, _) = Manifests::open(given(folder.path())).expect("readable");
        let (sender, batches) = tokio::sync::mpsc::channel(16);
        manifests.watch(sender).expect("a thread");
        // Time for the watch to be there; a change before it is found, too, but only by the first look.
        std::thread::sleep(Duration::from_millis(50));
        Self { folder, batches }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).expect("written");
    }

    /// The next batch, which must come soon.
    fn next(&mut self) -> Batch {
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(2) {
            if let Ok(batch) = self.batches.try_recv() {
                let took = since.elapsed();
                assert!(took < SOON, "took {took:?}");
                return batch;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("nothing was noticed");
    }

    fn changes(&mut self) -> Vec<String> {
        told(&self.next().changes)
    }

    fn assert_quiet(&mut self) {
        std::thread::sleep(Duration::from_millis(150));
        if let Ok(batch) = self.batches.try_recv() {
            panic!("{batch:?}");
        }
    }
}

#[test]
fn edits_are_noticed_soon() {
    let mut watched = Watched::new(&[("a.yaml", &service("web"))], |folder| vec![folder.into()]);
    watched.assert_quiet();
    watched.write("a.yaml", &service("web").replace("10.96.0.1", "10.96.0.2"));
    assert_eq!(watched.changes(), ["+Service default/web"]);
    watched.write("b.yaml", &service("b"));
    assert_eq!(watched.changes(), ["+Service default/b"]);
    watched.write("b.yaml", &(service("b") + "# the same\n"));
    watched.write("notes.txt", "nothing");
    watched.assert_quiet();
    fs::remove_file(watched.folder.path().join("b.yaml")).expect("removed");
    assert_eq!(watched.changes(), ["-Service default/b"]);
}

#[test]
fn a_broken_file_keeps_its_last_good_objects_and_is_told() {
    let two = service("a") + "---\n" + &service("b");
    let mut watched = Watched::new(&[("a.yaml", &two)], |folder| vec![folder.join("a.yaml")]);
    let broken = service("a").replace("10.96.0.1", "10.96.0.2") + "---\nkind: [";
    watched.write("a.yaml", &broken);
    let batch = watched.next();
    assert_eq!(told(&batch.changes), ["+Service default/a"]);
    assert_eq!(batch.problems.len(), 1);
    watched.write("a.yaml", &two);
    let batch = watched.next();
    assert_eq!(told(&batch.changes), ["+Service default/a"]);
    assert_eq!(batch.problems, []);
}

#[test]
fn a_file_that_is_replaced_by_rename_is_noticed_and_never_gone() {
    let mut watched = Watched::new(&[("a.yaml", &service("web"))], |folder| {
        vec![folder.join("a.yaml")]
    });
    let path = |name: &str| watched.folder.path().join(name);
    // vim: the old file becomes the backup, a new one takes its name.
    fs::rename(path("a.yaml"), path("a.yaml~")).expect("renamed");
    std::thread::sleep(Duration::from_millis(5));
    fs::write(
        path("a.yaml"),
        service("web").replace("10.96.0.1", "10.96.0.2"),
    )
    .expect("written");
    assert_eq!(watched.changes(), ["+Service default/web"]);
    watched.write("new", &service("web"));
    watched.assert_quiet();
    let path = |name: &str| watched.folder.path().join(name);
    fs::rename(path("new"), path("a.yaml")).expect("renamed");
    assert_eq!(watched.changes(), ["+Service default/web"]);
}

#[test]
fn a_config_map_that_swaps_its_link_is_noticed() {
    let folder = TempDir::new().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, path(name)).expect("linked");
    for (version, name) in [("..1", "a"), ("..2", "b")] {
        fs::create_dir(path(version)).expect("a folder");
        fs::write(path(version).join("web.yaml"), service(name)).expect("written");
    }
    link("..1", "..data");
    link("..data/web.yaml", "web.yaml");
    for given in [folder.path().to_owned(), path("web.yaml")] {
        let (manifests, listing) = Manifests::open(vec![given]).expect("readable");
        assert_eq!(told(&listing.changes), ["+Service default/a"]);
        let (sender, batches) = tokio::sync::mpsc::channel(16);
        manifests.watch(sender).expect("a thread");
        std::thread::sleep(Duration::from_millis(50));
        let mut watched = Watched {
            folder: TempDir::new().expect("a folder"),
            batches,
        };
        link("..2", "..data_tmp");
        fs::rename(path("..data_tmp"), path("..data")).expect("renamed");
        assert_eq!(
            watched.changes(),
            ["+Service default/b", "-Service default/a"]
                .map(str::to_owned)
                .into_iter()
                .rev()
                .collect::<Vec<_>>()
        );
        link("..1", "..data_tmp");
        fs::rename(path("..data_tmp"), path("..data")).expect("renamed");
        watched.changes();
    }
}

#[test]
fn objects_are_whole() {
    let parsed = parse::text(Path::new("a.yaml"), &service("web"));
    let object = parsed.objects.into_values().next().expect("one object");
    let Object::Service(service) = &object else {
        panic!("a Service")
    };
    assert_eq!(service.spec.cluster_ip.as_deref(), Some("10.96.0.1"));
    assert_eq!(service.spec.ports[0].port, Some(80));
}
